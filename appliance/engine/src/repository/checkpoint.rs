//! Checkpoints: what an unfinished backup has stored already, so that prune keeps it and the next run stores nothing twice.
//!
//! A checkpoint saves storing, never reading: the next run reads every allocated byte again.

use crate::record::{self, RecordError, RecordKind};
use crate::seal::{Keys, PackId};
use crate::snapshot::WriterId;
use crate::storage::{Storage, StorageError};
use serde::{Deserialize, Serialize};

/// The record.
#[derive(Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Whose backup.
    pub writer: WriterId,
    /// Which one it would become.
    pub sequence: u64,
    /// Packs it has committed, as hex.
    pub packs: Vec<String>,
}

/// Checkpoints and their names.
pub type Named = Vec<(String, Checkpoint)>;

/// All checkpoints that can be read, and what is wrong with the others. Who deletes must not go on while one is damaged: it
/// could delete what it protects.
pub fn list(storage: &dyn Storage, keys: &Keys) -> Result<(Named, Vec<RecordError>), StorageError> {
    let (mut found, mut damaged) = (Vec::new(), Vec::new());
    for name in record::names(storage, RecordKind::Checkpoint)? {
        match record::read(storage, keys, RecordKind::Checkpoint, &name) {
            Ok(checkpoint) => found.push((name, checkpoint)),
            Err(RecordError::Storage(gone)) if gone.is_missing() => {}
            Err(error) => damaged.push(error),
        }
    }
    Ok((found, damaged))
}

/// Writes one that names these packs.
pub fn write(
    storage: &dyn Storage,
    keys: &Keys,
    writer: WriterId,
    sequence: u64,
    packs: &[PackId],
) -> Result<String, StorageError> {
    let packs = packs.iter().map(PackId::hex).collect();
    record::write(storage, keys, RecordKind::Checkpoint, &Checkpoint { writer, sequence, packs })
}
