//! The reader: takes pieces in device order and reads some MiB of them at a time, their extents sorted and joined, so a disk
//! head moves forward and a fragmented file costs no thread of its own.

use super::parent::ParentCursor;
use super::{BackupError, Counters, Run};
use crate::fs::Extent;
use crate::layout::pieces::Piece;
use crate::segment::Entry;
use crate::source::Source;
use std::time::Duration;

/// Bytes of pieces in a batch from a disk: a window in which extents are sorted.
const BATCH_DISK: u64 = 8 * 1024 * 1024;
/// Bytes of pieces in a batch through the page cache. The kernel's copy is the largest cost of an unchanged backup: at this
/// size what it wrote is still in the core's cache when it is hashed.
const BATCH_CACHED: u64 = 512 * 1024;
/// Extents in a batch: bounds memory on disks full of tiny files.
const BATCH_EXTENTS: usize = 16 * 1024;
/// Extents this close are read in one go: skipping would cost a disk more than reading.
const JOIN_GAP: u64 = 32 * 1024;
/// The longest single read.
const READ_MAX: u64 = 2 * 1024 * 1024;

/// Pieces with their bytes.
pub(super) struct Batch {
    /// Position in the order of batches.
    pub(super) number: u64,
    /// Bytes; the pieces refer to them.
    pub(super) arena: Vec<u8>,
    /// The pieces, in device order.
    pub(super) items: Vec<Item>,
    filled: bool,
}

/// A piece with its bytes.
pub(super) struct Item {
    pub(super) piece: Piece,
    /// Where its bytes lie in the arena, in order; touching parts are joined. Empty for left-out pieces.
    pub(super) parts: Vec<(usize, usize)>,
    /// False when the source could not be read there in the first pass.
    pub(super) readable: bool,
    /// What the parent snapshot has at the same place.
    pub(super) parent: Option<Entry>,
}

impl Batch {
    /// Reads the bytes, once.
    pub(super) fn fill(&mut self, run: &Run<'_>) -> Result<(), BackupError> {
        if std::mem::replace(&mut self.filled, true) { Ok(()) } else { fill(run, self) }
    }

    /// The bytes of an item in one slice; `scratch` is used when they lie apart.
    pub(super) fn bytes<'b>(&'b self, item: &Item, scratch: &'b mut Vec<u8>) -> &'b [u8] {
        match item.parts.as_slice() {
            [] => &[],
            [(at, len)] => &self.arena[*at..at + len],
            parts => {
                scratch.clear();
                parts.iter().for_each(|&(at, len)| scratch.extend_from_slice(&self.arena[at..at + len]));
                scratch
            }
        }
    }
}

/// Reads all pieces and passes batches on; arenas come back through `recycled`.
pub(super) fn read_pieces(
    run: &Run<'_>,
    mut parent: ParentCursor<'_>,
    recycled: &crossbeam_channel::Receiver<Vec<u8>>,
    batches: &crossbeam_channel::Sender<Batch>,
) -> Result<(), BackupError> {
    let mut pieces = run.layout.pieces();
    let reads_ahead = run.source.alignment() > 1;
    let batch_bytes = if reads_ahead { BATCH_DISK } else { BATCH_CACHED };
    let mut number = 0;
    loop {
        let mut items = Vec::new();
        let (mut bytes, mut extents) = (0, 0);
        while bytes < batch_bytes && extents < BATCH_EXTENTS {
            let Some(piece) = pieces.next() else { break };
            let piece = piece.map_err(BackupError::Scratch)?;
            extents += piece.extents.len();
            bytes += if piece.rule.is_none() { piece.len() } else { 0 };
            let entry = parent.at_same_place(&piece);
            items.push(Item { piece, parts: Vec::new(), readable: true, parent: entry });
        }
        if items.is_empty() {
            return Ok(());
        }
        let mut batch = Batch { number, arena: recycled.try_recv().unwrap_or_default(), items, filled: false };
        // A disk is read by this thread alone, ahead of the workers. Cached bytes are copied by the worker that hashes them,
        // into its own core's cache.
        if reads_ahead {
            batch.fill(run)?;
        }
        throttle(run);
        if batches.send(batch).is_err() {
            return Ok(()); // a worker failed; its error tells
        }
        number += 1;
    }
}

struct Wanted {
    extent: Extent,
    item: usize,
    part: usize,
}

