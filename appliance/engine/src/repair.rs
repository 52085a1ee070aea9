//! Repair: brings the index back from the packs, saves what is whole out of damaged packs, and writes snapshots that name
//! what is lost as holes. Originals stay until somebody forgets them.

use crate::chunk::ChunkId;
use crate::pack::read::{PackReader, ReadBuffers, scrub};
use crate::prune::list_as_dead;
use crate::record::{self, RecordKind};
use crate::repository::store::{Sealer, storing};
use crate::repository::{Repository, RepositoryError};
use crate::seal::Kind;
use crate::segment::{self, Builder, Cause, Content, Entry};
use crate::snapshot::{HoleNote, LIST_ROWS, SegmentRef, Snapshot, SnapshotId, State, encode_list};
use crate::storage::Area;
use std::collections::HashMap;

/// What `repair index` found.
#[derive(Debug, Default, serde::Serialize)]
pub struct RepairedIndex {
    /// Packs in the index now.
    pub packs: usize,
    /// Damaged packs whose whole chunks were copied to new packs; prune deletes them later.
    pub salvaged_packs: usize,
    /// Chunks saved.
    pub salvaged_chunks: u64,
    /// Chunks that could not be saved.
    pub lost_chunks: u64,
    /// Packs that could not be opened at all.
    pub unreadable_packs: usize,
}

/// Called with bytes read so far, and how many there are.
pub type Observer<'a> = dyn Fn(u64, u64) + 'a;

/// Scrubs every pack and salvages damaged ones. The caller opened the repository with an empty index.
pub fn index(repository: &Repository, observe: &Observer<'_>) -> Result<RepairedIndex, RepositoryError> {
    let storage = repository.storage();
    let mut repaired =
        RepairedIndex { unreadable_packs: repository.refresh.unreadable.len(), ..RepairedIndex::default() };
    let sizes: HashMap<String, u64> =
        storage.list(Area::Packs)?.into_iter().map(|file| (file.name, file.size)).collect();
    let (mut damaged, mut read, total) = (Vec::new(), 0, sizes.values().sum());
    for pack in repository.index().packs() {
        if scrub(storage, pack).is_err() {
            damaged.push(pack);
        }
        read += sizes.get(&pack.hex()).copied().unwrap_or(0);
        observe(read, total);
    }
    storing(repository, None, |packer| {
        let mut buffers = ReadBuffers::default();
        let mut plain = Vec::new();
        for id in &damaged {
            let pack = PackReader::open(storage, repository.keys(), *id)?;
            for row in pack.rows() {
                if pack.read_chunk(repository.keys(), &row, &mut buffers, &mut plain).is_err() {
                    repaired.lost_chunks += 1;
                    continue;
                }
                let stored = pack.read_stored(&row, &mut buffers)?;
                packer.store_again(pack.kind(), &row, stored)?;
                repaired.salvaged_chunks += 1;
            }
            repaired.salvaged_packs += 1;
        }
        Ok::<_, RepositoryError>(())
    })?;
    list_as_dead(repository, &damaged, repository.lease_name())?;
    repaired.packs = repository.index().packs().len() - damaged.len();
    Ok(repaired)
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
pub fn snapshots(repository: &Repository, observe: &Observer<'_>) -> Result<Vec<RepairedSnapshot>, RepositoryError> {
    let (all, _) = repository.snapshots()?;
    let is_repaired = |id: &SnapshotId| {
        all.iter().any(|(_, other)| other.parent == Some(*id) && other.tags.iter().any(|tag| tag == "repaired"))
    };
    let todo: Vec<&(SnapshotId, Snapshot)> = all.iter().filter(|(id, _)| !is_repaired(id)).collect();
    let total = todo.iter().map(|(_, snapshot)| snapshot.summary.bytes_hashed).sum();
    let (mut done, mut before) = (Vec::new(), 0);
    for (id, snapshot) in todo {
        let watch = |read: u64| observe((before + read).min(total), total);
        done.extend(repair_one(repository, *id, snapshot, &all, &watch)?);
        before += snapshot.summary.bytes_hashed;
    }
    Ok(done)
}

fn repair_one(
    repository: &Repository,
    id: SnapshotId,
    snapshot: &Snapshot,
    all: &[(SnapshotId, Snapshot)],
    watch: &dyn Fn(u64),
) -> Result<Option<RepairedSnapshot>, RepositoryError> {
    let Ok(rows) = repository.read_segment_list(snapshot) else { return Ok(None) };
    let mut repaired = Snapshot { summary: snapshot.summary.clone(), ..snapshot.clone() };
    let (mut lost_bytes, mut read) = (0, 0);
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
            read += entries.iter().map(Entry::len).sum::<u64>();
            let entries = mend(repository, entries, &mut lost_bytes, &mut repaired.summary.holes)?;
            watch(read);
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
