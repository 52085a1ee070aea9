//! Puts entries back into device order and into segments, one for each 256 MiB window. Runs the reader and the workers.

use super::batch::{self, Batch};
use super::parent::ParentCursor;
use super::piece::{Rewritten, Worker};
use super::{BackupError, Flow, Run, rescue, torn};
use crate::chunk::ChunkId;
use crate::fs::FileId;
use crate::repository::store::Sealer;
use crate::seal::Kind;
use crate::segment::{self, Builder, Content, Entry};
use crate::snapshot::{HoleNote, LeftOutNote, SegmentRef};
use crate::sort::{Sorted, Sorter};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::collections::{BTreeMap, HashMap};

/// Batches between reader and workers: two being worked on, two being read ahead, of 8 MiB at most.
const AHEAD: usize = 2;
/// Notes of one kind in the summary.
pub(super) const LISTED: usize = 1000;
/// Bytes of segments with unreadable pieces that wait for the second pass; a disk that bad gets it early for some.
const KEPT: usize = 32 * 1024 * 1024;
/// Unreadable pieces whose file is remembered, to name it later.
const NAMED: usize = 100_000;

/// What the first pass made.
pub(super) struct Assembled {
    pub(super) segments: Vec<SegmentRef>,
    pub(super) holes: Vec<HoleNote>,
    pub(super) hole_bytes: u64,
    pub(super) left_out: Vec<LeftOutNote>,
    pub(super) left_out_bytes: u64,
    /// Segments with unreadable pieces, not stored yet: their position, window and bytes.
    pub(super) unreadable: Vec<(usize, u64, Vec<u8>)>,
    /// Which file an unreadable piece belongs to, by its first byte.
    pub(super) damaged: HashMap<u64, (u16, FileId)>,
    /// First byte and id of every piece that is read again, to be compared then.
    pub(super) again: Sorted<40>,
}

/// Entries of one batch, with what later steps want to know of the pieces.
struct Stored {
    number: u64,
    entries: Vec<Entry>,
    damaged: Vec<(u64, (u16, FileId))>,
}

/// Reads all pieces and stores them and the segments that describe them.
pub(super) fn pieces_to_segments(run: &Run<'_>, parent: Vec<SegmentRef>) -> Result<Assembled, BackupError> {
    let (to_workers, batches) = bounded::<Batch>(AHEAD);
    let (to_assembler, stored) = bounded::<Stored>(2 * AHEAD);
    let (recycle, recycled) = unbounded::<Vec<u8>>();
    let rewritten = Rewritten::default();
    std::thread::scope(|scope| {
        let cursor = ParentCursor::new(run.packer.repository(), parent);
        let reader = scope.spawn(move || batch::read_pieces(run, cursor, &recycled, &to_workers));
        let workers: Vec<_> = (0..run.options.workers.max(1))
            .map(|_| {
                let (batches, out, recycle) = (batches.clone(), to_assembler.clone(), recycle.clone());
                let rewritten = &rewritten;
                scope.spawn(move || work(run, rewritten, &batches, &out, &recycle))
            })
            .collect();
        drop((batches, to_assembler, recycle));
        let assembled = assemble(run, stored);
        let mut outcome = Ok(());
        for thread in workers.into_iter().chain([reader]) {
            let ended = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            outcome = outcome.and(ended);
        }
        // A request to stop ends the assembler, and that the others; a failure ends the others and starves the assembler.
        match assembled {
            Err(stopped) => Err(stopped),
            Ok(assembled) => outcome.map(|()| assembled),
        }
    })
}

fn work(
    run: &Run<'_>,
    rewritten: &Rewritten,
    batches: &Receiver<Batch>,
    out: &Sender<Stored>,
    recycle: &Sender<Vec<u8>>,
) -> Result<(), BackupError> {
    let mut worker = Worker::new(run, rewritten);
    for mut batch in batches {
        batch.fill(run)?;
        let entries = worker.store_batch(&batch)?;
        let unreadable = batch.items.iter().filter(|item| !item.readable);
        let damaged = unreadable.filter_map(|item| Some((item.piece.start(), item.piece.file?))).collect();
        let _ = recycle.send(batch.arena); // the reader may be done
        if out.send(Stored { number: batch.number, entries, damaged }).is_err() {
            return Ok(()); // the assembler stopped; it tells why
        }
    }
    Ok(())
}

