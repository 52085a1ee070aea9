//! The mark: one bit for every chunk of every pack, set when a snapshot or an open checkpoint names it.
//!
//! A segment met again is not read again: its own bit says so. Anything unreadable stops prune: what cannot be read cannot
//! be proven dead.

use crate::chunk::ChunkId;
use crate::pack::read::{PackReader, ReadBuffers};
use crate::repository::{Repository, RepositoryError, checkpoint, forgettable, repairable};
use crate::seal::PackId;
use crate::snapshot::decode_list;
use std::collections::HashMap;

struct PackMarks {
    bits: Vec<u64>,
    live: u64,
    live_bytes: u64,
    total_bytes: u64,
    size: u64,
}

/// What is live.
pub struct Marked {
    packs: HashMap<PackId, PackMarks>,
}

impl Marked {
    /// Marks from all snapshots and checkpoints.
    pub fn all(repository: &Repository) -> Result<Marked, RepositoryError> {
        let (checkpoints, damaged) = checkpoint::list(repository.storage(), repository.keys())?;
        if let Some(error) = damaged.into_iter().next() {
            return Err(repairable(error));
        }
        // After the checkpoints: a backup that commits now writes its snapshot before it removes its checkpoint.
        let (snapshots, damaged) = repository.snapshots()?;
        if let Some(error) = damaged.into_iter().next() {
            return Err(forgettable(error));
        }
        // After the snapshots: every pack they need is durable before them, maybe later than our index.
        repository.index().catch_up(repository.storage(), repository.keys())?;
        let mut marking = Marking { repository, marked: Marked::none(repository)?, buffers: ReadBuffers::default() };
        let mut plain = Vec::new();
        for (_, snapshot) in snapshots {
            for list in &snapshot.segment_lists {
                if !marking.mark(list)? {
                    continue;
                }
                repository.read_chunk(list, &mut marking.buffers, &mut plain)?;
                let rows = decode_list(&plain).ok_or(RepositoryError::LostChunk(*list))?;
                for row in rows {
                    marking.segment(&row.segment)?;
                }
            }
        }
        for (_, checkpoint) in checkpoints {
            checkpoint
                .packs
                .iter()
                .filter_map(|name| PackId::from_hex(name))
                .for_each(|pack| marking.marked.whole(&pack));
        }
        Ok(marking.marked)
    }

    fn none(repository: &Repository) -> Result<Marked, RepositoryError> {
        let mut marked = Marked { packs: HashMap::new() };
        for id in repository.index().packs() {
            marked.add(&*repository.index().open_pack(repository.storage(), repository.keys(), id)?);
        }
        Ok(marked)
    }

    fn add(&mut self, pack: &PackReader) {
        self.packs.entry(pack.id()).or_insert_with(|| {
            let total_bytes = pack.rows().map(|row| u64::from(row.stored_len)).sum();
            let bits = vec![0; pack.count().div_ceil(64)];
            PackMarks { bits, live: 0, live_bytes: 0, total_bytes, size: pack.size() }
        });
    }

    fn whole(&mut self, pack: &PackId) {
        if let Some(marks) = self.packs.get_mut(pack) {
            marks.bits.fill(u64::MAX);
            marks.live = u64::MAX;
            marks.live_bytes = marks.total_bytes;
        }
    }

    /// Sets a bit; false when it was set.
    fn set(&mut self, pack: &PackId, position: usize, bytes: u64) -> bool {
        let Some(marks) = self.packs.get_mut(pack) else { return false };
        let Some(word) = marks.bits.get_mut(position / 64) else { return false };
        let bit = 1 << (position % 64);
        let fresh = *word & bit == 0;
        if fresh {
            *word |= bit;
            marks.live = marks.live.saturating_add(1);
            marks.live_bytes += bytes;
        }
        fresh
    }

    /// Whether anything in the pack is needed.
    pub fn is_live(&self, pack: &PackId) -> bool {
        self.packs.get(pack).is_some_and(|marks| marks.live > 0)
    }

    /// Whether one chunk of it is.
    pub fn is_chunk_live(&self, pack: &PackId, position: usize) -> bool {
        let word = self.packs.get(pack).and_then(|marks| marks.bits.get(position / 64)).copied().unwrap_or(0);
        word & 1 << (position % 64) != 0
    }

    /// Packs in which nothing is needed.
    pub fn dead(&self) -> impl Iterator<Item = PackId> + '_ {
        self.packs.iter().filter(|(_, marks)| marks.live == 0).map(|(id, _)| *id)
    }

    /// Live packs with a larger dead part than `above`: id, live bytes, dead bytes.
    pub fn partly_dead(&self, above: f64) -> impl Iterator<Item = (PackId, u64, u64)> + '_ {
        self.packs.iter().filter_map(move |(id, marks)| {
            let dead = marks.total_bytes - marks.live_bytes;
            let much = dead as f64 > above * marks.total_bytes as f64;
            (marks.live > 0 && much).then_some((*id, marks.live_bytes, dead))
        })
    }

    /// Length of a pack's file.
    pub fn size(&self, pack: &PackId) -> u64 {
        self.packs.get(pack).map_or(0, |marks| marks.size)
    }

    /// Bytes of all live chunks.
    pub fn live_bytes(&self) -> u64 {
        self.packs.values().map(|marks| marks.live_bytes).sum()
    }
}

struct Marking<'r> {
    repository: &'r Repository,
    marked: Marked,
    buffers: ReadBuffers,
}

impl Marking<'_> {
    /// Marks a chunk; false when it was marked before. A chunk only a dead-listed pack has revives that pack.
    fn mark(&mut self, chunk: &ChunkId) -> Result<bool, RepositoryError> {
        let location = self.repository.locate(chunk)?;
        self.marked.add(&location.pack); // the index may not have known it when the mark began
        let bytes = location.pack.row(location.position).map_or(0, |row| u64::from(row.stored_len));
        Ok(self.marked.set(&location.pack.id(), location.position, bytes))
    }

    fn segment(&mut self, segment: &ChunkId) -> Result<(), RepositoryError> {
        if !self.mark(segment)? {
            return Ok(());
        }
        for entry in self.repository.read_segment(segment, &mut self.buffers)? {
            for chunk in entry.content.chunks() {
                self.mark(&chunk)?;
            }
        }
        Ok(())
    }
}
