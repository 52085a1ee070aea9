//! Directory blocks, read linearly: the hash tree of a large directory hides inside entries that name nothing.

use crate::fs::ext::superblock::Superblock;
use crate::le::{u8_at, u16_at, u32_at};

const HEADER: usize = 8;

/// One name and the inode it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) inode: u32,
    pub(super) bytes: &'a [u8],
}

/// Calls `each` for every name in one block until it returns false. `Err` says where the block stops making sense.
pub(super) fn each_name<'a>(
    sb: &Superblock,
    block: &'a [u8],
    each: &mut dyn FnMut(Name<'a>) -> bool,
) -> Result<bool, &'static str> {
    let mut at = 0;
    while at < block.len() {
        let (Some(inode), Some(len)) = (u32_at(block, at), u16_at(block, at + 4)) else {
            return Err("a torn entry");
        };
        let len = usize::from(len);
        if len < HEADER || len % 4 != 0 || at + len > block.len() {
            return Err("an entry of wrong length");
        }
        if inode != 0 {
            let name = name_at(sb, block, at, len).ok_or("a name longer than its entry")?;
            let is_self_or_parent = name == b"." || name == b"..";
            // Such a name could lead a copy out of its target.
            if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
                return Err("a name that cannot be one");
            }
            if !is_self_or_parent && !each(Name { inode, bytes: name }) {
                return Ok(false);
            }
        }
        at += len;
    }
    Ok(true)
}

fn name_at<'a>(sb: &Superblock, block: &'a [u8], at: usize, len: usize) -> Option<&'a [u8]> {
    // Without filetype the length has 16 bits, of which a name needs eight.
    let name_len = match sb.filetype {
        true => usize::from(u8_at(block, at + 6)?),
        false => usize::from(u16_at(block, at + 6)?),
    };
    if HEADER + name_len > len || name_len > 255 {
        return None;
    }
    block.get(at + HEADER..at + HEADER + name_len)
}
