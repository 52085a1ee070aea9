//! ext2, ext3 and ext4, read without mounting: who owns which block, and which files there are.
//!
//! What is told is what a mount would see: the journal is replayed in memory first, never on the disk. Structures whose
//! checksum or range is wrong are doubt; a feature that could change who owns a block is refused (`Unsupported`).

mod ahead;
mod checksum;
mod directory;
mod groups;
mod inode;
mod journal;
mod map;
mod superblock;
mod survey;
mod tree;
mod xattr;

use std::sync::Arc;

pub use self::journal::{Replayed, replayed};
use self::superblock::Superblock;
use super::{FsError, Survey, Tree};
use crate::read::ReadAt;

/// Where the superblock starts, whatever the block size.
const SUPERBLOCK_AT: u64 = 1024;

/// The magic number's place inside the superblock.
const MAGIC_AT: u64 = 0x38;

/// True when the bytes carry ext's magic number. Says nothing about whether they can be used.
pub fn probe(disk: &dyn ReadAt) -> bool {
    let mut magic = [0; 2];
    disk.read_at(SUPERBLOCK_AT + MAGIC_AT, &mut magic).is_ok() && magic == superblock::MAGIC.to_le_bytes()
}

/// Tells everything about the filesystem, as it is once its journal is replayed; blocks that only the disk as it lies
/// allocates are told as allocated, too.
pub fn survey(disk: &dyn ReadAt, out: &mut dyn Survey) -> Result<(), FsError> {
    let as_it_lies = Ext::open(disk)?;
    let view = replayed(disk)?;
    for doubt in view.doubts() {
        out.doubt(doubt.clone());
    }
    if view.transactions() > 0 {
        out.note(format!("journal replayed: {} transactions, {} blocks", view.transactions(), view.blocks()));
    }
    match Ext::open(&view) {
        Ok(fs) => {
            survey::tell(&fs, out)?;
            survey::tell_allocated_as_it_lies(&as_it_lies, &view, out)
        }
        Err(cause) => {
            out.doubt(format!("the journal holds a superblock that cannot be used ({cause})").into());
            survey::tell(&as_it_lies, out)
        }
    }
}

/// Opens the files of the filesystem as they are once its journal is replayed.
pub fn browse(disk: Arc<dyn ReadAt>) -> Result<Box<dyn Tree>, FsError> {
    match Ext::open(replayed(Arc::clone(&disk))?) {
        Ok(fs) => Ok(Box::new(fs)),
        // The journal carries a broken superblock: the one on the disk is then the better one.
        Err(_) => Ok(Box::new(Ext::open(disk)?)),
    }
}

/// One ext filesystem, exactly as `R` shows it: give it a [`Replayed`] to see what the journal holds.
pub struct Ext<R> {
    disk: R,
    sb: Superblock,
}

impl<R: ReadAt> Ext<R> {
    /// Reads the superblock and refuses what cannot be read safely.
    pub fn open(disk: R) -> Result<Self, FsError> {
        let bytes = read(&disk, SUPERBLOCK_AT, superblock::SIZE)?;
        Ok(Self { sb: Superblock::parse(&bytes)?, disk })
    }

    fn read_block(&self, block: u64) -> Result<Vec<u8>, FsError> {
        read(&self.disk, self.sb.bytes(block, 1).start, self.sb.block_len())
    }
}

/// Reads bytes whose length the caller has bounded.
fn read(disk: &impl ReadAt, at: u64, len: usize) -> Result<Vec<u8>, FsError> {
    disk.read_vec(at, len).map_err(|source| FsError::Read { at, source })
}
