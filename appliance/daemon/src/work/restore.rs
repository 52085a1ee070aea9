//! Restores a disk or a partition onto a plugged disk that the command named by its serial number and a person at the box
//! confirmed, or files onto a stick (`stick`). A restore that was cut begins again and writes only what is not there yet.

use super::{Bench, Meter, Trouble, failed};
use crate::clock::Moment;
use crate::disks;
use crate::queue::Job;
use saveos_engine::layout::partition;
use saveos_engine::lease::LeaseKind;
use saveos_engine::read::ReadAt;
use saveos_engine::repository::Repository;
use saveos_engine::restore::target::{FileTarget, Overwrite, Target};
use saveos_engine::restore::{self, Options, Part, RestoreError};
use saveos_engine::snapshot::{Snapshot, SnapshotId};
use saveos_engine::source::{DiskSource, Source};
use saveos_protocol::command::{Action, Extent};
use saveos_protocol::fact::{Failure, FailureReason, RestoreSummary};
use saveos_protocol::hex;
use saveos_protocol::shadow::Role;
use saveos_protocol::text::{Mark, Text};
use saveos_protocol::unit::Bytes;
use std::io;
use std::path::Path;

pub(super) fn run(
    job: &Job,
    disk: Option<&disks::Row>,
    bench: &Bench,
    (meter, stop): (&Meter, &(dyn Fn() -> bool + Sync)),
    now: &Moment,
) -> Result<RestoreSummary, Trouble> {
    if let Some(Action::Restore { snapshot, extent: Extent::Files { partition, paths, stick } }) = &job.order {
        let place = fit(disk, stick, bench)?;
        let order = super::stick::Order { snapshot, partition: *partition, paths, stick };
        return super::stick::run(&order, place, bench, (meter, stop), now);
    }
    let (wanted, number, serial) = match &job.order {
        Some(Action::Restore { snapshot, extent: Extent::Disk { target } }) => (snapshot, None, target),
        Some(Action::Restore { snapshot, extent: Extent::Partition { number, target } }) => {
            (snapshot, Some(u32::try_from(number.get()).unwrap_or(u32::MAX)), target)
        }
        _ => return Err(refused(FailureReason::Internal, "this release cannot do that")),
    };
    let (path, size) = fit(disk, serial, bench)?;
    let repository = bench.vault.repository(LeaseKind::Reader, &now.boot.to_string())?;
    let (id, snapshot) = find(&repository, SnapshotId(wanted.0))?;
    let part = Part::of(&snapshot, number).map_err(trouble)?;
    let window = place(path, size, number, &part)?;
    let unfit = |error: &dyn std::error::Error| failed(FailureReason::TargetUnfit, error);
    let file = FileTarget::open(path, size, bench.vault.path(), Overwrite::Allow).map_err(|error| unfit(&error))?;
    let target = Window { file, start: window.start, len: window.len };
    let options = Options { part, only_metadata: false, workers: super::workers() };
    let total = part.len;
    let restored = restore::run(&repository, &snapshot, &target, &options, &|done| {
        meter.show(done.min(total), total);
        !stop()
    })
    .map_err(trouble)?;
    let mut notes = Vec::new();
    if restored.hole_bytes > 0 {
        notes
            .push(format!("{} bytes are missing in the snapshot; there are zeros in their place", restored.hole_bytes));
    }
    if restored.left_out_bytes > 0 {
        notes.push(format!("{} bytes of swap were left out by rule", restored.left_out_bytes));
    }
    if number.is_none() && window.len > part.len {
        notes.push(
            "the target is larger than the original: its second partition table lies where that one ended".into(),
        );
    }
    Ok(RestoreSummary {
        snapshot: hex::SnapshotId(id.0),
        target: serial.clone(),
        bytes_written: Bytes::saturating(restored.written),
        hole_bytes: Bytes::saturating(restored.hole_bytes),
        notes: notes.iter().map(|note| Text::cut(note)).collect(),
    })
}

pub(super) fn refused(reason: FailureReason, why: &str) -> Trouble {
    Trouble::Failed(Failure { reason, message: Text::cut(why) })
}

fn trouble(error: RestoreError) -> Trouble {
    match error {
        RestoreError::Stopped => Trouble::Stopped,
        RestoreError::Repository(error) => error.into(),
        error @ (RestoreError::Write { .. } | RestoreError::TooSmall { .. } | RestoreError::NoPartition(_)) => {
            failed(FailureReason::TargetUnfit, &error)
        }
    }
}

/// Whether the disk is the one that was named, there, and no store.
fn fit<'d>(disk: Option<&'d disks::Row>, serial: &Mark, bench: &Bench) -> Result<(&'d Path, u64), Trouble> {
    let unfit = |why| refused(FailureReason::TargetUnfit, why);
    let disk = disk.ok_or_else(|| unfit("the target is not known any more"))?;
    let path = disk.path.as_deref().ok_or_else(|| unfit("the target is not plugged in"))?;
    if disk.identity.serial.as_ref() != Some(serial) {
        return Err(unfit("the target is another disk than the one that was named"));
    }
    if bench.rules.get().policy.role_of(disk.id) == Some(Role::Store) {
        return Err(unfit("the target is a store: backups lie on it"));
    }
    Ok((path, disk.size))
}

pub(super) fn find(repository: &Repository, wanted: SnapshotId) -> Result<(SnapshotId, Snapshot), Trouble> {
    let (snapshots, _) = repository.snapshots()?;
    let found = snapshots.into_iter().find(|(id, _)| *id == wanted);
    found.ok_or_else(|| refused(FailureReason::SnapshotMissing, "the snapshot is not in the repository"))
}

/// Where on the target it goes. A partition goes into the one of its number; a disk without a table takes it whole.
fn place(path: &Path, size: u64, number: Option<u32>, part: &Part) -> Result<Part, Trouble> {
    let place = match number {
        None => Part { start: 0, len: size },
        Some(number) => {
            let disk = DiskSource::open(path).map_err(|error| failed(FailureReason::TargetUnfit, &error))?;
            let table = partition::read(&disk, disk.sector_size());
            let own = table.partitions.iter().find(|partition| partition.number == Some(number));
            match own {
                Some(own) => Part { start: own.start, len: own.len },
                None if table.partitions.is_empty() => Part { start: 0, len: disk.len() },
                None => return Err(refused(FailureReason::TargetUnfit, "the target has no partition of that number")),
            }
        }
    };
    if place.len < part.len {
        return Err(trouble(RestoreError::TooSmall { have: place.len, need: part.len }));
    }
    Ok(place)
}

/// A part of a disk as a target of its own.
struct Window {
    file: FileTarget,
    start: u64,
    len: u64,
}

impl Target for Window {
    fn len(&self) -> u64 {
        self.len
    }

    fn holds_data(&self) -> bool {
        self.file.holds_data()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_at(self.inside(offset, buf.len())?, buf)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.inside(offset, bytes.len())?, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Window {
    /// What lies beside the partition is never touched, whatever a snapshot says.
    fn inside(&self, offset: u64, len: usize) -> io::Result<u64> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.len);
        end.and_then(|_| self.start.checked_add(offset)).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}
