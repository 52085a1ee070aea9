//! NTFS, read without mounting: who owns which clusters, which files there are, and whether the structure holds.
//!
//! Everything hangs off one table, the MFT: a record per file, attributes in a record, runs of clusters in an attribute.
//! The table is streamed, never held; a record that does not parse becomes a doubt and the next one is read. A journal
//! is never replayed here: a dirty one is a doubt, so that every free block is read too.
//!
//! ```text
//! boot ──► mft ──► record ──► attribute ──► runs ──► clusters
//!                    │            └─ attribute list ─► extension records
//!                    └─ walk visits all of it for ► survey (who owns what) and ► check (does it fit together)
//!                       stream is one attribute opened for reading ► index, compress ► tree (which files there are)
//! ```

mod attribute;
pub(super) mod bitmap;
mod boot;
mod check;
mod compress;
mod index;
mod journal;
mod mft;
pub(super) mod names;
mod record;
mod reparse;
mod runs;
mod stream;
mod survey;
mod tree;
mod volume;
mod walk;

use std::sync::Arc;

pub use check::Structure;

use super::{FsError, Survey, Tree};
use crate::read::ReadAt;

/// True when the first sector says NTFS. Cheap, and promises nothing about the rest.
pub fn probe(disk: &dyn ReadAt) -> bool {
    disk.read_vec(0, 512).is_ok_and(|sector| boot::is_ntfs(&sector))
}

/// Tells who owns which bytes. An error means that the partition has to be read whole.
pub fn survey(disk: &dyn ReadAt, out: &mut dyn Survey) -> Result<(), FsError> {
    survey::run(Arc::new(disk), out)
}

/// Opens the files for reading.
pub fn browse(disk: Arc<dyn ReadAt>) -> Result<Box<dyn Tree>, FsError> {
    Ok(Box::new(tree::NtfsTree::open(disk)?))
}

/// Checks the structure: every record in use, every run against `$Bitmap`, `$MFTMirr` against the MFT. It judges neither
/// indexes nor security descriptors, and repairs nothing.
pub fn check(disk: &dyn ReadAt) -> Result<Structure, FsError> {
    check::run(Arc::new(disk))
}
