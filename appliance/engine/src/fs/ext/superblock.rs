//! The superblock: the geometry everything else is computed from, checked once so that nobody below has to.
//!
//! After `parse` every block number below `blocks` times the block size fits in 64 bits, no divisor is zero, and the
//! inode tables together fit into the filesystem. Features that change who owns a block are refused unless known.

use super::checksum;
use crate::fs::{Extent, FsError};
use crate::le::{array_at, u8_at, u16_at, u32_at, u64_at};

/// Bytes of a superblock.
pub(super) const SIZE: usize = 1024;
/// `s_magic`.
pub(super) const MAGIC: u16 = 0xEF53;

/// More blocks than ext4 can address; keeps all arithmetic far from overflow.
const MAX_BLOCKS: u64 = 1 << 48;
/// The smallest group mke2fs makes. Smaller ones would let a forged superblock demand absurd amounts of work.
const MIN_BLOCKS_PER_GROUP: u64 = 256;

/// `s_feature_compat` bits we act on; unknown ones are harmless by definition.
mod compat {
    pub(super) const HAS_JOURNAL: u32 = 0x4;
    pub(super) const RESIZE_INODE: u32 = 0x10;
    pub(super) const SPARSE_SUPER2: u32 = 0x200;
    pub(super) const ORPHAN_FILE: u32 = 0x1000;
}

/// `s_feature_incompat` bits.
mod incompat {
    pub(super) const COMPRESSION: u32 = 0x1;
    pub(super) const FILETYPE: u32 = 0x2;
    pub(super) const RECOVER: u32 = 0x4;
    pub(super) const JOURNAL_DEV: u32 = 0x8;
    pub(super) const META_BG: u32 = 0x10;
    pub(super) const EXTENTS: u32 = 0x40;
    pub(super) const BITS_64: u32 = 0x80;
    pub(super) const MMP: u32 = 0x100;
    pub(super) const FLEX_BG: u32 = 0x200;
    pub(super) const EA_INODE: u32 = 0x400;
    pub(super) const CSUM_SEED: u32 = 0x2000;
    pub(super) const LARGEDIR: u32 = 0x4000;
    pub(super) const INLINE_DATA: u32 = 0x8000;
    pub(super) const ENCRYPT: u32 = 0x1_0000;
    pub(super) const CASEFOLD: u32 = 0x2_0000;
    pub(super) const KNOWN: u32 = FILETYPE
        | RECOVER
        | META_BG
        | EXTENTS
        | BITS_64
        | MMP
        | FLEX_BG
        | EA_INODE
        | CSUM_SEED
        | LARGEDIR
        | INLINE_DATA
        | ENCRYPT
        | CASEFOLD;
}

/// `s_feature_ro_compat` bits.
mod ro_compat {
    pub(super) const SPARSE_SUPER: u32 = 0x1;
    pub(super) const GDT_CSUM: u32 = 0x10;
    pub(super) const QUOTA: u32 = 0x100;
    pub(super) const BIGALLOC: u32 = 0x200;
    pub(super) const METADATA_CSUM: u32 = 0x400;
    pub(super) const SHARED_BLOCKS: u32 = 0x4000;
    /// sparse_super, large_file, btree_dir, huge_file, gdt_csum, dir_nlink, extra_isize, quota, metadata_csum,
    /// readonly, project, verity, orphan_present.
    pub(super) const KNOWN: u32 =
        0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x400 | 0x1000 | 0x2000 | 0x8000 | 0x1_0000;
}

/// How group descriptors, bitmaps and inodes are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksums {
    None,
    /// `gdt_csum`: only group descriptors, crc16.
    Descriptors,
    /// `metadata_csum`: everything, crc32c.
    All,
}

