//! `up/rep`: what a box is. Sent whole whenever something of it changed, and after every birth.

use super::Version;
use crate::excerpt::{Excerpt, Shorten, shorten_longest};
use crate::fact::{Bus, DiskIdentity, KeyState, SmartVerdict, StoreLevel};
use crate::hex::{BootId, RepositoryId, SnapshotId};
use crate::id::DiskId;
use crate::message::{EncodeError, Message, V1, encode};
use crate::text::{Mark, Release, Text};
use crate::time::Timestamp;
use crate::unit::{Bytes, Count, DesiredVersion, Millis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reported {
    /// Major version.
    pub v: V1,
    /// Its place among all reported documents of the box.
    pub ver: Version,
    /// By the box's clock.
    pub ts: Timestamp,
    /// Which boot.
    pub boot: BootId,
    /// Since then.
    #[serde(rename = "uptime_ms")]
    pub uptime: Millis,
    /// What runs.
    pub firmware: Firmware,
    /// On what.
    pub hardware: Hardware,
    /// Disks that are plugged in, then those that were.
    #[serde(default)]
    pub disks: Excerpt<DiskReport>,
    /// Where snapshots lie.
    #[serde(default)]
    pub stores: Excerpt<StoreReport>,
    /// Who can open them.
    pub key: KeyState,
    /// Which desired document is in force.
    pub desired: Applied,
    /// What does not work, section by section.
    #[serde(default)]
    pub errors: Excerpt<SectionError>,
}

crate::word::words! { open
    /// How the running firmware slot stands.
    Slot {
        /// Confirmed by its health check.
        Good = "good",
        /// On trial.
        Trial = "trial",
        /// No slots: a package on a Linux system.
        None = "none",
    }
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Firmware {
    /// Its release.
    pub release: Release,
    /// How sure we are of it.
    pub slot: Slot,
}

/// The box itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hardware {
    /// What the board calls itself.
    pub model: Mark,
    /// Its serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Mark>,
    /// Its memory.
    pub memory_bytes: Bytes,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskReport {
    /// Its name.
    pub disk: DiskId,
    /// Who it is.
    pub identity: DiskIdentity,
    /// How it is, or was, connected.
    pub bus: Bus,
    /// How large it is.
    pub size_bytes: Bytes,
    /// Plugged in now.
    pub present: bool,
    /// Its health.
    pub smart: SmartVerdict,
    /// Its newest recovery point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_snapshot: Option<SnapshotId>,
    /// When that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_snapshot_ts: Option<Timestamp>,
}

/// A store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreReport {
    /// The disk; none: the box's own data partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskId>,
    /// What lies there.
    pub repository: RepositoryId,
    /// How large it is.
    pub size_bytes: Bytes,
    /// What is free.
    pub free_bytes: Bytes,
    /// Which line it has crossed.
    pub level: StoreLevel,
    /// How many snapshots it holds.
    pub snapshots: Count,
}

/// The desired document in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// Its version; 0: what enrolment said.
    pub ver: DesiredVersion,
    /// A newer one that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<DesiredVersion>,
}

crate::word::words! { open
    /// What an error is about.
    Section {
        /// The schedule or a policy.
        Policy = "policy",
        /// Disks.
        Disks = "disks",
        /// Stores.
        Stores = "stores",
        /// Keys.
        Key = "key",
        /// The connection.
        Uplink = "uplink",
        /// The clock.
        Clock = "clock",
        /// The firmware.
        Firmware = "firmware",
    }
}

/// Something that does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SectionError {
    /// Where.
    pub section: Section,
    /// What.
    pub text: Text,
}

impl Reported {
    /// Shortens the lists, longest first, until the document fits; their `more` says by how much.
    pub fn fold(mut self) -> Result<Reported, EncodeError> {
        loop {
            let fits = encode(&self);
            let mut lists: [&mut dyn Shorten; 3] = [&mut self.disks, &mut self.stores, &mut self.errors];
            match fits {
                Err(EncodeError::TooLarge { .. }) if shorten_longest(&mut lists) => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(self),
            }
        }
    }
}

impl Message for Reported {
    const NAME: &'static str = "reported";
    const LIMIT: usize = crate::limits::SHADOW;
}
