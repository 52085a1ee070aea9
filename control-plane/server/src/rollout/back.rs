//! The way back from a release that halted: boxes that run it, or are about to, start again what they ran before. That lies in their
//! other slot, so it costs a restart and not a byte. A release of a lower security epoch is no way back: what the newer one wrote may
//! not be for it. Who cannot go back goes forward, by a rollout of a release that is right.

use super::log::{Attempt, Rollout, Stage};
use saveos_protocol::id::DeviceId;
use saveos_protocol::text::Release;
use std::collections::BTreeMap;

/// Boxes that run a release, by what they ran before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WayBack {
    /// They may go back to this.
    pub to: BTreeMap<Release, u32>,
    /// They may not.
    pub barred: BTreeMap<Release, u32>,
    /// Nobody wrote down what they ran.
    pub unknown: u32,
}

/// Where boxes would go back to from `release`. `epochs` are those of what is published; `None`: only the boxes know.
pub fn way_back(rollout: &Rollout, release: &Release, epochs: Option<&BTreeMap<Release, u32>>) -> WayBack {
    let may = |before: &Release| {
        epochs.is_none_or(|epochs| match (epochs.get(before), epochs.get(release)) {
            (Some(before), Some(release)) => before >= release,
            // What is published no more, no box takes.
            (before, _) => before.is_some(),
        })
    };
    let mut way = WayBack::default();
    for attempt in rollout.attempts().iter().filter(|attempt| runs(attempt)) {
        match rollout.ran_before(attempt) {
            Some(before) if may(before) => *way.to.entry(before.clone()).or_default() += 1,
            Some(before) => *way.barred.entry(before.clone()).or_default() += 1,
            None => way.unknown += 1,
        }
    }
    way
}

impl Rollout {
    /// What a box is to go back to, if it is called back.
    pub fn goes_back(&self, device: DeviceId) -> Option<&Release> {
        self.attempt(device).filter(|attempt| runs(attempt)).and_then(|attempt| self.back_of(attempt))
    }

    /// So many run a release that is taken back, and have no way back.
    pub fn stay(&self) -> u32 {
        let stays = |attempt: &&Attempt| runs(attempt) && self.back_of(attempt).is_none();
        u32::try_from(self.attempts().iter().filter(stays).count()).unwrap_or(u32::MAX)
    }

    fn back_of(&self, attempt: &Attempt) -> Option<&Release> {
        let before = self.ran_before(attempt)?;
        self.recalled()?.to.contains(before).then_some(before)
    }
}

/// It runs the release, or its trial is about to begin: what ends badly ends on the release before by itself.
fn runs(attempt: &Attempt) -> bool {
    matches!(attempt.stage, Stage::Armed | Stage::Passed | Stage::Confirmed)
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, Event, Grounds, Policy, RingIndex};
    use super::*;
    use saveos_protocol::time::Timestamp;

    fn release(name: &str) -> Release {
        name.parse().expect("a release")
    }

    fn device(number: u8) -> DeviceId {
        DeviceId::from_parts(Timestamp::saturating(1), [number; 10])
    }

    /// Boxes that were offered 2.0.0, by what they ran then and how far they are.
    fn rollout(boxes: &[(Option<&str>, Stage)]) -> Rollout {
        let mut rollout = Rollout::new(Policy::default());
        let mut tell = |event| rollout.apply(&Entry { at: Timestamp::saturating(1), event });
        for (number, &(runs, stage)) in (0..).zip(boxes) {
            let (device, runs) = (device(number), runs.map(release));
            tell(Event::Offered { device, ring: RingIndex(0), hardware: 0, runs });
            tell(Event::Reported { device, stage });
        }
        tell(Event::Halted { grounds: Grounds::default() });
        rollout
    }

    fn epochs(all: &[(&str, u32)]) -> BTreeMap<Release, u32> {
        all.iter().map(|&(name, epoch)| (release(name), epoch)).collect()
    }

    #[test]
    fn who_runs_it_or_is_about_to_goes_back_and_nobody_else() {
        use Stage::{Armed, Confirmed, Failed, Hindered, NotInstalled, Offered, Passed, Working};
        let stages = [Armed, Passed, Confirmed, Offered, Working, Hindered, Failed, NotInstalled];
        let mut rollout = rollout(&stages.map(|stage| (Some("1.0.0"), stage)));
        let way = way_back(&rollout, &release("2.0.0"), None);
        assert_eq!(way, WayBack { to: epochs(&[("1.0.0", 3)]), ..WayBack::default() });
        assert_eq!(rollout.goes_back(device(0)), None, "nobody said so");
        let event = Event::Recalled { by: "anna".to_owned(), to: way.to.into_keys().collect() };
        rollout.apply(&Entry { at: Timestamp::saturating(2), event });
        let back: Vec<bool> = (0..8).map(|number| rollout.goes_back(device(number)).is_some()).collect();
        assert_eq!(back, [true, true, true, false, false, false, false, false]);
    }

    #[test]
    fn a_lower_security_epoch_and_what_is_published_no_more_are_no_way_back() {
        let runs = [Some("1.0.0"), Some("1.1.0"), Some("1.2.0"), Some("1.2.0"), None];
        let mut rollout = rollout(&runs.map(|runs| (runs, Stage::Confirmed)));
        let known = epochs(&[("1.0.0", 1), ("1.2.0", 2), ("2.0.0", 2)]);
        let way = way_back(&rollout, &release("2.0.0"), Some(&known));
        let barred = epochs(&[("1.0.0", 1), ("1.1.0", 1)]);
        assert_eq!(way, WayBack { to: epochs(&[("1.2.0", 2)]), barred, unknown: 1 });
        let event = Event::Recalled { by: "anna".to_owned(), to: way.to.into_keys().collect() };
        rollout.apply(&Entry { at: Timestamp::saturating(2), event });
        let back: Vec<bool> = (0..5).map(|number| rollout.goes_back(device(number)).is_some()).collect();
        assert_eq!((back, rollout.stay()), (vec![false, false, true, true, false], 3));
    }
}
