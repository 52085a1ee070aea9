//! FAT12, FAT16 and FAT32, read without mounting: who owns which clusters, and which files there are.
//!
//! There is no journal and no magic: the boot sector is believed only when all its numbers fit together, and the FAT
//! alone says what is in use. What both FAT and exFAT have, clusters chained by a table, is read here for both.
//!
//! ```text
//! boot ──► volume (heap of clusters + table) ──► walk (one chain) ──► claims (who owns what, once) ──► survey
//!                                                  └─ content ──► directory ──► tree
//! ```

mod boot;
pub(super) mod claims;
pub(super) mod content;
mod directory;
mod short;
mod survey;
pub(super) mod table;
pub(super) mod time;
mod tree;
pub(super) mod volume;
pub(super) mod walk;

use std::sync::Arc;

use super::{FsError, Survey, Tree};
use crate::read::ReadAt;

/// True when the boot sector and the start of a FAT fit together. MBR, NTFS, exFAT and ext disks do not pass.
pub fn probe(disk: &dyn ReadAt) -> bool {
    boot::Geometry::read(disk).is_ok()
}

/// Tells who owns which bytes. An error means that the partition has to be read whole.
pub fn survey(disk: &dyn ReadAt, out: &mut dyn Survey) -> Result<(), FsError> {
    survey::run(Arc::new(disk), out)
}

/// Opens the files for reading.
pub fn browse(disk: Arc<dyn ReadAt>) -> Result<Box<dyn Tree>, FsError> {
    Ok(Box::new(tree::FatTree::open(disk)?))
}
