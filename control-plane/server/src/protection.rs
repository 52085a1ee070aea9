//! Whether a disk is protected, and why not: judged from proof, never from its absence. Silence is no success.
//!
//! Pure: the same state and moment give the same reasons, in the order of what to do first.

use saveos_protocol::time::Timestamp;
use std::time::Duration;

/// Why a disk, or a box without one, is not protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// The box was never heard.
    NeverHeard,
    /// No disk was ever plugged in.
    NoDisk,
    /// There is no recovery point of it.
    NoRecoveryPoint,
    /// The newest recovery point is older than the deadline.
    TooOld,
    /// The last backup failed.
    LastBackupFailed,
    /// Nobody could open the backups without the box.
    NotRecoverable,
    /// No verify has proven the repository for too long.
    NotProven,
}

impl Reason {
    /// As it is stored, and named in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Reason::NeverHeard => "never_heard",
            Reason::NoDisk => "no_disk",
            Reason::NoRecoveryPoint => "no_recovery_point",
            Reason::TooOld => "too_old",
            Reason::LastBackupFailed => "last_backup_failed",
            Reason::NotRecoverable => "not_recoverable",
            Reason::NotProven => "not_proven",
        }
    }

    /// As it is told.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Reason::NeverHeard => "never heard",
            Reason::NoDisk => "no disk",
            Reason::NoRecoveryPoint => "no recovery point",
            Reason::TooOld => "the newest recovery point is too old",
            Reason::LastBackupFailed => "the last backup failed",
            Reason::NotRecoverable => "nobody could open the backups without the box",
            Reason::NotProven => "no verify for too long",
        }
    }
}

/// What is known of a disk and its box.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    pub(crate) heard: bool,
    /// There is a disk.
    pub(crate) disk: bool,
    /// The newest snapshot that counts.
    pub(crate) newest: Option<Timestamp>,
    /// How the last backup ended.
    pub(crate) failed: bool,
    /// Words or escrow.
    pub(crate) recoverable: bool,
    /// The last verify that found nothing.
    pub(crate) proven: Option<Timestamp>,
}

/// A day, and two hours for a disk that is slow.
pub(crate) const DEADLINE: Duration = Duration::from_secs(26 * 3600);
/// A month and a day: a verify is due every month.
const PROOF: Duration = Duration::from_secs(31 * 86_400);

/// Judges; nothing to say means protected.
pub(crate) fn reasons(state: &State, now: Timestamp) -> Vec<Reason> {
    if !state.heard {
        return vec![Reason::NeverHeard];
    }
    if !state.disk {
        return vec![Reason::NoDisk];
    }
    let age = state.newest.map(|newest| now.since(newest));
    let proven = state.proven.or(state.newest);
    let rules = [
        (age.is_none(), Reason::NoRecoveryPoint),
        (age.is_some_and(|age| age > DEADLINE), Reason::TooOld),
        (state.failed, Reason::LastBackupFailed),
        (!state.recoverable, Reason::NotRecoverable),
        (proven.is_some_and(|proven| now.since(proven) > PROOF), Reason::NotProven),
    ];
    rules.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
}

/// Until when it is protected if nothing more happens; `None` when it is not, whatever the time.
pub(crate) fn until(state: &State) -> Option<Timestamp> {
    let newest = state.newest.filter(|_| state.heard && state.disk && state.recoverable && !state.failed)?;
    Some(newest.after(DEADLINE).min(state.proven.unwrap_or(newest).after(PROOF)))
}

/// Until when it is protected, and what it lacks then; without a time, what it lacks whatever the time, and now.
pub(crate) fn lapse(state: &State, now: Timestamp) -> (Option<Timestamp>, Reason) {
    let until = until(state);
    let then = until.map_or(now, |until| until.after(Duration::from_millis(1)));
    let why = reasons(state, then).into_iter().find(|why| until.is_some() || *why != Reason::TooOld);
    // Too old and nothing else has a time.
    (until, why.unwrap_or(Reason::TooOld))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_state() {
        let hour = |hours: u64| Timestamp::saturating(hours * 3_600_000);
        let (heard, disk, recoverable) = (true, true, true);
        let good =
            State { heard, disk, newest: Some(hour(2000)), failed: false, recoverable, proven: Some(hour(1900)) };
        let cases = [
            (State::default(), vec![Reason::NeverHeard]),
            (State { heard, ..State::default() }, vec![Reason::NoDisk]),
            (State { newest: None, ..good }, vec![Reason::NoRecoveryPoint]),
            (State { newest: Some(hour(1983)), ..good }, vec![Reason::TooOld]),
            (State { failed: true, ..good }, vec![Reason::LastBackupFailed]),
            (State { recoverable: false, ..good }, vec![Reason::NotRecoverable]),
            (State { proven: Some(hour(1265)), ..good }, vec![Reason::NotProven]),
            (State { proven: None, ..good }, vec![]),
            (good, vec![]),
        ];
        for (state, expected) in cases {
            assert_eq!(reasons(&state, hour(2010)), expected, "{state:?}");
        }
    }

    #[test]
    fn the_end_of_protection_is_where_the_first_reason_begins() {
        let hour = |hours: u64| Timestamp::saturating(hours * 3_600_000);
        let times = [None, Some(hour(1)), Some(hour(700)), Some(hour(1000))];
        for bits in 0..16 {
            let [heard, disk, failed, recoverable] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            for (newest, proven) in times.iter().flat_map(|newest| times.iter().map(move |proven| (*newest, *proven))) {
                let state = State { heard, disk, newest, failed, recoverable, proven };
                let end = until(&state);
                for now in (0..2000).map(hour).chain(end).chain(end.map(|end| end.after(Duration::from_millis(1)))) {
                    let protected = reasons(&state, now).is_empty();
                    assert_eq!(protected, end.is_some_and(|end| now <= end), "{state:?} at {now}");
                }
            }
        }
    }
}
