//! Which chunks snapshots name, whether somebody has them, and whether what a segment cuts out of them makes up its pieces.
//!
//! A piece that is one chunk is proven with its chunk; one that joins slices of several is read and hashed here. One bit for each chunk of each pack that is named: memory grows with packs, not with snapshots. A segment that several
//! snapshots share is walked once.

use crate::chunk::ChunkId;
use crate::pack::read::ReadBuffers;
use crate::repository::{Repository, RepositoryError};
use crate::seal::PackId;
use crate::segment::{Content, Entry, Run};
use crate::snapshot::Snapshot;
use crate::verify::Options;
use crate::view::read_piece;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Chunks by their place: a bit each.
#[derive(Default)]
pub(super) struct Positions(HashMap<PackId, Vec<u64>>);

impl Positions {
    /// Packs with at least one.
    pub(super) fn packs(&self) -> impl Iterator<Item = PackId> + '_ {
        self.0.keys().copied()
    }

    /// Whether any chunk of the pack is named.
    pub(super) fn has(&self, pack: &PackId) -> bool {
        self.0.contains_key(pack)
    }

    /// Whether this one is.
    pub(super) fn contains(&self, pack: &PackId, position: usize) -> bool {
        let word = self.0.get(pack).and_then(|bits| bits.get(position / 64)).copied().unwrap_or(0);
        word & 1 << (position % 64) != 0
    }

    /// Adds one; false when it was there.
    fn add(&mut self, pack: PackId, position: usize) -> bool {
        let bits = self.0.entry(pack).or_default();
        if bits.len() <= position / 64 {
            bits.resize(position / 64 + 1, 0);
        }
        let before = bits[position / 64];
        bits[position / 64] |= 1 << (position % 64);
        bits[position / 64] != before
    }
}

/// Why a snapshot cannot be restored whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nobody has this chunk, or it is damaged.
    Chunk(ChunkId),
    /// A segment wants more of this chunk than it has.
    Short(ChunkId),
    /// The slices that are there do not make up this piece.
    Joined(ChunkId),
}

impl fmt::Display for Loss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Chunk(chunk) => {
                write!(out, "needs chunk {chunk}, which is lost or damaged; `saveos repair snapshots` keeps the rest")
            }
            Loss::Short(chunk) => {
                write!(out, "needs bytes past the end of chunk {chunk}; `saveos repair snapshots` keeps the rest")
            }
            Loss::Joined(piece) => {
                write!(out, "has slices that do not make up piece {piece}; `saveos repair snapshots` keeps the rest")
            }
        }
    }
}

/// Walks snapshots.
pub(super) struct References<'r> {
    repository: &'r Repository,
    /// How many of the joined pieces are read.
    options: Options,
    buffers: ReadBuffers,
    plain: Vec<u8>,
    /// What was named so far.
    pub(super) wanted: Positions,
    /// Segments in which something is lost; the others are not walked twice.
    lossy: HashMap<ChunkId, Loss>,
}

/// Where a named chunk is.
enum Named {
    First { len: u32 },
    Again { len: u32 },
    Nowhere,
}

impl<'r> References<'r> {
    pub(super) fn of(repository: &'r Repository, options: Options) -> Self {
        let (wanted, lossy) = (Positions::default(), HashMap::new());
        References { repository, options, buffers: ReadBuffers::default(), plain: Vec::new(), wanted, lossy }
    }

    /// The first thing that is lost to a snapshot, if anything.
    pub(super) fn snapshot(&mut self, snapshot: &Snapshot) -> Result<Option<Loss>, RepositoryError> {
        let mut first = None;
        for list in &snapshot.segment_lists {
            if matches!(self.name(list)?, Named::Nowhere) {
                first = first.or(Some(Loss::Chunk(*list)));
            }
        }
        for row in self.repository.read_segment_list(snapshot)? {
            let lost = self.segment(&row.segment)?;
            first = first.or(lost);
        }
        Ok(first)
    }

    fn segment(&mut self, segment: &ChunkId) -> Result<Option<Loss>, RepositoryError> {
        match self.name(segment)? {
            Named::Nowhere => return Ok(Some(Loss::Chunk(*segment))),
            Named::Again { .. } => return Ok(self.lossy.get(segment).copied()),
            Named::First { .. } => {}
        }
        let entries = self.repository.read_segment(segment, &mut self.buffers).inspect_err(|_| {
            // The next snapshot that shares it must not think that it was found whole.
            self.lossy.insert(*segment, Loss::Chunk(*segment));
        })?;
        let mut first = None;
        for entry in entries {
            let lost = self.entry(&entry)?;
            first = first.or(lost);
        }
        if let Some(loss) = first {
            self.lossy.insert(*segment, loss);
        }
        Ok(first)
    }

