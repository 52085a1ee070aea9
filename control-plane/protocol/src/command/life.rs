//! The life of a command, as its reports tell it.
//!
//! ```text
//! (sent) ──▶ accepted ──▶ running(percent) ──▶ succeeded
//!    │           └────────────┴──────────────▶ failed
//!    └──▶ rejected
//! ```
//!
//! QoS 1 repeats and a resend answers from memory, so the same report may come again, and an older one after a newer.
//! An end is an end.

use crate::fact::Failure;
use crate::id::{CommandId, JobId};
use crate::message::{Message, V1};
use crate::text::Text;
use crate::time::Timestamp;
use crate::unit::Percent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `up/res/{command}`: where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Major version.
    pub v: V1,
    /// Which command.
    pub id: CommandId,
    /// By the box's clock.
    pub ts: Timestamp,
    /// Where it stands.
    #[serde(flatten)]
    pub state: State,
}

impl Message for Report {
    const NAME: &'static str = "report";
    const LIMIT: usize = crate::limits::REPORT;
}

/// Where a command stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It was stored and will run.
    Accepted {
        /// The job it became.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<JobId>,
    },
    /// It runs.
    Running {
        /// How far it is.
        percent: Percent,
    },
    /// It is done.
    Succeeded {
        /// What there is to say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Text>,
    },
    /// It was tried.
    Failed {
        /// What went wrong.
        failure: Failure,
    },
    /// It was not tried.
    Rejected {
        /// Why.
        reason: Rejection,
        /// In words, where the reason is not enough.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Text>,
    },
}

crate::word::words! { open
    /// Why a command was not tried.
    Rejection {
        /// Its time is over.
        Expired = "expired",
        /// The box does not know the time.
        ClockUnsure = "clock_unsure",
        /// The box does not know such a command.
        UnknownType = "unknown_type",
        /// Its arguments make no sense here.
        BadArguments = "bad_arguments",
        /// It can destroy and is not signed.
        NotSigned = "not_signed",
        /// Its signature is wrong, for another device, or lives too long.
        WrongSignature = "wrong_signature",
        /// The retention floor forbids it.
        Floor = "floor",
        /// No such disk is plugged in.
        NoSuchDisk = "no_such_disk",
        /// No such snapshot is there.
        NoSuchSnapshot = "no_such_snapshot",
        /// No such document was refused.
        NoSuchDocument = "no_such_document",
        /// The queue is full.
        Busy = "busy",
        /// Asked too often.
        TooOften = "too_often",
        /// The hardware cannot.
        NotAble = "not_able",
    }
}

impl std::error::Error for Rejection {}

impl State {
    /// Whether nothing follows.
    pub const fn is_end(&self) -> bool {
        match self {
            State::Accepted { .. } | State::Running { .. } => false,
            State::Succeeded { .. } | State::Failed { .. } | State::Rejected { .. } => true,
        }
    }
}

/// What a report does to what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is news: keep it.
    Advance,
    /// Known already.
    Repeat,
    /// Overtaken by a newer one: drop it.
    Late,
    /// Two ends, or a rejection of what was accepted: keep the first and flag the device.
    Contradiction,
}

/// How `next` follows `known`; `None`: nothing was heard yet. Reports may be lost, so any state may be the first.
pub fn step(known: Option<&State>, next: &State) -> Step {
    let Some(known) = known else { return Step::Advance };
    match (known, next) {
        _ if known == next => Step::Repeat,
        (State::Accepted { .. } | State::Running { .. }, State::Rejected { .. }) => Step::Contradiction,
        (State::Accepted { .. }, State::Accepted { .. }) => Step::Contradiction,
        (State::Accepted { .. }, _) => Step::Advance,
        (State::Running { .. }, State::Accepted { .. }) => Step::Late,
        (State::Running { percent: before }, State::Running { percent: after }) => {
            if after > before {
                Step::Advance
            } else {
                Step::Late
            }
        }
        (State::Running { .. }, State::Succeeded { .. } | State::Failed { .. }) => Step::Advance,
        (_, State::Accepted { .. } | State::Running { .. }) => Step::Late,
        (_, State::Succeeded { .. } | State::Failed { .. } | State::Rejected { .. }) => Step::Contradiction,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::FailureReason;

    fn states() -> Vec<State> {
        let percent = |value| State::Running { percent: Percent::new(value).expect("a percentage") };
        let failure = Failure { reason: FailureReason::StoreFull, message: Text::cut("no room") };
        vec![
            State::Accepted { job: None },
            percent(1),
            percent(2),
            State::Succeeded { note: None },
            State::Failed { failure },
            State::Rejected { reason: Rejection::Busy, note: None },
        ]
    }

    #[test]
    fn every_pair_of_states_has_its_step() {
        use Step::{Advance as A, Contradiction as C, Late as L, Repeat as R};
        let expected = [
            [R, A, A, A, A, C],
            [L, R, A, A, A, C],
            [L, L, R, A, A, C],
            [L, L, L, R, C, C],
            [L, L, L, C, R, C],
            [L, L, L, C, C, R],
        ];
        let states = states();
        let found: Vec<Vec<Step>> =
            states.iter().map(|known| states.iter().map(|next| step(Some(known), next)).collect()).collect();
        assert_eq!(found, expected);
        assert!(states.iter().all(|next| step(None, next) == Step::Advance));
    }
}
