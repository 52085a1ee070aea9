//! The health gate: a new system has to do what the one before did, for a while, within a time. It is relative, so that a provider's
//! outage or a disk that was pulled long ago rolls nothing back.

use super::advance::Health;
use super::journal::Before;
use saveos_protocol::id::DiskId;
use saveos_protocol::text::Text;
use std::time::Duration;

/// It has to be good for this part of its time without a break: a minute of ten.
const STEADY: u32 = 10;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vital<'a> {
    /// The control plane was heard within the hour, and since the daemon started.
    pub(crate) connected: bool,
    pub(crate) disks: &'a [DiskId],
    /// The repository opens.
    pub(crate) store: bool,
}

/// A gate that a system stands at since its daemon started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    /// A system that is not good by then is bad.
    pub(crate) patience: Duration,
    good_since: Option<Duration>,
}

impl Gate {
    pub(crate) fn new(patience: Duration) -> Gate {
        Gate { patience, good_since: None }
    }

    /// One look, so long after the daemon started and after the box did.
    pub(crate) fn look(
        &mut self,
        vital: Vital<'_>,
        before: Option<&Before>,
        (daemon, uptime): (Duration, Duration),
    ) -> Health {
        let lacks = lacks(vital, before);
        if lacks.is_some() {
            self.good_since = None;
        }
        match lacks {
            None if daemon >= *self.good_since.get_or_insert(daemon) + self.patience / STEADY => Health::Good,
            Some(text) if uptime >= self.patience => Health::Bad(Text::cut(text)),
            _ => Health::Unknown,
        }
    }
}

/// What does not work as it did before.
fn lacks(vital: Vital<'_>, before: Option<&Before>) -> Option<&'static str> {
    if !vital.store {
        return Some("the repository does not open");
    }
    let before = before?;
    if before.connected && !vital.connected {
        return Some("the control plane was heard before the update and is not any more");
    }
    // One that was pulled meanwhile is no fault of the system; a driver that is missing takes them all.
    if !before.disks.is_empty() && !before.disks.iter().any(|disk| vital.disks.contains(disk)) {
        return Some("none of the disks that were there is there any more");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::journal::{SlotName, Written};
    use super::*;
    use saveos_protocol::time::Timestamp;

    fn before(connected: bool, disks: &[DiskId]) -> Before {
        let ts = Timestamp::saturating(1000);
        let (release, written, disks) = (None, Written::default(), disks.to_vec());
        Before { slot: SlotName::A, release, written, ts, connected, disks, backed_up: true }
    }

    fn disk(number: u8) -> DiskId {
        DiskId::from_parts(Timestamp::saturating(1), [number; 10])
    }

    fn seconds(daemon: u64) -> (Duration, Duration) {
        (Duration::from_secs(daemon), Duration::from_secs(daemon + 20))
    }

    #[test]
    fn what_works_as_before_for_a_minute_is_good() {
        let disks = [disk(1), disk(2)];
        let mut gate = Gate::new(Duration::from_secs(600));
        let good = Vital { connected: true, disks: &disks[..1], store: true };
        let before = before(true, &disks);
        assert_eq!(gate.look(good, Some(&before), seconds(5)), Health::Unknown);
        assert_eq!(gate.look(good, Some(&before), seconds(64)), Health::Unknown);
        assert_eq!(gate.look(good, Some(&before), seconds(65)), Health::Good);
        let dark = Vital { connected: false, ..good };
        assert_eq!(gate.look(dark, Some(&before), seconds(66)), Health::Unknown);
        assert_eq!(gate.look(good, Some(&before), seconds(70)), Health::Unknown, "the minute begins anew");
        assert_eq!(gate.look(good, Some(&before), seconds(130)), Health::Good);
    }

    #[test]
    fn what_never_worked_is_not_asked_for_and_what_does_no_more_is_bad_in_the_end() {
        let disks = [disk(1)];
        let nothing = Vital { connected: false, disks: &[], store: true };
        let look = |vital, before: Option<&Before>| {
            let mut gate = Gate::new(Duration::from_secs(600));
            gate.look(vital, before, seconds(0));
            gate.look(vital, before, seconds(600))
        };
        assert_eq!(look(nothing, Some(&before(false, &[]))), Health::Good);
        assert_eq!(look(nothing, None), Health::Good);
        assert!(matches!(look(nothing, Some(&before(true, &[]))), Health::Bad(_)));
        assert!(matches!(look(nothing, Some(&before(false, &disks))), Health::Bad(_)));
        assert!(matches!(look(Vital { store: false, ..nothing }, None), Health::Bad(_)));
    }
}
