//! Which snapshots stay: grandfather, father, son. A pure plan: the same snapshots, policy and time give the same answer.
//!
//! A clock can be wrong or forged, a sequence cannot go back. Only snapshots whose time is believed ([`clock`]) compete for
//! days and months; the others have places of their own, counted by sequence. So a hundred snapshots with forged times push
//! nothing out, and neither does a box that wakes up in 1970.

mod clock;

use crate::snapshot::{Snapshot, SnapshotId, State};
use clock::Trust;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How many to keep of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The newest ones.
    pub last: usize,
    /// One for each of so many hours.
    pub hourly: usize,
    /// Days.
    pub daily: usize,
    /// Weeks, from Monday.
    pub weekly: usize,
    /// Months.
    pub monthly: usize,
    /// Years.
    pub yearly: usize,
    /// Everything with one of these tags.
    pub tags: BTreeSet<String>,
}

impl Policy {
    /// A policy that keeps nothing: nobody means that.
    pub fn is_empty(&self) -> bool {
        *self == Policy::default()
    }

    fn asks_for_times(&self) -> bool {
        [self.hourly, self.daily, self.weekly, self.monthly, self.yearly].iter().any(|&count| count > 0)
    }

    /// How many it would keep if every snapshot had an hour, day, … of its own.
    fn places(&self) -> usize {
        let counts = [self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        counts.into_iter().fold(0, usize::saturating_add)
    }
}

/// What becomes of a snapshot, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Which one.
    pub snapshot: SnapshotId,
    /// The time it counts with, Unix seconds.
    pub time: i64,
    /// Why it stays: `daily 3`. Empty: it goes.
    pub keep: Vec<String>,
}

/// Decides for every snapshot; sources (by name) are judged apart.
pub fn plan(snapshots: &[(SnapshotId, Snapshot)], policy: &Policy, now: i64) -> Vec<Decision> {
    let times = clock::judge(snapshots, now);
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, (_, snapshot)) in snapshots.iter().enumerate() {
        by_name.entry(&snapshot.name).or_default().push(at);
    }
    let mut keep = vec![Vec::new(); snapshots.len()];
    for group in by_name.values_mut() {
        group.sort_by_key(|&at| std::cmp::Reverse((times[at].time(), snapshots[at].1.sequence)));
        keep_group(snapshots, &times, group, policy, &mut keep);
    }
    let decide =
        |(at, keep): (usize, Vec<String>)| Decision { snapshot: snapshots[at].0, time: times[at].time(), keep };
    keep.into_iter().enumerate().map(decide).collect()
}

/// One source's snapshots, newest first.
fn keep_group(
    snapshots: &[(SnapshotId, Snapshot)],
    times: &[Trust],
    group: &[usize],
    policy: &Policy,
    keep: &mut [Vec<String>],
) {
    let state = |at: usize| snapshots[at].1.state;
    // Torn and live snapshots are no recovery points: they are judged by the same rules, and take no recovery point's place.
    let (points, others): (Vec<usize>, Vec<usize>) = group.iter().partition(|&&at| state(at).is_recovery_point());
    for judged in [&points, &others] {
        keep_believed(snapshots, times, judged, policy, keep);
        keep_unbelieved(snapshots, times, judged, policy, keep);
    }
    if let Some(&newest) = group.first().filter(|&&at| !state(at).is_recovery_point()) {
        keep[newest].push("newest, not a recovery point".to_owned());
    }
    for &at in group {
        for tag in snapshots[at].1.tags.iter().filter(|tag| policy.tags.contains(*tag)) {
            keep[at].push(format!("tag {tag}"));
        }
    }
    // Whatever the policy says, the last good one stays.
    if let Some(&at) = points.iter().find(|&&at| state(at) == State::Complete)
        && keep[at].is_empty()
    {
        keep[at].push("last complete".to_owned());
    }
}

fn keep_believed(
    snapshots: &[(SnapshotId, Snapshot)],
    times: &[Trust],
    newest_first: &[usize],
    policy: &Policy,
    keep: &mut [Vec<String>],
) {
    let is_partial = |at: usize| snapshots[at].1.state == State::Partial;
    let believed: Vec<usize> = newest_first.iter().copied().filter(|&at| times[at].is_believed()).collect();
    // A dying disk's partial snapshots must not push its last whole ones out: each kind has its own places.
    for partial in [false, true] {
        let of_kind = believed.iter().filter(|&&at| is_partial(at) == partial);
        for (number, &at) in of_kind.take(policy.last).enumerate() {
            keep[at].push(format!("last {}", number + 1));
        }
    }
    type Bucket = fn(i64) -> i64;
    let rules: [(&str, usize, Bucket); 5] = [
        ("hourly", policy.hourly, |time| time.div_euclid(3600)),
        ("daily", policy.daily, day),
        // 1970-01-01 was a Thursday.
        ("weekly", policy.weekly, |time| (day(time) + 3).div_euclid(7)),
        ("monthly", policy.monthly, |time| {
            let (year, month) = year_month(time);
            year * 12 + month
        }),
        ("yearly", policy.yearly, |time| year_month(time).0),
    ];
    for (name, count, bucket) in rules {
        let mut best: BTreeMap<i64, usize> = BTreeMap::new();
        for &at in &believed {
            // Newest first, so only a better state takes the place.
            let chosen = best.entry(bucket(times[at].time())).or_insert(at);
            if is_partial(*chosen) && !is_partial(at) {
                *chosen = at;
            }
        }
        for (number, at) in best.values().rev().take(count).enumerate() {
            keep[*at].push(format!("{name} {}", number + 1));
        }
    }
}

