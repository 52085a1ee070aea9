//! The records of a jbd2 journal, all big-endian: superblock, descriptor tags, revoke lists, commit blocks.

use crate::fs::FsError;
use crate::fs::ext::checksum::{START, crc32_be, crc32c};
use crate::le::{array_at, be32_at, u8_at};

/// First four bytes of every journal record.
pub(super) const MAGIC: u32 = 0xC03B_3998;
/// Magic, type, sequence.
const HEADER: usize = 12;

const COMPAT_CHECKSUM: u32 = 0x1;
const REVOKE: u32 = 0x1;
const BITS_64: u32 = 0x2;
const ASYNC_COMMIT: u32 = 0x4;
const CSUM_V2: u32 = 0x8;
const CSUM_V3: u32 = 0x10;
const FAST_COMMIT: u32 = 0x20;
const KNOWN: u32 = REVOKE | BITS_64 | ASYNC_COMMIT | CSUM_V2 | CSUM_V3 | FAST_COMMIT;
/// What `s_num_fc_blks` of zero stands for.
const DEFAULT_FAST_COMMIT_BLOCKS: u32 = 256;

const TAG_ESCAPED: u32 = 0x1;
const TAG_SAME_UUID: u32 = 0x2;
const TAG_LAST: u32 = 0x8;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Descriptor,
    Commit,
    Revoke,
}

/// The type and sequence of a record; `None` for anything else than a record.
pub(super) fn header(block: &[u8]) -> Option<(Kind, u32)> {
    if be32_at(block, 0)? != MAGIC {
        return None;
    }
    let kind = match be32_at(block, 4)? {
        1 => Kind::Descriptor,
        2 => Kind::Commit,
        5 => Kind::Revoke,
        _ => return None,
    };
    Some((kind, be32_at(block, 8)?))
}

/// The journal's superblock, checked.
#[derive(Clone, Debug)]
pub(super) struct JournalSuperblock {
    /// First block of the log.
    pub(super) first: u32,
    /// Block behind the log, where it wraps.
    pub(super) end: u32,
    /// Sequence of the first transaction.
    pub(super) sequence: u32,
    /// Block of the first transaction; zero when the log is empty.
    pub(super) start: u32,
    /// Where the fast commits start.
    pub(super) fast_commits: Option<u32>,
    pub(super) async_commit: bool,
    /// The kernel left an error number behind.
    pub(super) has_error: bool,
    /// Old kernels sum a transaction's blocks in its commit block.
    pub(super) sums_transactions: bool,
    is_64bit: bool,
    sums: Sums,
    seed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sums {
    None,
    V2,
    V3,
}

impl JournalSuperblock {
    /// Parses the first block of a journal of `blocks` blocks.
    pub(super) fn parse(bytes: &[u8], block_size: u64, blocks: u64) -> Result<Self, FsError> {
        Self::fields(bytes, block_size, blocks).unwrap_or_else(|| damaged("its superblock is short"))
    }

    fn fields(b: &[u8], block_size: u64, blocks: u64) -> Option<Result<Self, FsError>> {
        let version = be32_at(b, 4)?;
        if be32_at(b, 0)? != MAGIC || !(3..=4).contains(&version) {
            return Some(damaged("it has no superblock"));
        }
        let feature = |at| if version == 4 { be32_at(b, at) } else { Some(0) };
        let (compat, incompat) = (feature(0x24)?, feature(0x28)?);
        if incompat & !KNOWN != 0 {
            return Some(Err(FsError::Unsupported(format!("features {incompat:#x}"))));
        }
        let sums = match (incompat & CSUM_V2 != 0, incompat & CSUM_V3 != 0) {
            (_, true) => Sums::V3,
            (true, false) => Sums::V2,
            (false, false) => Sums::None,
        };
        if sums != Sums::None {
            let sum = crc32c(crc32c(crc32c(START, b.get(..0xFC)?), &[0; 4]), b.get(0x100..0x400)?);
            if sum != be32_at(b, 0xFC)? {
                return Some(damaged("its superblock has a wrong checksum"));
            }
        }
        let (first, len) = (be32_at(b, 0x14)?, be32_at(b, 0x10)?);
        let fast_commit_blocks = match (incompat & FAST_COMMIT != 0, be32_at(b, 0x54)?) {
            (false, _) => 0,
            (true, 0) => DEFAULT_FAST_COMMIT_BLOCKS,
            (true, blocks) => blocks,
        };
        let end = len.saturating_sub(fast_commit_blocks);
        let start = be32_at(b, 0x1C)?;
        let fits = u64::from(be32_at(b, 0xC)?) == block_size && u64::from(len) <= blocks && first >= 1 && first < end;
        if !fits || (start != 0 && !(first..end).contains(&start)) {
            return Some(damaged("its superblock does not fit"));
        }
        Some(Ok(Self {
            first,
            end,
            sequence: be32_at(b, 0x18)?,
            start,
            // One block is left between the two areas.
            fast_commits: (fast_commit_blocks > 1).then_some(end + 1),
            has_error: be32_at(b, 0x20)? != 0,
            async_commit: incompat & ASYNC_COMMIT != 0,
            sums_transactions: compat & COMPAT_CHECKSUM != 0 && sums == Sums::None,
            is_64bit: incompat & BITS_64 != 0,
            sums,
            seed: crc32c(START, &array_at::<16>(b, 0x30)?),
        }))
    }

