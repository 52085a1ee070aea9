//! What boxes suffer from, on order: so that a control plane can be watched while it tells sick ones from well ones.

use saveos_protocol::fact::{Body, Bus, DiskIdentity, DiskSeen, Smart, SmartVerdict};
use saveos_protocol::id::DiskId;
use saveos_protocol::text::{Mark, Text};
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{Bytes, Count};
use std::time::Duration;

/// What a box has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ails {
    /// Its connection stands, and it says nothing.
    pub silent: bool,
    /// Its connection breaks whenever it has stood for so long.
    pub flaps: Option<Duration>,
    /// Its clock runs ahead by so much.
    pub ahead: Duration,
}

/// What a box tells of a disk that dies.
pub fn dying_disk(now: Timestamp) -> [Body; 2] {
    let disk = DiskId::from_parts(now, crate::identity::random());
    let identity = DiskIdentity { serial: Mark::cut("WX11D312"), ..DiskIdentity::default() };
    let seen = DiskSeen { disk, identity, bus: Bus::Sata, size_bytes: Bytes::saturating(4_000_787_030_016), new: true };
    let smart = Smart {
        disk,
        verdict: SmartVerdict::Failing,
        reasons: [Text::cut("the disk itself says that it fails")].into_iter().collect(),
        temperature: None,
        powered_on: None,
        reallocated_sectors: Some(Count::from(1992)),
        pending_sectors: None,
        worn: None,
    };
    [Body::DiskSeen(seen), Body::Smart(smart)]
}
