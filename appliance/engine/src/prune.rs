//! Prune: gives back the space of what no snapshot needs, beside running backups and restores. FORMAT.md §9.
//!
//! Two runs to delete: the first lists dead packs, a later one deletes them when everybody who might still use them has
//! ended and a fresh mark finds them dead again. Neither a clock nor the index decides.

mod mark;

pub use mark::Marked;

use crate::lease;
use crate::pack::read::ReadBuffers;
use crate::repository::checkpoint;
use crate::repository::dead::{self, Why, leases_name};
use crate::repository::store::{Sealer, storing};
use crate::repository::{RESERVE, Repository, RepositoryError, repairable};
use crate::seal::PackId;
use crate::snapshot::{Snapshot, SnapshotId, WriterId};
use crate::storage::{Area, get, put};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A pack with a larger dead part than this is repacked.
const REPACK_ABOVE: f64 = 0.25;
/// Live bytes moved in one run: at least this, or a tenth of the repository.
const REPACK_LEAST: u64 = 1024 * 1024 * 1024;

/// Whether to change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Yes.
    Run,
    /// Only say what would happen.
    DryRun,
}

/// What prune did or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Packs deleted: listed earlier, unused since.
    pub deleted_packs: usize,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Packs listed as dead now; a later prune deletes them.
    pub listed_packs: usize,
    /// Their bytes.
    pub listed_bytes: u64,
    /// Packs whose live chunks were moved to new packs.
    pub repacked_packs: usize,
    /// Bytes moved.
    pub repacked_bytes: u64,
    /// Listed packs that must wait for leases older than their list.
    pub waiting_packs: usize,
    /// Listed packs that a snapshot uses again.
    pub revived_packs: usize,
    /// Damaged packs that stay, since what a snapshot needs of them is nowhere else yet.
    pub damaged_packs: usize,
    /// Bytes of live chunks.
    pub live_bytes: u64,
}

/// A dead list with its state.
struct List {
    name: String,
    packs: BTreeSet<PackId>,
    /// Leases held when the list became visible; `None`: not known yet, so nobody may be forgotten.
    waits_for: Option<BTreeSet<String>>,
}

/// Called with bytes copied so far, and how many there are to copy.
pub type Observer<'a> = dyn Fn(u64, u64) + 'a;

/// Runs one prune. The repository was opened with the sweeper lease.
pub fn run(repository: &Repository, mode: Mode) -> Result<Pruned, RepositoryError> {
    run_observed(repository, mode, &|_, _| ())
}

/// The same, with somebody watching it copy what lives out of packs that are dead in part.
pub fn run_observed(repository: &Repository, mode: Mode, observe: &Observer<'_>) -> Result<Pruned, RepositoryError> {
    let storage = repository.storage();
    let own = repository.lease_name();
    // On a full disk the reserve is what the new records are written to.
    if mode == Mode::Run && storage.free_bytes().is_some_and(|free| free < RESERVE) {
        storage.reserve(0)?;
    }
    // Before the mark: a backup whose lease has ended by now has committed by now, and the mark sees its snapshot.
    let held = held_leases(repository, own)?;
    let marked = Marked::all(repository)?;
    let (lists, damaged) = read_lists(repository)?;
    let mut pruned = Pruned { live_bytes: marked.live_bytes(), ..Pruned::default() };
    delete_ready(repository, &lists, &marked, &held, mode, &mut pruned)?;
    forget_deleted(repository, &damaged, &marked, mode, &mut pruned)?;

    let listed: HashSet<PackId> = lists.iter().flat_map(|list| &list.packs).copied().collect();
    let mut dead: Vec<PackId> = marked.dead().filter(|pack| !listed.contains(pack)).collect();
    // What is damaged is not moved: a backup stores it anew, and repair saves what is whole in it.
    let stays = listed.iter().chain(damaged.iter().flat_map(|list| &list.packs)).copied().collect();
    dead.extend(repack(repository, &marked, &stays, mode, &mut pruned, observe)?);
    pruned.listed_packs = dead.len();
    pruned.listed_bytes = dead.iter().map(|pack| marked.size(pack)).sum();
    if mode == Mode::Run {
        list_as_dead(repository, &dead, own)?;
        if storage.free_bytes().is_none_or(|free| free > 2 * RESERVE) {
            storage.reserve(RESERVE)?;
        }
    }
    Ok(pruned)
}

