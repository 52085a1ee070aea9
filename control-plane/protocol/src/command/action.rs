//! What a box can be asked.

use super::Rejection;
use crate::hex::{Digest, SnapshotId};
use crate::id::DiskId;
use crate::limits;
use crate::shadow::DesiredVersion;
use crate::text::{FilePath, Mark, WebUrl};
use crate::time::Timestamp;
use crate::unit::{Bytes, Count, Percent, Seconds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The list. `args` is always there, so that a newer version can add to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "args", rename_all = "snake_case")]
pub enum Action {
    /// Backs a plugged disk up now.
    StartBackup {
        /// Which.
        disk: DiskId,
    },
    /// Reads back what is stored.
    Verify {
        /// Which store; none: the box's own data partition.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        store: Option<DiskId>,
        /// How much of it.
        percent: Percent,
    },
    /// Writes a snapshot, or a part of it, to a plugged target. Also confirmed by a button at the box.
    Restore {
        /// Which.
        snapshot: SnapshotId,
        /// How much of it, and where to.
        extent: Extent,
    },
    /// Restores a sample to nowhere and compares.
    RestoreTest {
        /// Of which snapshot; none: the newest of each disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<SnapshotId>,
    },
    /// Looks for disks.
    Rescan {},
    /// Lets a light blink, to find the box.
    Identify {
        /// How long.
        #[serde(rename = "for_s")]
        period: Seconds,
    },
    /// Restarts the box when no job is running, or at the next checkpoint.
    Reboot {},
    /// Sends logs to a signed address.
    FetchLogs {
        /// Where to PUT them.
        url: WebUrl,
        /// From when.
        since: Timestamp,
        /// How much at most.
        max_bytes: Bytes,
    },
    /// Says birth and reported document again; at most once a minute.
    Rebirth {},
    /// Lets old snapshots go now, by the policy in force. The floor holds.
    Prune {
        /// Which store; none: the box's own data partition.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        store: Option<DiskId>,
    },
    /// Lets these snapshots go. The floor holds.
    Forget {
        /// Which; at most 40.
        #[schemars(length(max = limits::FORGET))]
        snapshots: Vec<SnapshotId>,
    },
    /// Makes a plugged disk a store: what is on it goes.
    MakeStore {
        /// Which.
        disk: DiskId,
        /// Its serial number, so that no stale name hits another disk.
        serial: Mark,
    },
    /// Wipes the box for its next owner: keys, repository, enrolment.
    Wipe {
        /// The box's serial number, typed by whoever means it.
        serial: Mark,
    },
    /// Takes a desired document that was refused for want of a signature.
    ApplyDesired {
        /// Its version.
        ver: DesiredVersion,
        /// The SHA-256 of its canonical JSON: this document and no other of that version.
        sha256: Digest,
    },
    /// A type of a newer version, or arguments that make no sense: read all the same, so that the sender gets its answer.
    /// Never written from here.
    #[serde(untagged, skip_serializing)]
    #[schemars(skip)]
    Unknown {
        /// What it calls itself.
        #[serde(rename = "type")]
        name: String,
    },
}

/// How much of a snapshot goes where. A target is named by its serial number and is never a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Extent {
    /// The whole disk, over another.
    Disk {
        /// The disk that is overwritten.
        target: Mark,
    },
    /// One partition, over a disk or its partition of that number.
    Partition {
        /// Its number.
        number: Count,
        /// The disk that is written.
        target: Mark,
    },
    /// Files and folders, to a stick that the box formats first.
    Files {
        /// Of which partition.
        partition: Count,
        /// Which; at most 32.
        #[schemars(length(max = limits::PATHS))]
        paths: Vec<FilePath>,
        /// The stick that is formatted.
        stick: Mark,
    },
}

impl Action {
    /// The types of this version.
    pub const NAMES: [&'static str; 14] = [
        "start_backup",
        "verify",
        "restore",
        "restore_test",
        "rescan",
        "identify",
        "reboot",
        "fetch_logs",
        "rebirth",
        "prune",
        "forget",
        "make_store",
        "wipe",
        "apply_desired",
    ];

    /// Whether it can cost somebody data: then it needs the command key. What we do not know counts as destructive.
    pub const fn is_destructive(&self) -> bool {
        match self {
            Action::StartBackup { .. }
            | Action::Verify { .. }
            | Action::RestoreTest { .. }
            | Action::Rescan {}
            | Action::Identify { .. }
            | Action::Reboot {}
            | Action::FetchLogs { .. }
            | Action::Rebirth {} => false,
            // A restore overwrites its target: the button says which disk, the signature says who asks.
            Action::Restore { .. }
            | Action::Prune { .. }
            | Action::Forget { .. }
            | Action::MakeStore { .. }
            | Action::Wipe { .. }
            | Action::ApplyDesired { .. }
            | Action::Unknown { .. } => true,
        }
    }

    /// Why it cannot be run as it came: an unknown type, or a known one whose arguments make no sense.
    pub fn fault(&self) -> Option<Rejection> {
        let sane = match self {
            Action::Unknown { name } if !Action::NAMES.contains(&name.as_str()) => return Some(Rejection::UnknownType),
            Action::Unknown { .. } => false,
            Action::Forget { snapshots } => (1..=limits::FORGET).contains(&snapshots.len()),
            Action::Restore { extent: Extent::Files { paths, .. }, .. } => (1..=limits::PATHS).contains(&paths.len()),
            _ => true,
        };
        (!sane).then_some(Rejection::BadArguments)
    }

    /// Its word, for logs and the audit.
    pub const fn name(&self) -> &'static str {
        match self {
            Action::StartBackup { .. } => "start_backup",
            Action::Verify { .. } => "verify",
            Action::Restore { .. } => "restore",
            Action::RestoreTest { .. } => "restore_test",
            Action::Rescan {} => "rescan",
            Action::Identify { .. } => "identify",
            Action::Reboot {} => "reboot",
            Action::FetchLogs { .. } => "fetch_logs",
            Action::Rebirth {} => "rebirth",
            Action::Prune { .. } => "prune",
            Action::Forget { .. } => "forget",
            Action::MakeStore { .. } => "make_store",
            Action::Wipe { .. } => "wipe",
            Action::ApplyDesired { .. } => "apply_desired",
            Action::Unknown { .. } => "unknown",
        }
    }
}
