//! Who may fetch a bundle now: leases on the line that serves them, so that those who fetch come to an end, and the others hear
//! when to ask again, instead of everybody being slow. Metadata is small, and free.

use crate::api::App;
use crate::clock;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a box that may fetch should have of the line, in Mbit/s: a bundle of 100 MB in two minutes.
const RATE_OF_A_BOX: f64 = 8.0;
/// The part of the line for bundles; the rest is for what boxes report and people look at.
const PART_OF_THE_LINE: f64 = 0.7;
/// A lease ends so long after the last request under it: the two minutes that a box gives one range, and some more.
const LEASE: Duration = Duration::from_secs(150);
/// Who finds no lease asks again after so many seconds, and as many more by chance.
const AGAIN_S: u8 = 30;
/// What bundles are called.
const BUNDLE: &str = ".raucb";

/// The leases of this server.
#[derive(Debug)]
pub(crate) struct Line {
    /// None: as many as ask.
    most: Option<usize>,
    leases: Mutex<HashMap<IpAddr, Instant>>,
}

impl Line {
    /// For a line of so many Mbit/s; none: it is not known.
    pub(crate) fn of(mbit: Option<NonZeroU32>) -> Line {
        let most = mbit.map(|mbit| ((f64::from(mbit.get()) * PART_OF_THE_LINE / RATE_OF_A_BOX) as usize).max(1));
        Line { most, leases: Mutex::new(HashMap::new()) }
    }

    /// Whether an address may fetch; its lease begins or goes on.
    fn admits(&self, who: IpAddr, now: Instant) -> bool {
        let Some(most) = self.most else { return true };
        let who = household(who);
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if leases.len() >= most && !leases.contains_key(&who) {
            leases.retain(|_, until| *until > now);
        }
        let admitted = leases.len() < most || leases.contains_key(&who);
        if admitted {
            leases.insert(who, now + LEASE);
        }
        admitted
    }
}

/// Whoever has one address of IPv6 has 2^64: they are one.
fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other.to_canonical(),
    }
}

/// Before a file of the repository.
pub(crate) async fn lease(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path().ends_with(BUNDLE) && !app.line.admits(peer.ip(), Instant::now()) {
        let [chance] = clock::random::<1>();
        let wait = HeaderValue::from(u16::from(AGAIN_S) + u16::from(chance % AGAIN_S));
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, wait)], "the line is full\n").into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn as_many_fetch_as_the_line_carries_and_the_next_when_one_has_ended() {
        // 0.7 × 30 Mbit/s for 8 each.
        let line = Line::of(NonZeroU32::new(30));
        let now = Instant::now();
        let (one, two, three) = (address("192.0.2.1"), address("192.0.2.2"), address("192.0.2.3"));
        assert!(line.admits(one, now) && line.admits(two, now) && !line.admits(three, now));
        let later = now + LEASE - Duration::from_secs(1);
        assert!(line.admits(one, later), "who fetches goes on");
        assert!(!line.admits(three, later));
        assert!(line.admits(three, later + Duration::from_secs(2)), "the second stopped");
        assert!(!line.admits(two, later + Duration::from_secs(2)));
    }

    #[test]
    fn a_line_that_nobody_measured_is_not_bounded_and_the_smallest_serves_one() {
        let (free, slow) = (Line::of(None), Line::of(NonZeroU32::new(1)));
        let now = Instant::now();
        let many = || (0..200).map(|number| IpAddr::from([192, 0, 2, number]));
        assert!(many().all(|one| free.admits(one, now)));
        assert_eq!(many().filter(|one| slow.admits(*one, now)).count(), 1);
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let line = Line::of(NonZeroU32::new(1));
        let now = Instant::now();
        assert!(line.admits(address("2001:db8::1"), now) && line.admits(address("2001:db8::2"), now));
        assert!(!line.admits(address("2001:db8:0:1::1"), now));
        assert_eq!(household(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }
}
