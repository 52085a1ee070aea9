//! Block groups: where their descriptors lie, what a descriptor says, and which blocks are fixed by geometry alone.
//!
//! A descriptor is only handed out with all of its block numbers inside the filesystem.

use super::checksum::{crc16, crc32c};
use super::superblock::{Checksums, Superblock};
use super::{Ext, read};
use crate::fs::FsError;
use crate::le::{u16_at, u32_at};
use crate::read::ReadAt;

const INODES_UNINITIALISED: u16 = 0x1;
const BLOCKS_UNINITIALISED: u16 = 0x2;

/// One group descriptor.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) number: u32,
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    /// False when the descriptor's checksum is wrong.
    pub(super) intact: bool,
    /// The block bitmap was never written: only the fixed blocks are in use.
    pub(super) blocks_uninitialised: bool,
    /// Inodes at the start of the table that were ever used; those behind may hold garbage.
    pub(super) inodes_initialised: u32,
    block_bitmap_sum: Sum,
    inode_bitmap_sum: Sum,
}

/// A bitmap's checksum; small descriptors keep only its lower half.
#[derive(Clone, Copy, Debug)]
enum Sum {
    Unchecked,
    Half(u16),
    Whole(u32),
}

impl Sum {
    fn fits(self, sum: u32) -> bool {
        match self {
            Sum::Unchecked => true,
            Sum::Half(half) => half == sum as u16,
            Sum::Whole(whole) => whole == sum,
        }
    }
}

impl<R: ReadAt> Ext<R> {
    /// Reads one descriptor.
    pub(super) fn group(&self, number: u32) -> Result<Group, FsError> {
        let at = self.sb.descriptor_at(number);
        Group::parse(&self.sb, number, &read(&self.disk, at, self.sb.descriptor_size)?)
    }
}

impl Group {
    /// Parses `descriptor_size` bytes.
    pub(super) fn parse(sb: &Superblock, number: u32, bytes: &[u8]) -> Result<Self, FsError> {
        let group = Self::fields(sb, number, bytes)
            .ok_or_else(|| FsError::Damaged(format!("group {number}: the descriptor is short")))?;
        let in_range = sb.holds(group.block_bitmap, 1)
            && sb.holds(group.inode_bitmap, 1)
            && sb.holds(group.inode_table, sb.inode_table_blocks());
        if !in_range {
            return Err(FsError::Damaged(format!("group {number}: the descriptor points outside of the filesystem")));
        }
        Ok(group)
    }

    fn fields(sb: &Superblock, number: u32, b: &[u8]) -> Option<Self> {
        let wide = b.len() >= 64;
        let high16 = |at| if wide { u16_at(b, at) } else { Some(0) };
        let block = |low, high| {
            let high = if wide { u32_at(b, high)? } else { 0 };
            Some(u64::from(high) << 32 | u64::from(u32_at(b, low)?))
        };
        // The flags and the count of unused inodes mean something only where a checksum vouches for them.
        let flags = if sb.checksums == Checksums::None { 0 } else { u16_at(b, 0x12)? };
        let unused = u32::from(high16(0x32)?) << 16 | u32::from(u16_at(b, 0x1C)?);
        let inodes_initialised = match sb.checksums {
            Checksums::None => sb.inodes_per_group,
            _ if flags & INODES_UNINITIALISED != 0 => 0,
            // More unused inodes than there are: believe none of it and scan them all.
            _ => sb.inodes_per_group.checked_sub(unused).unwrap_or(sb.inodes_per_group),
        };
        let sum = |low, high| {
            let low = u16_at(b, low)?;
            Some(match sb.checksums {
                Checksums::All if wide => Sum::Whole(u32::from(u16_at(b, high)?) << 16 | u32::from(low)),
                Checksums::All => Sum::Half(low),
                _ => Sum::Unchecked,
            })
        };
        Some(Self {
            number,
            block_bitmap: block(0x0, 0x20)?,
            inode_bitmap: block(0x4, 0x24)?,
            inode_table: block(0x8, 0x28)?,
            intact: descriptor_is_intact(sb, number, b)?,
            blocks_uninitialised: flags & BLOCKS_UNINITIALISED != 0,
            inodes_initialised,
            block_bitmap_sum: sum(0x18, 0x38)?,
            inode_bitmap_sum: sum(0x1A, 0x3A)?,
        })
    }

