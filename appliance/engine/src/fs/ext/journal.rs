//! The filesystem as its journal leaves it: a read-only overlay of the blocks that committed transactions hold.
//!
//! Only a map (block → place in the journal) is kept, never data, and nothing is written. What cannot be replayed for
//! certain is listed as doubt, and the view then holds what could be.

mod log;
mod records;

use std::collections::BTreeMap;
use std::io;

use self::log::Log;
use super::Ext;
use crate::fs::{Doubt, FsError};
use crate::read::{ReadAt, past_end};

/// A journal of 4 GiB in 4 KiB blocks. Larger maps would cost more memory than reading everything is worth.
const MAX_OVERLAY: usize = 1 << 20;

/// Journal blocks that started with the journal's own magic number had it replaced by zeros.
const ESCAPED_MAGIC: [u8; 4] = records::MAGIC.to_be_bytes();

/// A disk seen through its replayed journal. Apart from the blocks of committed transactions the bytes are the disk's;
/// the superblock, too, stays as the journal has it, with its mark that recovery is needed.
pub struct Replayed<R> {
    disk: R,
    overlay: Overlay,
    block_size: u64,
    transactions: u32,
    doubts: Vec<Doubt>,
}

/// Filesystem block → byte offset of its copy in the journal. The lowest bit, free because copies are block-aligned,
/// says that the copy was escaped.
type Overlay = BTreeMap<u64, u64>;

/// Reads the journal of the filesystem on `disk`. Fails only when there is no usable superblock: a journal that cannot
/// be trusted ends in [`Replayed::doubts`].
pub fn replayed<R: ReadAt>(disk: R) -> Result<Replayed<R>, FsError> {
    let fs = Ext::open(disk)?;
    let mut replay = Replay::default();
    if let Err(cause) = replay.run(&fs) {
        replay.doubt(cause.to_string());
    }
    let block_size = fs.sb.block_size;
    let Replay { overlay, transactions, doubts } = replay;
    Ok(Replayed { disk: fs.disk, overlay, block_size, transactions, doubts })
}

impl<R> Replayed<R> {
    /// Committed transactions that were replayed.
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Blocks that differ in origin from the disk as it lies.
    pub fn blocks(&self) -> usize {
        self.overlay.len()
    }

    /// Why the journal may hold more than this view shows; empty when it was replayed to its end.
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    /// Whether the journal changes the block that `at` lies in.
    pub(super) fn changes(&self, at: u64) -> bool {
        self.overlay.contains_key(&(at / self.block_size))
    }
}

impl<R: ReadAt> ReadAt for Replayed<R> {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= self.len()).ok_or_else(past_end)?;
        self.disk.read_at(offset, buf)?;
        if buf.is_empty() || self.overlay.is_empty() {
            return Ok(());
        }
        for (block, copy) in self.overlay.range(offset / self.block_size..=(end - 1) / self.block_size) {
            let start = block * self.block_size;
            let (from, to) = (start.max(offset), (start + self.block_size).min(end));
            let range = (from - offset) as usize..(to - offset) as usize;
            let part = buf.get_mut(range).ok_or_else(past_end)?;
            let skipped = from - start;
            self.disk.read_at((copy & !1) + skipped, part)?;
            if copy & 1 == 1 {
                let magic = ESCAPED_MAGIC.iter().skip(skipped as usize);
                part.iter_mut().zip(magic).for_each(|(byte, magic)| *byte = *magic);
            }
        }
        Ok(())
    }
}

/// Collects the overlay.
#[derive(Default)]
struct Replay {
    overlay: Overlay,
    transactions: u32,
    doubts: Vec<Doubt>,
}

impl Replay {
    fn run<R: ReadAt>(&mut self, fs: &Ext<R>) -> Result<(), FsError> {
        let Some(inode) = fs.sb.journal_inode else {
            if fs.sb.needs_recovery {
                self.doubt("the superblock asks for recovery, but there is none");
            }
            return Ok(());
        };
        let mut log = Log::open(fs, inode)?;
        if log.has_error() {
            self.doubt("the kernel recorded an error in it");
        }
        if !log.is_empty() {
            if !fs.sb.needs_recovery {
                self.doubt("the superblock calls the filesystem clean, but the journal is not empty");
            }
            self.replay(&mut log)?;
        }
        if fs.sb.needs_recovery && log.has_fast_commits()? {
            self.doubt("the journal holds fast commits, which are not replayed");
        }
        Ok(())
    }

    fn replay<R: ReadAt>(&mut self, log: &mut Log<'_, R>) -> Result<(), FsError> {
        let committed = log.scan()?;
        self.doubts.extend(committed.doubt.map(|text| Doubt(format!("journal: {text}"))));
        self.transactions = committed.transactions;
        log.each_block(&committed.revoked, &mut |logged| {
            match logged {
                Ok(logged) => {
                    self.overlay.insert(logged.block, logged.copy_at | u64::from(logged.escaped));
                }
                Err(what) if self.doubts.len() < MAX_DOUBTS => self.doubt(what),
                Err(_) => {}
            }
            if self.overlay.len() <= MAX_OVERLAY {
                return Ok(());
            }
            self.overlay.clear();
            self.transactions = 0;
            Err(FsError::Damaged(format!("it holds more than {MAX_OVERLAY} blocks")))
        })
    }

    fn doubt(&mut self, text: impl Into<String>) {
        self.doubts.push(Doubt(format!("journal: {}", text.into())));
    }
}

/// One doubt already reads everything; a few more tell a person where to look.
const MAX_DOUBTS: usize = 16;
