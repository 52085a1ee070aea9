//! What time it is, three ways: by the wall clock, which may be wrong, by the uptime, which never goes back, and by the boot
//! that the uptime counts from. Everybody else is told.

use saveos_protocol::fact::ClockJump;
use saveos_protocol::hex::BootId;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::Millis;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Clock and uptime may differ by so much: a time server corrects by less, once it has set the clock.
const STEP: Duration = Duration::from_secs(60);
/// A board without a battery learns the time after it started; that is no jump.
const SETTLING: Duration = Duration::from_secs(600);
/// The control plane's clock and ours may differ by so much.
const SKEW: Duration = Duration::from_secs(3600);

/// Whether the clock moved otherwise than the uptime between two moments of one boot.
pub(crate) fn jump(before: &Moment, after: &Moment) -> Option<ClockJump> {
    if before.boot != after.boot || before.uptime.duration() < SETTLING {
        return None;
    }
    let elapsed = after.uptime.duration().saturating_sub(before.uptime.duration());
    let expected = before.ts.after(elapsed);
    let off = expected.since(after.ts).max(after.ts.since(expected));
    let jump = ClockJump { before: before.ts, after: after.ts, elapsed: Millis::of(elapsed) };
    (off > STEP).then_some(jump)
}

/// Whether the clock is before what the control plane said last: then no time limit can be judged. It does not keep a box from the
/// control plane, whose clock may have been the wrong one and says so then.
pub(crate) fn is_behind(now: Timestamp, heard: Option<Timestamp>) -> bool {
    heard.is_some_and(|heard| heard.since(now) > SKEW)
}

impl Moment {
    /// Unix seconds, as the engine counts.
    pub(crate) fn seconds(&self) -> i64 {
        (self.ts.as_millis() / 1000) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64, uptime_minutes: u64, boot: u8) -> Moment {
        let (ts, uptime) = (Timestamp::saturating(minutes * 60_000), Millis::saturating(uptime_minutes * 60_000));
        Moment { ts, uptime, boot: BootId([boot; 16]) }
    }

    #[test]
    fn a_clock_that_is_set_jumps_and_one_that_goes_does_not() {
        assert_eq!(jump(&at(1000, 20, 1), &at(1005, 25, 1)), None);
        assert_eq!(jump(&at(1000, 20, 1), &at(1006, 25, 1)), None, "a minute is none");
        let ahead = jump(&at(1000, 20, 1), &at(9000, 21, 1)).expect("it jumped");
        assert_eq!((ahead.before, ahead.after), (at(1000, 0, 0).ts, at(9000, 0, 0).ts));
        assert_eq!(ahead.elapsed, Millis::from(60_000));
        assert!(jump(&at(9000, 20, 1), &at(1000, 21, 1)).is_some(), "and back");
        assert_eq!(jump(&at(0, 1, 1), &at(9000, 2, 1)), None, "it learned the time");
        assert_eq!(jump(&at(1000, 20, 1), &at(9000, 1, 2)), None, "another boot");
    }

    #[test]
    fn a_clock_before_what_is_known_is_behind() {
        let time = |minutes| at(minutes, 0, 0).ts;
        assert!(!is_behind(time(100), None));
        assert!(!is_behind(time(100), Some(time(160))) && is_behind(time(100), Some(time(161))));
    }
}