/// A checked superblock.
#[derive(Clone, Debug)]
pub(super) struct Superblock {
    pub(super) block_size: u64,
    pub(super) first_data_block: u64,
    /// Blocks of the filesystem, `first_data_block` and what lies before it included.
    pub(super) blocks: u64,
    pub(super) blocks_per_group: u64,
    pub(super) groups: u32,
    pub(super) inodes: u32,
    pub(super) inodes_per_group: u32,
    pub(super) inode_size: usize,
    pub(super) descriptor_size: usize,
    pub(super) reserved_gdt_blocks: u64,
    /// Descriptor blocks from here on live in their own groups; `None` without meta_bg.
    pub(super) first_meta_bg: Option<u64>,
    pub(super) checksums: Checksums,
    /// Seed of all crc32c sums but the superblock's own.
    pub(super) seed: u32,
    pub(super) uuid: [u8; 16],
    /// False when the superblock's own checksum is wrong.
    pub(super) intact: bool,
    /// The kernel found errors, or pulled the plug on a filesystem that no journal mends.
    pub(super) unclean: Option<&'static str>,
    pub(super) journal_inode: Option<u32>,
    pub(super) needs_recovery: bool,
    pub(super) resize_inode: bool,
    pub(super) mmp_block: Option<u64>,
    pub(super) filetype: bool,
    pub(super) largedir: bool,
    /// Inodes that hold filesystem structures: quota files and the orphan file.
    pub(super) structure_inodes: [u32; 4],
    backups: Backups,
}

/// Which groups hold a copy of the superblock.
#[derive(Clone, Copy, Debug)]
enum Backups {
    Everywhere,
    PowersOf357,
    Only([u32; 2]),
}

