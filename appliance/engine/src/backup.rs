//! A backup: pieces are read in device order, hashed, compared, compressed, sealed and packed; the snapshot is written last.
//!
//! One reader, several workers, one assembler; bounded queues between them, so memory does not grow with the disk. Every
//! allocated byte is read and hashed in every run: nothing is skipped by time stamp, size or saved hash.

mod assemble;
mod batch;
mod parent;
mod patch;
mod piece;
mod rescue;
mod torn;

pub(crate) use rescue::holes_of;

use crate::chunk::ChunkId;
use crate::layout::{Layout, LayoutError};
use crate::record::{self, RecordKind};
use crate::repository::store::{CheckpointFor, Packer, Sealer, StoreError, storing};
use crate::repository::{Repository, RepositoryError, checkpoint};
use crate::seal::Kind;
use crate::snapshot::{LIST_ROWS, SegmentRef, Snapshot, SnapshotId, SourceInfo, State, Summary, WriterId, encode_list};
use crate::source::Source;
use crate::storage::{Area, StorageError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Why no snapshot was made. What was stored so far is kept by a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The layout's scratch file, while reading it.
    #[error("could not read the layout's scratch file")]
    Scratch(#[source] io::Error),
    /// The source went away or became shorter.
    #[error(
        "the source vanished or shrank while it was read, at byte {at}; what was stored is kept, plug it in and run again"
    )]
    Gone {
        /// How far we were.
        at: u64,
    },
    /// Somebody asked to stop.
    #[error("stopped on request; what was stored is kept")]
    Stopped,
}

impl From<StoreError> for BackupError {
    fn from(cause: StoreError) -> Self {
        BackupError::Repository(cause.into())
    }
}

impl From<StorageError> for BackupError {
    fn from(cause: StorageError) -> Self {
        BackupError::Repository(cause.into())
    }
}

/// What the caller knows and the engine does not look up by itself.
pub struct Options<'a> {
    /// Who writes.
    pub writer: WriterId,
    /// What a person calls the source; the parent is the last snapshot of this name, else of this disk.
    pub name: String,
    /// Labels.
    pub tags: Vec<String>,
    /// Unix seconds now.
    pub time: i64,
    /// Names this boot.
    pub boot: String,
    /// Seconds since this boot.
    pub uptime: u64,
    /// The source is mounted read-write: the snapshot proves nothing.
    pub live: bool,
    /// Threads that hash and compress.
    pub workers: usize,
    /// zstd level.
    pub level: i32,
    /// Bytes a second that may be read.
    pub limit_read: Option<u64>,
    /// Where the layout may put its scratch file.
    pub scratch: &'a Path,
    /// Time since the backup began.
    pub elapsed: &'a (dyn Fn() -> Duration + Sync),
}

/// zstd level 1 of 1..=22, tuned in `chunk`: on two cores compression is the wall.
pub const DEFAULT_LEVEL: i32 = 1;

/// How far a backup is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of pieces done.
    pub done: u64,
    /// Bytes of pieces in all.
    pub total: u64,
    /// Bytes the repository did not have.
    pub new: u64,
    /// Bytes added to the repository.
    pub stored: u64,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    Continue,
    /// Stop soon, keep what is stored.
    Stop,
}

/// Is told how far we are, several times a second.
pub type Observer<'a> = dyn Fn(Progress) -> Flow + Sync + 'a;

/// Counters that several threads add to.
#[derive(Default)]
struct Counters {
    read: AtomicU64,
    hashed: AtomicU64,
    new: AtomicU64,
    stored: AtomicU64,
    pieces: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, bytes: u64) {
        counter.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Backs a source up. The snapshot exists when this returns `Ok`, whatever its state.
pub fn run(
    repository: &Repository,
    source: &Arc<dyn Source>,
    options: &Options<'_>,
    observe: &Observer<'_>,
) -> Result<(SnapshotId, Snapshot), BackupError> {
    repository.may_refer_to_packs()?;
    let disk = torn::Surveyed::cached(&**source);
    let layout = Layout::survey(&disk, source.sector_size(), options.scratch)?;
    let readable = disk.readable();
    let history = History::of(repository, options, &layout.identity)?;
    let counters = Counters::default();
    let whose = CheckpointFor { writer: options.writer, sequence: history.sequence, elapsed: options.elapsed };
    let made = storing(repository, Some(whose), |packer| {
        let run = Run { packer, source, layout: &layout, readable, options, counters: &counters, observe };
        let parent = match &history.parent {
            Some((_, parent)) => repository.read_segment_list(parent).unwrap_or_default(),
            None => Vec::new(),
        };
        let mut assembled = assemble::pieces_to_segments(&run, parent)?;
        rescue::second_pass(&run, &mut assembled)?;
        let torn_pieces = torn::look_again(&run, &assembled)?;
        let lists = store_lists(packer, &assembled.segments, options.level)?;
        Ok::<_, BackupError>((assembled, torn_pieces, lists))
    })?;
    let (assembled, torn_pieces, segment_lists) = made;
    // It may have been mounted meanwhile.
    let live = options.live || source.is_in_use();
    let snapshot = Snapshot {
        writer: options.writer,
        sequence: history.sequence,
        previous: history.previous,
        parent: history.parent.as_ref().map(|(id, _)| *id),
        time: options.time,
        boot: options.boot.clone(),
        uptime: options.uptime,
        name: options.name.clone(),
        tags: options.tags.clone(),
        state: state(live, torn_pieces, assembled.hole_bytes),
        source: SourceInfo {
            kind: source.kind(),
            size: source.len(),
            sector_size: source.sector_size(),
            identity: layout.identity.clone(),
            table: layout.table,
        },
        segments: assembled.segments.len() as u64,
        segment_lists,
        summary: summary(&layout, assembled, torn_pieces, &counters),
    };
    commit(repository, snapshot)
}

/// Everything the stages share.
struct Run<'a> {
    packer: &'a Packer<'a>,
    source: &'a Arc<dyn Source>,
    layout: &'a Layout,
    /// Whether the survey met no bad sector.
    readable: bool,
    options: &'a Options<'a>,
    counters: &'a Counters,
    observe: &'a Observer<'a>,
}

