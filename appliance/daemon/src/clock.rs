//! What time it is, three ways: by the wall clock, which may be wrong, by the uptime, which never goes back, and by the boot
//! that the uptime counts from. Everybody else is told.

use saveos_protocol::hex::BootId;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::Millis;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// By the wall clock.
    pub(crate) ts: Timestamp,
    /// Since the boot.
    pub(crate) uptime: Millis,
    /// Which boot.
    pub(crate) boot: BootId,
}

/// Now.
pub(crate) fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Moment {
        ts: Timestamp::saturating(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        uptime: Millis::saturating((seconds * 1000.0) as u64),
        boot: boot.trim().replace('-', "").parse().unwrap_or(BootId([0; 16])),
    }
}

impl Moment {
    /// Unix seconds, as the engine counts.
    pub(crate) fn seconds(&self) -> i64 {
        (self.ts.as_millis() / 1000) as i64
    }
}
