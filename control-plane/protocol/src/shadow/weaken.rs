//! What a new desired document takes away from the protection. Whatever is listed here needs the command key: a stolen
//! server or broker may add backups, never remove them.
//!
//! Doubt weakens: where two policies cannot be compared (a count moved from one rule to another) the smaller part counts.
//! Adding an escrow key or an authority counts as well, though it looks like more: it lets one more party in.

use super::desired::{Desired, Role};
use super::policy::{BackupPolicy, Check, NewDisk, OnPlug, Retention, RetentionRule};
use crate::hex::{Digest, EscrowKey};
use crate::id::DiskId;
use crate::unit::{Days, Percent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Below four hours a day, closing more of it starves backups: a first one of a terabyte takes three at 100 MB/s.
const OPEN_MINUTES: u16 = 4 * 60;

/// One thing that gets weaker. `disk` names one with its own policy; none means the box's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what the sentence of `Display` says")]
pub enum Weakening {
    /// Fewer snapshots stay.
    RetentionReduced {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disk: Option<DiskId>,
        rule: RetentionRule,
        from: u32,
        to: u32,
    },
    /// There is no schedule any more.
    ScheduleOff {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disk: Option<DiskId>,
    },
    /// Fewer runs a week.
    FewerRuns {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disk: Option<DiskId>,
        from: u32,
        to: u32,
    },
    /// Plugging in starts nothing any more.
    PlugOff {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disk: Option<DiskId>,
    },
    /// Hardly any time is left to start in.
    HoursClosed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disk: Option<DiskId>,
        from_minutes: u16,
        to_minutes: u16,
    },
    /// New disks are protected less.
    NewDisks { from: NewDisk, to: NewDisk },
    /// A disk is no source any more.
    SourceRemoved { disk: DiskId },
    /// A disk is no store any more: its snapshots are out of reach.
    StoreRemoved { disk: DiskId },
    /// A disk becomes a store: what is on it goes.
    StoreAdded { disk: DiskId },
    /// A check is off.
    CheckOff { check: Check },
    /// A check is made less often.
    CheckRarer { check: Check, from_days: Days, to_days: Days },
    /// A check reads less.
    SampleSmaller { from_percent: Percent, to_percent: Percent },
    /// Another party could open the backups.
    EscrowAdded { key: EscrowKey },
    /// Another party could, instead of the one before.
    EscrowChanged { from: EscrowKey, to: EscrowKey },
    /// The organisation can no longer.
    EscrowRemoved { key: EscrowKey },
    /// Another server would renew the certificate.
    ServerChanged,
    /// One more authority is believed.
    CaAdded { sha256: Digest },
    /// An authority is no longer believed.
    CaRemoved { sha256: Digest },
    /// Something of a newer version.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// Everything that `new` takes away from `old`; empty: it needs no signature.
pub fn weakens(old: &Desired, new: &Desired) -> Vec<Weakening> {
    let mut found = Vec::new();
    retention(None, &old.retention, &new.retention, &mut found);
    backup(None, &old.backup, &new.backup, &mut found);
    if new.new_disk < old.new_disk {
        found.push(Weakening::NewDisks { from: old.new_disk, to: new.new_disk });
    }
    let listed: BTreeSet<DiskId> = old.disks.iter().chain(&new.disks).map(|entry| entry.disk).collect();
    for disk in listed {
        one_disk(disk, old, new, &mut found);
    }
    verify(old, new, &mut found);
    trust(old, new, &mut found);
    found
}

fn one_disk(disk: DiskId, old: &Desired, new: &Desired, found: &mut Vec<Weakening>) {
    match (old.role_of(disk), new.role_of(disk)) {
        (Role::Source, Role::Store) => {
            found.push(Weakening::SourceRemoved { disk });
            found.push(Weakening::StoreAdded { disk });
        }
        (Role::Source, Role::Ignored) => found.push(Weakening::SourceRemoved { disk }),
        (Role::Store, Role::Source | Role::Ignored) => found.push(Weakening::StoreRemoved { disk }),
        (Role::Ignored, Role::Store) => found.push(Weakening::StoreAdded { disk }),
        (Role::Source, Role::Source) | (Role::Store, Role::Store) | (Role::Ignored, Role::Source | Role::Ignored) => {}
    }
    // A disk that shares the box's policies before and after was judged with them.
    let own = |side: &Desired| {
        let entry = side.disks.iter().find(|entry| entry.disk == disk);
        entry.map_or((false, false), |entry| (entry.retention.is_some(), entry.backup.is_some()))
    };
    let ((old_retention, old_backup), (new_retention, new_backup)) = (own(old), own(new));
    if old_retention || new_retention {
        retention(Some(disk), old.retention_of(disk), new.retention_of(disk), found);
    }
    if old_backup || new_backup {
        backup(Some(disk), old.backup_of(disk), new.backup_of(disk), found);
    }
}

fn retention(disk: Option<DiskId>, old: &Retention, new: &Retention, found: &mut Vec<Weakening>) {
    for ((rule, from), (_, to)) in old.rules().into_iter().zip(new.rules()) {
        if to < from {
            found.push(Weakening::RetentionReduced { disk, rule, from, to });
        }
    }
}

fn backup(disk: Option<DiskId>, old: &BackupPolicy, new: &BackupPolicy, found: &mut Vec<Weakening>) {
    if (old.on_plug, new.on_plug) == (OnPlug::Backup, OnPlug::Wait) {
        found.push(Weakening::PlugOff { disk });
    }
    match (old.runs_a_week(), new.runs_a_week()) {
        (from, to) if to >= from => {}
        (_, 0) => found.push(Weakening::ScheduleOff { disk }),
        (from, to) => found.push(Weakening::FewerRuns { disk, from, to }),
    }
    let (from_minutes, to_minutes) = (old.open_minutes(), new.open_minutes());
    if to_minutes < from_minutes && to_minutes < OPEN_MINUTES {
        found.push(Weakening::HoursClosed { disk, from_minutes, to_minutes });
    }
}

fn verify(old: &Desired, new: &Desired, found: &mut Vec<Weakening>) {
    for ((check, from), (_, to)) in old.verify.checks().into_iter().zip(new.verify.checks()) {
        match (from, to) {
            (Some(_), None) => found.push(Weakening::CheckOff { check }),
            (Some(from_days), Some(to_days)) if to_days > from_days => {
                found.push(Weakening::CheckRarer { check, from_days, to_days });
            }
            (Some(_), Some(_)) | (None, _) => {}
        }
    }
    let (from_percent, to_percent) = (old.verify.sample, new.verify.sample);
    if old.verify.sample_every.is_some() && new.verify.sample_every.is_some() && to_percent < from_percent {
        found.push(Weakening::SampleSmaller { from_percent, to_percent });
    }
}

fn trust(old: &Desired, new: &Desired, found: &mut Vec<Weakening>) {
    match (old.escrow, new.escrow) {
        (None, Some(to)) => found.push(Weakening::EscrowAdded { key: to.key }),
        (Some(from), None) => found.push(Weakening::EscrowRemoved { key: from.key }),
        (Some(from), Some(to)) if from != to => {
            found.push(Weakening::EscrowChanged { from: from.key, to: to.key });
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    // Another broker is no weakening: it must show a certificate of an authority that is pinned already.
    if old.uplink.server != new.uplink.server {
        found.push(Weakening::ServerChanged);
    }
    let (before, after) = (&old.uplink.ca_sha256, &new.uplink.ca_sha256);
    found.extend(after.difference(before).map(|&sha256| Weakening::CaAdded { sha256 }));
    found.extend(before.difference(after).map(|&sha256| Weakening::CaRemoved { sha256 }));
}

impl fmt::Display for Weakening {
    /// A sentence without its full stop, for alerts and the dashboard.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |disk: &Option<DiskId>| disk.map_or(String::new(), |disk| format!(" for {disk}"));
        match self {
            Weakening::RetentionReduced { disk, rule, from, to } => {
                write!(f, "keeps {to} {rule} snapshots instead of {from}{}", place(disk))
            }
            Weakening::ScheduleOff { disk } => write!(f, "turns the schedule off{}", place(disk)),
            Weakening::FewerRuns { disk, from, to } => {
                write!(f, "runs {to} times a week instead of {from}{}", place(disk))
            }
            Weakening::PlugOff { disk } => write!(f, "no longer backs up when plugged in{}", place(disk)),
            Weakening::HoursClosed { disk, from_minutes, to_minutes } => {
                write!(f, "leaves {to_minutes} minutes a day to start in instead of {from_minutes}{}", place(disk))
            }
            Weakening::NewDisks { from, to } => write!(f, "new disks: {to} instead of {from}"),
            Weakening::SourceRemoved { disk } => write!(f, "{disk} is no longer backed up"),
            Weakening::StoreRemoved { disk } => {
                write!(f, "{disk} is no longer a store: its snapshots are out of reach")
            }
            Weakening::StoreAdded { disk } => write!(f, "{disk} becomes a store: what is on it is lost"),
            Weakening::CheckOff { check } => write!(f, "turns the {check} check off"),
            Weakening::CheckRarer { check, from_days, to_days } => {
                write!(f, "makes the {check} check every {to_days} instead of {from_days}")
            }
            Weakening::SampleSmaller { from_percent, to_percent } => {
                write!(f, "samples {to_percent} instead of {from_percent}")
            }
            Weakening::EscrowAdded { key } => write!(f, "seals the root key to the new escrow key {key}"),
            Weakening::EscrowChanged { from, to } => {
                write!(f, "seals the root key to the escrow key {to} instead of {from}")
            }
            Weakening::EscrowRemoved { key } => write!(f, "no longer seals the root key to the escrow key {key}"),
            Weakening::ServerChanged => f.write_str("moves the box to another server"),
            Weakening::CaAdded { sha256 } => write!(f, "believes the new authority {sha256}"),
            Weakening::CaRemoved { sha256 } => write!(f, "no longer believes the authority {sha256}"),
            Weakening::Unknown => f.write_str("weakens something that a newer version knows"),
        }
    }
}