/// Lists of packs to delete, and lists of damaged packs.
fn read_lists(repository: &Repository) -> Result<(Vec<List>, Vec<dead::Named>), RepositoryError> {
    let storage = repository.storage();
    let (lists, unread) = dead::read_all(storage, repository.keys())?;
    if let Some(error) = unread.into_iter().next() {
        return Err(repairable(error));
    }
    let (damaged, unneeded): (Vec<_>, Vec<_>) = lists.into_iter().partition(|list| list.why == Why::Damaged);
    let mut lists = Vec::new();
    for dead::Named { name, packs, .. } in unneeded {
        let waits_for = match get(storage, Area::Dead, &leases_name(&name), 1024 * 1024) {
            Ok(text) => Some(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()),
            Err(missing) if missing.is_missing() => None,
            Err(error) => return Err(error.into()),
        };
        lists.push(List { name, packs, waits_for });
    }
    Ok((lists, damaged))
}

/// Removes lists of damaged packs that are all gone. The others stay as they are: a pack that a snapshot still needs must not
/// count as good for the next backup.
fn forget_deleted(
    repository: &Repository,
    damaged: &[dead::Named],
    marked: &Marked,
    mode: Mode,
    pruned: &mut Pruned,
) -> Result<(), RepositoryError> {
    if damaged.is_empty() {
        return Ok(());
    }
    let storage = repository.storage();
    let there: HashSet<String> = storage.list(Area::Packs)?.into_iter().map(|object| object.name).collect();
    for list in damaged {
        pruned.damaged_packs += list.packs.iter().filter(|pack| marked.is_live(pack)).count();
        if mode == Mode::Run && !list.packs.iter().any(|pack| there.contains(&pack.hex())) {
            storage.remove(Area::Dead, &list.name)?;
        }
    }
    Ok(())
}

