//! The boot sector: turns its fields into a geometry that all other arithmetic can rely on.
//!
//! FAT has no magic, and boot code of anything may stand in the first sector. So every field is judged, and the table
//! must begin with its mark; what does not pass is read as RAW, which is never wrong.

use super::table::{FIRST_CLUSTER, Width};
use super::volume::Heap;
use crate::fs::{Extent, FsError};
use crate::le::{array_at, u8_at, u16_at, u32_at};
use crate::read::ReadAt;

const SECTOR: usize = 512;
/// Up to so many clusters entries have 12 bits, and then 16.
const MAX_TWELVE: u64 = 4084;
const MAX_SIXTEEN: u64 = 65524;
/// 28 bits, less the special numbers.
const MAX_TWENTY_EIGHT: u64 = 0x0FFF_FFF4;
/// Drivers set this when they mount, and clear it when they unmount; 12-bit tables have no room for a mark of their own.
const STATE_DIRTY: u8 = 1;

/// The numbers of one volume, all inside its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) width: Width,
    pub(super) heap: Heap,
    /// Boot sector and everything before the first FAT.
    pub(super) reserved: Extent,
    /// All FATs.
    pub(super) fats: Extent,
    /// Offsets of those that are kept alike, the one in use first.
    pub(super) copies: Vec<u64>,
    pub(super) root: Root,
    /// The boot sector's own mark of an unfinished mount.
    pub(super) dirty: bool,
}

/// Where the root directory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// Before the heap, as in FAT12 and FAT16.
    Fixed(Extent),
    /// In a chain of its own.
    Chain(u32),
}

impl Geometry {
    /// Reads and judges the start of a partition.
    pub(super) fn read(disk: &dyn ReadAt) -> Result<Self, FsError> {
        let boot = disk.read_vec(0, SECTOR).map_err(|source| FsError::Read { at: 0, source })?;
        let geometry = Self::parse(&boot, disk.len())?;
        let marked = |copy: &u64| disk.read_vec(*copy, 4).is_ok_and(|start| is_start_of_fat(geometry.width, &start));
        if !geometry.copies.iter().any(marked) {
            return Err(unusable("no FAT begins with its mark"));
        }
        Ok(geometry)
    }

    /// Judges the boot sector of a partition of `len` bytes.
    fn parse(boot: &[u8], len: u64) -> Result<Self, FsError> {
        let fields = Fields::parse(boot).ok_or_else(|| unusable("the boot sector is cut off"))?;
        fields.judge(boot)?;
        let sector = u64::from(fields.sector);
        let cluster = sector * u64::from(fields.per_cluster);
        let volume = fields.sectors * sector;
        if volume > len {
            return Err(unusable("the volume is larger than its partition"));
        }
        let reserved = u64::from(fields.reserved) * sector;
        let fat = fields.fat_sectors * sector;
        let fats = Extent::new(reserved, fat * u64::from(fields.fats));
        let root = Extent::new(fats.end(), (u64::from(fields.root_entries) * 32).next_multiple_of(sector));
        let counted = volume.saturating_sub(root.end()) / cluster;
        let width = match counted {
            _ if fields.wide => Width::TwentyEight,
            0..=MAX_TWELVE => Width::Twelve,
            _ => Width::Sixteen,
        };
        let most = if fields.wide { MAX_TWENTY_EIGHT } else { MAX_SIXTEEN };
        if counted == 0 || counted > most {
            return Err(unusable("it has more or fewer clusters than can be"));
        }
        // Clusters without an entry cannot be used; they become part of the rest behind the heap.
        let clusters = counted.min(width.entries(fat).saturating_sub(FIRST_CLUSTER.into()));
        let heap = Heap { start: root.end(), cluster, clusters: clusters as u32 };
        let root = if fields.wide { Root::Chain(fields.root) } else { Root::Fixed(root) };
        if clusters == 0 || matches!(root, Root::Chain(first) if !heap.holds(first)) {
            return Err(unusable("the root directory lies outside the volume"));
        }
        let copies = match fields.flags {
            flags if flags & 0x80 == 0 => (0..fields.fats).map(|copy| reserved + fat * u64::from(copy)).collect(),
            flags if flags as u8 & 15 < fields.fats => vec![reserved + fat * u64::from(flags & 15)],
            _ => return Err(unusable("the FAT in use does not exist")),
        };
        let dirty = fields.state & STATE_DIRTY != 0;
        Ok(Self { width, heap, reserved: Extent::new(0, reserved), fats, copies, root, dirty })
    }
}

/// The boot sector as it lies.
struct Fields {
    sector: u16,
    per_cluster: u8,
    reserved: u16,
    fats: u8,
    root_entries: u16,
    sectors: u64,
    media: u8,
    fat_sectors: u64,
    /// FAT32 has no 16-bit size of the FAT.
    wide: bool,
    flags: u16,
    version: u16,
    root: u32,
    state: u8,
}

