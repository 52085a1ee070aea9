//! `dn/des`: what a box should be. Policies from all levels of the tree are merged before: one document, no look-ups.

use super::policy::{BackupPolicy, NewDisk, OnPlug, Retention, VerifyPolicy, Window};
use crate::enrol::Enrolment;
use crate::hex::{Digest, EscrowKey};
use crate::id::DiskId;
use crate::limits;
use crate::message::{Message, V1};
use crate::sign::{Purpose, Signable, Signature};
use crate::text::{BrokerUrl, Mark, Release, Text, WebUrl};
use crate::time::Timestamp;
use crate::unit::{DesiredVersion, Seconds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The document. A word or form that the box does not know makes it refuse the whole: the last one stays in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Desired {
    /// Major version.
    pub v: V1,
    /// Rises with every document for this box.
    pub ver: DesiredVersion,
    /// When it was written, by the server's clock.
    pub ts: Timestamp,
    /// For every disk without its own.
    pub backup: BackupPolicy,
    /// For every disk without its own.
    pub retention: Retention,
    /// For disks that are not listed.
    pub new_disk: NewDisk,
    /// For every store.
    pub verify: VerifyPolicy,
    /// Disks that are known.
    #[serde(default)]
    pub disks: Vec<DiskPolicy>,
    /// Where to report.
    pub uplink: Uplink,
    /// Whom the root key is sealed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<Escrow>,
    /// What firmware to run; none: stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseTarget>,
    /// It restarts into another release only inside, by the clock of the time zone of `backup`; none: whenever it is idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_window: Option<Window>,
    /// By the command key: needed when the document weakens the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig: Option<Signature>,
}

crate::word::words! { closed
    /// What a disk is for.
    Role {
        /// It is backed up.
        Source = "source",
        /// It holds a repository.
        Store = "store",
        /// It is left alone.
        Ignored = "ignored",
    }
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskPolicy {
    /// Which.
    pub disk: DiskId,
    /// What it is for.
    pub role: Role,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    /// Instead of the box's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupPolicy>,
    /// Instead of the box's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// Where to report, and whom to trust there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Uplink {
    /// In order of preference.
    pub brokers: Vec<BrokerUrl>,
    /// Where certificates are renewed.
    pub server: WebUrl,
    /// SHA-256 of the authorities that brokers and server may be signed by. The certificates come with a renewal.
    pub ca_sha256: BTreeSet<Digest>,
    /// How often to send a heartbeat.
    #[serde(rename = "heartbeat_s")]
    pub heartbeat: Seconds,
}

/// An organisation's escrow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Escrow {
    /// Its public half; people compare its fingerprint as `saveos key escrow` prints it.
    pub key: EscrowKey,
}

/// The release a rollout offers this box. What a release is, its own signed metadata says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseTarget {
    /// Which.
    pub release: Release,
    /// The go-token of its ring; a halted rollout makes it void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_token: Option<Mark>,
    /// It cannot wait for the restart window.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
}

/// Why a document makes no sense, signed or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DesiredFault {
    /// A list outgrows its bound, or has nothing in it.
    #[error("{list} has {len} entries, 1 to {max} are expected")]
    Length {
        /// Which list.
        list: &'static str,
        /// Entries it has.
        len: usize,
        /// Entries it may have.
        max: usize,
    },
    /// A disk stands there twice.
    #[error("{0} is listed twice")]
    DiskTwice(DiskId),
    /// A retention that keeps nothing.
    #[error("a retention that keeps nothing")]
    KeepsNothing,
    /// A window from a time to the same time.
    #[error("a window from {0} to {0}")]
    EmptyWindow(crate::time::TimeOfDay),
    /// A restart window in which no box would be ready in time.
    #[error("a restart window of {0} minutes, at least {min} are expected", min = limits::RESTART_WINDOW_MINUTES)]
    ShortWindow(u16),
    /// A heartbeat period out of its bounds.
    #[error("a heartbeat every {0}")]
    Heartbeat(Seconds),
}

