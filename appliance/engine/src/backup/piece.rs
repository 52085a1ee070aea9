//! One piece: hash, look up, compare, store. What each worker does all day.

use super::batch::{Batch, Item};
use super::patch::{self, PATCH};
use super::{BackupError, Counters, Run};
use crate::chunk::ChunkId;
use crate::fs::FileId;
use crate::pack::read::ReadBuffers;
use crate::repository::store::Sealer;
use crate::seal::Kind;
use crate::segment::{self, Cause, Class, Content, Entry};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Failed comparisons in a row after which a file is stored whole: it is rewritten, not edited.
const GIVE_UP: u8 = 4;
/// Files whose failures are remembered at a time.
const REMEMBERED: usize = 4096;

/// Files in which comparing with the parent keeps failing.
#[derive(Default)]
pub(super) struct Rewritten(Mutex<HashMap<(u16, FileId), u8>>);

impl Rewritten {
    fn is_hopeless(&self, file: Option<(u16, FileId)>) -> bool {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.and_then(|file| failures.get(&file).copied()).is_some_and(|failed| failed >= GIVE_UP)
    }

    fn note(&self, file: Option<(u16, FileId)>, helped: bool) {
        let Some(file) = file else { return };
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() > REMEMBERED {
            failures.clear();
        }
        if helped {
            failures.remove(&file);
        } else {
            *failures.entry(file).or_insert(0) += 1;
        }
    }
}

/// One thread's buffers.
pub(super) struct Worker<'r> {
    run: &'r Run<'r>,
    rewritten: &'r Rewritten,
    sealer: Sealer,
    buffers: ReadBuffers,
    scratch: Vec<u8>,
}

impl<'r> Worker<'r> {
    pub(super) fn new(run: &'r Run<'r>, rewritten: &'r Rewritten) -> Self {
        let sealer = Sealer::new(run.options.level);
        Worker { run, rewritten, sealer, buffers: ReadBuffers::default(), scratch: Vec::new() }
    }

    /// Turns every piece of a batch into its entry.
    pub(super) fn store_batch(&mut self, batch: &Batch) -> Result<Vec<Entry>, BackupError> {
        batch.items.iter().map(|item| self.store_item(batch, item)).collect()
    }

    fn store_item(&mut self, batch: &Batch, item: &Item) -> Result<Entry, BackupError> {
        let content = match item.piece.rule {
            Some(rule) => Content::LeftOut(rule),
            None if !item.readable => Content::Hole(Cause::Unreadable),
            None => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let plain = batch.bytes(item, &mut scratch);
                let content =
                    self.store_plain(plain, item.parent.as_ref().map(|entry| &entry.content), item.piece.file);
                self.scratch = scratch;
                content?
            }
        };
        Counters::add(&self.run.counters.pieces, 1);
        Ok(Entry { class: item.piece.class, extents: item.piece.extents.clone(), content })
    }

    fn store_plain(
        &mut self,
        plain: &[u8],
        parent: Option<&Content>,
        file: Option<(u16, FileId)>,
    ) -> Result<Content, BackupError> {
        Counters::add(&self.run.counters.hashed, plain.len() as u64);
        if is_zero(plain) {
            return Ok(Content::Zeros);
        }
        let id = self.run.packer.repository().keys().chunk_id(plain);
        if let Some(same) = parent.filter(|content| content.piece_id() == Some(id) && !content.has_hole())
            && self.all_stored(same)?
        {
            return Ok(same.clone());
        }
        if self.run.packer.has(&id)? {
            return Ok(Content::Chunk(id));
        }
        if let Some(parent) = parent.filter(|_| !self.rewritten.is_hopeless(file)) {
            let patched = self.store_patch(id, plain, parent)?;
            self.rewritten.note(file, patched.is_some());
            if let Some(content) = patched {
                return Ok(content);
            }
        }
        self.store_chunk(id, plain)?;
        Ok(Content::Chunk(id))
    }

    fn all_stored(&self, content: &Content) -> Result<bool, BackupError> {
        for chunk in content.chunks() {
            if !self.run.packer.has(&chunk)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn store_patch(&mut self, piece: ChunkId, plain: &[u8], parent: &Content) -> Result<Option<Content>, BackupError> {
        let repository = self.run.packer.repository();
        let Some(mut patch) = patch::compare(repository, plain, parent, &mut self.buffers)? else { return Ok(None) };
        // What the parent names may lie in a pack that prune has listed as dead: then it cannot be built on.
        let id = repository.keys().chunk_id(&patch.bytes);
        for run in &mut patch.runs {
            match run {
                segment::Run::Slice { chunk, .. } if *chunk == PATCH => *chunk = id,
                segment::Run::Slice { chunk, .. } if !self.run.packer.has(chunk)? => return Ok(None),
                _ => {}
            }
        }
        if !patch.bytes.is_empty() {
            self.store_chunk(id, &patch.bytes)?;
        }
        Ok(Some(Content::Runs { piece, runs: patch.runs }))
    }

    fn store_chunk(&mut self, id: ChunkId, plain: &[u8]) -> Result<(), BackupError> {
        let added = self.run.packer.store(Kind::Data, id, plain, &mut self.sealer)?;
        if added > 0 {
            Counters::add(&self.run.counters.new, plain.len() as u64);
            Counters::add(&self.run.counters.stored, added);
        }
        Ok(())
    }

    /// Stores a piece of the second pass: bytes where they could be read, holes elsewhere.
    pub(super) fn store_rescued(
        &mut self,
        class: Class,
        extents: Vec<crate::fs::Extent>,
        plain: &[u8],
        good: &[(usize, usize)],
    ) -> Result<Entry, BackupError> {
        let content = match good {
            [] => Content::Hole(Cause::Unreadable),
            [(0, len)] if *len == plain.len() => self.store_plain(plain, None, None)?,
            parts => self.store_parts(plain, parts)?,
        };
        Ok(Entry { class, extents, content })
    }

    fn store_parts(&mut self, plain: &[u8], parts: &[(usize, usize)]) -> Result<Content, BackupError> {
        let keys = self.run.packer.repository().keys();
        let piece = keys.chunk_id(plain);
        let kept: Vec<u8> = parts.iter().flat_map(|&(at, len)| &plain[at..at + len]).copied().collect();
        let chunk = keys.chunk_id(&kept);
        self.store_chunk(chunk, &kept)?;
        let mut runs = Vec::new();
        let (mut at, mut offset) = (0, 0);
        let hole = |len: usize| segment::Run::Hole(Cause::Unreadable, len as u32);
        for &(start, len) in parts {
            runs.extend((start > at).then(|| hole(start - at)));
            runs.push(segment::Run::Slice { chunk, offset, len: len as u32 });
            offset += len as u32;
            at = start + len;
        }
        runs.extend((plain.len() > at).then(|| hole(plain.len() - at)));
        Ok(Content::Runs { piece, runs })
    }
}

/// Whether all bytes are zero: wide steps that the compiler turns into vector code.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (head, rest) = bytes.split_at(bytes.len().min(64));
    if head.iter().any(|&byte| byte != 0) {
        return false;
    }
    let (blocks, tail) = rest.as_chunks::<128>();
    blocks.iter().all(|block| block.iter().fold(0, |sum, byte| sum | byte) == 0) && tail.iter().all(|&byte| byte == 0)
}
