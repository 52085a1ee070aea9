//! Repair: brings the index back from the packs, saves what is whole out of damaged packs, and writes snapshots that name
//! what is lost as holes. Originals stay until somebody forgets them.

mod holes;

pub use holes::{RepairedSnapshot, snapshots};

use crate::pack::read::{Nature, PackError, PackReader, ReadBuffers, scrub};
use crate::repository::dead::{self, Why};
use crate::repository::store::{Packer, Sealer, storing};
use crate::repository::{Repository, RepositoryError, checkpoint};
use crate::seal::PackId;
use crate::storage::Area;
use std::collections::{HashMap, HashSet};

/// What `repair index` found.
#[derive(Debug, Default, serde::Serialize)]
pub struct RepairedIndex {
    /// Packs in use now.
    pub packs: usize,
    /// Damaged packs, set aside; prune deletes them when what they held is elsewhere or no longer needed.
    pub salvaged_packs: usize,
    /// Chunks copied out of them to new packs.
    pub salvaged_chunks: u64,
    /// Chunks that could not be saved and are nowhere else.
    pub lost_chunks: u64,
    /// Packs that could not be opened at all.
    pub unreadable_packs: usize,
    /// Packs that were set aside and are whole.
    pub healed_packs: usize,
    /// Damaged dead lists and checkpoints, removed.
    pub removed_records: usize,
}

/// Called with bytes read so far, and how many there are.
pub type Observer<'a> = dyn Fn(u64, u64) + 'a;

/// Scrubs every pack, sets damaged ones aside and salvages them. The caller opened the repository with an empty index.
pub fn index(repository: &Repository, observe: &Observer<'_>) -> Result<RepairedIndex, RepositoryError> {
    let mut repaired = RepairedIndex {
        unreadable_packs: repository.refresh.unreadable.len(),
        removed_records: remove_damaged_records(repository)?,
        ..RepairedIndex::default()
    };
    let damaged = set_aside_damaged(repository, &mut repaired, observe)?;
    storing(repository, None, |packer| {
        for id in &damaged {
            salvage(packer, *id, &mut repaired)?;
        }
        Ok::<_, RepositoryError>(())
    })?;
    repaired.salvaged_packs = damaged.len();
    repaired.packs = repository.index().packs().len() - damaged.len();
    Ok(repaired)
}

/// Without its list a pack is not deleted, and without its checkpoint a pack is: by a later prune, unless the backup that wrote
/// it still runs or has committed.
fn remove_damaged_records(repository: &Repository) -> Result<usize, RepositoryError> {
    let storage = repository.storage();
    let (_, lists) = dead::read_all(storage, repository.keys())?;
    let (_, checkpoints) = checkpoint::list(storage, repository.keys())?;
    let mut removed = 0;
    for (area, error) in lists.iter().map(|e| (Area::Dead, e)).chain(checkpoints.iter().map(|e| (Area::Checkpoints, e)))
    {
        if !error.is_damage() {
            continue;
        }
        storage.remove(area, error.name())?;
        match storage.remove(Area::Dead, &dead::leases_name(error.name())) {
            Err(missing) if missing.is_missing() => {}
            other => other?,
        }
        removed += 1;
    }
    Ok(removed)
}

/// Names all damaged packs in dead lists, and takes those that are whole again off them. Returns the damaged ones.
fn set_aside_damaged(
    repository: &Repository,
    repaired: &mut RepairedIndex,
    observe: &Observer<'_>,
) -> Result<Vec<PackId>, RepositoryError> {
    let (storage, keys) = (repository.storage(), repository.keys());
    let (lists, _) = dead::read_all(storage, keys)?;
    let old: Vec<dead::Named> = lists.into_iter().filter(|list| list.why == Why::Damaged).collect();
    let before: HashSet<PackId> = old.iter().flat_map(|list| &list.packs).copied().collect();
    let sizes: HashMap<String, u64> =
        storage.list(Area::Packs)?.into_iter().map(|file| (file.name, file.size)).collect();
    let (mut read, total) = (0, sizes.values().sum());
    let (mut damaged, mut healed) = (Vec::new(), Vec::new());
    for pack in repository.index().packs() {
        let whole =
            judge(scrub(storage, pack).map(drop))? && (!before.contains(&pack) || judge(read_whole(repository, pack))?);
        read += sizes.get(&pack.hex()).copied().unwrap_or(0);
        observe(read, total);
        if !whole {
            damaged.push(pack);
        } else if before.contains(&pack) {
            healed.push(pack);
        }
    }
    if healed.is_empty() {
        repository.set_aside(&damaged)?;
    } else {
        // The new list first: no damaged pack is in use between the two.
        if !damaged.is_empty() {
            dead::write(storage, keys, &damaged, Why::Damaged)?;
        }
        old.iter().try_for_each(|list| storage.remove(Area::Dead, &list.name))?;
        repository.index().treat_as_absent(damaged.iter().copied());
        healed.iter().for_each(|pack| repository.index().treat_as_present(pack));
    }
    repaired.healed_packs = healed.len();
    Ok(damaged)
}

/// Whether a pack is whole; an error when this cannot be known now.
fn judge(outcome: Result<(), PackError>) -> Result<bool, RepositoryError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.fault.nature() == Nature::Refused => Err(error.into()),
        Err(_) => Ok(false),
    }
}

fn read_whole(repository: &Repository, id: PackId) -> Result<(), PackError> {
    let pack = PackReader::open(repository.storage(), repository.keys(), id)?;
    let (mut buffers, mut plain) = (ReadBuffers::default(), Vec::new());
    pack.rows().try_for_each(|row| pack.read_chunk(repository.keys(), &row, &mut buffers, &mut plain))
}

/// Copies what is whole and nowhere else out of a damaged pack.
fn salvage(packer: &Packer<'_>, id: PackId, repaired: &mut RepairedIndex) -> Result<(), RepositoryError> {
    let repository = packer.repository();
    let pack = PackReader::open(repository.storage(), repository.keys(), id)?;
    let (mut buffers, mut plain) = (ReadBuffers::default(), Vec::new());
    let mut sealer = Sealer::new(crate::backup::DEFAULT_LEVEL);
    for row in pack.rows() {
        if packer.has(&row.chunk)? {
            continue;
        }
        if !judge(pack.read_chunk(repository.keys(), &row, &mut buffers, &mut plain))? {
            repaired.lost_chunks += 1;
            continue;
        }
        let stored = pack.read_stored(&row, &mut buffers)?;
        packer.store_again(pack.kind(), &row, stored, &mut sealer)?;
        repaired.salvaged_chunks += 1;
    }
    Ok(())
}
