//! The floor below every policy: a disk's last seven complete snapshots and all of the last fourteen days stay, whoever asks for
//! what. Pure.
//!
//! "Last" is by the writer's sequence, which nobody can turn back. A snapshot whose time lies in the future counts as young:
//! it may be our clock that is wrong.

use saveos_engine::retention::{self, Policy};
use saveos_engine::snapshot::{Snapshot, SnapshotId, State};
use saveos_protocol::shadow::Retention;
use std::collections::{BTreeMap, BTreeSet};

/// Complete snapshots of each disk that stay.
const LAST: usize = 7;
/// Seconds for which every snapshot stays.
const YOUNG: i64 = 14 * 86_400;

/// What to let go, and what the policy alone would have let go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Let go.
    pub(crate) forget: Vec<SnapshotId>,
    /// Kept by the floor alone.
    pub(crate) kept_by_floor: usize,
    /// Kept in all.
    pub(crate) kept: usize,
}

/// Decides over the snapshots of one repository; `retention_of` tells the policy of a disk by its name.
pub(crate) fn decide(
    snapshots: &[(SnapshotId, Snapshot)],
    retention_of: &dyn Fn(&str) -> Retention,
    now: i64,
) -> Verdict {
    let mut verdict = Verdict::default();
    for (disk, all) in by_disk(snapshots) {
        let floor = floor(&all, now);
        let retention = retention_of(disk);
        let go = if retention.is_empty() { Vec::new() } else { unwanted(&all, &retention, now) };
        verdict.kept += all.len() - go.len();
        for id in go {
            if floor.contains(&id) {
                (verdict.kept, verdict.kept_by_floor) = (verdict.kept + 1, verdict.kept_by_floor + 1);
            } else {
                verdict.forget.push(id);
            }
        }
    }
    verdict
}

/// What may go of the snapshots that somebody named. The floor holds against a signature, too.
pub(crate) fn release(snapshots: &[(SnapshotId, Snapshot)], named: &[SnapshotId], now: i64) -> Verdict {
    let mut verdict = Verdict::default();
    for all in by_disk(snapshots).into_values() {
        let floor = floor(&all, now);
        for (id, _) in &all {
            match (named.contains(id), floor.contains(id)) {
                (true, false) => verdict.forget.push(*id),
                (true, true) => (verdict.kept, verdict.kept_by_floor) = (verdict.kept + 1, verdict.kept_by_floor + 1),
                (false, _) => verdict.kept += 1,
            }
        }
    }
    verdict
}

/// The snapshots of each disk, in the order of the writer's sequence.
fn by_disk(snapshots: &[(SnapshotId, Snapshot)]) -> BTreeMap<&str, Vec<(SnapshotId, Snapshot)>> {
    let mut disks: BTreeMap<&str, Vec<(SnapshotId, Snapshot)>> = BTreeMap::new();
    for (id, snapshot) in snapshots {
        disks.entry(&snapshot.name).or_default().push((*id, snapshot.clone()));
    }
    disks.values_mut().for_each(|all| all.sort_by_key(|(id, snapshot)| (snapshot.sequence, *id)));
    disks
}

fn floor(all: &[(SnapshotId, Snapshot)], now: i64) -> BTreeSet<SnapshotId> {
    let complete = all.iter().rev().filter(|(_, snapshot)| snapshot.state == State::Complete).take(LAST);
    let young = all.iter().filter(|(_, snapshot)| snapshot.time > now.saturating_sub(YOUNG));
    complete.chain(young).map(|(id, _)| *id).collect()
}