impl Fields {
    fn parse(boot: &[u8]) -> Option<Self> {
        let (few_sectors, few_fat_sectors) = (u16_at(boot, 19)?, u16_at(boot, 22)?);
        let wide = few_fat_sectors == 0;
        Some(Self {
            sector: u16_at(boot, 11)?,
            per_cluster: u8_at(boot, 13)?,
            reserved: u16_at(boot, 14)?,
            fats: u8_at(boot, 16)?,
            root_entries: u16_at(boot, 17)?,
            sectors: if few_sectors == 0 { u32_at(boot, 32)?.into() } else { few_sectors.into() },
            media: u8_at(boot, 21)?,
            fat_sectors: if wide { u32_at(boot, 36)?.into() } else { few_fat_sectors.into() },
            wide,
            flags: if wide { u16_at(boot, 40)? } else { 0 },
            version: if wide { u16_at(boot, 42)? } else { 0 },
            root: if wide { u32_at(boot, 44)? } else { 0 },
            state: u8_at(boot, if wide { 65 } else { 37 })?,
        })
    }

    fn judge(&self, boot: &[u8]) -> Result<(), FsError> {
        let jump: Option<[u8; 3]> = array_at(boot, 0);
        let checks = [
            (matches!(jump, Some([0xEB, _, 0x90] | [0xE9, _, _])), "it does not begin with a jump"),
            (u16_at(boot, 510) == Some(0xAA55), "it does not end with 55 AA"),
            (!matches!(boot.get(3..11), Some(b"NTFS    " | b"EXFAT   ")), "it is another filesystem's"),
            (self.sector.is_power_of_two() && (512..=4096).contains(&self.sector), "the sector size is not one in use"),
            (self.per_cluster.is_power_of_two(), "the cluster size is not a power of two"),
            (self.reserved > 0, "it has no reserved sector"),
            (matches!(self.fats, 1 | 2), "it has neither one FAT nor two"),
            (self.media == 0xF0 || self.media >= 0xF8, "the media byte is none"),
            (self.sectors > 0 && self.fat_sectors > 0, "it has no sectors"),
            (self.wide == (self.root_entries == 0), "the root directory is of another kind"),
            (self.version == 0, "it is of a version that does not exist"),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(unusable(why)),
            None => Ok(()),
        }
    }
}

/// The first entry holds the media byte, and ones above it.
fn is_start_of_fat(width: Width, start: &[u8]) -> bool {
    let ones = match width {
        Width::Twelve => 0xFF0,
        Width::Sixteen => 0xFFF0,
        Width::TwentyEight | Width::ThirtyTwo => 0x0FFF_FFF0,
    };
    width.value(start, 0).is_some_and(|value| value & ones == ones)
}

fn unusable(why: &str) -> FsError {
    FsError::Unusable(format!("FAT: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A floppy of 1.44 MB, and what one change makes of it.
    fn floppy(change: impl Fn(&mut Vec<u8>)) -> Result<Geometry, FsError> {
        let mut disk = vec![0; 1_474_560];
        disk[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
        disk[11..25].copy_from_slice(&[0, 2, 1, 1, 0, 2, 224, 0, 0x40, 0x0B, 0xF0, 9, 0, 18]);
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        disk[512..515].copy_from_slice(&[0xF0, 0xFF, 0xFF]);
        change(&mut disk);
        Geometry::read(&disk)
    }

    #[test]
    fn a_floppy_is_a_volume() {
        let geometry = floppy(|_| {}).unwrap();
        assert_eq!(geometry.width, Width::Twelve);
        assert_eq!(geometry.heap, Heap { start: 33 * 512, cluster: 512, clusters: 2847 });
        assert_eq!(geometry.copies, [512, 10 * 512]);
        assert_eq!(geometry.root, Root::Fixed(Extent::new(19 * 512, 14 * 512)));
    }

    #[test]
    fn one_wrong_field_is_enough() {
        for (at, byte) in [
            (0, 0x33),  // a jump is no other instruction
            (510, 0),   // signature
            (12, 3),    // bytes per sector
            (12, 0x20), // 8192
            (13, 3),    // sectors per cluster
            (13, 0),
            (14, 0), // reserved
            (16, 0), // FATs
            (16, 3),
            (17, 0),     // root entries
            (20, 0x0C),  // sectors
            (21, 0xF1),  // media
            (512, 0x10), // start of the FAT
        ] {
            let judged = floppy(|disk| {
                disk[at] = byte;
                if at == 512 {
                    disk[10 * 512] = byte;
                }
            });
            assert!(judged.is_err(), "{at}: {byte:#x}");
        }
        assert!(floppy(|disk| disk[3..11].copy_from_slice(b"NTFS    ")).is_err());
        assert!(floppy(|disk| disk.truncate(1_474_000)).is_err());
    }

    #[test]
    fn a_fat_that_is_too_short_bounds_the_heap() {
        let geometry = floppy(|disk| {
            disk[22] = 2;
            disk[3 * 512..3 * 512 + 3].copy_from_slice(&[0xF0, 0xFF, 0xFF]);
        });
        assert_eq!(geometry.unwrap().heap.clusters, 1024 * 2 / 3 - 2);
    }
}
