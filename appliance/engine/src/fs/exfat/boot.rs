//! The boot region: turns its fields into a geometry that all other arithmetic can rely on.
//!
//! Twelve sectors with a checksum, and the same again as backup. The backup counts only where the main boot sector
//! still says exFAT or cannot be read: a partition formatted anew may keep an old backup that means nothing any more.

use crate::fs::fat::table::FIRST_CLUSTER;
use crate::fs::fat::volume::Heap;
use crate::fs::{Extent, FsError};
use crate::le::{u8_at, u16_at, u32_at, u64_at};
use crate::read::ReadAt;

const NAME: &[u8] = b"EXFAT   ";
/// 512 to 4096 bytes.
const SECTOR_SHIFTS: std::ops::RangeInclusive<u8> = 9..=12;
/// Clusters of at most 32 MiB.
const MAX_CLUSTER_SHIFT: u8 = 25;
const REGION_SECTORS: u64 = 12;
/// The last eleven numbers of 32 bits name no cluster.
const MAX_CLUSTERS: u32 = u32::MAX - 10;

const DIRTY: u16 = 2;
const MEDIA_FAILURE: u16 = 4;

/// The numbers of one volume, all inside its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) heap: Heap,
    pub(super) fat: Extent,
    /// Both boot regions.
    pub(super) regions: Extent,
    /// First cluster of the root directory.
    pub(super) root: u32,
    pub(super) dirty: bool,
    pub(super) media_failure: bool,
    /// The main region is damaged, and these numbers come from the backup.
    pub(super) from_backup: bool,
}

impl Geometry {
    /// Reads the main boot region, else the backup.
    pub(super) fn read(disk: &dyn ReadAt) -> Result<Self, FsError> {
        let main = disk.read_vec(0, 512);
        let says_exfat = main.as_ref().map_or(disk.len() >= 512, |boot| boot.get(3..11) == Some(NAME));
        if !says_exfat {
            return Err(unusable("the boot sector does not say exFAT"));
        }
        let shift = main.ok().and_then(|boot| u8_at(&boot, 108)).filter(|shift| SECTOR_SHIFTS.contains(shift));
        let cause = match shift.map(|shift| Self::region(disk, 0, shift)) {
            Some(Ok(geometry)) => return Ok(geometry),
            Some(Err(refused @ FsError::Unsupported(_))) => return Err(refused),
            Some(Err(cause)) => cause,
            None => unusable("the boot sector could not be read"),
        };
        // The sector size is one of the things the main region may have lost.
        let backup = SECTOR_SHIFTS.map(|shift| Self::region(disk, REGION_SECTORS << shift, shift));
        match backup.into_iter().find(|region| matches!(region, Ok(_) | Err(FsError::Unsupported(_)))) {
            Some(backup) => Ok(Self { from_backup: true, ..backup? }),
            None => Err(cause),
        }
    }

    /// Reads the region at `at`, if its sectors are of that size.
    fn region(disk: &dyn ReadAt, at: u64, shift: u8) -> Result<Self, FsError> {
        let sector = 1usize << shift;
        let region = disk.read_vec(at, REGION_SECTORS as usize * sector);
        let region = region.map_err(|source| FsError::Read { at, source })?;
        let (summed, sums) = region.split_at(region.len() - sector);
        let sum = checksum(summed);
        if !sums.chunks_exact(4).all(|stored| stored == sum.to_le_bytes()) {
            return Err(unusable("the checksum of the boot region does not fit"));
        }
        if u8_at(summed, 108) != Some(shift) {
            return Err(unusable("the boot region is of another sector size"));
        }
        Self::parse(summed, disk.len())
    }

