//! Walks the log: once to find the last committed transaction and what was revoked, once to name every logged block.
//!
//! The log ends at the first record that is missing, of another sequence, or whose commit does not hold, as for every
//! other implementation. No walk visits more blocks than the log has.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::records::{self, JournalSuperblock, Kind};
use crate::fs::FsError;
use crate::fs::ext::Ext;
use crate::fs::ext::ahead::Ahead;
use crate::fs::ext::map::{Found, Run};
use crate::le::{u16_at, u32_at};
use crate::read::ReadAt;

/// Large reads while copies are verified: the log is mostly contiguous.
const STEP: u64 = 1 << 20;
/// A journal in more pieces than this was not made by mke2fs, and its map would cost too much memory.
const MAX_RUNS: usize = 100_000;
/// Revoke records are eight bytes each; more of them than blocks that can be replayed are of no use.
const MAX_REVOKED: usize = 1 << 20;
/// Tag at the start of the fast commit area, and where it keeps its transaction.
const FAST_COMMIT_HEAD: u16 = 0x9;
const FAST_COMMIT_TRANSACTION_AT: usize = 8;

/// An open journal.
pub(super) struct Log<'a, R> {
    fs: &'a Ext<R>,
    runs: Vec<Run>,
    sb: JournalSuperblock,
    ahead: Ahead<'a, R>,
    /// Sequence behind the last committed transaction.
    end: u32,
}

/// What the first walk found.
pub(super) struct Committed {
    pub(super) transactions: u32,
    /// Block → last transaction that revoked it.
    pub(super) revoked: HashMap<u64, u32>,
    /// Why the log may have been longer.
    pub(super) doubt: Option<String>,
}

/// One block that a transaction logged.
pub(super) struct Logged {
    pub(super) block: u64,
    pub(super) copy_at: u64,
    pub(super) escaped: bool,
}

/// Where a walk stands.
struct Cursor {
    block: u32,
    sequence: u32,
    /// Blocks that may still be visited.
    left: u32,
}

