//! What lies in a partition, by its magic bytes. Names what we do not parse, so the summary can say why it was read raw.

use crate::fs;
use crate::read::ReadAt;
use std::fmt;

/// What a region holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// Space between partitions, boot code and partition tables.
    Gap,
    /// ext2, ext3 or ext4.
    Ext,
    /// NTFS.
    Ntfs,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// exFAT.
    Exfat,
    /// Linux swap.
    Swap,
    /// LUKS: ciphertext.
    Luks,
    /// BitLocker: ciphertext.
    Bitlocker,
    /// LVM physical volume.
    Lvm,
    /// Linux software RAID member.
    Md,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// APFS.
    Apfs,
    /// HFS+.
    Hfs,
    /// Nothing we know.
    Unknown,
}

impl Filesystem {
    /// The word for the summary.
    pub const fn name(self) -> &'static str {
        match self {
            Filesystem::Gap => "gap",
            Filesystem::Ext => "ext",
            Filesystem::Ntfs => "ntfs",
            Filesystem::Fat => "fat",
            Filesystem::Exfat => "exfat",
            Filesystem::Swap => "swap",
            Filesystem::Luks => "luks",
            Filesystem::Bitlocker => "bitlocker",
            Filesystem::Lvm => "lvm",
            Filesystem::Md => "md",
            Filesystem::Xfs => "xfs",
            Filesystem::Btrfs => "btrfs",
            Filesystem::Apfs => "apfs",
            Filesystem::Hfs => "hfs+",
            Filesystem::Unknown => "unknown",
        }
    }

    /// Whether files in it can be listed without mounting.
    pub const fn is_browsable(self) -> bool {
        matches!(self, Filesystem::Ext | Filesystem::Ntfs | Filesystem::Fat | Filesystem::Exfat)
    }

    /// Why a region of this kind is read as a whole.
    pub const fn why_raw(self) -> &'static str {
        match self {
            Filesystem::Luks => "LUKS: encrypted, every byte may matter",
            Filesystem::Bitlocker => "BitLocker: encrypted, every byte may matter",
            Filesystem::Lvm => "LVM physical volume: read as a whole",
            Filesystem::Md => "software RAID member: read as a whole",
            Filesystem::Xfs => "XFS is not parsed yet: read as a whole",
            Filesystem::Btrfs => "btrfs is not parsed yet: read as a whole",
            Filesystem::Apfs => "APFS is not parsed: read as a whole",
            Filesystem::Hfs => "HFS+ is not parsed: read as a whole",
            _ => "no filesystem we know: read as a whole",
        }
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Looks for magic bytes. Containers come first: an md member or LUKS volume may have a stale filesystem below its header.
pub fn identify(disk: &dyn ReadAt) -> Filesystem {
    let has = |offset: u64, magic: &[u8]| {
        let mut found = vec![0; magic.len()];
        disk.read_at(offset, &mut found).is_ok() && found == magic
    };
    // md 0.90 and 1.0 keep their superblock near the end.
    let md_magic = [0xfc, 0x4e, 0x2b, 0xa9];
    let md_at_end = |len: u64| {
        let old = (len & !0xffff).checked_sub(0x10000);
        let new = len.checked_sub(8192).map(|at| at & !0xfff);
        old.is_some_and(|at| has(at, &md_magic)) || new.is_some_and(|at| has(at, &md_magic))
    };
    match () {
        () if has(0, b"LUKS\xba\xbe") => Filesystem::Luks,
        () if has(3, b"-FVE-FS-") => Filesystem::Bitlocker,
        () if (0..4).any(|sector| has(sector * 512, b"LABELONE")) => Filesystem::Lvm,
        () if has(0, &md_magic) || has(4096, &md_magic) || md_at_end(disk.len()) => Filesystem::Md,
        () if fs::ntfs::probe(disk) => Filesystem::Ntfs,
        () if fs::exfat::probe(disk) => Filesystem::Exfat,
        () if super::swap::probe(disk) => Filesystem::Swap,
        () if fs::ext::probe(disk) => Filesystem::Ext,
        () if fs::fat::probe(disk) => Filesystem::Fat,
        () if has(0, b"XFSB") => Filesystem::Xfs,
        () if has(0x10040, b"_BHRfS_M") => Filesystem::Btrfs,
        () if has(32, b"NXSB") => Filesystem::Apfs,
        () if has(1024, b"H+") || has(1024, b"HX") => Filesystem::Hfs,
        () => Filesystem::Unknown,
    }
}
