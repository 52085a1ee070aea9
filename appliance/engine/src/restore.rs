//! Restore: writes what a snapshot holds to a disk, a partition or a file, bit for bit, and says what it could not.
//!
//! On a target that already holds data every piece is compared before it is written, so a restore that was cut goes on
//! where it stopped. A new file stays sparse. What the layout did not own is not written.

pub mod target;
mod waiting;

use crate::backup::holes_of;
use crate::fs::Extent;
use crate::pack::read::ReadBuffers;
use crate::repository::{Repository, RepositoryError};
use crate::segment::{Class, Content, Entry};
use crate::snapshot::{SegmentRef, Snapshot};
use crate::view::read_piece;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use target::Target;
use waiting::Waiting;

/// Entries passed to a worker at a time.
const BATCH: usize = 32;

/// Why a restore stopped.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Reading the snapshot.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Writing the target.
    #[error("could not write {len} bytes at {at} of the target")]
    Write {
        /// Offset in the target.
        at: u64,
        /// How many.
        len: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The target is too small.
    #[error("the target has {have} bytes and the restore needs {need}")]
    TooSmall {
        /// Bytes it has.
        have: u64,
        /// Bytes needed.
        need: u64,
    },
    /// No such partition.
    #[error("the snapshot has no partition {0}")]
    NoPartition(u32),
    /// Somebody asked to stop.
    #[error("stopped on request; run it again with --force to go on")]
    Stopped,
}

/// What was restored.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Bytes of pieces, zeros included.
    pub bytes: u64,
    /// Bytes written; the others were there already or are zeros of a new file.
    pub written: u64,
    /// Bytes that are missing in the snapshot; the target has zeros there.
    pub hole_bytes: u64,
    /// Bytes a rule left out.
    pub left_out_bytes: u64,
}

/// Which part of the disk.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Device offset of its first byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Part {
    /// The whole disk, or one partition.
    pub fn of(snapshot: &Snapshot, partition: Option<u32>) -> Result<Part, RestoreError> {
        let Some(number) = partition else { return Ok(Part { start: 0, len: snapshot.source.size }) };
        let regions = &snapshot.summary.regions;
        let region = regions.iter().find(|region| region.partition == Some(number));
        let region = region.ok_or(RestoreError::NoPartition(number))?;
        Ok(Part { start: region.start, len: region.len })
    }

    /// The part of an extent that lies inside, as an offset in the target, and how many bytes of it come before.
    fn clip(&self, extent: Extent) -> Option<(u64, Extent)> {
        let start = extent.start.max(self.start);
        let end = extent.end().min(self.start + self.len);
        (start < end).then(|| (start - extent.start, Extent::new(start - self.start, end - start)))
    }
}

impl Part {
    /// Bytes of the part that an entry holds no content for.
    fn missing_in(&self, entry: &Entry) -> u64 {
        holes_of(entry).into_iter().filter_map(|(_, hole)| self.clip(hole)).map(|(_, inside)| inside.len).sum()
    }
}

/// Bytes of the part that are missing in the snapshot, for who reads it without `run`.
pub fn missing(repository: &Repository, snapshot: &Snapshot, part: Part) -> Result<u64, RepositoryError> {
    if snapshot.summary.hole_bytes == 0 {
        return Ok(0);
    }
    let mut buffers = ReadBuffers::default();
    let mut missing = 0;
    for row in repository.read_segment_list(snapshot)? {
        let entries = repository.read_segment(&row.segment, &mut buffers)?;
        missing += entries.iter().map(|entry| part.missing_in(entry)).sum::<u64>();
    }
    Ok(missing)
}

/// How the restore works.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Which part of the disk.
    pub part: Part,
    /// Only structure, for checking a filesystem without its files.
    pub only_metadata: bool,
    /// Threads that decrypt and write.
    pub workers: usize,
}

/// Called with bytes done so far; false stops.
pub type Observer<'a> = dyn Fn(u64) -> bool + Sync + 'a;

