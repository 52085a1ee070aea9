//! What the daemon may ask root for about the slots, and what root answers: two small files of JSON. Both sides read and write these
//! types, and an order has no room for a path or an address.

use crate::state::{Slot, Wipe};
use serde::{Deserialize, Serialize};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Nothing but to answer.
    Look,
    /// Write the bundle to the slot that does not run, and read it back.
    Install,
    /// Start the slot that does not run next, on trial.
    Arm,
    /// The running slot proved itself.
    Keep,
    /// The running slot must not start again.
    Abandon,
    /// The next start erases so much.
    Wipe(Wipe),
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Random: the answer repeats it.
    pub id: String,
    /// What to do.
    pub verb: Verb,
}

/// How it ended, and how the slots are then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Of the order.
    pub id: String,
    /// Why it was not done; none: it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The same bundle would fail again.
    #[serde(default)]
    pub hopeless: bool,
    /// The slot that runs.
    pub current: Slot,
    /// Its tries are counted.
    pub on_trial: bool,
}
