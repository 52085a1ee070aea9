//! A snapshot as a read-only disk: any bytes at any offset, without restoring anything. `files`, `view` and pipes read it.

pub mod map;
pub mod nbd;

use crate::chunk::ChunkId;
use crate::pack::read::ReadBuffers;
use crate::read::{ReadAt, past_end};
use crate::repository::{Repository, RepositoryError};
use crate::segment::{Content, Entry, Run};
use crate::snapshot::{SegmentRef, Snapshot};
use map::{ExtentMap, Placed};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Pieces kept: 16 MiB.
const PIECES: usize = 64;
/// Decoded segments kept.
const SEGMENTS: usize = 8;

/// Position of the segment in the snapshot, and of the entry in the segment.
type PieceKey = (u32, u32);

/// A snapshot's disk.
pub struct SnapshotDisk {
    repository: Arc<Repository>,
    size: u64,
    rows: Vec<SegmentRef>,
    map: ExtentMap,
    cache: Mutex<Cache>,
    missing: AtomicU64,
}

#[derive(Default)]
struct Cache {
    segments: VecDeque<(u32, Arc<Vec<Entry>>)>,
    pieces: VecDeque<(PieceKey, Arc<Vec<u8>>)>,
    buffers: ReadBuffers,
}

impl SnapshotDisk {
    /// Opens a snapshot. Reads its segments once, to know where everything lies.
    pub fn open(
        repository: Arc<Repository>,
        snapshot: &Snapshot,
        scratch: &Path,
    ) -> Result<SnapshotDisk, RepositoryError> {
        let rows = repository.read_segment_list(snapshot)?;
        let map = ExtentMap::build(&repository, &rows, scratch)?;
        Ok(SnapshotDisk {
            repository,
            size: snapshot.source.size,
            rows,
            map,
            cache: Mutex::default(),
            missing: AtomicU64::new(0),
        })
    }

    /// Bytes read so far that the snapshot does not have: they were given as zeros. A disk has no way to say so, who copies
    /// files out of it must.
    pub fn missing_bytes(&self) -> u64 {
        self.missing.load(Ordering::Relaxed)
    }

    fn read_placed(&self, placed: &Placed, at: u64, out: &mut [u8]) -> Result<(), RepositoryError> {
        let mut cache = self.lock();
        let segment = self.segment(&mut cache, placed.segment)?;
        let Some(entry) = segment.get(placed.entry as usize) else { return Ok(()) };
        let from = placed.piece_offset + (at - placed.start);
        self.missing.fetch_add(missing_in(&entry.content, from, out.len() as u64), Ordering::Relaxed);
        match &entry.content {
            Content::Zeros | Content::LeftOut(_) | Content::Hole(_) => out.fill(0),
            Content::Chunk(_) | Content::Runs { .. } => {
                let piece = self.piece(&mut cache, placed, entry)?;
                let from = from as usize;
                let bytes = piece.get(from..from + out.len());
                out.copy_from_slice(bytes.ok_or(RepositoryError::LostChunk(ChunkId([0; 32])))?);
            }
        }
        Ok(())
    }

    fn segment(&self, cache: &mut Cache, number: u32) -> Result<Arc<Vec<Entry>>, RepositoryError> {
        if let Some((_, entries)) = cache.segments.iter().find(|(at, _)| *at == number) {
            return Ok(Arc::clone(entries));
        }
        let row = self.rows.get(number as usize).copied();
        let row = row.ok_or(RepositoryError::LostChunk(ChunkId([0; 32])))?;
        let entries = Arc::new(self.repository.read_segment(&row.segment, &mut cache.buffers)?);
        cache.segments.push_front((number, Arc::clone(&entries)));
        cache.segments.truncate(SEGMENTS);
        Ok(entries)
    }

    fn piece(&self, cache: &mut Cache, placed: &Placed, entry: &Entry) -> Result<Arc<Vec<u8>>, RepositoryError> {
        let key = (placed.segment, placed.entry);
        if let Some((_, piece)) = cache.pieces.iter().find(|(at, _)| *at == key) {
            return Ok(Arc::clone(piece));
        }
        let mut plain = Vec::new();
        read_piece(&self.repository, entry, &mut cache.buffers, &mut plain)?;
        let piece = Arc::new(plain);
        cache.pieces.push_front((key, Arc::clone(&piece)));
        cache.pieces.truncate(PIECES);
        Ok(piece)
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadAt for SnapshotDisk {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|&end| end <= self.size).ok_or_else(past_end)?;
        buf.fill(0);
        for placed in self.map.overlapping(offset, end)? {
            let from = placed.start.max(offset);
            let to = (placed.start + placed.len).min(end);
            let out = &mut buf[(from - offset) as usize..(to - offset) as usize];
            self.read_placed(&placed, from, out).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

/// How many of `len` bytes of a piece, from `from`, are in holes or left out.
fn missing_in(content: &Content, from: u64, len: u64) -> u64 {
    match content {
        Content::Zeros | Content::Chunk(_) => 0,
        Content::LeftOut(_) | Content::Hole(_) => len,
        Content::Runs { runs, .. } => {
            let (mut at, mut missing) = (0, 0);
            for run in runs {
                let end = at + u64::from(run.len());
                if matches!(run, Run::Hole(..)) {
                    missing += end.min(from + len).saturating_sub(at.max(from));
                }
                at = end;
            }
            missing
        }
    }
}

/// Reads the bytes of a piece, holes as zeros. Pieces that join several chunks are proven as a whole.
pub fn read_piece(
    repository: &Repository,
    entry: &Entry,
    buffers: &mut ReadBuffers,
    plain: &mut Vec<u8>,
) -> Result<(), RepositoryError> {
    plain.clear();
    match &entry.content {
        Content::Zeros | Content::LeftOut(_) | Content::Hole(_) => plain.resize(entry.len() as usize, 0),
        Content::Chunk(chunk) => {
            repository.read_chunk(chunk, buffers, plain)?;
            if plain.len() as u64 != entry.len() {
                return Err(RepositoryError::LostChunk(*chunk));
            }
        }
        Content::Runs { piece, runs } => {
            let mut chunk_bytes = Vec::new();
            let mut loaded = None;
            for run in runs {
                let Run::Slice { chunk, offset, len } = run else {
                    plain.resize(plain.len() + run.len() as usize, 0);
                    continue;
                };
                if loaded != Some(*chunk) {
                    repository.read_chunk(chunk, buffers, &mut chunk_bytes)?;
                    loaded = Some(*chunk);
                }
                let end = *offset as usize + *len as usize;
                plain.extend_from_slice(
                    chunk_bytes.get(*offset as usize..end).ok_or(RepositoryError::LostChunk(*chunk))?,
                );
            }
            if repository.keys().chunk_id(plain) != *piece {
                return Err(RepositoryError::LostChunk(*piece));
            }
        }
    }
    Ok(())
}