impl Superblock {
    /// Parses the 1024 bytes at offset 1024.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, FsError> {
        Self::fields(bytes).unwrap_or_else(|| Err(unusable("the superblock is short")))
    }

    fn fields(b: &[u8]) -> Option<Result<Self, FsError>> {
        if u16_at(b, 0x38)? != MAGIC {
            return Some(Err(unusable("no magic number")));
        }
        // Revision 0 has no feature words: the bytes there mean nothing.
        let dynamic = u32_at(b, 0x4C)? >= 1;
        let feature = |at| if dynamic { u32_at(b, at) } else { Some(0) };
        let (compat, incompat, ro_compat) = (feature(0x5C)?, feature(0x60)?, feature(0x64)?);
        if let Err(refused) = refuse(incompat, ro_compat) {
            return Some(Err(refused));
        }

        let block_size = match u32_at(b, 0x18)? {
            log @ 0..=2 => 1024u64 << log,
            log @ 3..=6 => return Some(Err(unsupported(format!("blocks of {} bytes", 1024u64 << log)))),
            _ => return Some(Err(unusable("block size"))),
        };
        let is_64bit = incompat & incompat::BITS_64 != 0;
        let high = if is_64bit { u32_at(b, 0x150)? } else { 0 };
        let blocks = u64::from(high) << 32 | u64::from(u32_at(b, 0x4)?);
        let first_data_block = u64::from(u32_at(b, 0x14)?);
        let blocks_per_group = u64::from(u32_at(b, 0x20)?);
        let inodes_per_group = u32_at(b, 0x28)?;
        let inodes = u32_at(b, 0x0)?;
        let inode_size = if dynamic { usize::from(u16_at(b, 0x58)?) } else { 128 };
        let descriptor_size = if is_64bit { usize::from(u16_at(b, 0xFE)?) } else { 32 };

        if blocks <= first_data_block || blocks > MAX_BLOCKS || first_data_block != u64::from(block_size == 1024) {
            return Some(Err(unusable("number of blocks")));
        }
        let bits = 8 * block_size;
        if !(MIN_BLOCKS_PER_GROUP..=bits).contains(&blocks_per_group) || blocks_per_group % 8 != 0 {
            return Some(Err(unusable("blocks per group")));
        }
        if !inode_size.is_power_of_two() || inode_size < 128 || inode_size as u64 > block_size {
            return Some(Err(unusable("inode size")));
        }
        let smallest = if is_64bit { 64 } else { 32 };
        if !descriptor_size.is_power_of_two() || !(smallest..=1024).contains(&descriptor_size) {
            return Some(Err(unusable("group descriptor size")));
        }
        let groups = (blocks - first_data_block).div_ceil(blocks_per_group);
        if inodes_per_group == 0
            || u64::from(inodes_per_group) > bits
            || groups.checked_mul(u64::from(inodes_per_group)) != Some(u64::from(inodes))
        {
            return Some(Err(unusable("number of inodes")));
        }
        let checksums = if ro_compat & ro_compat::METADATA_CSUM != 0 {
            Checksums::All
        } else if ro_compat & ro_compat::GDT_CSUM != 0 {
            Checksums::Descriptors
        } else {
            Checksums::None
        };
        if checksums == Checksums::All && u8_at(b, 0x175)? != 1 {
            return Some(Err(unsupported("checksums other than crc32c")));
        }
        let uuid = array_at(b, 0x68)?;
        let seed = if incompat & incompat::CSUM_SEED != 0 {
            u32_at(b, 0x270)?
        } else {
            checksum::crc32c(checksum::START, &uuid)
        };
        let journal_inode = match (compat & compat::HAS_JOURNAL != 0, u32_at(b, 0xE0)?) {
            (false, _) => None,
            (true, 0) => return Some(Err(unsupported("a journal on another device"))),
            (true, inode) => Some(inode),
        };
        let quota = |at| if ro_compat & ro_compat::QUOTA != 0 { u32_at(b, at) } else { Some(0) };
        let orphan_file = if compat & compat::ORPHAN_FILE != 0 { u32_at(b, 0x280)? } else { 0 };
        let backups = if compat & compat::SPARSE_SUPER2 != 0 {
            Backups::Only([u32_at(b, 0x24C)?, u32_at(b, 0x250)?])
        } else if ro_compat & ro_compat::SPARSE_SUPER != 0 {
            Backups::PowersOf357
        } else {
            Backups::Everywhere
        };
        let sum = checksum::crc32c(checksum::START, b.get(..0x3FC)?);
        let sb = Self {
            block_size,
            first_data_block,
            blocks,
            blocks_per_group,
            groups: u32::try_from(groups).ok()?,
            inodes,
            inodes_per_group,
            inode_size,
            descriptor_size,
            reserved_gdt_blocks: if dynamic { u64::from(u16_at(b, 0xCE)?) } else { 0 },
            first_meta_bg: (incompat & incompat::META_BG != 0).then_some(u64::from(u32_at(b, 0x104)?)),
            checksums,
            seed,
            uuid,
            intact: checksums != Checksums::All || sum == u32_at(b, 0x3FC)?,
            unclean: unclean(u16_at(b, 0x3A)?, journal_inode.is_some()),
            journal_inode,
            needs_recovery: incompat & incompat::RECOVER != 0,
            resize_inode: compat & compat::RESIZE_INODE != 0,
            mmp_block: (incompat & incompat::MMP != 0).then_some(u64_at(b, 0x168)?),
            filetype: incompat & incompat::FILETYPE != 0,
            largedir: incompat & incompat::LARGEDIR != 0,
            structure_inodes: [quota(0x240)?, quota(0x244)?, quota(0x26C)?, orphan_file],
            backups,
        };
        // Tables never overlap, so together they fit. This bounds the work a forged superblock can ask for.
        if sb.inode_table_blocks().saturating_mul(groups) > blocks {
            return Some(Err(unusable("the inode tables do not fit")));
        }
        Some(Ok(sb))
    }

    /// The block size as a length.
    pub(super) fn block_len(&self) -> usize {
        self.block_size as usize
    }

    /// The bytes of `count` blocks. Saturates, so that wild numbers compare as out of range.
    pub(super) fn bytes(&self, block: u64, count: u64) -> Extent {
        Extent::new(block.saturating_mul(self.block_size), count.saturating_mul(self.block_size))
    }

    /// True when the blocks lie inside the filesystem and none of them is the superblock's.
    pub(super) fn holds(&self, block: u64, count: u64) -> bool {
        count > 0 && block > self.first_data_block && block.checked_add(count).is_some_and(|end| end <= self.blocks)
    }

    /// First block of a group.
    pub(super) fn group_start(&self, group: u32) -> u64 {
        self.first_data_block + u64::from(group) * self.blocks_per_group
    }

    /// Blocks of a group; the last one may be short.
    pub(super) fn group_len(&self, group: u32) -> u64 {
        self.blocks.saturating_sub(self.group_start(group)).min(self.blocks_per_group)
    }

    /// Blocks of one group's inode table.
    pub(super) fn inode_table_blocks(&self) -> u64 {
        (u64::from(self.inodes_per_group) * self.inode_size as u64).div_ceil(self.block_size)
    }

    /// Whether the group starts with a copy of the superblock.
    pub(super) fn has_superblock(&self, group: u32) -> bool {
        match self.backups {
            _ if group == 0 => true,
            Backups::Everywhere => true,
            Backups::PowersOf357 => group == 1 || [3, 5, 7].into_iter().any(|base| is_power(group, base)),
            Backups::Only(groups) => groups.contains(&group),
        }
    }
}