fn fill(run: &Run<'_>, batch: &mut Batch) -> Result<(), BackupError> {
    let mut wanted = Vec::new();
    for (item, read) in batch.items.iter_mut().enumerate() {
        if read.piece.rule.is_some() {
            continue;
        }
        read.parts = vec![(0, 0); read.piece.extents.len()];
        wanted.extend(read.piece.extents.iter().enumerate().map(|(part, &extent)| Wanted { extent, item, part }));
    }
    wanted.sort_unstable_by_key(|want| want.extent);
    let reads = plan_reads(&wanted, run.source.alignment() as u64, run.source.len());
    let alignment = run.source.alignment();
    let total = reads.iter().map(|read| read.len().next_multiple_of(alignment)).sum();
    let mut at = aligned_base(&mut batch.arena, total, alignment);
    let mut rest = wanted.as_slice();
    for read in reads {
        let target = &mut batch.arena[at..at + read.len()];
        let readable = match run.source.read_bulk(read.start, target) {
            Ok(()) => true,
            Err(_) if run.source.is_gone() => return Err(BackupError::Gone { at: read.start }),
            Err(_) => false,
        };
        Counters::add(&run.counters.read, read.len() as u64);
        let (covered, later) = rest.split_at(read.count);
        for want in covered {
            let item = &mut batch.items[want.item];
            item.parts[want.part] = (at + (want.extent.start - read.start) as usize, want.extent.len as usize);
            item.readable &= readable;
        }
        rest = later;
        at += read.len().next_multiple_of(alignment);
    }
    for item in &mut batch.items {
        item.parts.dedup_by(|next, last| {
            let touching = last.0 + last.1 == next.0;
            if touching {
                last.1 += next.1;
            }
            touching
        });
    }
    Ok(())
}

/// Makes room for `len` bytes behind an aligned address, and says where in the vector that is.
fn aligned_base(arena: &mut Vec<u8>, len: usize, alignment: usize) -> usize {
    if arena.len() < len + alignment {
        arena.resize(len + alignment, 0);
    }
    arena.as_ptr().addr().next_multiple_of(alignment) - arena.as_ptr().addr()
}

/// One read: aligned, and how many of the wanted extents it covers.
struct Read {
    start: u64,
    end: u64,
    count: usize,
}

impl Read {
    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }
}

/// Joins sorted extents that lie close together.
fn plan_reads(wanted: &[Wanted], alignment: u64, size: u64) -> Vec<Read> {
    let down = |at: u64| at / alignment * alignment;
    let up = |at: u64| at.next_multiple_of(alignment).min(size);
    let mut reads: Vec<Read> = Vec::new();
    for Wanted { extent, .. } in wanted {
        match reads.last_mut() {
            Some(read)
                if extent.start <= read.end.saturating_add(JOIN_GAP)
                    && extent.end().saturating_sub(read.start) <= READ_MAX =>
            {
                read.end = read.end.max(up(extent.end()));
                read.count += 1;
            }
            _ => reads.push(Read { start: down(extent.start), end: up(extent.end()), count: 1 }),
        }
    }
    reads
}

/// Sleeps as long as the limit asks. Even pace over the whole run: no bursts after a pause.
fn throttle(run: &Run<'_>) {
    let Some(limit) = run.options.limit_read.filter(|&limit| limit > 0) else { return };
    let read = run.counters.read.load(std::sync::atomic::Ordering::Relaxed);
    let due = Duration::from_secs_f64(read as f64 / limit as f64);
    if let Some(early) = due.checked_sub((run.options.elapsed)()) {
        std::thread::sleep(early);
    }
}

/// Reads one run of bytes for the second pass and the metadata check, aligned as the source wants it.
pub(super) fn read_exact(source: &dyn Source, extent: Extent, out: &mut Vec<u8>) -> std::io::Result<()> {
    let alignment = source.alignment();
    let start = extent.start / alignment as u64 * alignment as u64;
    let end = (extent.end().div_ceil(alignment as u64) * alignment as u64).min(source.len());
    let mut buffer = Vec::new();
    let base = aligned_base(&mut buffer, (end - start) as usize, alignment);
    let buffer = &mut buffer[base..base + (end - start) as usize];
    source.read_bulk(start, buffer)?;
    let at = (extent.start - start) as usize;
    out.extend_from_slice(&buffer[at..at + extent.len as usize]);
    Ok(())
}
