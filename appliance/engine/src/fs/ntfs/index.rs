//! Directories: the `$I30` index, read block by block instead of from node to node.
//!
//! Every entry of a B-tree lies in exactly one node, so all blocks that the index's own bitmap marks as used hold all
//! entries, and a tree that loops cannot keep anybody here.

use super::attribute::{BITMAP, FileName, INDEX_ALLOCATION, INDEX_ROOT};
use super::record::{Record, number_of, repair};
use super::stream::Stream;
use super::volume::Volume;
use crate::fs::FsError;
use crate::le::{u16_at, u32_at, u64_at};

/// "$I30" in UTF-16LE.
const NAME: &[u8] = b"$\0I\x003\x000\0";
/// One bit per block: a bitmap this long covers 64 million blocks, 256 GiB of names.
const MAX_BITMAP: u64 = 8 << 20;
/// A resident index root lies in one MFT record.
const MAX_ROOT: u64 = 64 << 10;
const BLOCK_SIZES: std::ops::RangeInclusive<u64> = 512..=65536;

/// Of the entry flags: holds no name, ends its node.
const LAST: u16 = 2;

/// One name in a directory.
pub(super) struct IndexEntry<'a> {
    /// Record number of what it names.
    pub(super) number: u64,
    pub(super) file: FileName<'a>,
}

/// Calls `each` for every name, aliases too, until it returns false.
pub(super) fn each(
    volume: &Volume<'_>,
    directory: u64,
    record: &Record<'_>,
    each: &mut dyn FnMut(IndexEntry<'_>) -> Result<bool, FsError>,
) -> Result<(), FsError> {
    let open = |kind| Stream::of(volume, directory, record, kind, NAME);
    let damaged = |flaw: &str| FsError::Damaged(format!("directory {directory}: {flaw}"));
    let root = open(INDEX_ROOT)?.ok_or_else(|| damaged("has no index root"))?.read_all(volume, MAX_ROOT)?;
    let block_size = u64::from(u32_at(&root, 8).unwrap_or(0));
    if !node(root.get(16..).unwrap_or_default(), each)? {
        return Ok(());
    }
    let Some(blocks) = open(INDEX_ALLOCATION)? else { return Ok(()) };
    if !BLOCK_SIZES.contains(&block_size) || !block_size.is_power_of_two() {
        return Err(damaged("has an impossible block size"));
    }
    let bits = open(BITMAP)?.ok_or_else(|| damaged("has no index bitmap"))?.read_all(volume, MAX_BITMAP)?;
    // A sparse stream can claim any length; the volume bounds how many blocks there are.
    let count = blocks.size().min(volume.geometry.clustered()) / block_size;
    let mut block = vec![0; block_size as usize];
    let mut broken = None;
    for index in 0..count {
        if bits.get((index / 8) as usize).is_none_or(|byte| byte & (1 << (index % 8)) == 0) {
            continue;
        }
        let read = blocks
            .read(volume, index * block_size, &mut block)
            .and_then(|_| repair(&mut block, b"INDX").map_err(|flaw| damaged(&format!("index block {index}: {flaw}"))));
        match read {
            Ok(()) if !node(block.get(24..).unwrap_or_default(), each)? => return Ok(()),
            Ok(()) => {}
            // The names in the other blocks are still good.
            Err(cause) => broken = Some(cause),
        }
    }
    broken.map_or(Ok(()), Err)
}

/// The entries of one node, from its header on. Returns false when the caller has had enough.
fn node(bytes: &[u8], each: &mut dyn FnMut(IndexEntry<'_>) -> Result<bool, FsError>) -> Result<bool, FsError> {
    let start = u32_at(bytes, 0).map_or(usize::MAX, |at| at as usize);
    let end = u32_at(bytes, 4).map_or(0, |at| at as usize);
    let mut rest = bytes.get(start..end).ok_or_else(|| FsError::Damaged("an index node leaves its block".into()))?;
    while let (Some(len), Some(flags)) = (u16_at(rest, 8), u16_at(rest, 12)) {
        if flags & LAST != 0 {
            break;
        }
        let len = usize::from(len);
        let entry = rest.get(..len).filter(|_| len >= 16);
        let entry = entry.ok_or_else(|| FsError::Damaged("an index entry leaves its node".into()))?;
        let name = entry.get(16..).and_then(FileName::parse);
        if let (Some(reference), Some(file)) = (u64_at(entry, 0), name)
            && !each(IndexEntry { number: number_of(reference), file })?
        {
            return Ok(false);
        }
        rest = rest.get(len..).unwrap_or_default();
    }
    Ok(true)
}
