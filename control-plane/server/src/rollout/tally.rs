//! Counts of a rollout at one moment: who passed, who failed, who is silent. One walk over the attempts.

use super::log::{Attempt, Rollout, Stage};
use super::policy::Policy;
use saveos_protocol::time::Timestamp;
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

/// An offer that was not taken up for so long holds no place among those in flight: the box went offline.
const LEASE: Duration = Duration::from_secs(3600);

/// Attempts by how far they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// All.
    pub(super) offered: u32,
    /// Between an offer and a verdict, and not idle.
    pub(super) in_flight: u32,
    /// Before a verdict and not heard of for long: the box went offline before it restarted.
    pub(super) idle: u32,
    /// Of those in flight, those that cannot go on for now.
    pub(super) hindered: u32,
    /// In their trial.
    pub(super) armed: u32,
    /// Of these, those that are silent and waited for.
    pub(super) suspected: u32,
    /// Silent in their trial for too long.
    pub(super) lost: u32,
    /// They run the release.
    pub(super) passed: u32,
    /// The release failed on them.
    pub(super) failed: u32,
    /// They never came so far as to start it.
    pub(super) not_installed: u32,
}

impl Counts {
    /// Boxes that started the release, whatever came of it.
    pub(super) fn started(self) -> u32 {
        self.armed + self.passed + self.failed + self.lost
    }

    fn of(attempt: &Attempt, policy: &Policy, now: Timestamp) -> Counts {
        let silent = now.since(attempt.since);
        let mut counts = Counts { offered: 1, ..Counts::default() };
        match attempt.stage {
            Stage::Offered | Stage::Working | Stage::Hindered if silent >= LEASE => counts.idle = 1,
            Stage::Offered | Stage::Working => counts.in_flight = 1,
            Stage::Hindered => (counts.in_flight, counts.hindered) = (1, 1),
            Stage::Armed if silent >= policy.lost_after => counts.lost = 1,
            Stage::Armed => {
                (counts.in_flight, counts.armed) = (1, 1);
                counts.suspected = u32::from(silent >= policy.suspected_after);
            }
            Stage::Passed | Stage::Confirmed => counts.passed = 1,
            Stage::Failed => counts.failed = 1,
            Stage::NotInstalled => counts.not_installed = 1,
        }
        counts
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Counts) {
        self.offered += more.offered;
        self.in_flight += more.in_flight;
        self.idle += more.idle;
        self.hindered += more.hindered;
        self.armed += more.armed;
        self.suspected += more.suspected;
        self.lost += more.lost;
        self.passed += more.passed;
        self.failed += more.failed;
        self.not_installed += more.not_installed;
    }
}

/// A rollout at one moment.
pub(super) struct Tally {
    pub(super) all: Counts,
    pub(super) by_hardware: BTreeMap<u16, Counts>,
    /// Per hardware, boxes that have run the release for the soak of the newest ring and still do.
    pub(super) soaked: BTreeMap<u16, u32>,
    /// Per ring, offers so far and offers within [`super::offer::window`].
    pub(super) offers: Vec<(u32, u32)>,
}

impl Tally {
    pub(super) fn take(rollout: &Rollout, now: Timestamp) -> Tally {
        let policy = &rollout.policy;
        let newest = rollout.rings.len().checked_sub(1).and_then(|at| policy.rings.get(at));
        let soaked_if = newest.map(|ring| now.before(ring.soak));
        let recent: Vec<Timestamp> = policy.rings.iter().map(|ring| now.before(super::offer::window(ring))).collect();
        // By index and not in a map, because it is walked for every box; put in order at the end.
        let mut by_hardware: Vec<(Counts, u32)> = Vec::new();
        let mut offers = vec![(0, 0); policy.rings.len()];
        for attempt in &rollout.attempts {
            let at = usize::from(attempt.hardware);
            if by_hardware.len() <= at {
                by_hardware.resize_with(at + 1, Default::default);
            }
            let counts = Counts::of(attempt, policy, now);
            by_hardware[at].0 += counts;
            let runs_since = attempt.passed.filter(|_| counts.passed > 0);
            by_hardware[at].1 += u32::from(runs_since.zip(soaked_if).is_some_and(|(since, latest)| since <= latest));
            let ring = usize::from(attempt.ring.0);
            if let (Some(offers), Some(&from)) = (offers.get_mut(ring), recent.get(ring)) {
                offers.0 += 1;
                offers.1 += u32::from(attempt.offered > from);
            }
        }
        let mut tally = Tally { all: Counts::default(), by_hardware: BTreeMap::new(), soaked: BTreeMap::new(), offers };
        for (hardware, (counts, soaked)) in (0..=u16::MAX).zip(by_hardware).filter(|(_, counts)| counts.0.offered > 0) {
            tally.all += counts;
            tally.by_hardware.insert(hardware, counts);
            tally.soaked.insert(hardware, soaked);
        }
        tally
    }
}