    /// Whether the block bitmap's checksum holds.
    pub(super) fn block_bitmap_is_intact(&self, sb: &Superblock, bitmap: &[u8]) -> bool {
        let len = (sb.blocks_per_group / 8) as usize;
        bitmap.get(..len).is_some_and(|bits| self.block_bitmap_sum.fits(crc32c(sb.seed, bits)))
    }

    /// Whether the inode bitmap's checksum holds.
    pub(super) fn inode_bitmap_is_intact(&self, sb: &Superblock, bitmap: &[u8]) -> bool {
        let len = (sb.inodes_per_group / 8) as usize;
        bitmap.get(..len).is_some_and(|bits| self.inode_bitmap_sum.fits(crc32c(sb.seed, bits)))
    }

    /// The blocks that are in use although no bitmap was ever written, as `(first, count)`.
    pub(super) fn fixed_blocks(&self, sb: &Superblock) -> Vec<(u64, u64)> {
        let start = sb.group_start(self.number);
        let inside = start..start + sb.group_len(self.number);
        let own = [(self.block_bitmap, 1), (self.inode_bitmap, 1), (self.inode_table, sb.inode_table_blocks())];
        let base = (start, sb.base_blocks(self.number));
        let own = own.into_iter().filter(|(first, _)| inside.contains(first));
        own.chain([base]).filter(|(_, count)| *count > 0).collect()
    }
}

fn descriptor_is_intact(sb: &Superblock, number: u32, b: &[u8]) -> Option<bool> {
    let stored = u16_at(b, 0x1E)?;
    let (before, after) = (b.get(..0x1E)?, b.get(0x20..)?);
    Some(match sb.checksums {
        Checksums::None => true,
        Checksums::Descriptors => {
            let head = crc16(crc16(crc16(0xFFFF, &sb.uuid), &number.to_le_bytes()), before);
            crc16(head, after) == stored
        }
        Checksums::All => {
            let head = crc32c(crc32c(sb.seed, &number.to_le_bytes()), before);
            crc32c(crc32c(head, &[0; 2]), after) as u16 == stored
        }
    })
}

impl Superblock {
    /// Group descriptors in one block.
    fn descriptors_per_block(&self) -> u64 {
        self.block_size / self.descriptor_size as u64
    }

    /// Where a group's descriptor lies, in bytes.
    pub(super) fn descriptor_at(&self, group: u32) -> u64 {
        let per_block = self.descriptors_per_block();
        let index = u64::from(group) / per_block;
        let block = match self.first_meta_bg {
            Some(first) if index >= first => {
                let home = (index * per_block) as u32;
                self.group_start(home) + u64::from(self.has_superblock(home))
            }
            _ => self.first_data_block + 1 + index,
        };
        self.bytes(block, 1).start + (u64::from(group) % per_block) * self.descriptor_size as u64
    }

    /// How many blocks at the start of a group hold the superblock, descriptors, and those reserved for descriptors.
    pub(super) fn base_blocks(&self, group: u32) -> u64 {
        let per_block = self.descriptors_per_block();
        let copy = u64::from(self.has_superblock(group));
        let count = match self.first_meta_bg {
            Some(first) if u64::from(group) / per_block >= first => {
                // The first, second and last group of each meta group hold its one descriptor block.
                let place = u64::from(group) % per_block;
                copy + u64::from(place <= 1 || place == per_block - 1)
            }
            Some(first) => copy * (1 + first),
            None => copy * (1 + u64::from(self.groups).div_ceil(per_block) + self.reserved_gdt_blocks),
        };
        count.min(self.group_len(group))
    }
}