/// Writes the part of the snapshot to the target and makes it durable.
pub fn run(
    repository: &Repository,
    snapshot: &Snapshot,
    target: &dyn Target,
    options: &Options,
    observe: &Observer<'_>,
) -> Result<Restored, RestoreError> {
    if target.len() < options.part.len {
        return Err(RestoreError::TooSmall { have: target.len(), need: options.part.len });
    }
    let rows = repository.read_segment_list(snapshot)?;
    let counters = Counters::default();
    if target.holds_data() {
        Writer { repository, target, part: options.part, counters: &counters }.clear_holes(&rows, options, observe)?;
    }
    let turn = Mutex::new(());
    let (to_workers, batches) = bounded::<Vec<Entry>>(4);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.workers.max(1))
            .map(|_| {
                let batches = batches.clone();
                let (counters, waiting) = (&counters, Waiting::new(target, &turn));
                let writer = Writer { repository, target, part: options.part, counters };
                scope.spawn(move || writer.run(&batches, waiting, observe))
            })
            .collect();
        drop(batches);
        let fed = feed(repository, &rows, options, &to_workers);
        drop(to_workers);
        let mut outcome = Ok(());
        for worker in workers {
            outcome = outcome.and(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        outcome.and(fed)
    })?;
    target.sync().map_err(|source| RestoreError::Write { at: 0, len: 0, source })?;
    Ok(counters.restored())
}