    /// Judges the boot sector of a partition of `len` bytes.
    fn parse(boot: &[u8], len: u64) -> Result<Self, FsError> {
        let short = || unusable("the boot sector is cut off");
        if boot.get(..3) != Some(&[0xEB, 0x76, 0x90]) || boot.get(3..11) != Some(NAME) {
            return Err(unusable("the boot sector does not say exFAT"));
        }
        if boot.get(11..64).is_none_or(|zeros| zeros.iter().any(|byte| *byte != 0)) {
            return Err(unusable("the boot sector has fields of FAT"));
        }
        let (shift, cluster_shift) = (u8_at(boot, 108).ok_or_else(short)?, u8_at(boot, 109).ok_or_else(short)?);
        if !SECTOR_SHIFTS.contains(&shift) || cluster_shift > MAX_CLUSTER_SHIFT - shift {
            return Err(unusable("sectors or clusters are larger than can be"));
        }
        match u8_at(boot, 110) {
            Some(1) => {}
            Some(2) => return Err(FsError::Unsupported("exFAT with two FATs (TexFAT)".into())),
            _ => return Err(unusable("it has no FAT")),
        }
        let sectors = |field: u64| -> Option<u64> { field.checked_mul(1 << shift) };
        let narrow = |at: usize| u32_at(boot, at).and_then(|field| sectors(field.into())).ok_or_else(short);
        let volume = u64_at(boot, 72).and_then(sectors).ok_or_else(short)?;
        let fat = Extent::new(narrow(80)?, narrow(84)?);
        let clusters = u32_at(boot, 92).ok_or_else(short)?;
        let heap = Heap { start: narrow(88)?, cluster: 1 << (shift + cluster_shift), clusters };
        let regions = Extent::new(0, (2 * REGION_SECTORS) << shift);
        let root = u32_at(boot, 96).ok_or_else(short)?;
        let entries = (u64::from(clusters) + u64::from(FIRST_CLUSTER)) * 4;
        let checks = [
            (volume <= len, "the volume is larger than its partition"),
            (regions.end() <= fat.start && fat.end() <= heap.start && heap.end() <= volume, "its parts overlap"),
            (clusters > 0 && clusters <= MAX_CLUSTERS, "it has more or fewer clusters than can be"),
            (entries <= fat.len, "the FAT does not cover all clusters"),
            (heap.holds(root), "the root directory lies outside the volume"),
        ];
        if let Some((_, why)) = checks.iter().find(|(holds, _)| !holds) {
            return Err(unusable(why));
        }
        let flags = u16_at(boot, 106).ok_or_else(short)?;
        Ok(Self {
            heap,
            fat,
            regions,
            root,
            dirty: flags & DIRTY != 0,
            media_failure: flags & MEDIA_FAILURE != 0,
            from_backup: false,
        })
    }
}

/// Over eleven sectors, without the bytes that a driver changes while it is mounted.
fn checksum(sectors: &[u8]) -> u32 {
    let counted = sectors.iter().enumerate().filter(|(at, _)| !matches!(at, 106 | 107 | 112));
    counted.fold(0, |sum: u32, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)))
}

fn unusable(why: &str) -> FsError {
    FsError::Unusable(format!("exFAT: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One MiB: FAT at sector 32, heap at 64, clusters of 4 KiB.
    fn disk(change: impl Fn(&mut [u8])) -> Vec<u8> {
        let mut disk = vec![0u8; 1 << 20];
        let boot = &mut disk[..512];
        boot[..3].copy_from_slice(&[0xEB, 0x76, 0x90]);
        boot[3..11].copy_from_slice(NAME);
        boot[72..80].copy_from_slice(&2048u64.to_le_bytes());
        for (at, field) in [(80, 32u32), (84, 8), (88, 64), (92, 200), (96, 5)] {
            boot[at..at + 4].copy_from_slice(&field.to_le_bytes());
        }
        boot[108..111].copy_from_slice(&[9, 3, 1]);
        change(boot);
        let sum = checksum(&disk[..11 * 512]);
        disk[11 * 512..12 * 512].copy_from_slice(&sum.to_le_bytes().repeat(128));
        disk.copy_within(..12 * 512, 12 * 512);
        disk
    }

    #[test]
    fn the_backup_stands_in_for_a_damaged_main_region() {
        let mut bytes = disk(|_| {});
        let geometry = Geometry::read(&bytes).unwrap();
        assert_eq!(geometry.heap, Heap { start: 32768, cluster: 4096, clusters: 200 });
        for at in [92, 108] {
            bytes[at] ^= 77;
            let backup = Geometry::read(&bytes).unwrap();
            assert_eq!(backup, Geometry { from_backup: true, ..geometry.clone() });
        }
        bytes[3] = b'N';
        assert!(Geometry::read(&bytes).is_err(), "an old backup below another filesystem");
    }

    #[test]
    fn one_wrong_field_is_enough() {
        for (at, byte) in [(73, 1), (80, 2), (84, 0), (84, 200), (88, 33), (93, 1), (96, 202), (96, 0), (108, 13)] {
            assert!(Geometry::read(&disk(|boot| boot[at] = byte)).is_err(), "{at}: {byte}");
        }
        let two = Geometry::read(&disk(|boot| boot[110] = 2));
        assert!(matches!(two, Err(FsError::Unsupported(_))));
        assert!(!crate::fs::exfat::probe(&vec![0u8; 100]));
        assert!(!crate::fs::exfat::probe(&vec![0u8; 100_000]));
    }
}
