//! An inode's block map, extent tree or indirect blocks, as one stream of runs in file order.
//!
//! Logical blocks only ever go forward, depth is bounded, and every index block read is paid from a budget: a map that
//! loops, or that many inodes share, ends as `Damaged` instead of running on.

use std::ops::ControlFlow;

use super::Ext;
use super::checksum::crc32c;
use super::inode::Inode;
use super::superblock::Checksums;
use crate::fs::FsError;
use crate::le::{u16_at, u32_at};
use crate::read::ReadAt;

/// Consecutive blocks of a file that are consecutive on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// First block in the file.
    pub(super) logical: u64,
    /// First block on the disk.
    pub(super) physical: u64,
    pub(super) len: u64,
    /// False for blocks that are reserved but read as zeros.
    pub(super) written: bool,
}

/// What a walk meets.
#[derive(Debug)]
pub(super) enum Found {
    /// A block of the map itself.
    Index(u64),
    /// File content.
    Run(Run),
    /// Part of the map was left out, or is read despite a wrong checksum.
    Suspect(String),
}

/// How many index blocks may still be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget(pub(super) u64);

/// Whether to go on, or why the walk failed.
pub(super) type Step = Result<ControlFlow<()>, FsError>;

const GO_ON: Step = Ok(ControlFlow::Continue(()));
const EXTENT_MAGIC: u16 = 0xF30A;
const EXTENT_HEADER: usize = 12;
const EXTENT_ENTRY: usize = 12;
const MAX_DEPTH: u16 = 5;
/// Longer lengths mark an unwritten extent, by what they exceed it.
const MAX_WRITTEN: u16 = 32768;
/// File blocks are numbered in 32 bits.
const LOGICAL_END: u64 = 1 << 32;
const DIRECT_BLOCKS: usize = 12;

impl<R: ReadAt> Ext<R> {
    /// Enough to read every block of the filesystem once.
    pub(super) fn budget(&self) -> Budget {
        Budget(self.sb.blocks)
    }

    /// Tells the map of `inode` from the file block `from` on; stops when `each` breaks.
    pub(super) fn walk(
        &self,
        inode: &Inode,
        from: u64,
        budget: &mut Budget,
        each: &mut dyn FnMut(Found) -> Step,
    ) -> Result<(), FsError> {
        if !inode.has_blocks() {
            return Ok(());
        }
        let mut walk = Walk { fs: self, inode, from, budget, each, pending: None, next: 0 };
        let step = match inode.has_extents() {
            true => walk.extent_node(&inode.map, None, LOGICAL_END),
            false => walk.indirect_map(),
        };
        // What was merged before the walk failed is as good as what was told before.
        match step {
            Ok(ControlFlow::Break(())) => Ok(()),
            Ok(ControlFlow::Continue(())) => walk.flush().map(drop),
            Err(cause) => walk.flush().and(Err(cause)),
        }
    }
}

struct Walk<'a, R> {
    fs: &'a Ext<R>,
    inode: &'a Inode,
    from: u64,
    budget: &'a mut Budget,
    each: &'a mut dyn FnMut(Found) -> Step,
    pending: Option<Run>,
    /// First file block that the next extent may start at.
    next: u64,
}

