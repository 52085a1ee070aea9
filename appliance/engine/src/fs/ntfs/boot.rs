//! The boot sector: turns its fields into a geometry that all other arithmetic can rely on.
//!
//! Sizes are powers of two within what Windows ever wrote, and the volume lies inside the partition. Anything else is
//! refused, because every later multiplication trusts these numbers.

use crate::fs::FsError;
use crate::le::{u8_at, u16_at, u64_at};

/// Sectors are this long in update sequences, whatever the device's sector is.
pub(super) const FIXUP_STRIDE: usize = 512;

/// Windows 10 formats up to 2 MiB.
const MAX_CLUSTER: u64 = 2 << 20;
/// 1024 and 4096 are in use; NT 3.x tied the record to the cluster, up to 64 KiB.
const RECORD_SIZES: std::ops::RangeInclusive<u64> = 512..=65536;
/// Keeps byte offsets far from the end of `u64`.
const MAX_VOLUME: u64 = 1 << 62;

/// The numbers of one volume. All products of them that stay inside the volume fit a `u64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes per sector.
    pub(super) sector: u64,
    /// Bytes per cluster.
    pub(super) cluster: u64,
    /// Whole clusters in the volume.
    pub(super) clusters: u64,
    /// Where the backup boot sector starts: the first sector behind those the volume counts.
    pub(super) backup: u64,
    /// Bytes per MFT record.
    pub(super) record: u64,
    /// First cluster of the MFT.
    pub(super) mft: u64,
    /// First cluster of its mirror.
    pub(super) mirror: u64,
}

impl Geometry {
    /// Reads the boot sector of a partition of `len` bytes.
    pub(super) fn parse(boot: &[u8], len: u64) -> Result<Self, FsError> {
        if !is_ntfs(boot) {
            return Err(unusable("the boot sector does not say NTFS"));
        }
        let short = || unusable("the boot sector is cut off");
        let sector = u64::from(u16_at(boot, 11).ok_or_else(short)?);
        if !(sector.is_power_of_two() && (256..=4096).contains(&sector)) {
            return Err(unusable("the sector size is not one NTFS uses"));
        }
        let per_cluster = sectors_per_cluster(u8_at(boot, 13).ok_or_else(short)?)
            .ok_or_else(|| unusable("the cluster size is not a power of two"))?;
        let cluster = sector * per_cluster;
        if cluster > MAX_CLUSTER {
            return Err(unusable("the cluster is larger than 2 MiB"));
        }
        let record = record_size(u8_at(boot, 64).ok_or_else(short)?, cluster)
            .ok_or_else(|| unusable("the MFT record size is not one NTFS uses"))?;
        let sectors = u64_at(boot, 40).ok_or_else(short)?;
        let backup = sectors
            .checked_mul(sector)
            .filter(|bytes| *bytes <= MAX_VOLUME)
            .ok_or_else(|| unusable("the volume has more sectors than can be"))?;
        if backup > len {
            return Err(unusable("the volume is larger than its partition"));
        }
        let clusters = sectors / per_cluster;
        let mft = u64_at(boot, 48).ok_or_else(short)?;
        let mirror = u64_at(boot, 56).ok_or_else(short)?;
        if mft >= clusters {
            return Err(unusable("the MFT lies outside the volume"));
        }
        Ok(Self { sector, cluster, clusters, backup, record, mft, mirror })
    }

    /// Bytes in whole clusters; what lies behind has no bit in `$Bitmap`.
    pub(super) fn clustered(&self) -> u64 {
        self.clusters * self.cluster
    }

    /// Bytes per record as a length in memory.
    pub(super) fn record_len(&self) -> usize {
        self.record as usize
    }
}

/// True for the OEM name that makes a boot sector NTFS's.
pub(super) fn is_ntfs(boot: &[u8]) -> bool {
    boot.get(3..11) == Some(b"NTFS    ")
}

/// Up to 128 sectors are written plainly; more as a negated power of two.
fn sectors_per_cluster(field: u8) -> Option<u64> {
    match field {
        1..=128 => Some(u64::from(field)).filter(|n| n.is_power_of_two()),
        _ => 1u64.checked_shl(u32::from(field.wrapping_neg())).filter(|n| field > 128 && *n <= 4096),
    }
}

/// Positive: clusters. Negative: a power of two in bytes, for records smaller than a cluster.
fn record_size(field: u8, cluster: u64) -> Option<u64> {
    let size = match field {
        0 => None,
        1..=127 => cluster.checked_mul(u64::from(field)),
        _ => 1u64.checked_shl(u32::from(field.wrapping_neg())),
    };
    size.filter(|size| size.is_power_of_two() && RECORD_SIZES.contains(size))
}

fn unusable(why: &str) -> FsError {
    FsError::Unusable(format!("NTFS: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(per_cluster: u8, per_record: u8) -> Vec<u8> {
        let mut boot = vec![0; 512];
        boot[3..11].copy_from_slice(b"NTFS    ");
        boot[11..13].copy_from_slice(&512u16.to_le_bytes());
        boot[13] = per_cluster;
        boot[40..48].copy_from_slice(&100_000u64.to_le_bytes());
        boot[48..56].copy_from_slice(&4u64.to_le_bytes());
        boot[64] = per_record;
        boot
    }

    fn sizes(per_cluster: u8, per_record: u8) -> Option<(u64, u64)> {
        let found = Geometry::parse(&boot(per_cluster, per_record), 512 * 100_001).ok()?;
        Some((found.cluster, found.record))
    }

    #[test]
    fn both_encodings_of_both_sizes_are_read() {
        assert_eq!(sizes(1, 2), Some((512, 1024)));
        assert_eq!(sizes(8, 0xF6), Some((4096, 1024)));
        assert_eq!(sizes(8, 1), Some((4096, 4096)));
        assert_eq!(sizes(128, 0xF4), Some((65536, 4096)));
        assert_eq!(sizes(0xF8, 0xF6), Some((128 << 10, 1024)));
        assert_eq!(sizes(0xF4, 0xF6), Some((2 << 20, 1024)));
    }

    #[test]
    fn sizes_nobody_writes_are_refused() {
        for (per_cluster, per_record) in [(0, 2), (3, 2), (0xF3, 2), (0x81, 2), (8, 0), (8, 3), (8, 0x80), (8, 0xE0)] {
            assert_eq!(sizes(per_cluster, per_record), None, "{per_cluster:#x} {per_record:#x}");
        }
    }

    #[test]
    fn a_volume_larger_than_its_partition_is_refused() {
        assert!(Geometry::parse(&boot(8, 0xF6), 512 * 99_999).is_err());
    }
}
