//! Ports for what a test starts: below those that the system gives to whoever connects somewhere, so that none of the many connections of
//! other tests is in the way when it is listened on a moment later.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;

/// The first of so many ports that are free, one after the other.
pub(crate) fn free_row(count: u16) -> u16 {
    const BETWEEN: std::ops::Range<u16> = 12_000..32_000;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let random = || RandomState::new().build_hasher().finish();
    let room = u64::from(BETWEEN.end - BETWEEN.start - count);
    let candidate = || BETWEEN.start + u16::try_from(random() % room).unwrap_or(0);
    let mut tries = std::iter::repeat_with(candidate).take(1000);
    tries.find(|first| (*first..first + count).all(is_free)).expect("a free row")
}

pub(crate) fn free_port() -> u16 {
    free_row(1)
}
