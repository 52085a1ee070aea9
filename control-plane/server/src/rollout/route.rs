//! Over which releases a box comes to one that cannot follow what it runs. Who signed a release said which ones it follows; the rest is
//! the shortest way. A step on that way is no attempt of the rollout: it says nothing about its release.

use super::offer::Candidate;
use saveos_protocol::id::DeviceId;
use saveos_protocol::text::Release;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// So many may be on their way to a release that no box runs yet.
const FIRST: u32 = 4;
/// Then one for so many that run it.
const RUNNING_A_PLACE: u32 = 4;

/// Which releases there are, and which ones each follows: any, when none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(BTreeMap<Release, BTreeSet<Release>>);

/// How a box comes to a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// At once.
    Direct,
    /// Over this one first.
    Through(Release),
    /// Not, with the releases that there are.
    None,
}

/// A box that needs a step, and which.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which box.
    pub candidate: Candidate,
    /// What it must run first.
    pub through: Release,
}

impl Routes {
    /// Of releases and those that each follows. One that is named twice, for two machines, follows what either does.
    pub fn new(releases: impl IntoIterator<Item = (Release, Vec<Release>)>) -> Routes {
        let mut all: BTreeMap<Release, BTreeSet<Release>> = BTreeMap::new();
        let mut any = BTreeSet::new();
        for (release, from) in releases {
            if from.is_empty() {
                any.insert(release.clone());
            }
            all.entry(release).or_default().extend(from);
        }
        for release in &any {
            all.insert(release.clone(), BTreeSet::new());
        }
        Routes(all)
    }

    /// Whether there is such a release.
    pub fn has(&self, release: &Release) -> bool {
        self.0.contains_key(release)
    }

    /// The way with the fewest steps; of two as long, over what has the later name.
    pub fn way(&self, running: &Release, to: &Release) -> Way {
        let follows = |release: &Release, running: &Release| {
            self.0.get(release).is_some_and(|from| from.is_empty() || from.contains(running))
        };
        if follows(to, running) {
            return Way::Direct;
        }
        // Each with the first step that leads to it.
        let mut seen = BTreeSet::from([running]);
        let mut next: VecDeque<(&Release, &Release)> = VecDeque::new();
        for release in self.0.keys().rev().filter(|release| follows(release, running)) {
            if seen.insert(release) {
                next.push_back((release, release));
            }
        }
        while let Some((at, first)) = next.pop_front() {
            if follows(to, at) {
                return Way::Through(first.clone());
            }
            for release in self.0.keys().rev().filter(|release| follows(release, at)) {
                if seen.insert(release) {
                    next.push_back((release, first));
                }
            }
        }
        Way::None
    }
}

/// Who takes a step now: in the order of the rollout, no more for each release than a part of those that run it already, less those that
/// are on their way. So a step that fails ends by itself.
pub fn steps(
    mut wanted: Vec<Step>,
    running: &BTreeMap<Release, u32>,
    under_way: &BTreeMap<Release, u32>,
    in_flight: u32,
) -> Vec<(DeviceId, Release)> {
    wanted.sort_by_key(|step| (step.candidate.place.start, step.candidate.device));
    let mut room: BTreeMap<Release, u32> = BTreeMap::new();
    let of = |counts: &BTreeMap<Release, u32>, release: &Release| counts.get(release).copied().unwrap_or_default();
    let mut taken = Vec::new();
    for Step { candidate, through } in wanted {
        let most = (of(running, &through) / RUNNING_A_PLACE).max(FIRST).min(in_flight);
        let left = room.entry(through.clone()).or_insert_with(|| most.saturating_sub(of(under_way, &through)));
        if *left > 0 {
            *left -= 1;
            taken.push((candidate.device, through));
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{Hours, Salt, Wish};
    use saveos_protocol::time::Timestamp;

    fn release(name: &str) -> Release {
        name.parse().expect("a release")
    }

    fn routes(all: &[(&str, &[&str])]) -> Routes {
        Routes::new(all.iter().map(|(name, from)| (release(name), from.iter().map(|from| release(from)).collect())))
    }

    #[test]
    fn a_box_goes_over_as_few_releases_as_it_must() {
        let routes = routes(&[
            ("1.0", &["0.9"]),
            ("1.1", &["1.0"]),
            ("1.2", &["1.0"]),
            ("2.0", &["1.1", "1.2"]),
            ("3.0", &["1.0", "2.0"]),
            ("4.0", &["3.0"]),
            ("free", &[]),
            ("after-free", &["free"]),
        ]);
        let way = |running, to| routes.way(&release(running), &release(to));
        let through = |name| Way::Through(release(name));
        assert_eq!(way("1.0", "3.0"), Way::Direct);
        assert_eq!(way("1.0", "2.0"), through("1.2"), "of two as long over the later one");
        assert_eq!(way("0.9", "4.0"), through("1.0"));
        assert_eq!(way("1.1", "4.0"), through("2.0"));
        assert_eq!(way("4.0", "1.0"), Way::None, "nothing leads back");
        assert_eq!(way("unknown", "free"), Way::Direct);
        assert_eq!(way("unknown", "after-free"), through("free"), "what follows any leads there from anywhere");
        assert_eq!(way("1.0", "9.9"), Way::None, "what there is not");
    }

    #[test]
    fn a_release_that_is_named_for_two_machines_follows_what_either_does() {
        let two = routes(&[("2.0", &["1.0"]), ("2.0", &["1.1"])]);
        assert_eq!(two.way(&release("1.0"), &release("2.0")), Way::Direct);
        assert_eq!(two.way(&release("1.1"), &release("2.0")), Way::Direct);
        let any = routes(&[("2.0", &["1.0"]), ("2.0", &[])]);
        assert_eq!(any.way(&release("7"), &release("2.0")), Way::Direct);
    }

    #[test]
    fn steps_begin_with_few_and_end_when_they_fail() {
        let salt = Salt::new(&[7; 32]);
        let wanted = |count: u8| -> Vec<Step> {
            let one = |number| {
                let device = DeviceId::from_parts(Timestamp::default(), [number; 10]);
                let place = salt.place(device);
                let candidate =
                    Candidate { device, place, hardware: 0, wish: Wish::AsPlaced, reachable: true, hours: Hours::ANY };
                Step { candidate, through: release("1.5") }
            };
            (0..count).map(one).collect()
        };
        let counts = |count| BTreeMap::from([(release("1.5"), count)]);
        let none = BTreeMap::new();
        assert_eq!(steps(wanted(100), &none, &none, 2000).len(), 4);
        assert_eq!(steps(wanted(100), &counts(80), &none, 2000).len(), 20);
        assert_eq!(steps(wanted(100), &counts(80), &none, 7).len(), 7);
        assert_eq!(steps(wanted(100), &none, &counts(3), 2000).len(), 1);
        assert!(steps(wanted(100), &none, &counts(4), 2000).is_empty(), "four that never came back are enough");
        let order: Vec<DeviceId> =
            steps(wanted(100), &none, &none, 2000).into_iter().map(|(device, _)| device).collect();
        let mut all = wanted(100);
        all.sort_by_key(|step| step.candidate.place.start);
        let first: Vec<DeviceId> = all.iter().take(4).map(|step| step.candidate.device).collect();
        assert_eq!(order, first);
    }
}