fn assemble(run: &Run<'_>, stored: Receiver<Stored>) -> Result<Assembled, BackupError> {
    let mut segments = Segments::new(run);
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for batch in stored {
        waiting.insert(batch.number, batch);
        while let Some(batch) = waiting.remove(&next) {
            segments.add(batch)?;
            next += 1;
        }
        if (run.observe)(run.progress()) == Flow::Stop {
            return Err(BackupError::Stopped);
        }
    }
    segments.finish()
}

/// Collects entries into segments.
struct Segments<'r> {
    run: &'r Run<'r>,
    sealer: Sealer,
    builder: Option<Builder>,
    has_hole: bool,
    kept: usize,
    made: Assembled,
    again: Sorter<40>,
}

impl<'r> Segments<'r> {
    fn new(run: &'r Run<'r>) -> Self {
        let empty = Sorter::<40>::new(run.options.scratch).finish().expect("an empty sorter writes nothing");
        Segments {
            run,
            sealer: Sealer::new(run.options.level),
            builder: None,
            has_hole: false,
            kept: 0,
            made: Assembled {
                segments: Vec::new(),
                holes: Vec::new(),
                hole_bytes: 0,
                left_out: Vec::new(),
                left_out_bytes: 0,
                unreadable: Vec::new(),
                damaged: HashMap::new(),
                again: empty,
            },
            again: Sorter::new(run.options.scratch),
        }
    }

    fn add(&mut self, batch: Stored) -> Result<(), BackupError> {
        for entry in batch.entries {
            self.push(&entry)?;
        }
        let room = NAMED.saturating_sub(self.made.damaged.len());
        self.made.damaged.extend(batch.damaged.into_iter().take(room));
        Ok(())
    }

    fn push(&mut self, entry: &Entry) -> Result<(), BackupError> {
        let start = entry.extents.first().map_or(0, |extent| extent.start);
        let window = start / segment::WINDOW * segment::WINDOW;
        let crowded = |builder: &Builder| builder.window() != window || builder.encoded_len() >= segment::SPLIT;
        if self.builder.as_ref().is_some_and(crowded) {
            self.close()?;
        }
        self.builder.get_or_insert_with(|| Builder::new(window)).push(entry);
        self.has_hole |= entry.content.has_hole();
        match entry.content {
            Content::LeftOut(rule) => {
                for extent in &entry.extents {
                    self.made.left_out_bytes += extent.len;
                    if self.made.left_out.len() < LISTED {
                        self.made.left_out.push(LeftOutNote { start: extent.start, len: extent.len, rule });
                    }
                }
            }
            Content::Zeros | Content::Chunk(_) | Content::Runs { .. }
                if torn::is_read_again(self.run, entry.class, start) =>
            {
                let id = entry.content.piece_id().map_or([0; 32], |id| id.0);
                let mut record = [0; 40];
                record[..8].copy_from_slice(&start.to_be_bytes());
                record[8..].copy_from_slice(&id);
                self.again.push(record).map_err(BackupError::Scratch)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), BackupError> {
        let Some(builder) = self.builder.take() else { return Ok(()) };
        let (window, bytes) = (builder.window(), builder.finish());
        if std::mem::take(&mut self.has_hole) {
            let position = self.made.segments.len();
            self.made.segments.push(SegmentRef { window, segment: ChunkId([0; 32]) });
            self.kept += bytes.len();
            self.made.unreadable.push((position, window, bytes));
            if self.kept > KEPT {
                rescue::second_pass(self.run, &mut self.made)?;
                self.kept = 0;
            }
            return Ok(());
        }
        let row = store_segment(self.run, window, &bytes, &mut self.sealer)?;
        self.made.segments.push(row);
        Ok(())
    }

    fn finish(mut self) -> Result<Assembled, BackupError> {
        self.close()?;
        self.made.again = self.again.finish().map_err(BackupError::Scratch)?;
        Ok(self.made)
    }
}

/// Stores a segment as a metadata chunk.
pub(super) fn store_segment(
    run: &Run<'_>,
    window: u64,
    bytes: &[u8],
    sealer: &mut Sealer,
) -> Result<SegmentRef, BackupError> {
    let segment = run.packer.repository().keys().chunk_id(bytes);
    let added = run.packer.store(Kind::Metadata, segment, bytes, sealer)?;
    super::Counters::add(&run.counters.stored, added);
    Ok(SegmentRef { window, segment })
}