/// Deletes listed packs whose leases have ended and which are still dead; takes revived ones off.
fn delete_ready(
    repository: &Repository,
    lists: &[List],
    marked: &Marked,
    held: &BTreeSet<String>,
    mode: Mode,
    pruned: &mut Pruned,
) -> Result<(), RepositoryError> {
    let storage = repository.storage();
    for list in lists {
        let (revived, dead): (Vec<PackId>, Vec<PackId>) = list.packs.iter().partition(|pack| marked.is_live(pack));
        pruned.revived_packs += revived.len();
        let Some(waits_for) = &list.waits_for else {
            // A prune was cut between the two files: begin the wait now.
            pruned.waiting_packs += dead.len();
            if mode == Mode::Run {
                write_leases(repository, &list.name, repository.lease_name())?;
            }
            continue;
        };
        if waits_for.intersection(held).next().is_some() {
            pruned.waiting_packs += dead.len();
            continue;
        }
        pruned.deleted_packs += dead.len();
        pruned.deleted_bytes += dead.iter().map(|pack| marked.size(pack)).sum::<u64>();
        if mode == Mode::DryRun {
            continue;
        }
        for pack in &dead {
            match storage.remove(Area::Packs, &pack.hex()) {
                Err(gone) if gone.is_missing() => {} // an earlier run was cut after deleting it
                other => other?,
            }
        }
        repository.index().remove_packs(&dead)?;
        // The revived may be used again from the moment no list names them.
        storage.remove(Area::Dead, &list.name)?;
        match storage.remove(Area::Dead, &leases_name(&list.name)) {
            Err(gone) if gone.is_missing() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Copies the live chunks of packs that are dead in part. Returns the packs that are dead now.
fn repack(
    repository: &Repository,
    marked: &Marked,
    listed: &HashSet<PackId>,
    mode: Mode,
    pruned: &mut Pruned,
    observe: &Observer<'_>,
) -> Result<Vec<PackId>, RepositoryError> {
    let mut candidates: Vec<(PackId, u64, u64)> =
        marked.partly_dead(REPACK_ABOVE).filter(|(pack, _, _)| !listed.contains(pack)).collect();
    // Most gain for least copying first.
    candidates.sort_by_key(|&(_, live, dead)| (live.saturating_mul(1000) / dead.max(1), live));
    let budget = (marked.live_bytes() / 10).max(REPACK_LEAST);
    let free = repository.storage().free_bytes().unwrap_or(u64::MAX);
    let mut taken = 0;
    candidates.retain(|&(_, live, _)| {
        taken += live;
        taken <= budget && taken < free / 2
    });
    pruned.repacked_packs = candidates.len();
    pruned.repacked_bytes = candidates.iter().map(|(_, live, _)| live).sum();
    if mode == Mode::Run && !candidates.is_empty() {
        storing(repository, None, |packer| {
            let (mut buffers, mut sealer) = (ReadBuffers::default(), Sealer::new(crate::backup::DEFAULT_LEVEL));
            let mut copied = 0;
            for (id, _, _) in &candidates {
                let pack = repository.index().open_pack(repository.storage(), repository.keys(), *id)?;
                for (position, row) in pack.rows().enumerate() {
                    if marked.is_chunk_live(id, position) {
                        let stored = pack.read_stored(&row, &mut buffers)?;
                        packer.store_again(pack.kind(), &row, stored, &mut sealer)?;
                        copied += u64::from(row.stored_len);
                        observe(copied, pruned.repacked_bytes.max(copied));
                    }
                }
            }
            Ok::<_, RepositoryError>(())
        })?;
    }
    Ok(candidates.into_iter().map(|(pack, _, _)| pack).collect())
}

/// Makes the list visible, then notes who was there: whoever comes later sees the list, whoever is noted is waited for.
pub(crate) fn list_as_dead(repository: &Repository, packs: &[PackId], own: &str) -> Result<(), RepositoryError> {
    if packs.is_empty() {
        return Ok(());
    }
    let name = dead::write(repository.storage(), repository.keys(), packs, Why::Unneeded)?;
    write_leases(repository, &name, own)
}

fn write_leases(repository: &Repository, list: &str, own: &str) -> Result<(), RepositoryError> {
    let held = held_leases(repository, own)?;
    let text: String = held.iter().map(|name| format!("{name}\n")).collect();
    Ok(put(repository.storage(), Area::Dead, &leases_name(list), text.as_bytes())?)
}

fn held_leases(repository: &Repository, own: &str) -> Result<BTreeSet<String>, RepositoryError> {
    let Some(locks) = repository.locks() else { return Ok(BTreeSet::new()) };
    let mut held = lease::held(locks)?;
    held.remove(own);
    Ok(held)
}

/// Removes snapshot records one by one. Their chunks stay until prune.
pub fn forget(repository: &Repository, snapshots: &[SnapshotId]) -> Result<(), RepositoryError> {
    remember_numbers(repository, snapshots)?;
    for snapshot in snapshots {
        repository.storage().remove(Area::Snapshots, &snapshot.to_string())?;
    }
    Ok(())
}

/// A number that was used is never used again, also when its snapshot is forgotten: who remembers `(writer, sequence)` must not
/// meet another snapshot under it. A checkpoint without packs remembers it until that writer's next snapshot is durable.
fn remember_numbers(repository: &Repository, forgotten: &[SnapshotId]) -> Result<(), RepositoryError> {
    let (snapshots, _) = repository.snapshots()?;
    let mut last: BTreeMap<WriterId, &(SnapshotId, Snapshot)> = BTreeMap::new();
    for entry in &snapshots {
        // They come in order of writer and sequence.
        last.insert(entry.1.writer, entry);
    }
    for (_, newest) in last.into_values().filter(|(id, _)| forgotten.contains(id)) {
        checkpoint::write(repository.storage(), repository.keys(), newest.writer, newest.sequence, &[])?;
    }
    Ok(())
}