impl<R: ReadAt> Walk<'_, R> {
    fn extent_node(&mut self, node: &[u8], parent_depth: Option<u16>, limit: u64) -> Step {
        let header = (u16_at(node, 0), u16_at(node, 2), u16_at(node, 4), u16_at(node, 6));
        let (Some(EXTENT_MAGIC), Some(entries), Some(max), Some(depth)) = header else {
            return Err(self.damaged("an extent node without magic number"));
        };
        let fits = EXTENT_HEADER + usize::from(max) * EXTENT_ENTRY <= node.len();
        let depth_fits = parent_depth.map_or(depth <= MAX_DEPTH, |parent| depth.checked_add(1) == Some(parent));
        if entries > max || !fits || !depth_fits {
            return Err(self.damaged("an extent node with a wrong header"));
        }
        let end = EXTENT_HEADER + usize::from(entries) * EXTENT_ENTRY;
        let body = node.get(EXTENT_HEADER..end).unwrap_or_default();
        match depth {
            0 => self.extent_leaf(body, limit),
            _ => self.extent_index(body, depth, limit),
        }
    }

    fn extent_leaf(&mut self, body: &[u8], limit: u64) -> Step {
        for entry in body.chunks_exact(EXTENT_ENTRY) {
            let (Some(logical), Some(raw_len), Some(high), Some(low)) =
                (u32_at(entry, 0), u16_at(entry, 4), u16_at(entry, 6), u32_at(entry, 8))
            else {
                return Err(self.damaged("a short extent"));
            };
            let written = raw_len <= MAX_WRITTEN;
            let len = u64::from(if written { raw_len } else { raw_len - MAX_WRITTEN });
            let logical = u64::from(logical);
            if len == 0 || logical < self.next || logical + len > limit {
                return Err(self.damaged("extents out of order"));
            }
            self.next = logical + len;
            let run = Run { logical, physical: u64::from(high) << 32 | u64::from(low), len, written };
            if self.run(run)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        GO_ON
    }

    fn extent_index(&mut self, body: &[u8], depth: u16, limit: u64) -> Step {
        let first_block = |entry: Option<&[u8]>| entry.and_then(|e| u32_at(e, 0)).map(u64::from);
        let mut entries = body.chunks_exact(EXTENT_ENTRY).peekable();
        while let Some(entry) = entries.next() {
            let (Some(low), Some(high)) = (u32_at(entry, 4), u16_at(entry, 8)) else {
                return Err(self.damaged("a short extent index"));
            };
            let child_limit = first_block(entries.peek().copied()).unwrap_or(limit);
            if child_limit > limit || first_block(Some(entry)).is_none_or(|first| first >= child_limit) {
                return Err(self.damaged("extent indexes out of order"));
            }
            if child_limit <= self.from {
                continue;
            }
            let block = u64::from(high) << 32 | u64::from(low);
            let Some(node) = self.index_block(block)? else { continue };
            self.check_extent_block(block, &node)?;
            if self.extent_node(&node, Some(depth), child_limit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        GO_ON
    }

    fn check_extent_block(&mut self, block: u64, node: &[u8]) -> Result<(), FsError> {
        if self.fs.sb.checksums != Checksums::All {
            return Ok(());
        }
        let max = u16_at(node, 4).map_or(0, usize::from);
        let tail = EXTENT_HEADER + max * EXTENT_ENTRY;
        let sum = node.get(..tail).map(|bytes| crc32c(self.inode.seed, bytes));
        if sum.is_none() || sum != u32_at(node, tail) {
            self.suspect(format!("extent block {block} has a wrong checksum"))?;
        }
        Ok(())
    }

    fn indirect_map(&mut self) -> Step {
        let inode = self.inode;
        let per_block = self.fs.sb.block_size / 4;
        let direct = inode.map.get(..DIRECT_BLOCKS * 4).unwrap_or_default();
        if self.pointers(direct, 0, 0)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let mut base = DIRECT_BLOCKS as u64;
        for level in 1..=3u32 {
            let at = (DIRECT_BLOCKS + level as usize - 1) * 4;
            let root = inode.map.get(at..at + 4).unwrap_or_default();
            if self.pointers(root, base, level)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            base += per_block.pow(level);
        }
        GO_ON
    }

    /// Follows pointers to data (`level` 0) or to blocks of pointers. `base` is the file block of the first one.
    fn pointers(&mut self, pointers: &[u8], base: u64, level: u32) -> Step {
        let span = (self.fs.sb.block_size / 4).pow(level);
        for (logical, pointer) in (base..).step_by(span as usize).zip(pointers.chunks_exact(4)) {
            let physical = u64::from(u32_at(pointer, 0).unwrap_or(0));
            if physical == 0 || logical + span <= self.from || logical >= LOGICAL_END {
                continue;
            }
            let step = match level {
                0 => self.run(Run { logical, physical, len: 1, written: true })?,
                _ => match self.index_block(physical)? {
                    Some(block) => self.pointers(&block, logical, level - 1)?,
                    None => ControlFlow::Continue(()),
                },
            };
            if step.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        GO_ON
    }

    /// Tells and reads one block of the map; `None` when only this branch has to be left out.
    fn index_block(&mut self, block: u64) -> Result<Option<Vec<u8>>, FsError> {
        if !self.fs.sb.holds(block, 1) {
            self.suspect(format!("map block {block} is out of range"))?;
            return Ok(None);
        }
        let Some(left) = self.budget.0.checked_sub(1) else {
            return Err(self.damaged("more map blocks than the filesystem can hold"));
        };
        self.budget.0 = left;
        // A break here would lose nothing: the next run asks again.
        let _ = (self.each)(Found::Index(block))?;
        match self.fs.read_block(block) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(cause) => {
                self.suspect(format!("map block {block}: {cause}"))?;
                Ok(None)
            }
        }
    }

    fn run(&mut self, run: Run) -> Step {
        if run.logical + run.len <= self.from {
            return GO_ON;
        }
        if !self.fs.sb.holds(run.physical, run.len) {
            self.suspect(format!("blocks {}+{} are out of range", run.physical, run.len))?;
            return GO_ON;
        }
        if let Some(last) = &mut self.pending
            && last.logical + last.len == run.logical
            && last.physical + last.len == run.physical
            && last.written == run.written
        {
            last.len += run.len;
            return GO_ON;
        }
        let step = self.flush()?;
        self.pending = Some(run);
        Ok(step)
    }

    fn flush(&mut self) -> Step {
        match self.pending.take() {
            Some(run) => (self.each)(Found::Run(run)),
            None => GO_ON,
        }
    }

    fn suspect(&mut self, what: String) -> Result<(), FsError> {
        (self.each)(Found::Suspect(what)).map(drop)
    }

    fn damaged(&self, what: &str) -> FsError {
        FsError::Damaged(format!("inode {}: {what}", self.inode.number))
    }
}