/// As many as the policy has places, by sequence. Those dated after now all stay: it may be our clock that is wrong, and
/// then they are all there is.
fn keep_unbelieved(
    snapshots: &[(SnapshotId, Snapshot)],
    times: &[Trust],
    group: &[usize],
    policy: &Policy,
    keep: &mut [Vec<String>],
) {
    let mut unbelieved: Vec<usize> = group.iter().copied().filter(|&at| !times[at].is_believed()).collect();
    unbelieved.sort_by_key(|&at| std::cmp::Reverse((snapshots[at].1.sequence, snapshots[at].1.writer)));
    for (number, &at) in unbelieved.iter().enumerate() {
        match times[at] {
            Trust::AfterNow(_) if policy.asks_for_times() => keep[at].push("dated after now".to_owned()),
            _ if number < policy.places() => keep[at].push(format!("time not believed {}", number + 1)),
            _ => {}
        }
    }
}

fn day(time: i64) -> i64 {
    time.div_euclid(86_400)
}

/// Year and month (0..12) of a Unix time, UTC.
fn year_month(time: i64) -> (i64, i64) {
    let (year, month, _) = civil_date(day(time));
    (year, month - 1)
}

/// Year, month (1..=12) and day of a count of days since 1970-01-01. After Howard Hinnant, "chrono-compatible low-level
/// date algorithms".
pub fn civil_date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let year = year_of_era + era * 400 + i64::from(month_from_march >= 10);
    (year, (month_from_march + 2) % 12 + 1, day_of_year - (153 * month_from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::partition::TableKind;
    use crate::snapshot::WriterId;
    use crate::snapshot::{SourceInfo, SourceKind, Summary};
    use proptest::prelude::*;

    const DAY: i64 = 86_400;
    /// 2026-03-01 12:00 UTC, a Sunday.
    const NOW: i64 = 1_772_366_400;

    fn snapshot(sequence: u64, time: i64) -> (SnapshotId, Snapshot) {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&sequence.to_be_bytes());
        let source = SourceInfo {
            kind: SourceKind::Image,
            size: 1,
            sector_size: 512,
            identity: String::new(),
            table: TableKind::None,
        };
        let snapshot = Snapshot {
            writer: WriterId([1; 16]),
            sequence,
            previous: None,
            parent: None,
            time,
            boot: format!("boot {sequence}"),
            uptime: 100,
            name: "disk".to_owned(),
            tags: Vec::new(),
            state: State::Complete,
            source,
            segment_lists: Vec::new(),
            segments: 0,
            summary: Summary::default(),
        };
        (SnapshotId(id), snapshot)
    }

    fn kept(snapshots: &[(SnapshotId, Snapshot)], policy: &Policy) -> Vec<u64> {
        let plan = plan(snapshots, policy, NOW);
        let kept = plan.iter().zip(snapshots).filter(|(decision, _)| !decision.keep.is_empty());
        kept.map(|(_, (_, snapshot))| snapshot.sequence).collect()
    }

    #[test]
    fn a_year_of_daily_backups_leaves_what_the_policy_names() {
        let year: Vec<_> = (0..365).map(|n| snapshot(n + 1, NOW - (364 - n as i64) * DAY)).collect();
        let policy = Policy { last: 2, daily: 7, weekly: 4, monthly: 12, yearly: 3, ..Policy::default() };
        let plan = plan(&year, &policy, NOW);
        let count = |rule: &str| plan.iter().flat_map(|d| &d.keep).filter(|why| why.starts_with(rule)).count();
        assert_eq!(
            (count("last"), count("daily"), count("weekly"), count("monthly"), count("yearly")),
            (2, 7, 4, 12, 2)
        );
        assert_eq!(kept(&year, &Policy { daily: 2, ..Policy::default() }), vec![364, 365]);
    }

    #[test]
    fn months_and_years_are_the_calendars() {
        assert_eq!(year_month(NOW), (2026, 2));
        assert_eq!(year_month(0), (1970, 0));
        assert_eq!(year_month(951_782_400), (2000, 1)); // 2000-02-29
        assert_eq!(year_month(-1), (1969, 11));
    }

    #[test]
    fn forged_times_do_not_push_real_snapshots_out() {
        let mut all: Vec<_> = (0..10).map(|n| snapshot(n + 1, NOW - (10 - n as i64) * DAY)).collect();
        // An attacker writes fifty snapshots within an hour, dated to fifty days in past and future.
        for n in 0..50u64 {
            let (id, mut forged) = snapshot(100 + n, NOW + (n as i64 - 25) * DAY);
            forged.boot = "one boot".to_owned();
            forged.uptime = 5000 + 60 * n;
            all.push((id, forged));
        }
        let real: Vec<u64> =
            kept(&all, &Policy { daily: 7, ..Policy::default() }).into_iter().filter(|&s| s <= 10).collect();
        assert!(real.len() >= 5, "only {real:?} of ten real days are left");
    }

    #[test]
    fn torn_and_partial_take_no_complete_ones_place() {
        let mut all: Vec<_> = (0..3).map(|n| snapshot(n + 1, NOW - 100 + n as i64)).collect();
        all[1].1.state = State::Partial;
        all[2].1.state = State::Torn;
        assert_eq!(kept(&all, &Policy { daily: 1, ..Policy::default() }), vec![1, 3]);
    }

    #[test]
    fn a_clock_that_is_too_early_forgets_nothing() {
        let year: Vec<_> = (0..365).map(|n| snapshot(n + 1, NOW - (364 - n as i64) * DAY)).collect();
        let policy = Policy { daily: 7, monthly: 12, ..Policy::default() };
        for now in [0, 40 * DAY, NOW - 365 * DAY] {
            assert!(plan(&year, &policy, now).iter().all(|decision| !decision.keep.is_empty()), "now = {now}");
        }
    }

    #[test]
    fn a_box_that_wakes_up_in_1970_keeps_as_many_as_the_policy_has_places() {
        let all: Vec<_> = (0..100).map(|n| snapshot(n + 1, 60)).collect();
        let kept = kept(&all, &Policy { daily: 7, monthly: 12, ..Policy::default() });
        assert_eq!(kept, (82..=100).collect::<Vec<u64>>());
    }

    #[test]
    fn partial_snapshots_of_a_dying_disk_do_not_push_the_last_whole_ones_out() {
        let mut all: Vec<_> = (0..6).map(|n| snapshot(n + 1, NOW - 6000 + n as i64)).collect();
        all[3..].iter_mut().for_each(|(_, partial)| partial.state = State::Partial);
        assert_eq!(kept(&all, &Policy { last: 2, ..Policy::default() }), vec![2, 3, 5, 6]);
    }

    #[test]
    fn live_snapshots_have_days_of_their_own() {
        let mut all: Vec<_> = (0..10).map(|n| snapshot(n + 1, NOW - (9 - n as i64) * DAY)).collect();
        all.iter_mut().for_each(|(_, live)| live.state = State::Live);
        assert_eq!(kept(&all, &Policy { daily: 3, ..Policy::default() }), vec![8, 9, 10]);
    }

    #[test]
    fn what_repair_wrote_takes_no_newer_ones_place() {
        let mut all: Vec<_> = (0..10).map(|n| snapshot(n + 1, NOW - (9 - n as i64) * DAY)).collect();
        for n in 0..5 {
            let (id, mut repaired) = snapshot(11 + n, NOW - (30 + n as i64) * DAY);
            repaired.tags = vec!["repaired".to_owned()];
            all.push((id, repaired));
        }
        let kept = kept(&all, &Policy { last: 3, ..Policy::default() });
        assert_eq!(kept, vec![8, 9, 10, 13, 14, 15]);
    }

    proptest! {
        #[test]
        fn the_last_complete_snapshot_always_stays(
            times in prop::collection::vec((NOW - 40 * DAY..NOW + 40 * DAY, 0..4u8), 1..40),
            last in 0usize..3, daily in 0usize..3,
        ) {
            let states = [State::Complete, State::Partial, State::Torn, State::Live];
            let all: Vec<_> = times.iter().enumerate().map(|(n, (time, state))| {
                let (id, mut made) = snapshot(n as u64 + 1, *time);
                made.state = states[*state as usize];
                (id, made)
            }).collect();
            let kept = kept(&all, &Policy { last, daily, ..Policy::default() });
            let complete = |s: &&(SnapshotId, Snapshot)| s.1.state == State::Complete;
            prop_assert!(!all.iter().any(|s| complete(&s)) || all.iter().filter(complete).any(|s| kept.contains(&s.1.sequence)));
            // More is never less: a policy that keeps more keeps at least the same.
            let more = self::kept(&all, &Policy { last: last + 1, daily: daily + 1, ..Policy::default() });
            prop_assert!(kept.iter().all(|sequence| more.contains(sequence)));
        }
    }
}