    fn entry(&mut self, entry: &Entry) -> Result<Option<Loss>, RepositoryError> {
        let mut first = None;
        match &entry.content {
            Content::Zeros | Content::LeftOut(_) | Content::Hole(_) => {}
            Content::Chunk(chunk) => first = self.needs(chunk, entry.len(), Exactly::Yes)?,
            Content::Runs { piece, runs } => {
                for run in runs {
                    if let Run::Slice { chunk, offset, len } = run {
                        let end = u64::from(*offset) + u64::from(*len);
                        let lost = self.needs(chunk, end, Exactly::No)?;
                        first = first.or(lost);
                    }
                }
                if first.is_none() && super::in_sample(piece, &self.options) {
                    first = self.joins(entry, *piece)?;
                }
            }
        }
        Ok(first)
    }

    /// Reads a piece as a restore does.
    fn joins(&mut self, entry: &Entry, piece: ChunkId) -> Result<Option<Loss>, RepositoryError> {
        match read_piece(self.repository, entry, &mut self.buffers, &mut self.plain) {
            Ok(()) => Ok(None),
            Err(RepositoryError::LostChunk(chunk)) if chunk != piece => Ok(Some(Loss::Chunk(chunk))),
            Err(error) if self.repository.is_loss(&error) => Ok(Some(Loss::Joined(piece))),
            Err(other) => Err(other),
        }
    }

    fn needs(&mut self, chunk: &ChunkId, end: u64, exactly: Exactly) -> Result<Option<Loss>, RepositoryError> {
        Ok(match self.name(chunk)? {
            Named::Nowhere => Some(Loss::Chunk(*chunk)),
            Named::First { len } | Named::Again { len } => {
                let fits = if exactly == Exactly::Yes { u64::from(len) == end } else { u64::from(len) >= end };
                (!fits).then_some(Loss::Short(*chunk))
            }
        })
    }

    fn name(&mut self, chunk: &ChunkId) -> Result<Named, RepositoryError> {
        let (storage, keys, index) = (self.repository.storage(), self.repository.keys(), self.repository.index());
        let location = match index.locate(storage, keys, chunk)? {
            Some(location) => Some(location),
            None => index.locate_in_dead(storage, keys, chunk)?,
        };
        let Some(location) = location else { return Ok(Named::Nowhere) };
        let len = location.pack.row(location.position).map_or(0, |row| row.plain_len);
        let first = self.wanted.add(location.pack.id(), location.position);
        Ok(if first { Named::First { len } } else { Named::Again { len } })
    }

    /// The first damaged chunk a snapshot names, if any. Only asked when something is damaged, so it may walk again.
    pub(super) fn hurt_by(
        &mut self,
        bad: &HashSet<ChunkId>,
        snapshot: &Snapshot,
    ) -> Result<Option<ChunkId>, RepositoryError> {
        if bad.is_empty() {
            return Ok(None);
        }
        for row in self.repository.read_segment_list(snapshot)? {
            if bad.contains(&row.segment) {
                return Ok(Some(row.segment));
            }
            let entries = self.repository.read_segment(&row.segment, &mut self.buffers)?;
            let hurt = entries.iter().flat_map(|entry| entry.content.chunks()).find(|chunk| bad.contains(chunk));
            if hurt.is_some() {
                return Ok(hurt);
            }
        }
        Ok(None)
    }
}

/// Whether a chunk may be longer than what is wanted of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exactly {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_remembers_a_chunk() {
        let (mut positions, pack, other) = (Positions::default(), PackId([1; 24]), PackId([2; 24]));
        assert!(positions.add(pack, 700) && positions.add(pack, 3));
        assert!(!positions.add(pack, 700));
        assert!(positions.contains(&pack, 3) && positions.contains(&pack, 700) && !positions.contains(&pack, 701));
        assert!(positions.has(&pack) && !positions.has(&other) && !positions.contains(&other, 0));
        // A thousand chunks in a hundred and twenty-eight bytes.
        assert_eq!(positions.0[&pack].len(), 11);
    }
}
