//! Repair: brings the index back from the packs, saves what is whole out of damaged packs, and writes snapshots that name
//! what is lost as holes. Originals stay until somebody forgets them.

use crate::chunk::ChunkId;
use crate::pack::read::{Nature, PackError, PackReader, ReadBuffers, scrub};
use crate::record::{self, RecordKind};
use crate::repository::dead::{self, Why};
use crate::repository::store::{Packer, Sealer, storing};
use crate::repository::{Repository, RepositoryError, checkpoint};
use crate::seal::{Kind, PackId};
use crate::segment::{self, Builder, Cause, Content, Entry};
use crate::snapshot::{HoleNote, LIST_ROWS, SegmentRef, Snapshot, SnapshotId, State, encode_list};
use crate::storage::Area;
use std::collections::HashSet;

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

/// Scrubs every pack, sets damaged ones aside and salvages them. The caller opened the repository with an empty index.
pub fn index(repository: &Repository) -> Result<RepairedIndex, RepositoryError> {
    let mut repaired = RepairedIndex {
        unreadable_packs: repository.refresh.unreadable.len(),
        removed_records: remove_damaged_records(repository)?,
        ..RepairedIndex::default()
    };
    let damaged = set_aside_damaged(repository, &mut repaired)?;
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
fn set_aside_damaged(repository: &Repository, repaired: &mut RepairedIndex) -> Result<Vec<PackId>, RepositoryError> {
    let (storage, keys) = (repository.storage(), repository.keys());
    let (lists, _) = dead::read_all(storage, keys)?;
    let old: Vec<dead::Named> = lists.into_iter().filter(|list| list.why == Why::Damaged).collect();
    let before: HashSet<PackId> = old.iter().flat_map(|list| &list.packs).copied().collect();
    let (mut damaged, mut healed) = (Vec::new(), Vec::new());
    for pack in repository.index().packs() {
        let whole =
            judge(scrub(storage, pack).map(drop))? && (!before.contains(&pack) || judge(read_whole(repository, pack))?);
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
    for row in pack.rows() {
        if packer.has(&row.chunk)? {
            continue;
        }
        if !judge(pack.read_chunk(repository.keys(), &row, &mut buffers, &mut plain))? {
            repaired.lost_chunks += 1;
            continue;
        }
        let stored = pack.read_stored(&row, &mut buffers)?;
        packer.store_again(pack.kind(), &row, stored)?;
        repaired.salvaged_chunks += 1;
    }
    Ok(())
}

/// A snapshot written anew.
#[derive(Debug)]
pub struct RepairedSnapshot {
    /// The one that had lost chunks.
    pub original: SnapshotId,
    /// The new one, with holes.
    pub repaired: SnapshotId,
    /// Bytes that are missing in it.
    pub lost_bytes: u64,
}

/// Writes a new snapshot for each one that names lost chunks. `None` in `repaired` does not occur: what is whole is left alone.
pub fn snapshots(repository: &Repository) -> Result<Vec<RepairedSnapshot>, RepositoryError> {
    let (all, _) = repository.snapshots()?;
    let mut done = Vec::new();
    for (id, snapshot) in &all {
        let already =
            all.iter().any(|(_, other)| other.parent == Some(*id) && other.tags.iter().any(|tag| tag == "repaired"));
        if !already && let Some(repaired) = repair_one(repository, *id, snapshot, &all)? {
            done.push(repaired);
        }
    }
    Ok(done)
}

fn repair_one(
    repository: &Repository,
    id: SnapshotId,
    snapshot: &Snapshot,
    all: &[(SnapshotId, Snapshot)],
) -> Result<Option<RepairedSnapshot>, RepositoryError> {
    let Ok(rows) = repository.read_segment_list(snapshot) else { return Ok(None) };
    let mut repaired = Snapshot { summary: snapshot.summary.clone(), ..snapshot.clone() };
    let mut lost_bytes = 0;
    let lists = storing(repository, None, |packer| {
        let mut sealer = Sealer::new(crate::backup::DEFAULT_LEVEL);
        let mut buffers = ReadBuffers::default();
        let mut new_rows = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let end = rows.get(at + 1).map_or(snapshot.source.size, |next| next.window).max(row.window);
            let entries = match repository.read_segment(&row.segment, &mut buffers) {
                Ok(entries) => entries,
                // The segment itself is lost: everything in its window is, as far as anybody knows.
                Err(_) => vec![lost_window(row.window, end.min(row.window + segment::WINDOW).max(row.window + 1))],
            };
            let before = lost_bytes;
            let entries = mend(repository, entries, &mut lost_bytes, &mut repaired.summary.holes)?;
            if lost_bytes == before {
                new_rows.push(*row);
                continue;
            }
            let mut builder = Builder::new(row.window);
            entries.iter().for_each(|entry| builder.push(entry));
            let bytes = builder.finish();
            let segment = repository.keys().chunk_id(&bytes);
            packer.store(Kind::Metadata, segment, &bytes, &mut sealer)?;
            new_rows.push(SegmentRef { window: row.window, segment });
        }
        let mut lists = Vec::new();
        for part in new_rows.chunks(LIST_ROWS).filter(|_| lost_bytes > 0) {
            let bytes = encode_list(part);
            let list = repository.keys().chunk_id(&bytes);
            packer.store(Kind::Metadata, list, &bytes, &mut sealer)?;
            lists.push(list);
        }
        Ok::<Vec<ChunkId>, RepositoryError>(lists)
    })?;
    if lost_bytes == 0 {
        return Ok(None);
    }
    let own = all.iter().filter(|(_, other)| other.writer == snapshot.writer);
    let last = own.max_by_key(|(_, other)| other.sequence);
    repaired.sequence = last.map_or(0, |(_, last)| last.sequence) + 1;
    repaired.previous = last.map(|(id, _)| *id);
    repaired.parent = Some(id);
    repaired.state = State::Partial;
    repaired.tags.push("repaired".to_owned());
    repaired.segment_lists = lists;
    repaired.summary.hole_bytes += lost_bytes;
    let name = record::write(repository.storage(), repository.keys(), RecordKind::Snapshot, &repaired)?;
    let repaired = name.parse().expect("a record is named by 64 hex digits");
    Ok(Some(RepairedSnapshot { original: id, repaired, lost_bytes }))
}

fn lost_window(start: u64, end: u64) -> Entry {
    Entry {
        class: segment::Class::Raw,
        extents: vec![crate::fs::Extent::new(start, end - start)],
        content: Content::Hole(Cause::Lost),
    }
}

/// Puts holes where chunks are lost or damaged.
fn mend(
    repository: &Repository,
    mut entries: Vec<Entry>,
    lost_bytes: &mut u64,
    holes: &mut Vec<HoleNote>,
) -> Result<Vec<Entry>, RepositoryError> {
    let (mut buffers, mut plain) = (ReadBuffers::default(), Vec::new());
    for entry in &mut entries {
        let whole = match entry.content {
            Content::Hole(Cause::Lost) => false,
            _ => crate::view::read_piece(repository, entry, &mut buffers, &mut plain).is_ok(),
        };
        if whole {
            continue;
        }
        entry.content = Content::Hole(Cause::Lost);
        *lost_bytes += entry.len();
        for extent in entry.extents.iter().take(1000usize.saturating_sub(holes.len())) {
            holes.push(HoleNote { start: extent.start, len: extent.len, cause: Cause::Lost, file: None });
        }
    }
    Ok(entries)
}
