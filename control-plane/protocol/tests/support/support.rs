//! What the tests share: fixed keys, names and times, and one sample of every message and every kind of fact.

#![allow(dead_code, unused_imports, reason = "every test file uses another part")]

mod facts;
mod keys;
mod samples;

pub(crate) use facts::{backup_summary, fact, fact_bodies};
pub(crate) use keys::{command_key, command_pair, device_key, device_pair, random};
pub(crate) use samples::{Sample, all, command, desired, enrolment, presence, reader_of, reported};

use saveos_protocol::id::{CommandId, DeviceId, DiskId, JobId, StreamId};
use saveos_protocol::text::{Mark, Text};
use saveos_protocol::time::Timestamp;

/// 2026-03-01 12:00 UTC.
pub(crate) const NOW: u64 = 1_772_366_400_000;

pub(crate) fn now() -> Timestamp {
    Timestamp::saturating(NOW)
}

pub(crate) fn device() -> DeviceId {
    DeviceId::from_parts(now(), [1; 10])
}

pub(crate) fn stream() -> StreamId {
    StreamId::from_parts(now(), [2; 10])
}

pub(crate) fn disk(number: u8) -> DiskId {
    DiskId::from_parts(now(), [number; 10])
}

pub(crate) fn job() -> JobId {
    JobId::from_parts(now(), [4; 10])
}

pub(crate) fn command_id() -> CommandId {
    CommandId::from_parts(now(), [5; 10])
}

pub(crate) fn mark(text: &str) -> Mark {
    text.parse().expect("a mark")
}

pub(crate) fn text(text: &str) -> Text {
    text.parse().expect("a text")
}