fn feed(
    repository: &Repository,
    rows: &[SegmentRef],
    options: &Options,
    to_workers: &Sender<Vec<Entry>>,
) -> Result<(), RestoreError> {
    let mut buffers = ReadBuffers::default();
    for row in rows {
        let mut entries = repository.read_segment(&row.segment, &mut buffers)?;
        entries.retain(|entry| {
            (!options.only_metadata || entry.class == Class::Meta)
                && entry.extents.iter().any(|extent| options.part.clip(*extent).is_some())
        });
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let batch = entries.by_ref().take(BATCH).collect();
            if to_workers.send(batch).is_err() {
                return Ok(()); // the workers tell why they stopped
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Counters {
    bytes: AtomicU64,
    written: AtomicU64,
    hole: AtomicU64,
    left_out: AtomicU64,
}

impl Counters {
    fn restored(&self) -> Restored {
        Restored {
            bytes: self.bytes.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
            hole_bytes: self.hole.load(Ordering::Relaxed),
            left_out_bytes: self.left_out.load(Ordering::Relaxed),
        }
    }
}

struct Writer<'a> {
    repository: &'a Repository,
    target: &'a dyn Target,
    part: Part,
    counters: &'a Counters,
}

impl Writer<'_> {
    fn run(
        &self,
        batches: &Receiver<Vec<Entry>>,
        mut waiting: Waiting<'_>,
        observe: &Observer<'_>,
    ) -> Result<(), RestoreError> {
        let (mut buffers, mut there) = (ReadBuffers::default(), Vec::new());
        for batch in batches {
            for entry in &batch {
                let written = self.write_entry(entry, &mut buffers, &mut waiting, &mut there)?;
                self.counters.written.fetch_add(written, Ordering::Relaxed);
            }
            if !observe(self.counters.bytes.load(Ordering::Relaxed)) {
                return Err(RestoreError::Stopped);
            }
        }
        self.counters.written.fetch_add(waiting.write()?, Ordering::Relaxed);
        Ok(())
    }

    /// Writes zeros to holes and left-out ranges, before anything else: should a stored piece overlap one, its bytes win.
    fn clear_holes(&self, rows: &[SegmentRef], options: &Options, observe: &Observer<'_>) -> Result<(), RestoreError> {
        let (mut buffers, mut there) = (ReadBuffers::default(), Vec::new());
        for row in rows {
            let entries = self.repository.read_segment(&row.segment, &mut buffers)?;
            let wanted = entries.iter().filter(|entry| {
                matches!(entry.content, Content::LeftOut(_) | Content::Hole(_))
                    && (!options.only_metadata || entry.class == Class::Meta)
            });
            let extents = wanted.flat_map(|entry| &entry.extents);
            extents
                .filter_map(|&extent| options.part.clip(extent))
                .try_for_each(|(_, e)| self.write_zeros(e, &mut there))?;
            if !observe(0) {
                return Err(RestoreError::Stopped);
            }
        }
        Ok(())
    }

    /// Writes an entry, or leaves it waiting. Returns bytes of pieces written, this one's or others'.
    fn write_entry(
        &self,
        entry: &Entry,
        buffers: &mut ReadBuffers,
        waiting: &mut Waiting<'_>,
        there: &mut Vec<u8>,
    ) -> Result<u64, RestoreError> {
        let clipped: u64 = entry.extents.iter().filter_map(|&extent| self.part.clip(extent)).map(|(_, e)| e.len).sum();
        self.counters.bytes.fetch_add(clipped, Ordering::Relaxed);
        match &entry.content {
            Content::LeftOut(_) => drop(self.counters.left_out.fetch_add(clipped, Ordering::Relaxed)),
            _ => drop(self.counters.hole.fetch_add(self.part.missing_in(entry), Ordering::Relaxed)),
        }
        if matches!(entry.content, Content::LeftOut(_) | Content::Hole(_)) {
            return Ok(0); // cleared before
        }
        if entry.content.piece_id().is_none() {
            let inside = entry.extents.iter().filter_map(|&extent| self.part.clip(extent));
            inside.map(|(_, extent)| extent).try_for_each(|extent| self.write_zeros(extent, there))?;
            return Ok(0);
        }
        if self.target.holds_data() && self.is_there(entry, there) {
            return Ok(0);
        }
        let mut plain = waiting.buffer();
        read_piece(self.repository, entry, buffers, &mut plain)?;
        let (mut at, mut places) = (0, Vec::with_capacity(entry.extents.len()));
        for &extent in &entry.extents {
            if let Some((skip, target)) = self.part.clip(extent) {
                places.push(((at + skip) as usize, target));
            }
            at += extent.len;
        }
        waiting.add(places, plain)
    }

    /// Whether the target already has a piece's bytes. Only pieces that lie wholly inside can be told by their id.
    fn is_there(&self, entry: &Entry, there: &mut Vec<u8>) -> bool {
        there.clear();
        for &extent in &entry.extents {
            let Some((0, inside)) = self.part.clip(extent).filter(|(_, inside)| inside.len == extent.len) else {
                return false;
            };
            let from = there.len();
            there.resize(from + inside.len as usize, 0);
            if self.target.read_at(inside.start, &mut there[from..]).is_err() {
                return false;
            }
        }
        entry.content.piece_id() == Some(self.repository.keys().chunk_id(there))
    }

    fn write_zeros(&self, extent: Extent, there: &mut Vec<u8>) -> Result<(), RestoreError> {
        if !self.target.holds_data() {
            return Ok(());
        }
        const STEP: u64 = 1024 * 1024;
        let mut at = extent.start;
        while at < extent.end() {
            let len = (extent.end() - at).min(STEP) as usize;
            there.resize(len, 0);
            let already = self.target.read_at(at, there).is_ok() && there.iter().all(|&byte| byte == 0);
            if !already {
                there.fill(0);
                self.write(at, there)?;
            }
            at += len as u64;
        }
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        let wrap = |source| RestoreError::Write { at, len: bytes.len() as u64, source };
        self.target.write_at(at, bytes).map_err(wrap)?;
        self.counters.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::ChunkId;
    use crate::segment::{Cause, Run};

    /// A piece of two extents, the first in one partition and the second in another, with holes in both.
    #[test]
    fn holes_count_where_they_lie() {
        let runs = vec![
            Run::Zeros(100),
            Run::Hole(Cause::Unreadable, 30),
            Run::Zeros(170),
            Run::Hole(Cause::Lost, 500),
            Run::Zeros(200),
        ];
        let content = Content::Runs { piece: ChunkId([0; 32]), runs };
        let extents = vec![Extent::new(1000, 400), Extent::new(5000, 600)];
        let entry = Entry { class: Class::File, extents, content };
        let missing = |start, len| Part { start, len }.missing_in(&entry);
        // The second hole is the first extent's last 100 bytes and the second's first 400.
        assert_eq!(missing(0, 10_000), 530);
        assert_eq!(missing(1000, 1000), 130);
        assert_eq!(missing(5000, 1000), 400);
        assert_eq!(missing(5300, 1000), 100);
        assert_eq!(missing(2000, 1000), 0);
        let lost = Entry { content: Content::Hole(Cause::Lost), ..entry };
        assert_eq!((Part { start: 1200, len: 4000 }).missing_in(&lost), 400);
    }
}
