//! Checkpoints: what an unfinished backup has stored already, so that prune keeps it and the next run stores nothing twice.
//!
//! A checkpoint saves storing, never reading: the next run reads every allocated byte again.

use super::RepositoryError;
use crate::record::{self, RecordKind};
use crate::seal::{Keys, PackId};
use crate::snapshot::WriterId;
use crate::storage::{Area, Storage, StorageError};
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

/// All checkpoints and their names. A damaged one is an error: prune could delete what it protects.
pub fn list(storage: &dyn Storage, keys: &Keys) -> Result<Vec<(String, Checkpoint)>, RepositoryError> {
    let mut found = Vec::new();
    for object in storage.list(Area::Checkpoints)? {
        match record::read(storage, keys, RecordKind::Checkpoint, &object.name) {
            Ok(checkpoint) => found.push((object.name, checkpoint)),
            Err(record::RecordError::Storage(gone)) if gone.is_missing() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
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