impl Desired {
    /// What a box may take for granted before its first document: whom it trusts since enrolment, and no policy at all.
    pub fn at_enrolment(enrolment: &Enrolment) -> Desired {
        Desired {
            v: V1,
            ver: DesiredVersion::ZERO,
            ts: enrolment.ts,
            backup: BackupPolicy {
                on_plug: OnPlug::Wait,
                time_zone: "UTC".parse().expect("UTC is a time zone"),
                schedule: None,
                window: None,
                quiet: Vec::new(),
            },
            retention: Retention::default(),
            new_disk: NewDisk::Ignore,
            verify: VerifyPolicy::default(),
            disks: Vec::new(),
            uplink: enrolment.uplink.clone(),
            escrow: enrolment.escrow,
            release: None,
            restart_window: None,
            sig: None,
        }
    }

    /// What types cannot say: bounds, doubles, contradictions. Both sides call it: the server before it publishes.
    pub fn check(&self) -> Result<(), DesiredFault> {
        between("disks", self.disks.len(), 0, limits::DISKS)?;
        between("brokers", self.uplink.brokers.len(), 1, limits::BROKERS)?;
        between("authorities", self.uplink.ca_sha256.len(), 1, limits::PINS)?;
        if !limits::HEARTBEAT_EVERY_S.contains(&self.uplink.heartbeat.get()) {
            return Err(DesiredFault::Heartbeat(self.uplink.heartbeat));
        }
        check_policy(&self.backup, &self.retention)?;
        let mut seen = BTreeSet::new();
        for entry in &self.disks {
            if !seen.insert(entry.disk) {
                return Err(DesiredFault::DiskTwice(entry.disk));
            }
            check_policy(self.backup_of(entry.disk), self.retention_of(entry.disk))?;
        }
        check_restarts(self.restart_window)
    }

    /// What a disk is for. One that is not listed follows the rule for new disks.
    pub fn role_of(&self, disk: DiskId) -> Role {
        match (self.entry(disk), self.new_disk) {
            (Some(entry), _) => entry.role,
            (None, NewDisk::Backup) => Role::Source,
            (None, NewDisk::Ask | NewDisk::Ignore) => Role::Ignored,
        }
    }

    /// When a disk is backed up.
    pub fn backup_of(&self, disk: DiskId) -> &BackupPolicy {
        self.entry(disk).and_then(|entry| entry.backup.as_ref()).unwrap_or(&self.backup)
    }

    /// How long its snapshots stay.
    pub fn retention_of(&self, disk: DiskId) -> &Retention {
        self.entry(disk).and_then(|entry| entry.retention.as_ref()).unwrap_or(&self.retention)
    }

    fn entry(&self, disk: DiskId) -> Option<&DiskPolicy> {
        self.disks.iter().find(|entry| entry.disk == disk)
    }
}

fn check_policy(backup: &BackupPolicy, retention: &Retention) -> Result<(), DesiredFault> {
    if retention.is_empty() {
        return Err(DesiredFault::KeepsNothing);
    }
    if let Some(schedule) = &backup.schedule {
        between("days of a schedule", schedule.days.len(), 1, 7)?;
        between("times of a schedule", schedule.times.len(), 1, limits::RUNS)?;
    }
    between("quiet times", backup.quiet.len(), 0, limits::QUIET)?;
    let empty = |window: &&Window| window.from == window.to;
    match backup.window.iter().chain(&backup.quiet).find(empty) {
        Some(window) => Err(DesiredFault::EmptyWindow(window.from)),
        None => Ok(()),
    }
}

fn check_restarts(window: Option<Window>) -> Result<(), DesiredFault> {
    match window {
        Some(window) if window.from == window.to => Err(DesiredFault::EmptyWindow(window.from)),
        Some(window) if window.minutes() < limits::RESTART_WINDOW_MINUTES => {
            Err(DesiredFault::ShortWindow(window.minutes()))
        }
        _ => Ok(()),
    }
}

fn between(list: &'static str, len: usize, min: usize, max: usize) -> Result<(), DesiredFault> {
    if (min..=max).contains(&len) { Ok(()) } else { Err(DesiredFault::Length { list, len, max }) }
}

impl Message for Desired {
    const NAME: &'static str = "desired";
    const LIMIT: usize = limits::SHADOW;
}

impl Signable for Desired {
    const PURPOSE: Purpose = Purpose::Desired;
    fn signature(&self) -> Option<&Signature> {
        self.sig.as_ref()
    }
    fn signature_mut(&mut self) -> &mut Option<Signature> {
        &mut self.sig
    }
}
