//! One inode: what kind of thing it is and where its block map starts.

use super::checksum::crc32c;
use super::superblock::{Checksums, Superblock};
use super::{Ext, read};
use crate::fs::{FileId, FsError, Node, NodeKind};
use crate::le::{array_at, u16_at, u32_at};
use crate::read::ReadAt;

/// The root directory.
pub(super) const ROOT: u32 = 2;
/// Blocks that mke2fs or e2fsck found unreadable.
pub(super) const BAD_BLOCKS: u32 = 1;
/// Owns the blocks kept for more group descriptors.
pub(super) const RESIZE: u32 = 7;

/// Bytes in an inode that a short symlink, or the start of inline data, can use.
pub(super) const MAP_LEN: usize = 60;
/// The part of an inode that every revision has.
const OLD_SIZE: usize = 128;

const EXTENTS: u32 = 0x8_0000;
const XATTR_VALUE: u32 = 0x20_0000;
const INLINE_DATA: u32 = 0x1000_0000;

/// An inode's fields, as far as anybody here needs them.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) number: u32,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) size: u64,
    pub(super) links: u16,
    pub(super) modified: i64,
    pub(super) flags: u32,
    pub(super) map: [u8; MAP_LEN],
    pub(super) xattr_block: u64,
    /// Seed for the checksums of this inode's extent blocks.
    pub(super) seed: u32,
    /// False when the checksum is wrong.
    pub(super) intact: bool,
    /// First byte behind the fixed fields, where attributes inside the inode start.
    pub(super) extra_at: usize,
}

/// The file type bits of the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    /// Devices, FIFOs, sockets: no blocks.
    Special,
    /// Mode bits that mean nothing.
    Unknown,
}

impl<R: ReadAt> Ext<R> {
    /// Reads one inode and its bytes.
    pub(super) fn inode(&self, number: u32) -> Result<(Inode, Vec<u8>), FsError> {
        let index = number.wrapping_sub(1);
        if index >= self.sb.inodes {
            return Err(FsError::NotFound(format!("inode {number}")));
        }
        let group = self.group(index / self.sb.inodes_per_group)?;
        let place = u64::from(index % self.sb.inodes_per_group) * self.sb.inode_size as u64;
        let at = self.sb.bytes(group.inode_table, 1).start + place;
        let bytes = read(&self.disk, at, self.sb.inode_size)?;
        Ok((Inode::parse(&self.sb, number, &bytes)?, bytes))
    }
}

impl Inode {
    /// Parses `inode_size` bytes.
    pub(super) fn parse(sb: &Superblock, number: u32, bytes: &[u8]) -> Result<Self, FsError> {
        Self::fields(sb, number, bytes).ok_or_else(|| FsError::Damaged(format!("inode {number}: short")))
    }

    fn fields(sb: &Superblock, number: u32, b: &[u8]) -> Option<Self> {
        let mode = u16_at(b, 0x0)?;
        let is_directory = mode & 0xF000 == 0x4000;
        // In directories the upper half was an ACL block before largedir.
        let size_high = if is_directory && !sb.largedir { 0 } else { u32_at(b, 0x6C)? };
        let extra = if b.len() > OLD_SIZE { usize::from(u16_at(b, OLD_SIZE)?) } else { 0 };
        let extra = if OLD_SIZE + extra <= b.len() { extra } else { 0 };
        let epoch = if extra >= 12 { u32_at(b, 0x88)? & 3 } else { 0 };
        let seed = crc32c(crc32c(sb.seed, &number.to_le_bytes()), b.get(0x64..0x68)?);
        Some(Self {
            number,
            mode,
            uid: u32::from(u16_at(b, 0x78)?) << 16 | u32::from(u16_at(b, 0x2)?),
            size: u64::from(size_high) << 32 | u64::from(u32_at(b, 0x4)?),
            links: u16_at(b, 0x1A)?,
            modified: i64::from(u32_at(b, 0x10)? as i32) + (i64::from(epoch) << 32),
            flags: u32_at(b, 0x20)?,
            map: array_at(b, 0x28)?,
            xattr_block: u64::from(u16_at(b, 0x76)?) << 32 | u64::from(u32_at(b, 0x68)?),
            seed,
            intact: sb.checksums != Checksums::All || is_intact(seed, extra, b)?,
            extra_at: OLD_SIZE + extra,
        })
    }

    pub(super) fn kind(&self) -> Kind {
        match self.mode >> 12 {
            0x8 => Kind::File,
            0x4 => Kind::Directory,
            0xA => Kind::Symlink,
            0x1 | 0x2 | 0x6 | 0xC => Kind::Special,
            _ => Kind::Unknown,
        }
    }

    /// Reserved inodes are marked as used but hold nothing.
    pub(super) fn is_blank(&self) -> bool {
        self.mode == 0 && self.links == 0 && self.map.iter().all(|byte| *byte == 0)
    }

    pub(super) fn has_extents(&self) -> bool {
        self.flags & EXTENTS != 0
    }

    pub(super) fn has_inline_data(&self) -> bool {
        self.flags & INLINE_DATA != 0
    }

    /// The inode holds the value of one extended attribute.
    pub(super) fn is_xattr_value(&self) -> bool {
        self.flags & XATTR_VALUE != 0
    }

    /// A symlink whose target lies where the block map would.
    pub(super) fn is_short_symlink(&self) -> bool {
        self.kind() == Kind::Symlink && !self.has_extents() && !self.has_inline_data() && self.size < MAP_LEN as u64
    }

    /// Whether `map` describes blocks at all.
    pub(super) fn has_blocks(&self) -> bool {
        self.kind() != Kind::Special && !self.has_inline_data() && !self.is_short_symlink()
    }

    /// The inode as the tree shows it.
    pub(super) fn node(&self) -> Node {
        let kind = match self.kind() {
            Kind::File => NodeKind::File,
            Kind::Directory => NodeKind::Directory,
            Kind::Symlink => NodeKind::Symlink,
            Kind::Special | Kind::Unknown => NodeKind::Other,
        };
        Node {
            id: FileId(u64::from(self.number)),
            kind,
            size: self.size,
            modified: self.modified,
            mode: Some(u32::from(self.mode & 0o7777)),
        }
    }
}

/// The checksum covers the inode with its own two halves zeroed; the upper half exists only in large inodes.
fn is_intact(seed: u32, extra: usize, b: &[u8]) -> Option<bool> {
    let low = u16_at(b, 0x7C)?;
    let mut sum = crc32c(seed, b.get(..0x7C)?);
    sum = crc32c(sum, &[0; 2]);
    sum = crc32c(sum, b.get(0x7E..OLD_SIZE)?);
    if extra < 4 {
        sum = crc32c(sum, b.get(OLD_SIZE..)?);
        return Some(sum as u16 == low);
    }
    sum = crc32c(sum, b.get(OLD_SIZE..0x82)?);
    sum = crc32c(sum, &[0; 2]);
    sum = crc32c(sum, b.get(0x84..)?);
    Some(sum == u32::from(u16_at(b, 0x82)?) << 16 | u32::from(low))
}