fn unwanted(all: &[(SnapshotId, Snapshot)], retention: &Retention, now: i64) -> Vec<SnapshotId> {
    let policy = Policy {
        last: retention.last as usize,
        hourly: retention.hourly as usize,
        daily: retention.daily as usize,
        weekly: retention.weekly as usize,
        monthly: retention.monthly as usize,
        yearly: retention.yearly as usize,
        tags: BTreeSet::new(),
    };
    let decisions = retention::plan(all, &policy, now);
    decisions.into_iter().filter(|decision| decision.keep.is_empty()).map(|decision| decision.snapshot).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use saveos_engine::layout::partition::TableKind;
    use saveos_engine::snapshot::{SourceInfo, SourceKind, Summary, WriterId};

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_790_000_000;

    pub(crate) fn snapshot(sequence: u64, time: i64, state: State) -> (SnapshotId, Snapshot) {
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
            state,
            source,
            segment_lists: Vec::new(),
            segments: 0,
            summary: Summary::default(),
        };
        (SnapshotId(id), snapshot)
    }

    fn weakest(_: &str) -> Retention {
        Retention { last: 1, ..Retention::default() }
    }

    #[test]
    fn the_weakest_policy_leaves_seven_complete_ones_and_fourteen_days() {
        let daily: Vec<_> = (0..60).map(|n| snapshot(n + 1, NOW - (59 - n as i64) * DAY, State::Complete)).collect();
        let verdict = decide(&daily, &weakest, NOW);
        assert_eq!((verdict.kept, verdict.forget.len(), verdict.kept_by_floor), (14, 46, 13));
        // The last ones are older than fourteen days: seven stay.
        assert_eq!(decide(&daily, &weakest, NOW + 100 * DAY).kept, 7);
    }

    #[test]
    fn what_is_named_goes_unless_the_floor_holds_it() {
        let daily: Vec<_> = (0..60).map(|n| snapshot(n + 1, NOW - (59 - n as i64) * DAY, State::Complete)).collect();
        let all: Vec<SnapshotId> = daily.iter().map(|(id, _)| *id).collect();
        let verdict = release(&daily, &all, NOW);
        assert_eq!((verdict.kept, verdict.forget.len(), verdict.kept_by_floor), (14, 46, 14));
        assert_eq!(release(&daily, &all[..1], NOW).forget, all[..1]);
        let strangers = [SnapshotId([9; 32])];
        assert_eq!(release(&daily, &strangers, NOW), Verdict { kept: 60, ..Verdict::default() });
    }

    #[test]
    fn torn_ones_do_not_push_complete_ones_out() {
        let mut all: Vec<_> = (1..=7).map(|n| snapshot(n, NOW - 200 * DAY, State::Complete)).collect();
        all.extend((8..=40).map(|n| snapshot(n, NOW - 100 * DAY, State::Torn)));
        let forget = decide(&all, &weakest, NOW).forget;
        assert!(all[..7].iter().all(|(id, _)| !forget.contains(id)));
    }

    #[test]
    fn a_clock_that_is_wrong_lets_nothing_of_the_future_go() {
        let all: Vec<_> = (1..=30).map(|n| snapshot(n, NOW, State::Complete)).collect();
        // We believe it is 1970.
        assert_eq!(decide(&all, &weakest, 0).forget, []);
    }

    #[test]
    fn a_hundred_days_of_a_hostile_policy_lose_none_of_the_last_seven() {
        let mut here: Vec<(SnapshotId, Snapshot)> = Vec::new();
        for day in 0..100 {
            here.push(snapshot(day + 1, NOW + day as i64 * DAY, State::Complete));
            // The clock is told lies, too.
            for lie in [0, -400 * DAY, 400 * DAY, i64::MAX / 2] {
                let forget = decide(&here, &weakest, (NOW + day as i64 * DAY).saturating_add(lie)).forget;
                here.retain(|(id, _)| !forget.contains(id));
            }
            let last = here.iter().filter(|(_, snapshot)| snapshot.sequence + 7 > day + 1).count() as u64;
            assert_eq!(last, 7.min(day + 1));
        }
    }

    #[test]
    fn without_a_policy_nothing_goes() {
        let old: Vec<_> = (1..=30).map(|n| snapshot(n, NOW - 900 * DAY, State::Complete)).collect();
        assert_eq!(decide(&old, &|_| Retention::default(), NOW).forget, []);
    }
}
