//! Looks at the source's structure a second time. A difference means somebody wrote while we read: no moment of the disk
//! looked like the snapshot, so it is `Torn` and never a recovery point.
//!
//! Three questions. Would the disk be cut in the same way now? It was cut before it was read, and a block that was allocated
//! in between is in no piece, though the structure that was read names it. Does the structure still hold the same bytes?
//! Where nobody knows the structure (LUKS, LVM, btrfs …) the ends and a sample of the rest stand for it. And does the source
//! itself say that it was written to?

use super::assemble::Assembled;
use super::{BackupError, Counters, Flow, Run, batch, piece};
use crate::fs::Extent;
use crate::layout::identify::Filesystem;
use crate::layout::{Layout, Region};
use crate::read::{ReadAt, past_end};
use crate::segment::Class;
use crate::source::Source;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many pieces differ from what the snapshot holds.
pub(super) fn look_again(run: &Run<'_>, assembled: &Assembled) -> Result<u64, BackupError> {
    // Both after all first reads, so what neither finds changed is the disk as it was in between, in whatever order they look.
    let (cut, read) = match run.options.workers {
        0 | 1 => (survey_again(run), read_again(run, assembled)),
        _ => std::thread::scope(|scope| {
            let cut = scope.spawn(|| survey_again(run));
            let read = read_again(run, assembled);
            (cut.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), read)
        }),
    };
    let torn = cut? + read?;
    Ok(if torn == 0 && run.source.was_written() { 1 } else { torn })
}

/// The ends of a region without known structure that are read again: there its headers are.
const ENDS: u64 = 1024 * 1024;
/// One piece in so many of the rest: 1.6 % more to read, and a stranger that writes 300 MiB there is missed once in 10⁸ times.
const SAMPLE: u64 = 64;

/// Whether a piece is read a second time.
pub(super) fn is_read_again(run: &Run<'_>, class: Class, start: u64) -> bool {
    let unknown = |region: &&Region| region.bytes.meta == 0 && region.filesystem != Filesystem::Gap;
    match (class, run.layout.region_at(start).filter(unknown)) {
        (Class::Meta, _) => true,
        (Class::Raw, Some(region)) => {
            let end = region.start + region.len;
            // Other pieces in every run.
            let draw = (start ^ run.options.time.unsigned_abs().rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            start - region.start < ENDS || end - start <= ENDS || (draw >> 32).is_multiple_of(SAMPLE)
        }
        _ => false,
    }
}

/// How many pieces are cut in another way now; those behind the first difference count as one.
fn survey_again(run: &Run<'_>) -> Result<u64, BackupError> {
    let disk = Surveyed::fresh(&**run.source);
    let now = Layout::survey(&disk, run.source.sector_size(), run.options.scratch)?;
    if run.source.is_gone() {
        return Err(BackupError::Gone { at: 0 });
    }
    if !run.readable || !disk.readable() {
        // What can be read only once of two times is cut in two ways, and nobody wrote.
        return Ok(0);
    }
    let (mut before, mut now) = (run.layout.pieces(), now.pieces());
    loop {
        match (before.next().transpose(), now.next().transpose()) {
            (Ok(None), Ok(None)) => return Ok(0),
            (Ok(one), Ok(other)) if one == other => {}
            (Ok(_), Ok(_)) => return Ok(1),
            (Err(cause), _) | (_, Err(cause)) => return Err(BackupError::Scratch(cause)),
        }
    }
}

/// Bytes a fresh survey reads at least: past the page cache every small read would be one of the disk.
const AHEAD: u64 = 64 * 1024;

/// A source as a survey reads it. Remembers whether all of it could be read.
pub(super) struct Surveyed<'s> {
    source: &'s dyn Source,
    fresh: bool,
    failed: AtomicBool,
    ahead: Mutex<(u64, Vec<u8>)>,
}

impl<'s> Surveyed<'s> {
    /// Bytes may come from the page cache.
    pub(super) fn cached(source: &'s dyn Source) -> Self {
        Surveyed { source, fresh: false, failed: AtomicBool::new(false), ahead: Mutex::default() }
    }

    /// Bytes come from the disk, where the source can do that.
    fn fresh(source: &'s dyn Source) -> Self {
        Surveyed { fresh: source.alignment() > 1, ..Self::cached(source) }
    }

    /// Whether no read failed.
    pub(super) fn readable(&self) -> bool {
        !self.failed.load(Ordering::Relaxed)
    }

    fn read_fresh(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64).filter(|&end| end <= self.len()).ok_or_else(past_end)?;
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, bytes) = &mut *ahead;
        if offset < *start || end > *start + bytes.len() as u64 {
            *start = offset / AHEAD * AHEAD;
            bytes.clear();
            let until = end.max(*start + AHEAD).min(self.len());
            let read = batch::read_exact(self.source, Extent::new(*start, until - *start), bytes);
            if read.is_err() {
                // A bad sector beside the wanted bytes is no reason to lose these.
                *start = offset;
                bytes.clear();
                batch::read_exact(self.source, Extent::new(offset, end - offset), bytes)?;
            }
        }
        let at = (offset - *start) as usize;
        buf.copy_from_slice(&bytes[at..at + buf.len()]);
        Ok(())
    }
}

impl ReadAt for Surveyed<'_> {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let read = if self.fresh { self.read_fresh(offset, buf) } else { self.source.read_at(offset, buf) };
        // A structure that points past the end is no bad sector.
        if read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::UnexpectedEof) {
            self.failed.store(true, Ordering::Relaxed);
        }
        read
    }
}

/// How many of these pieces differ from what the snapshot holds.
fn read_again(run: &Run<'_>, assembled: &Assembled) -> Result<u64, BackupError> {
    let keys = run.packer.repository().keys();
    let mut expected = assembled.again.iter();
    let mut due = expected.next().transpose().map_err(BackupError::Scratch)?;
    let mut bytes = Vec::new();
    let mut torn = 0;
    for (count, found) in run.layout.pieces().enumerate() {
        let found = found.map_err(BackupError::Scratch)?;
        let Some(record) = due else { break };
        // Pieces that were unreadable have no record.
        if record[..8] != found.start().to_be_bytes() || !is_read_again(run, found.class, found.start()) {
            continue;
        }
        bytes.clear();
        for extent in &found.extents {
            Counters::add(&run.counters.read, extent.len);
            if batch::read_exact(&**run.source, *extent, &mut bytes).is_err() {
                if run.source.is_gone() {
                    return Err(BackupError::Gone { at: extent.start });
                }
                // It could be read a moment ago: a sector that fades is no writer. The snapshot has its bytes.
                bytes.clear();
                break;
            }
        }
        let id = if piece::is_zero(&bytes) { [0; 32] } else { keys.chunk_id(&bytes).0 };
        if !bytes.is_empty() && record[8..] != id {
            torn += 1;
        }
        due = expected.next().transpose().map_err(BackupError::Scratch)?;
        if count % 256 == 0 && (run.observe)(run.progress()) == Flow::Stop {
            return Err(BackupError::Stopped);
        }
    }
    Ok(torn)
}