    /// The tags of a descriptor block, in order.
    pub(super) fn tags(&self, block: &[u8]) -> Vec<Tag> {
        let mut tags = Vec::new();
        let mut at = HEADER;
        let end = block.len().saturating_sub(self.tail());
        while at + self.tag_len() <= end {
            let Some(tag) = self.tag(block, at) else { break };
            at += self.tag_len() + if tag.flags & TAG_SAME_UUID == 0 { 16 } else { 0 };
            let is_last = tag.flags & TAG_LAST != 0;
            tags.push(tag);
            if is_last {
                break;
            }
        }
        tags
    }

    fn tag(&self, block: &[u8], at: usize) -> Option<Tag> {
        let low = u64::from(be32_at(block, at)?);
        let word = be32_at(block, at + 4)?;
        // Version 3 has a whole word of flags; before, the checksum's half shares it.
        let (flags, sum) = match self.sums {
            Sums::V3 => (word, be32_at(block, at + 12)?),
            _ => (word & 0xFFFF, word >> 16),
        };
        let high = if self.is_64bit { be32_at(block, at + 8)? } else { 0 };
        Some(Tag { block: u64::from(high) << 32 | low, flags, sum })
    }

    fn tag_len(&self) -> usize {
        match (self.sums, self.is_64bit) {
            (Sums::V3, _) => 16,
            // Two bytes longer than its fields: an old mistake that became the format.
            (Sums::V2, true) => 14,
            (Sums::V2, false) => 10,
            (Sums::None, true) => 12,
            (Sums::None, false) => 8,
        }
    }

    /// The blocks that a revoke record names.
    pub(super) fn revoked(&self, block: &[u8]) -> Vec<u64> {
        let used = be32_at(block, HEADER).map_or(0, |len| len as usize);
        let end = used.min(block.len().saturating_sub(self.tail()));
        let records = block.get(HEADER + 4..end).unwrap_or_default();
        match self.is_64bit {
            true => records.chunks_exact(8).filter_map(|r| Some(u64::from_be_bytes(r.try_into().ok()?))).collect(),
            false => records.chunks_exact(4).filter_map(|r| Some(u64::from(be32_at(r, 0)?))).collect(),
        }
    }

    /// Whether the checksum at the end of a descriptor or revoke block holds.
    pub(super) fn tail_is_intact(&self, block: &[u8]) -> bool {
        if self.sums == Sums::None {
            return true;
        }
        let at = block.len().saturating_sub(4);
        let sum = crc32c(crc32c(self.seed, block.get(..at).unwrap_or_default()), &[0; 4]);
        be32_at(block, at) == Some(sum)
    }

    /// Whether a commit block is whole; `blocks_sum` is the sum over the transaction's blocks where old kernels keep it.
    pub(super) fn commit_is_intact(&self, block: &[u8], blocks_sum: u32) -> bool {
        let stored = be32_at(block, 0x10);
        if self.sums_transactions {
            return match (u8_at(block, 0xC), u8_at(block, 0xD)) {
                (Some(1), Some(4)) => stored == Some(blocks_sum),
                // A commit block may do without a sum.
                kind_and_size => kind_and_size == (Some(0), Some(0)) && stored == Some(0),
            };
        }
        if self.sums == Sums::None {
            return true;
        }
        let (head, rest) = (block.get(..0x10).unwrap_or_default(), block.get(0x14..).unwrap_or_default());
        stored == Some(crc32c(crc32c(crc32c(self.seed, head), &[0; 4]), rest))
    }

    /// Whether a logged block is the one its tag was made for.
    pub(super) fn copy_is_intact(&self, tag: &Tag, sequence: u32, copy: &[u8]) -> bool {
        let sum = || crc32c(crc32c(self.seed, &sequence.to_be_bytes()), copy);
        match self.sums {
            Sums::None => true,
            Sums::V2 => sum() & 0xFFFF == tag.sum,
            Sums::V3 => sum() == tag.sum,
        }
    }

    /// Whether copies carry checksums at all.
    pub(super) fn sums_copies(&self) -> bool {
        self.sums != Sums::None
    }

    fn tail(&self) -> usize {
        if self.sums == Sums::None { 0 } else { 4 }
    }
}

/// When a transaction was committed, in seconds. Stale records that survived in the log are older than their
/// predecessors.
pub(super) fn commit_time(block: &[u8]) -> u64 {
    array_at(block, 0x30).map_or(0, u64::from_be_bytes)
}

/// Adds a block to the sum that old kernels keep per transaction.
pub(super) fn add_to_sum(sum: u32, block: &[u8]) -> u32 {
    crc32_be(sum, block)
}

/// Names one logged block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    /// Where the block belongs.
    pub(super) block: u64,
    flags: u32,
    sum: u32,
}

impl Tag {
    /// The copy's first four bytes were the journal's magic number and were zeroed.
    pub(super) fn is_escaped(&self) -> bool {
        self.flags & TAG_ESCAPED != 0
    }
}

fn damaged<T>(what: &str) -> Result<T, FsError> {
    Err(FsError::Damaged(what.into()))
}