/// Bitmaps of such a filesystem may call blocks free that e2fsck would find in use.
fn unclean(state: u16, has_journal: bool) -> Option<&'static str> {
    const CLEAN: u16 = 0x1;
    const ERRORS: u16 = 0x2;
    match state {
        _ if state & ERRORS != 0 => Some("the kernel marked the filesystem as damaged"),
        _ if state & CLEAN == 0 && !has_journal => Some("not unmounted cleanly, and there is no journal"),
        _ => None,
    }
}

fn is_power(mut number: u32, base: u32) -> bool {
    while number > 1 && number.is_multiple_of(base) {
        number /= base;
    }
    number == 1
}

fn refuse(incompat: u32, ro_compat: u32) -> Result<(), FsError> {
    if incompat & incompat::JOURNAL_DEV != 0 {
        return Err(unsupported("this is a journal device, not a filesystem"));
    }
    if incompat & incompat::COMPRESSION != 0 {
        return Err(unsupported("compression"));
    }
    if incompat & !incompat::KNOWN != 0 {
        return Err(unsupported(format!("incompatible features {:#x}", incompat & !incompat::KNOWN)));
    }
    if ro_compat & ro_compat::BIGALLOC != 0 {
        return Err(unsupported("bigalloc"));
    }
    if ro_compat & ro_compat::SHARED_BLOCKS != 0 {
        return Err(unsupported("blocks shared between files"));
    }
    // A mount could go on read-only, but bigalloc shows that such a feature may redefine the bitmap.
    if ro_compat & !ro_compat::KNOWN != 0 {
        return Err(unsupported(format!("read-only features {:#x}", ro_compat & !ro_compat::KNOWN)));
    }
    Ok(())
}

fn unusable(what: &str) -> FsError {
    FsError::Unusable(format!("ext superblock: {what}"))
}

fn unsupported(what: impl Into<String>) -> FsError {
    FsError::Unsupported(format!("ext: {}", what.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_three_five_and_seven_are_told_from_other_numbers() {
        assert!(is_power(1, 3) && is_power(81, 3) && is_power(343, 7) && is_power(25, 5));
        assert!(!is_power(0, 3) && !is_power(6, 3) && !is_power(15, 5) && !is_power(2, 7));
    }

    #[test]
    fn a_short_or_empty_superblock_is_unusable() {
        assert!(matches!(Superblock::parse(&[]), Err(FsError::Unusable(_))));
        assert!(matches!(Superblock::parse(&[0; SIZE]), Err(FsError::Unusable(_))));
    }
}
