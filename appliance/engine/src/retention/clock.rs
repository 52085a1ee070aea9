//! Which snapshots' times are believed. What is believed comes after what was believed before it, no later than now, and
//! inside one boot it moved as far as the uptime did.

use crate::snapshot::{Snapshot, SnapshotId};

/// 2025-01-01: before this program existed. A box without a battery wakes up in 1970.
const FLOOR: i64 = 1_735_689_600;
/// Largest disagreement of clock and uptime that is no jump: NTP slews and suspends are smaller over a day.
const DRIFT: i64 = 600;

/// A snapshot's time, Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It fits its neighbours and now.
    Believed(i64),
    /// It is later than now: the snapshot's clock was wrong, or ours is.
    AfterNow(i64),
    /// It is impossible, or before what came before.
    Not(i64),
}

impl Trust {
    pub(super) const fn time(self) -> i64 {
        match self {
            Trust::Believed(time) | Trust::AfterNow(time) | Trust::Not(time) => time,
        }
    }

    pub(super) const fn is_believed(self) -> bool {
        matches!(self, Trust::Believed(_))
    }
}

/// Judges writer by writer, in the order of their sequence.
pub(super) fn judge(snapshots: &[(SnapshotId, Snapshot)], now: i64) -> Vec<Trust> {
    let mut order: Vec<usize> = (0..snapshots.len()).collect();
    order.sort_by_key(|&at| (snapshots[at].1.writer, snapshots[at].1.sequence, snapshots[at].0));
    let mut times = vec![Trust::Not(0); snapshots.len()];
    let mut before: Option<&Snapshot> = None;
    for at in order {
        let snapshot = &snapshots[at].1;
        let last = before.filter(|last| last.writer == snapshot.writer);
        times[at] = judge_one(snapshot, last, now);
        if times[at].is_believed() {
            before = Some(snapshot);
        }
    }
    times
}

/// `last` is the writer's last snapshot that is believed.
fn judge_one(snapshot: &Snapshot, last: Option<&Snapshot>, now: i64) -> Trust {
    let time = snapshot.time;
    let passed = last.map(|last| time.saturating_sub(last.time));
    // Inside one boot the uptime cannot go back either.
    let by_uptime = last.filter(|last| last.boot == snapshot.boot).map(|last| {
        i64::try_from(snapshot.uptime).unwrap_or(i64::MAX) - i64::try_from(last.uptime).unwrap_or(i64::MAX)
    });
    match (passed, by_uptime) {
        _ if time > now.saturating_add(DRIFT) => Trust::AfterNow(time),
        _ if time < FLOOR => Trust::Not(time),
        (Some(passed), _) if passed < -DRIFT => Trust::Not(time),
        (Some(passed), Some(elapsed)) if elapsed < 0 || passed.abs_diff(elapsed) > DRIFT as u64 => Trust::Not(time),
        _ => Trust::Believed(time),
    }
}
