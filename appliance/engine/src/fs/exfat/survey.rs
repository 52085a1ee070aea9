//! Tells the layout who owns which clusters of an exFAT volume.
//!
//! Allocated is what the bitmap says, plus all that lies outside the heap. Files are FILE up to the length that was
//! written, RAW behind it. What only a newer driver knows (vendor entries) stays without an owner and is read as RAW.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::boot::Geometry;
use super::directory::{self, Found};
use super::volume::{self, System};
use super::{bitmap, upcase};
use crate::fs::fat::claims::{Claims, Length};
use crate::fs::fat::volume::{Place, Volume};
use crate::fs::{Extent, FsError, Survey};
use crate::read::ReadAt;

/// Directories that wait to be read take 32 bytes each; more than 128 MiB of them is no sane volume.
const MAX_WAITING: usize = 4 << 20;

/// Surveys the whole volume.
pub(super) fn run(disk: Arc<dyn ReadAt + '_>, out: &mut dyn Survey) -> Result<(), FsError> {
    let geometry = Geometry::read(&disk)?;
    let volume = volume::open(disk, &geometry);
    let system = volume::system(&volume, geometry.root)?;
    let bitmap = system.bitmap.ok_or_else(|| FsError::Unusable("exFAT: the root directory names no bitmap".into()))?;
    let mut claims = Claims::new(out, geometry.heap);
    tell_marks(&geometry, &mut claims);
    tell_outside(&volume, &geometry, &mut claims)?;
    bitmap::each(&volume, bitmap, &mut |first, count, cause| {
        if let Some(cause) = cause {
            claims.doubt(format!("allocation bitmap: {cause}"));
        }
        claims.out.allocated(volume.heap.extent(first, count))
    })?;
    tell_system(&volume, &system, &mut claims)?;
    tell_owners(&volume, &geometry, &mut claims)?;
    claims.finish();
    Ok(())
}

/// A volume that was not unmounted may have clusters without a name, but these are allocated: no doubt, only a note.
fn tell_marks(geometry: &Geometry, claims: &mut Claims<'_>) {
    if geometry.from_backup {
        claims.doubt("the main boot region is damaged; the backup was used".into());
    }
    if geometry.dirty {
        claims.out.note("the volume was not unmounted cleanly".into());
    }
    if geometry.media_failure {
        claims.out.note("a driver has met bad sectors on this volume".into());
    }
}

/// Boot regions, FAT, the gaps between them, and what is behind the last cluster.
fn tell_outside(volume: &Volume<'_>, geometry: &Geometry, claims: &mut Claims<'_>) -> Result<(), FsError> {
    claims.out.allocated(Extent::new(0, geometry.heap.start))?;
    claims.out.meta(geometry.regions)?;
    claims.out.meta(geometry.fat)?;
    let (end, len) = (geometry.heap.end(), volume.disk.len());
    if end < len { claims.out.allocated(Extent::new(end, len - end)) } else { Ok(()) }
}

fn tell_system(volume: &Volume<'_>, system: &System, claims: &mut Claims<'_>) -> Result<(), FsError> {
    if let Some((first, _)) = system.bitmap {
        claims.meta(format_args!("allocation bitmap"), volume.walk(Place::Chain(first)))?;
    }
    let Some((first, len, checksum)) = system.upcase else {
        claims.doubt("the root directory names no upper-case table".into());
        return Ok(());
    };
    claims.meta(format_args!("upper-case table"), volume.walk(Place::Chain(first)))?;
    if let Err(cause) = upcase::read(volume, first, len, checksum) {
        claims.doubt(cause.to_string());
    }
    Ok(())
}

fn tell_owners(volume: &Volume<'_>, geometry: &Geometry, claims: &mut Claims<'_>) -> Result<(), FsError> {
    let cluster = volume.heap.cluster;
    let root = Place::Chain(geometry.root);
    let clusters = claims.meta(format_args!("root directory"), volume.walk(root))?;
    let mut waiting = vec![(root, clusters.saturating_mul(cluster))];
    while let Some((at, len)) = waiting.pop() {
        if len > directory::MAX_BYTES {
            claims.doubt(format!("{at:?}: the directory is larger than can be"));
        }
        // Only what the directory owns is read, or many directories could share one long chain.
        directory::each(volume, at, len.min(directory::MAX_BYTES), &mut |found| {
            match found {
                Found::Flaw(why) => claims.doubt(format!("{at:?}: {why}")),
                // There is one of each, and it was told.
                Found::Bitmap { .. } | Found::Upcase { .. } => {}
                Found::File(file) if file.first == 0 => {
                    if file.directory {
                        claims.doubt(format!("{at:?}: a directory has no clusters"));
                    }
                }
                Found::File(file) => {
                    let place = directory::place(file.id(), file.size, cluster);
                    let what = format_args!("file at cluster {}", file.first);
                    if !file.directory {
                        let length = Length { valid: file.valid, size: file.size };
                        claims.file(what, file.id(), length, volume.walk(place))?;
                        return Ok(ControlFlow::Continue(()));
                    }
                    let clusters = claims.meta(what, volume.walk(place))?;
                    if clusters * cluster < file.size {
                        claims.doubt(format!("{what}: {clusters} clusters are too few for {} bytes", file.size));
                    }
                    if waiting.len() < MAX_WAITING {
                        waiting.push((place, clusters * cluster));
                    } else {
                        claims.doubt(format!("{what}: too many directories wait to be read"));
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}
