//! Reparse points: tells links, whose target can be shown, from files that only another program can make sense of.
//!
//! A file compressed by WOF or deduplicated has a data stream of zeros; handing that out as content would be a lie.

use super::names;
use crate::fs::NodeKind;
use crate::le::{u16_at, u32_at};

const MOUNT_POINT: u32 = 0xA000_0003;
const SYMLINK: u32 = 0xA000_000C;
/// A link made by WSL: version, then the target in UTF-8.
const WSL_SYMLINK: u32 = 0xA000_001D;
/// OneDrive and its kin; one digit of the tag varies.
const CLOUD: u32 = 0x9000_001A;
const CLOUD_MASK: u32 = 0xFFFF_0FFF;

/// Of the file attributes: the content is somewhere else.
const OFFLINE: u32 = 0x0000_1000;
const RECALL_ON_OPEN: u32 = 0x0004_0000;
const RECALL_ON_ACCESS: u32 = 0x0040_0000;

/// What a file or directory with this reparse point is, given the flags of its standard information.
pub(super) fn kind(value: &[u8], directory: bool, attributes: u32) -> NodeKind {
    let tag = u32_at(value, 0).unwrap_or(0);
    let elsewhere = attributes & (OFFLINE | RECALL_ON_OPEN | RECALL_ON_ACCESS) != 0;
    match tag {
        MOUNT_POINT | SYMLINK | WSL_SYMLINK => NodeKind::Symlink,
        _ if directory => NodeKind::Directory,
        _ if tag & CLOUD_MASK == CLOUD && !elsewhere => NodeKind::File,
        _ => NodeKind::Other,
    }
}

/// The target of a link: what a person would read, or else what Windows follows.
pub(super) fn target(value: &[u8]) -> Option<Vec<u8>> {
    let names_at = match u32_at(value, 0)? {
        WSL_SYMLINK => {
            let end = 8 + usize::from(u16_at(value, 4)?);
            return Some(value.get(12..end)?.to_vec());
        }
        SYMLINK => 20,
        MOUNT_POINT => 16,
        _ => return None,
    };
    let name = |field: usize| {
        let at = names_at + usize::from(u16_at(value, field)?);
        value.get(at..at + usize::from(u16_at(value, field + 2)?))
    };
    let shown = name(12).filter(|shown| !shown.is_empty());
    Some(names::to_wtf8(shown.or_else(|| name(8))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_nonsense_is_not() {
        let mut value = Vec::new();
        value.extend(SYMLINK.to_le_bytes());
        value.extend([0, 0, 0, 0, 4, 0, 4, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
        value.extend(b"a\0b\0c\0d\0");
        assert_eq!(target(&value).as_deref(), Some(&b"ab"[..]));
        assert_eq!(kind(&value, false, 0), NodeKind::Symlink);
        assert_eq!(target(&value[..22]), None);
        for len in 0..value.len() {
            let _ = target(&value[..len]);
        }
    }

    #[test]
    fn a_file_whose_bytes_are_elsewhere_is_not_read_as_zeros() {
        let cloud = 0x9000_301Au32.to_le_bytes();
        assert_eq!(kind(&cloud, false, 0), NodeKind::File);
        assert_eq!(kind(&cloud, false, RECALL_ON_ACCESS), NodeKind::Other);
        assert_eq!(kind(&cloud, true, RECALL_ON_ACCESS), NodeKind::Directory);
        assert_eq!(kind(&0x8000_0017u32.to_le_bytes(), false, 0), NodeKind::Other);
    }
}
