//! Tells the layout who owns which clusters of a FAT volume.
//!
//! Allocated is every cluster whose entry is not free, minus those marked bad, plus all that lies outside the heap. A
//! chain that no directory names stays without an owner, so that it is read as RAW.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::boot::{Geometry, Root};
use super::claims::{Claims, Length};
use super::directory::{self, Directory, Found};
use super::table::{State, Table, Width};
use super::volume::{Place, Volume};
use crate::fs::{Extent, FileId, FsError, Survey};
use crate::read::ReadAt;

/// Directories that wait to be read take 16 bytes each; more than 64 MiB of them is no sane volume.
const MAX_WAITING: usize = 4 << 20;

/// Surveys the whole volume.
pub(super) fn run(disk: Arc<dyn ReadAt + '_>, out: &mut dyn Survey) -> Result<(), FsError> {
    let geometry = Geometry::read(&disk)?;
    let volume = open(disk, &geometry);
    let mut claims = Claims::new(out, geometry.heap);
    tell_marks(&volume, &geometry, &mut claims);
    tell_outside(&volume, &geometry, &mut claims)?;
    tell_allocated(&volume, &mut claims)?;
    tell_owners(&volume, geometry.root, &mut claims)?;
    claims.finish();
    Ok(())
}

/// What all readers of a volume need.
pub(super) fn open<'d>(disk: Arc<dyn ReadAt + 'd>, geometry: &Geometry) -> Volume<'d> {
    let copies = geometry.copies.clone();
    let table = Table::new(disk.clone(), geometry.width, copies, geometry.heap.clusters);
    Volume { disk, heap: geometry.heap, table }
}

/// A volume that was not unmounted may have chains without a name, but these are allocated: no doubt, only a note.
fn tell_marks(volume: &Volume<'_>, geometry: &Geometry, claims: &mut Claims<'_>) {
    let marks = volume.table.value(1).unwrap_or(u32::MAX);
    let (clean, sound) = match geometry.width {
        Width::Sixteen => (marks & 0x8000 != 0, marks & 0x4000 != 0),
        Width::TwentyEight => (marks & 0x0800_0000 != 0, marks & 0x0400_0000 != 0),
        Width::Twelve | Width::ThirtyTwo => (true, true),
    };
    if geometry.dirty || !clean {
        claims.out.note("the volume was not unmounted cleanly".into());
    }
    if !sound {
        claims.out.note("a driver has met bad sectors on this volume".into());
    }
    if let Some(difference) = volume.table.difference() {
        claims.doubt(difference);
    }
}

/// Everything before the heap, and what is behind its last cluster.
fn tell_outside(volume: &Volume<'_>, geometry: &Geometry, claims: &mut Claims<'_>) -> Result<(), FsError> {
    claims.out.allocated(Extent::new(0, geometry.heap.start))?;
    claims.out.meta(geometry.reserved)?;
    claims.out.meta(geometry.fats)?;
    if let Root::Fixed(root) = geometry.root {
        claims.out.meta(root)?;
    }
    let (end, len) = (geometry.heap.end(), volume.disk.len());
    if end < len { claims.out.allocated(Extent::new(end, len - end)) } else { Ok(()) }
}

fn tell_allocated(volume: &Volume<'_>, claims: &mut Claims<'_>) -> Result<(), FsError> {
    let mut bad = 0;
    volume.table.each(&mut |first, count, state| {
        match state {
            State::Used => {}
            State::Unknown(cause) => claims.doubt(format!("FAT: {cause}")),
            State::Bad => {
                bad += count;
                return Ok(());
            }
        }
        claims.out.allocated(volume.heap.extent(first, count))
    })?;
    if bad > 0 {
        claims.out.note(format!("{bad} clusters are marked bad in the FAT and are not read"));
    }
    Ok(())
}

fn tell_owners(volume: &Volume<'_>, root: Root, claims: &mut Claims<'_>) -> Result<(), FsError> {
    let mut waiting = vec![(Directory::Root, directory::MAX_BYTES)];
    if let Root::Chain(first) = root {
        let clusters = claims.meta(format_args!("root directory"), volume.walk(Place::Chain(first)))?;
        waiting = vec![(Directory::Root, clusters.saturating_mul(volume.heap.cluster))];
    }
    while let Some((at, len)) = waiting.pop() {
        if len > directory::MAX_BYTES {
            claims.doubt(format!("{at:?}: the directory is larger than can be"));
        }
        // Only what the directory owns is read, or many directories could share one long chain.
        directory::each(volume, root, at, len.min(directory::MAX_BYTES), &mut |found| {
            match found {
                Found::Flaw(cause) => claims.doubt(format!("{at:?}: {cause}")),
                Found::File(file) if file.directory => {
                    let what = format_args!("directory at cluster {}", file.first);
                    let clusters = claims.meta(what, volume.walk(Place::Chain(file.first)))?;
                    if waiting.len() < MAX_WAITING {
                        waiting.push((Directory::Sub(file.first), clusters * volume.heap.cluster));
                    } else {
                        claims.doubt(format!("{what}: too many directories wait to be read"));
                    }
                }
                Found::File(file) if file.first == 0 => {
                    if file.size > 0 {
                        claims.doubt(format!("a file of {} bytes has no clusters", file.size));
                    }
                }
                Found::File(file) => {
                    let length = Length { valid: file.size.into(), size: file.size.into() };
                    let what = format_args!("file at cluster {}", file.first);
                    claims.file(what, FileId(file.first.into()), length, volume.walk(Place::Chain(file.first)))?;
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}
