//! Shadows: what a box is (`up/rep`) and what it should be (`dn/des`). Whole documents, no deltas: the last one is enough.
//!
//! A reported document is ordered by (stream, number), a desired one by its version; an older one never replaces a newer
//! one, whatever order the network makes. A desired document that weakens the protection needs the command key.

mod admit;
mod desired;
mod policy;
mod reported;
mod weaken;

pub use crate::unit::DesiredVersion;
pub use admit::{Admission, admit, approve};
pub use desired::{Desired, DesiredFault, DiskPolicy, Escrow, ReleaseTarget, Role, Uplink};
pub use policy::{BackupPolicy, Check, NewDisk, OnPlug, Retention, RetentionRule, Schedule, VerifyPolicy, Window};
pub use reported::{
    Applied, DiskReport, Firmware, Hardware, Reported, Section, SectionError, Slot, StoreReport, UpdateFailure,
    UpdateReport, UpdateState,
};
pub use weaken::{Weakening, weakens};

use crate::fact::FactNumber;
use crate::id::StreamId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of a reported document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// The stream it was written in.
    pub stream: StreamId,
    /// Counts the documents of that stream, apart from its facts.
    pub n: FactNumber,
}

/// Which of two reported documents is the newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The second one.
    Newer,
    /// It is the same one again.
    Same,
    /// The first one: drop the second.
    Older,
    /// Of another stream: its signed birth decides, not a number.
    OtherStream,
}

impl Version {
    /// How `other` stands to this one.
    pub fn order(&self, other: &Version) -> Order {
        match other.n.cmp(&self.n) {
            _ if self.stream != other.stream => Order::OtherStream,
            std::cmp::Ordering::Greater => Order::Newer,
            std::cmp::Ordering::Equal => Order::Same,
            std::cmp::Ordering::Less => Order::Older,
        }
    }
}
