//! Dead lists: packs that no new snapshot may refer to. FORMAT.md §9.
//!
//! Prune lists what nothing needs, to delete it later. Repair and verify list what is damaged, so that the next backup stores
//! it anew: such a list is never a reason to delete, and nothing brings its packs back into use but a repair that finds them
//! whole.

use crate::record::{self, RecordError, RecordKind};
use crate::seal::{Keys, PackId};
use crate::storage::{Storage, StorageError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The record.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeadList {
    /// The packs, as hex.
    pub packs: Vec<String>,
    /// Whether they are listed because they are damaged.
    #[serde(default, skip_serializing_if = "is_false")]
    pub damaged: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// Why packs are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nothing needs them.
    Unneeded,
    /// They do not hold what they should.
    Damaged,
}

/// A dead list, read.
#[derive(Debug)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its packs.
    pub packs: BTreeSet<PackId>,
    /// Why they are listed.
    pub why: Why,
}

/// All dead lists that can be read, and what is wrong with the others.
pub fn read_all(storage: &dyn Storage, keys: &Keys) -> Result<(Vec<Named>, Vec<RecordError>), StorageError> {
    let (mut lists, mut damaged) = (Vec::new(), Vec::new());
    for name in record::names(storage, RecordKind::DeadList)? {
        match record::read::<DeadList>(storage, keys, RecordKind::DeadList, &name) {
            Ok(list) => {
                let packs = list.packs.iter().filter_map(|name| PackId::from_hex(name)).collect();
                lists.push(Named { name, packs, why: if list.damaged { Why::Damaged } else { Why::Unneeded } });
            }
            // Prune just finished with it: its packs are gone.
            Err(RecordError::Storage(gone)) if gone.is_missing() => {}
            Err(error) => damaged.push(error),
        }
    }
    Ok((lists, damaged))
}

/// Writes one. Returns its name.
pub fn write(storage: &dyn Storage, keys: &Keys, packs: &[PackId], why: Why) -> Result<String, StorageError> {
    let list = DeadList { packs: packs.iter().map(PackId::hex).collect(), damaged: why == Why::Damaged };
    record::write(storage, keys, RecordKind::DeadList, &list)
}

/// The file beside a list that names the leases it waits for.
pub fn leases_name(list: &str) -> String {
    format!("{list}.leases")
}
