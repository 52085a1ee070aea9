//! Directory blocks, read linearly: the hash tree of a large directory hides inside entries that name nothing.

use crate::le::{u8_at, u16_at, u32_at};

const HEADER: usize = 8;

/// One name and the inode it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) inode: u32,
    pub(super) bytes: &'a [u8],
}

/// Calls `each` for every name in one block (with or without the `filetype` feature) until it returns false. `Err` says what of the block makes no sense; what
/// does was told.
pub(super) fn each_name<'a>(
    filetype: bool,
    block: &'a [u8],
    each: &mut dyn FnMut(Name<'a>) -> bool,
) -> Result<bool, &'static str> {
    let mut at = 0;
    let mut told = Ok(true);
    while at < block.len() {
        let (Some(inode), Some(len)) = (u32_at(block, at), u16_at(block, at + 4)) else {
            return Err("a torn entry");
        };
        let len = usize::from(len);
        if len < HEADER || len % 4 != 0 || at + len > block.len() {
            return Err("an entry of wrong length");
        }
        if inode != 0 {
            let name = name_at(filetype, block, at, len).ok_or("a name longer than its entry")?;
            let is_self_or_parent = name == b"." || name == b"..";
            // A slash could lead a copy out of its target; encrypted names may hold one by chance.
            let is_odd = name.is_empty() || name.contains(&b'/') || name.contains(&0);
            if is_odd {
                told = Err("a name that cannot be one");
            } else if !is_self_or_parent && !each(Name { inode, bytes: name }) {
                return Ok(false);
            }
        }
        at += len;
    }
    told
}

fn name_at(filetype: bool, block: &[u8], at: usize, len: usize) -> Option<&[u8]> {
    // Without filetype the length has 16 bits, of which a name needs eight.
    let name_len = match filetype {
        true => usize::from(u8_at(block, at + 6)?),
        false => usize::from(u16_at(block, at + 6)?),
    };
    if HEADER + name_len > len || name_len > 255 {
        return None;
    }
    block.get(at + HEADER..at + HEADER + name_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(inode: u32, len: u16, name: &[u8]) -> Vec<u8> {
        let mut bytes = inode.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend([name.len() as u8, 1]);
        bytes.extend(name);
        bytes.resize(usize::from(len), 0);
        bytes
    }

    fn names(block: &[u8]) -> (Vec<Vec<u8>>, Result<bool, &'static str>) {
        let mut names = Vec::new();
        let told = each_name(true, block, &mut |name| {
            names.push(name.bytes.to_vec());
            true
        });
        (names, told)
    }

    #[test]
    fn unused_entries_and_the_directory_itself_are_not_names() {
        let block = [entry(2, 12, b"."), entry(2, 12, b".."), entry(0, 16, b"gone"), entry(12, 24, b"here")].concat();
        assert_eq!(names(&block), (vec![b"here".to_vec()], Ok(true)));
    }

    #[test]
    fn a_name_with_a_slash_is_damage_that_hides_nobody_else() {
        let block = [entry(12, 24, b"../../etc"), entry(13, 12, b"b")].concat();
        assert_eq!(names(&block), (vec![b"b".to_vec()], Err("a name that cannot be one")));
    }

    #[test]
    fn entries_that_end_nowhere_stop_the_block() {
        for len in [0u16, 4, 10, 4096] {
            let mut block = [entry(12, 12, b"a"), entry(13, 12, b"b")].concat();
            block[16..18].copy_from_slice(&len.to_le_bytes());
            assert_eq!(names(&block), (vec![b"a".to_vec()], Err("an entry of wrong length")), "{len}");
        }
    }
}
