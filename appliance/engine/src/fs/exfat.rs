//! exFAT, read without mounting: who owns which clusters, and which files there are.
//!
//! A bitmap says what is in use; the table only chains those files that do not lie in one piece. Clusters, chains and
//! claims are those of FAT. Two FATs (TexFAT, which no disk of today has) are refused rather than guessed about.

mod bitmap;
mod boot;
mod directory;
mod survey;
mod tree;
mod upcase;
mod volume;

use std::sync::Arc;

use super::{FsError, Survey, Tree};
use crate::read::ReadAt;

/// True when a boot region, main or backup, is whole.
pub fn probe(disk: &dyn ReadAt) -> bool {
    boot::Geometry::read(disk).is_ok()
}

/// Tells who owns which bytes. An error means that the partition has to be read whole.
pub fn survey(disk: &dyn ReadAt, out: &mut dyn Survey) -> Result<(), FsError> {
    survey::run(Arc::new(disk), out)
}

/// Opens the files for reading.
pub fn browse(disk: Arc<dyn ReadAt>) -> Result<Box<dyn Tree>, FsError> {
    Ok(Box::new(tree::ExfatTree::open(disk)?))
}
