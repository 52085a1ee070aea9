//! When a piece changed a little: only the pages that differ from the parent's piece are stored, as one patch chunk.
//!
//! Pages are 4 KiB: what databases, virtual disks and filesystems write. Slices name stored chunks and never nest.

use crate::chunk::ChunkId;
use crate::pack::read::ReadBuffers;
use crate::repository::{Repository, RepositoryError};
use crate::segment::{Content, Run};

/// Bytes compared at a time.
pub(super) const PAGE: usize = 4096;
/// Pieces below this are stored whole: a patch would save next to nothing.
const WORTH: usize = 4 * PAGE;
/// Chunks a piece may be made of, the patch included: reading it back must stay cheap.
const MAX_SOURCES: usize = 4;

/// A piece as its parent plus changes.
pub(super) struct Patch {
    /// The changed pages, joined; empty when none has bytes.
    pub(super) bytes: Vec<u8>,
    /// The piece. Slices of the patch carry `ChunkId([0; 32])` until it is stored.
    pub(super) runs: Vec<Run>,
}

/// Stands for the patch chunk in runs until its id is known.
pub(super) const PATCH: ChunkId = ChunkId([0; 32]);

/// Compares a piece with the parent's content; `None` when storing it whole is better.
pub(super) fn compare(
    repository: &Repository,
    plain: &[u8],
    parent: &Content,
    buffers: &mut ReadBuffers,
) -> Result<Option<Patch>, RepositoryError> {
    if plain.len() < WORTH || parent.has_hole() {
        return Ok(None);
    }
    let Some(old) = Old::read(repository, parent, buffers)? else { return Ok(None) };
    let mut patch = Patch { bytes: Vec::new(), runs: Vec::new() };
    for (page, at) in plain.chunks(PAGE).zip((0..).step_by(PAGE)) {
        match old.bytes.get(at..at + page.len()) {
            Some(same) if same == page => old.append_runs(at, page.len(), &mut patch.runs),
            _ if page.iter().all(|&byte| byte == 0) => push(&mut patch.runs, Run::Zeros(page.len() as u32)),
            _ => {
                let offset = patch.bytes.len() as u32;
                push(&mut patch.runs, Run::Slice { chunk: PATCH, offset, len: page.len() as u32 });
                patch.bytes.extend_from_slice(page);
            }
        }
        if patch.bytes.len() > plain.len() / 2 {
            return Ok(None);
        }
    }
    Ok((sources(&patch.runs) <= MAX_SOURCES).then_some(patch))
}

/// The parent's piece: its bytes and where each came from.
struct Old {
    bytes: Vec<u8>,
    runs: Vec<(usize, Run)>,
}

impl Old {
    /// `None` when the parent's piece is not stored bytes, or no longer readable: then there is nothing to build on.
    fn read(
        repository: &Repository,
        content: &Content,
        buffers: &mut ReadBuffers,
    ) -> Result<Option<Old>, RepositoryError> {
        let mut old = Old { bytes: Vec::new(), runs: Vec::new() };
        let mut chunk_bytes = Vec::new();
        match content {
            Content::Chunk(chunk) => {
                if repository.read_chunk(chunk, buffers, &mut old.bytes).is_err() {
                    return Ok(None);
                }
                old.runs.push((0, Run::Slice { chunk: *chunk, offset: 0, len: old.bytes.len() as u32 }));
            }
            Content::Runs { runs, .. } => {
                for run in runs {
                    old.runs.push((old.bytes.len(), *run));
                    let Run::Slice { chunk, offset, len } = run else {
                        old.bytes.resize(old.bytes.len() + run.len() as usize, 0);
                        continue;
                    };
                    let range = *offset as usize..*offset as usize + *len as usize;
                    match repository.read_chunk(chunk, buffers, &mut chunk_bytes).ok().and(chunk_bytes.get(range)) {
                        Some(bytes) => old.bytes.extend_from_slice(bytes),
                        None => return Ok(None),
                    }
                }
            }
            Content::Zeros | Content::LeftOut(_) | Content::Hole(_) => return Ok(None),
        }
        Ok(Some(old))
    }

    /// Says where `len` bytes at `at` of the parent's piece are stored.
    fn append_runs(&self, at: usize, len: usize, runs: &mut Vec<Run>) {
        let first = self.runs.partition_point(|(start, run)| start + run.len() as usize <= at);
        for (start, run) in &self.runs[first..] {
            let from = at.max(*start);
            let to = (at + len).min(start + run.len() as usize);
            if from >= to {
                break;
            }
            let part = (to - from) as u32;
            push(
                runs,
                match *run {
                    Run::Slice { chunk, offset, .. } => {
                        Run::Slice { chunk, offset: offset + (from - start) as u32, len: part }
                    }
                    Run::Zeros(_) => Run::Zeros(part),
                    Run::Hole(cause, _) => Run::Hole(cause, part),
                },
            );
        }
    }
}

/// Adds a run, joined with the last where it continues it.
fn push(runs: &mut Vec<Run>, run: Run) {
    match (runs.last_mut(), run) {
        (Some(Run::Slice { chunk, offset, len }), Run::Slice { chunk: next, offset: at, len: more })
            if *chunk == next && *offset + *len == at =>
        {
            *len += more;
        }
        (Some(Run::Zeros(len)), Run::Zeros(more)) => *len += more,
        _ => runs.push(run),
    }
}

fn sources(runs: &[Run]) -> usize {
    let mut chunks: Vec<ChunkId> = runs
        .iter()
        .filter_map(|run| match run {
            Run::Slice { chunk, .. } => Some(*chunk),
            Run::Zeros(_) | Run::Hole(..) => None,
        })
        .collect();
    chunks.sort_unstable();
    chunks.dedup();
    chunks.len()
}
