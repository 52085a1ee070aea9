//! The layout: turns a disk into pieces, so that every byte somebody owns is in one, and free space is in none.
//!
//! Partition table → one survey for each filesystem → claims checked against the allocation map → pieces in device order.
//! Doubt reads more: what cannot be parsed or trusted becomes RAW, and the region says why. Knows nothing of chunks or packs.

pub mod claims;
pub mod identify;
pub mod partition;
pub mod pieces;
mod swap;

use crate::fs::{self, Extent, FsError};
use crate::read::{ReadAt, Window};
use claims::{Claims, ClassBytes};
use identify::Filesystem;
use partition::TableKind;
use pieces::Pieces;
use std::io;
use std::path::Path;

/// Why a disk could not be laid out at all.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The scratch folder failed.
    #[error("could not write the layout's scratch file")]
    Scratch(#[source] io::Error),
}

/// A partition, a gap between partitions, or a disk without a table.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Region {
    /// Number in the partition table; none for gaps and for disks without a table.
    pub partition: Option<u32>,
    /// Device offset of its first byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// What is in it.
    pub filesystem: Filesystem,
    /// Name in the partition table.
    pub name: String,
    /// Why more was read than the filesystem says it owns. Empty: everything fitted together.
    pub doubts: Vec<String>,
    /// Doubts beyond those listed.
    pub more_doubts: u64,
    /// What a person may want to know.
    pub notes: Vec<String>,
    /// Bytes of each class, and free ones.
    pub bytes: ClassBytes,
}

/// A disk, cut.
pub struct Layout {
    /// Length of the disk.
    pub size: u64,
    /// Which partition table it has.
    pub table: TableKind,
    /// What stays the same on this disk, whatever it is plugged into.
    pub identity: String,
    /// Every byte of the disk lies in one of these, in order.
    pub regions: Vec<Region>,
    pieces: Pieces,
}

impl Layout {
    /// Surveys the whole disk. Reads metadata only.
    pub fn survey(disk: &dyn ReadAt, sector_size: u32, scratch: &Path) -> Result<Layout, LayoutError> {
        let table = partition::read(disk, sector_size);
        let mut pieces = pieces::Collector::new(scratch);
        let mut regions = Vec::new();
        let mut at = 0;
        for part in &table.partitions {
            if part.start > at {
                regions.push(gap(at, part.start - at, &mut pieces)?);
            }
            regions.push(survey_partition(disk, part, regions.len(), &mut pieces)?);
            at = part.start + part.len;
        }
        if at < disk.len() {
            regions.push(gap(at, disk.len() - at, &mut pieces)?);
        }
        if let Some(first) = regions.first_mut() {
            first.notes.extend(table.notes);
        }
        let pieces = pieces.finish().map_err(LayoutError::Scratch)?;
        Ok(Layout { size: disk.len(), table: table.kind, identity: table.identity, regions, pieces })
    }

    /// All pieces, by the device offset of their first extent.
    pub fn pieces(&self) -> pieces::PieceIter {
        self.pieces.iter()
    }

    /// Bytes the pieces hold, left-out ranges not counted.
    pub fn stored_bytes(&self) -> u64 {
        self.regions.iter().map(|region| region.bytes.file + region.bytes.meta + region.bytes.raw).sum()
    }

    /// The region a device offset lies in.
    pub fn region_at(&self, offset: u64) -> Option<&Region> {
        let at = self.regions.partition_point(|region| region.start + region.len <= offset);
        self.regions.get(at)
    }
}

fn gap(start: u64, len: u64, pieces: &mut pieces::Collector) -> Result<Region, LayoutError> {
    pieces.raw(Extent::new(start, len)).map_err(LayoutError::Scratch)?;
    let bytes = ClassBytes { raw: len, ..ClassBytes::default() };
    Ok(Region {
        partition: None,
        start,
        len,
        filesystem: Filesystem::Gap,
        name: String::new(),
        doubts: Vec::new(),
        more_doubts: 0,
        notes: Vec::new(),
        bytes,
    })
}

fn survey_partition(
    disk: &dyn ReadAt,
    part: &partition::Partition,
    region: usize,
    pieces: &mut pieces::Collector,
) -> Result<Region, LayoutError> {
    let window = Window::new(disk, part.start, part.len);
    let filesystem = if part.trusted { identify::identify(&window) } else { Filesystem::Unknown };
    let mut claims = Claims::new(part.start, part.len, region as u16, pieces);
    if let Some(why) = part.doubt {
        claims.everything(why);
    }
    if !part.trusted {
        claims.everything("the partition table contradicts itself here");
    } else {
        let surveyed = match filesystem {
            Filesystem::Ext => fs::ext::survey(&window, &mut claims),
            Filesystem::Ntfs => fs::ntfs::survey(&window, &mut claims),
            Filesystem::Fat => fs::fat::survey(&window, &mut claims),
            Filesystem::Exfat => fs::exfat::survey(&window, &mut claims),
            Filesystem::Swap => swap::survey(&window, &mut claims),
            other => {
                claims.everything(other.why_raw());
                Ok(())
            }
        };
        match surveyed {
            Ok(()) => {}
            Err(FsError::Scratch(source)) => return Err(LayoutError::Scratch(source)),
            Err(refusal) => claims.everything(&refusal.to_string()),
        }
    }
    let settled = claims.settle().map_err(LayoutError::Scratch)?;
    Ok(Region {
        partition: part.number,
        start: part.start,
        len: part.len,
        filesystem,
        name: part.name.clone(),
        doubts: settled.doubts,
        more_doubts: settled.more_doubts,
        notes: settled.notes,
        bytes: settled.bytes,
    })
}
