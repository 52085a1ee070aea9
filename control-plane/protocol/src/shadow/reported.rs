//! `up/rep`: what a box is. Sent whole whenever something of it changed, and after every birth.

use super::Version;
use crate::excerpt::{Excerpt, Shorten, shorten_longest};
use crate::fact::{Bus, DiskIdentity, KeyState, SmartVerdict, StoreLevel};
use crate::hex::{BootId, Digest, RepositoryId, SnapshotId};
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
    /// The root of the tree of hashes (dm-verity) by which the kernel checks every block of the system that it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<Digest>,
    /// How sure we are of it.
    pub slot: Slot,
    /// The update under way, or how the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateReport>,
}

crate::word::words! { open
    /// How far an update is.
    UpdateState {
        /// Its signed metadata is to be read.
        Offered = "offered",
        /// Its bundle comes.
        Fetching = "fetching",
        /// Its bundle is here and is written to the other slot when no job runs.
        Installing = "installing",
        /// It was read back from the slot and starts when no job runs.
        Installed = "installed",
        /// The box restarts into it, or runs in it and has not proven its health.
        Trying = "trying",
        /// It is healthy; its first good backup is awaited.
        Soaking = "soaking",
        /// It failed; the box goes back to the slot before.
        Leaving = "leaving",
        /// It proved itself.
        Confirmed = "confirmed",
        /// It failed, and the box runs what it ran before.
        Failed = "failed",
    }
}

crate::word::words! { open
    /// Why an update failed, or waits to be tried again.
    UpdateFailure {
        /// What is signed says no: another machine, expired, older than what was seen, or not signed by whom we trust.
        Refused = "refused",
        /// The network, or who answered.
        Download = "download",
        /// The bundle is not what its metadata says.
        Damaged = "damaged",
        /// It could not be written to the slot, or did not come back from it.
        Install = "install",
        /// No start of it came as far as its daemon.
        NotStarted = "not_started",
        /// It runs, but not as well as the one before.
        Unhealthy = "unhealthy",
        /// No backup worked in it.
        NoBackup = "no_backup",
        /// The box could not be made to start it.
        NotArmed = "not_armed",
    }
}

/// The update under way, or how the last one ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateReport {
    /// To which release.
    pub release: Release,
    /// How far it is.
    pub state: UpdateState,
    /// Since then, by the box's clock.
    pub since: Timestamp,
    /// Why it failed, or waits to be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<UpdateFailure>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
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