impl<'a, R: ReadAt> Log<'a, R> {
    /// Reads the journal's superblock and the map of its inode.
    pub(super) fn open(fs: &'a Ext<R>, inode: u32) -> Result<Self, FsError> {
        let (inode, _) = fs.inode(inode)?;
        if !inode.intact {
            return Err(FsError::Damaged("its inode has a wrong checksum".into()));
        }
        let mut runs = Vec::new();
        let mut suspect = None;
        fs.walk(&inode, 0, &mut fs.budget(), &mut |found| {
            match found {
                Found::Run(run) => runs.push(run),
                Found::Suspect(what) => suspect = Some(what),
                Found::Index(_) => {}
            }
            Ok(if runs.len() > MAX_RUNS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        let suspect = suspect.or_else(|| (runs.len() > MAX_RUNS).then(|| "it is in too many pieces".into()));
        if let Some(what) = suspect {
            return Err(FsError::Damaged(what));
        }
        let mut ahead = Ahead::new(&fs.disk, STEP);
        let blocks = runs.last().map_or(0, |run| run.logical + run.len);
        let first = read(fs, &runs, &mut ahead, 0)?;
        let sb = JournalSuperblock::parse(&first, fs.sb.block_size, blocks)?;
        Ok(Self { end: sb.sequence, fs, runs, sb, ahead })
    }

    /// True when there is nothing to replay.
    pub(super) fn is_empty(&self) -> bool {
        self.sb.start == 0
    }

    /// True when the kernel gave up writing after an error.
    pub(super) fn has_error(&self) -> bool {
        self.sb.has_error
    }

    /// Finds the committed transactions. `each_block` then goes as far.
    pub(super) fn scan(&mut self) -> Result<Committed, FsError> {
        let mut committed = Committed { transactions: 0, revoked: HashMap::new(), doubt: None };
        let mut cursor = self.start();
        let mut revoked = Vec::new();
        let mut sum = u32::MAX;
        let mut last_time = 0;
        while let Some((kind, block)) = self.next_record(&mut cursor)? {
            match kind {
                Kind::Descriptor => {
                    if !self.sb.tail_is_intact(&block) {
                        committed.doubt = Some(format!("transaction {}: a damaged descriptor", cursor.sequence));
                        break;
                    }
                    let tags = self.sb.tags(&block).len() as u32;
                    if self.sb.sums_transactions {
                        sum = self.sum_blocks(records::add_to_sum(sum, &block), &cursor, tags)?;
                    }
                    self.skip(&mut cursor, tags);
                }
                Kind::Revoke => {
                    if !self.sb.tail_is_intact(&block) {
                        committed.doubt = Some(format!("transaction {}: a damaged revoke record", cursor.sequence));
                        break;
                    }
                    revoked.extend(self.sb.revoked(&block));
                }
                Kind::Commit => {
                    let time = records::commit_time(&block);
                    if !self.sb.commit_is_intact(&block, sum) {
                        // With asynchronous commits this is how a power cut looks; an older time means a stale record.
                        if !self.sb.async_commit && time >= last_time {
                            committed.doubt = Some(format!("transaction {}: a damaged commit", cursor.sequence));
                        }
                        break;
                    }
                    for block in revoked.drain(..) {
                        committed.revoked.insert(block, cursor.sequence);
                    }
                    last_time = time;
                    sum = u32::MAX;
                    committed.transactions += 1;
                    cursor.sequence = cursor.sequence.wrapping_add(1);
                }
            }
            if committed.revoked.len() + revoked.len() > MAX_REVOKED {
                return Err(FsError::Damaged("it revokes more blocks than can be remembered".into()));
            }
        }
        self.end = cursor.sequence;
        Ok(committed)
    }

    /// Names the blocks of all committed transactions in order, so that a later copy replaces an earlier one. An `Err`
    /// names a copy that cannot be used.
    pub(super) fn each_block(
        &mut self,
        revoked: &HashMap<u64, u32>,
        each: &mut dyn FnMut(Result<Logged, String>) -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let mut cursor = self.start();
        while cursor.sequence != self.end {
            let Some((kind, block)) = self.next_record(&mut cursor)? else { break };
            match kind {
                Kind::Commit => cursor.sequence = cursor.sequence.wrapping_add(1),
                Kind::Revoke => {}
                Kind::Descriptor => {
                    for tag in self.sb.tags(&block) {
                        let copy = cursor.block;
                        self.skip(&mut cursor, 1);
                        let is_revoked = |by: &u32| !is_later(cursor.sequence, *by);
                        if !revoked.get(&tag.block).is_some_and(is_revoked) {
                            each(self.logged(&tag, cursor.sequence, copy))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether fast commits follow the last transaction. Older ones are stale and nobody replays them.
    pub(super) fn has_fast_commits(&mut self) -> Result<bool, FsError> {
        let Some(area) = self.sb.fast_commits else { return Ok(false) };
        let block = self.read(area)?;
        let transaction = u32_at(&block, FAST_COMMIT_TRANSACTION_AT).unwrap_or(0);
        Ok(u16_at(&block, 0) == Some(FAST_COMMIT_HEAD) && !is_later(self.end, transaction))
    }

    fn logged(&mut self, tag: &records::Tag, sequence: u32, copy: u32) -> Result<Logged, String> {
        let what = |what: &str| format!("transaction {sequence}, block {}: {what}", tag.block);
        if tag.block >= self.fs.sb.blocks {
            return Err(what("out of range"));
        }
        let copy_at = self.device_at(copy).ok_or_else(|| what("its copy lies in a hole of the journal"))?;
        if self.sb.sums_copies() {
            let bytes = self.read(copy).map_err(|cause| what(&cause.to_string()))?;
            if !self.sb.copy_is_intact(tag, sequence, &bytes) {
                return Err(what("its copy has a wrong checksum"));
            }
        }
        Ok(Logged { block: tag.block, copy_at, escaped: tag.is_escaped() })
    }

    fn sum_blocks(&mut self, mut sum: u32, cursor: &Cursor, count: u32) -> Result<u32, FsError> {
        let mut block = cursor.block;
        for _ in 0..count.min(cursor.left) {
            sum = records::add_to_sum(sum, &self.read(block)?);
            block = self.after(block);
        }
        Ok(sum)
    }

    fn start(&self) -> Cursor {
        Cursor { block: self.sb.start, sequence: self.sb.sequence, left: self.sb.end - self.sb.first }
    }

    /// The next record of the transaction under way, or `None` where the log ends.
    fn next_record(&mut self, cursor: &mut Cursor) -> Result<Option<(Kind, Vec<u8>)>, FsError> {
        if cursor.left == 0 {
            return Ok(None);
        }
        let block = self.read(cursor.block)?;
        self.skip(cursor, 1);
        Ok(match records::header(&block) {
            Some((kind, sequence)) if sequence == cursor.sequence => Some((kind, block)),
            _ => None,
        })
    }

    fn skip(&self, cursor: &mut Cursor, count: u32) {
        cursor.left = cursor.left.saturating_sub(count);
        for _ in 0..count {
            cursor.block = self.after(cursor.block);
        }
    }

    fn after(&self, block: u32) -> u32 {
        if block + 1 >= self.sb.end { self.sb.first } else { block + 1 }
    }

    fn device_at(&self, block: u32) -> Option<u64> {
        device_at(self.fs, &self.runs, block)
    }

    fn read(&mut self, block: u32) -> Result<Vec<u8>, FsError> {
        read(self.fs, &self.runs, &mut self.ahead, block)
    }
}

/// Sequences wrap: `a` is later when it is less than half the numbers ahead.
fn is_later(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

fn device_at<R: ReadAt>(fs: &Ext<R>, runs: &[Run], block: u32) -> Option<u64> {
    let block = u64::from(block);
    let run = runs.get(runs.partition_point(|run| run.logical + run.len <= block))?;
    let offset = block.checked_sub(run.logical).filter(|_| run.written)?;
    Some(fs.sb.bytes(run.physical + offset, 1).start)
}

fn read<R: ReadAt>(fs: &Ext<R>, runs: &[Run], ahead: &mut Ahead<'_, R>, block: u32) -> Result<Vec<u8>, FsError> {
    let at = device_at(fs, runs, block)
        .ok_or_else(|| FsError::Damaged(format!("its block {block} lies in a hole of its inode")))?;
    match ahead.get(at, fs.sb.block_len(), u64::MAX) {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(source) => Err(FsError::Read { at, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_compare_across_the_wrap() {
        assert!(is_later(5, 4) && is_later(2, u32::MAX) && !is_later(4, 4) && !is_later(u32::MAX, 2));
    }
}
