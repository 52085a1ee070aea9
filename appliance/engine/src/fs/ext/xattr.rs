//! Extended attributes: the blocks that several inodes may share, and inline data, which is an attribute in disguise.

use super::Ext;
use super::checksum::crc32c;
use super::inode::Inode;
use super::superblock::Checksums;
use crate::fs::FsError;
use crate::le::{u8_at, u16_at, u32_at};
use crate::read::ReadAt;

const MAGIC: u32 = 0xEA02_0000;
const ENTRY_HEADER: usize = 16;
/// `system.`, of which `system.data` is the rest of an inline file.
const INDEX_SYSTEM: u8 = 7;

/// One attribute block.
pub(super) struct XattrBlock {
    /// How many inodes point to it.
    pub(super) references: u32,
    /// False when its checksum is wrong.
    pub(super) intact: bool,
}

impl<R: ReadAt> Ext<R> {
    /// Reads an attribute block; the caller checked that it is in range.
    pub(super) fn xattr_block(&self, block: u64) -> Result<XattrBlock, FsError> {
        let bytes = self.read_block(block)?;
        let damaged = || FsError::Damaged(format!("attribute block {block}: wrong header"));
        let (Some(MAGIC), Some(references), Some(stored)) = (u32_at(&bytes, 0), u32_at(&bytes, 4), u32_at(&bytes, 16))
        else {
            return Err(damaged());
        };
        let intact = self.sb.checksums != Checksums::All || {
            let head = crc32c(crc32c(self.sb.seed, &block.to_le_bytes()), bytes.get(..16).ok_or_else(damaged)?);
            crc32c(crc32c(head, &[0; 4]), bytes.get(20..).ok_or_else(damaged)?) == stored
        };
        Ok(XattrBlock { references, intact })
    }
}

/// Content kept inside the inode: what fits into the map, then the value of `system.data`.
pub(super) fn inline_content(inode: &Inode, inode_bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let area = inode_bytes.get(inode.extra_at..).unwrap_or_default();
    (inode.map.to_vec(), inline_rest(area).unwrap_or_default().to_vec())
}

fn inline_rest(area: &[u8]) -> Option<&[u8]> {
    if u32_at(area, 0)? != MAGIC {
        return None;
    }
    let entries = area.get(4..)?;
    let mut at = 0;
    // Four zero bytes end the list; every entry moves on by at least its header.
    while u32_at(entries, at)? != 0 {
        let name_len = usize::from(u8_at(entries, at)?);
        let name = entries.get(at + ENTRY_HEADER..at + ENTRY_HEADER + name_len)?;
        if u8_at(entries, at + 1)? == INDEX_SYSTEM && name == b"data" {
            let start = usize::from(u16_at(entries, at + 2)?);
            let len = usize::try_from(u32_at(entries, at + 8)?).ok()?;
            return entries.get(start..start.checked_add(len)?);
        }
        at += (ENTRY_HEADER + name_len).next_multiple_of(4);
    }
    None
}