impl Run<'_> {
    fn progress(&self) -> Progress {
        Progress {
            done: self.counters.hashed.load(Ordering::Relaxed),
            total: self.layout.stored_bytes(),
            new: self.counters.new.load(Ordering::Relaxed),
            stored: self.counters.stored.load(Ordering::Relaxed),
        }
    }
}

/// What came before: the chain this snapshot continues, and the snapshot it is compared with.
struct History {
    sequence: u64,
    previous: Option<SnapshotId>,
    parent: Option<(SnapshotId, Snapshot)>,
}

impl History {
    fn of(repository: &Repository, options: &Options<'_>, identity: &str) -> Result<History, BackupError> {
        let (snapshots, _) = repository.snapshots()?;
        let own = snapshots.iter().filter(|(_, snapshot)| snapshot.writer == options.writer);
        let last = own.max_by_key(|(_, snapshot)| snapshot.sequence);
        // One that is damaged hides a number nobody committed; prune tells of it.
        let (unfinished, _) = checkpoint::list(repository.storage(), repository.keys())?;
        let begun =
            unfinished.iter().filter(|(_, begun)| begun.writer == options.writer).map(|(_, begun)| begun.sequence);
        // The same name, else the same disk under another: any parent is safe, a close one saves most.
        let is_like = |snapshot: &Snapshot| snapshot.name == options.name || snapshot.source.identity == identity;
        let likeness = |snapshot: &Snapshot| {
            (snapshot.name == options.name, is_like(snapshot), snapshot.writer == options.writer, snapshot.sequence)
        };
        Ok(History {
            // A sequence that a checkpoint used is not used again: two backups must not share one.
            sequence: last.map_or(0, |(_, snapshot)| snapshot.sequence).max(begun.max().unwrap_or(0)) + 1,
            previous: last.map(|(id, _)| *id),
            parent: snapshots
                .iter()
                .max_by_key(|(_, snapshot)| likeness(snapshot))
                .filter(|(_, best)| is_like(best))
                .cloned(),
        })
    }
}

fn store_lists(packer: &Packer<'_>, segments: &[SegmentRef], level: i32) -> Result<Vec<ChunkId>, BackupError> {
    let mut sealer = Sealer::new(level);
    let mut lists = Vec::new();
    for rows in segments.chunks(LIST_ROWS) {
        let bytes = encode_list(rows);
        let id = packer.repository().keys().chunk_id(&bytes);
        packer.store(Kind::Metadata, id, &bytes, &mut sealer)?;
        lists.push(id);
    }
    Ok(lists)
}

fn state(live: bool, torn_pieces: u64, hole_bytes: u64) -> State {
    match () {
        () if live => State::Live,
        () if torn_pieces > 0 => State::Torn,
        () if hole_bytes > 0 => State::Partial,
        () => State::Complete,
    }
}

fn summary(layout: &Layout, assembled: assemble::Assembled, torn_pieces: u64, counters: &Counters) -> Summary {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Summary {
        bytes_read: get(&counters.read),
        bytes_hashed: get(&counters.hashed),
        bytes_new: get(&counters.new),
        bytes_stored: get(&counters.stored),
        pieces: get(&counters.pieces),
        regions: layout.regions.clone(),
        holes: assembled.holes,
        hole_bytes: assembled.hole_bytes,
        left_out: assembled.left_out,
        left_out_bytes: assembled.left_out_bytes,
        torn_pieces,
    }
}

/// The commit point. Everything the record names is durable already; afterwards the checkpoints have served.
fn commit(repository: &Repository, snapshot: Snapshot) -> Result<(SnapshotId, Snapshot), BackupError> {
    let storage = repository.storage();
    let name = record::write(storage, repository.keys(), RecordKind::Snapshot, &snapshot)?;
    // Best effort: the snapshot is durable, whatever becomes of them, and the next one removes what is left.
    let _ = remove_checkpoints(repository, snapshot.writer);
    Ok((name.parse().expect("a record is named by 64 hex digits"), snapshot))
}

fn remove_checkpoints(repository: &Repository, writer: WriterId) -> Result<(), StorageError> {
    let (checkpoints, _) = checkpoint::list(repository.storage(), repository.keys())?;
    let served = checkpoints.iter().filter(|(_, begun)| begun.writer == writer);
    served.into_iter().try_for_each(|(name, _)| repository.storage().remove(Area::Checkpoints, name))
}
