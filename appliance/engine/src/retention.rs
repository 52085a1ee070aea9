//! Which snapshots stay: grandfather, father, son. A pure plan: the same snapshots, policy and time give the same answer.
//!
//! A clock can be wrong or forged, a sequence cannot go back. So the time a snapshot counts with is bound between its
//! predecessor's and now, and inside one boot it moves as far as the uptime did: a hundred snapshots forged in an hour
//! share that hour and push nothing out.

use crate::snapshot::{Snapshot, SnapshotId, State, WriterId};
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

/// Largest disagreement of clock and uptime that is no jump: NTP slews and suspends are smaller over a day.
const DRIFT: i64 = 600;

/// Decides for every snapshot; sources (by name) are judged apart.
pub fn plan(snapshots: &[(SnapshotId, Snapshot)], policy: &Policy, now: i64) -> Vec<Decision> {
    let times = effective_times(snapshots, now);
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, (_, snapshot)) in snapshots.iter().enumerate() {
        by_name.entry(&snapshot.name).or_default().push(at);
    }
    let mut keep = vec![Vec::new(); snapshots.len()];
    for group in by_name.values_mut() {
        group.sort_by_key(|&at| std::cmp::Reverse((times[at], snapshots[at].1.sequence)));
        keep_group(snapshots, &times, group, policy, &mut keep);
    }
    let decide = |(at, keep): (usize, Vec<String>)| Decision { snapshot: snapshots[at].0, time: times[at], keep };
    keep.into_iter().enumerate().map(decide).collect()
}

/// One source's snapshots, newest first.
fn keep_group(
    snapshots: &[(SnapshotId, Snapshot)],
    times: &[i64],
    group: &[usize],
    policy: &Policy,
    keep: &mut [Vec<String>],
) {
    let state = |at: usize| snapshots[at].1.state;
    // Torn and live snapshots are no recovery points: they take nobody's place. The newest stays, it may be all there is.
    let points: Vec<usize> = group.iter().copied().filter(|&at| state(at).is_recovery_point()).collect();
    if let Some(&newest) = group.first().filter(|&&at| !state(at).is_recovery_point()) {
        keep[newest].push("newest, not a recovery point".to_owned());
    }
    for (number, &at) in points.iter().take(policy.last).enumerate() {
        keep[at].push(format!("last {}", number + 1));
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
        for &at in &points {
            // Newest first, so only a better state takes the place.
            let chosen = best.entry(bucket(times[at])).or_insert(at);
            if state(*chosen) == State::Partial && state(at) == State::Complete {
                *chosen = at;
            }
        }
        for (number, at) in best.values().rev().take(count).enumerate() {
            keep[*at].push(format!("{name} {}", number + 1));
        }
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

/// The times snapshots count with, writer by writer in the order of their sequence.
fn effective_times(snapshots: &[(SnapshotId, Snapshot)], now: i64) -> Vec<i64> {
    let mut order: Vec<usize> = (0..snapshots.len()).collect();
    order.sort_by_key(|&at| (snapshots[at].1.writer, snapshots[at].1.sequence, snapshots[at].0));
    let mut times = vec![0i64; snapshots.len()];
    let mut before: Option<(WriterId, usize)> = None;
    for at in order {
        let snapshot = &snapshots[at].1;
        let claimed = snapshot.time.min(now);
        times[at] = match before {
            Some((writer, previous)) if writer == snapshot.writer => {
                let last = &snapshots[previous].1;
                let elapsed = snapshot.uptime.checked_sub(last.uptime).filter(|_| last.boot == snapshot.boot);
                match elapsed {
                    Some(elapsed) => {
                        let expected = times[previous].saturating_add_unsigned(elapsed);
                        claimed
                            .clamp(expected.saturating_sub(DRIFT), expected.saturating_add(DRIFT))
                            .max(times[previous])
                            .min(now.max(times[previous]))
                    }
                    None => claimed.max(times[previous]),
                }
            }
            _ => claimed,
        };
        before = Some((snapshot.writer, at));
    }
    times
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
