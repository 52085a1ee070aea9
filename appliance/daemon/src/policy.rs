//! What the owner wants: when to back up, what to keep, how often to prove it. Until a control plane says more, it comes from
//! a file that a person with access to the box wrote; without one, nothing that was never seen is read.

use crate::files::{self, FileError};
use saveos_protocol::hex::EscrowKey;
use saveos_protocol::id::DiskId;
use saveos_protocol::shadow::Desired;
use saveos_protocol::shadow::{BackupPolicy, NewDisk, OnPlug, Retention, VerifyPolicy, Window};
use saveos_protocol::shadow::{DiskPolicy, ReleaseTarget, Role};
use saveos_protocol::unit::DesiredVersion;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PolicyError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is none under that name.
    #[error("there is no policy file {0}")]
    Missing(std::path::PathBuf),
    /// It says something that nobody understands.
    #[error("the policy file is not understood")]
    Json(#[from] serde_json::Error),
    /// It would have nothing kept.
    #[error("a time zone that nobody knows: {0}")]
    TimeZone(String),
}

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    /// When.
    pub(crate) backup: BackupPolicy,
    /// How long.
    #[serde(default)]
    pub(crate) retention: Retention,
    /// What becomes of a disk that was never seen.
    pub(crate) new_disk: NewDisk,
    /// How often backups are proven.
    #[serde(default)]
    pub(crate) verify: VerifyPolicy,
    /// Disks with their own.
    #[serde(default)]
    pub(crate) disks: Vec<DiskPolicy>,
    /// What firmware to run; none: stay.
    #[serde(default)]
    pub(crate) release: Option<ReleaseTarget>,
    /// It restarts into another release only inside; none: whenever it is idle.
    #[serde(default)]
    pub(crate) restart_window: Option<Window>,
}

impl Policy {
    /// Reads nothing that was never seen, and nothing at all unasked.
    pub(crate) fn cautious() -> Policy {
        let time_zone = "UTC".parse().expect("UTC is a time zone");
        Policy {
            backup: BackupPolicy { on_plug: OnPlug::Wait, time_zone, schedule: None, window: None, quiet: Vec::new() },
            retention: Retention::default(),
            new_disk: NewDisk::Ignore,
            verify: VerifyPolicy::default(),
            disks: Vec::new(),
            release: None,
            restart_window: None,
        }
    }

    /// The person's file.
    pub(crate) fn read(path: &Path) -> Result<Policy, PolicyError> {
        let text = files::read_secret(path)?.ok_or_else(|| PolicyError::Missing(path.to_owned()))?;
        let policy: Policy = serde_json::from_str(&text)?;
        policy.check_zones().map_err(PolicyError::TimeZone)?;
        Ok(policy)
    }

    /// The control plane's document.
    pub(crate) fn of(desired: &Desired) -> Policy {
        Policy {
            backup: desired.backup.clone(),
            retention: desired.retention,
            new_disk: desired.new_disk,
            verify: desired.verify,
            disks: desired.disks.clone(),
            release: desired.release.clone(),
            restart_window: desired.restart_window,
        }
    }

    /// The first time zone that is not in the table.
    pub(crate) fn check_zones(&self) -> Result<(), String> {
        let own = self.disks.iter().filter_map(|disk| disk.backup.as_ref());
        let unknown = own.chain([&self.backup]).find(|backup| jiff::tz::TimeZone::get(&backup.time_zone).is_err());
        unknown.map_or(Ok(()), |backup| Err(backup.time_zone.to_string()))
    }

    fn entry(&self, disk: DiskId) -> Option<&DiskPolicy> {
        self.disks.iter().find(|entry| entry.disk == disk)
    }

    /// What a disk is for; `None` while nobody has decided.
    pub(crate) fn role_of(&self, disk: DiskId) -> Option<Role> {
        match (self.entry(disk), self.new_disk) {
            (Some(entry), _) => Some(entry.role),
            (None, NewDisk::Backup) => Some(Role::Source),
            (None, NewDisk::Ignore | NewDisk::Ask) => None,
        }
    }

    /// When it is backed up.
    pub(crate) fn backup_of(&self, disk: DiskId) -> &BackupPolicy {
        self.entry(disk).and_then(|entry| entry.backup.as_ref()).unwrap_or(&self.backup)
    }

    /// How long its snapshots stay.
    pub(crate) fn retention_of(&self, disk: DiskId) -> &Retention {
        self.entry(disk).and_then(|entry| entry.retention.as_ref()).unwrap_or(&self.retention)
    }
}

/// What holds now, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// The desired document; zero before the first.
    pub(crate) version: DesiredVersion,
    pub(crate) policy: Policy,
    /// Whom the root key is sealed to.
    pub(crate) escrow: Option<EscrowKey>,
    /// As the document wants it.
    pub(crate) heartbeat: Option<Duration>,
}

/// The rules in force: the uplink replaces them whole, a job keeps those it began with.
pub(crate) struct InForce(RwLock<Arc<Rules>>);

impl InForce {
    pub(crate) fn new(rules: Rules) -> InForce {
        InForce(RwLock::new(Arc::new(rules)))
    }

    pub(crate) fn get(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, rules: Rules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
