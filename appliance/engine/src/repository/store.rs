//! Storing chunks: workers compress and seal, one thread writes packs, one makes them durable. Two kinds of pack grow side by side.
//!
//! A chunk is proven before it leaves its worker: opened, decompressed and hashed again from memory, since a bit that
//! flips here would be found only when the backup is needed.

use super::{Repository, RepositoryError, checkpoint};
use crate::chunk::{ChunkId, Codec, Compressor, DATA_MAX, Decompressor, METADATA_MAX};
use crate::index::IndexError;
use crate::pack::build::{Finished, OpenPack, PackFile};
use crate::pack::format::Row;
use crate::seal::{Bound, Kind, PackId, Suite};
use crate::snapshot::WriterId;
use crate::storage::StorageError;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Sealed chunks that wait for the pack writer: at most 16 MiB.
const QUEUE: usize = 64;
/// A checkpoint after so many stored bytes …
const CHECKPOINT_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// … or so much time.
const CHECKPOINT_TIME: Duration = Duration::from_secs(60);

/// Why storing failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Files.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// What was sealed does not open again.
    #[error("a chunk did not survive being sealed and opened in memory: this machine's memory or CPU is faulty")]
    Faulty,
    /// No reader would take it.
    #[error("chunk {chunk} has {len} bytes, and readers take 1 to {limit}")]
    Size {
        /// Which one.
        chunk: ChunkId,
        /// Its length.
        len: usize,
        /// The most that is legal.
        limit: usize,
    },
    /// Another thread failed first; its error is the one that counts.
    #[error("storing stopped")]
    Stopped,
}

/// Whose checkpoints are written while storing.
#[derive(Clone, Copy)]
pub struct CheckpointFor<'a> {
    /// The writer.
    pub writer: WriterId,
    /// The snapshot it works on.
    pub sequence: u64,
    /// Time since the backup began.
    pub elapsed: &'a (dyn Fn() -> Duration + Sync),
}

/// Takes chunks from several threads.
pub struct Packer<'r> {
    repository: &'r Repository,
    suite: Suite,
    open: Mutex<HashMap<Kind, Arc<OpenPack>>>,
    pending: Mutex<HashSet<ChunkId>>,
    writer: Sender<Message>,
    /// Bytes of sealed chunks, all kinds.
    pub stored: AtomicU64,
}

enum Message {
    Chunk { pack: Arc<OpenPack>, bound: Bound, sealed: Vec<u8> },
    Retired(Arc<OpenPack>),
}

/// Runs `work`, which stores chunks through the packer it is given. When this returns, all of them are durable.
pub fn storing<T, E: From<StoreError>>(
    repository: &Repository,
    checkpoints: Option<CheckpointFor<'_>>,
    work: impl FnOnce(&Packer<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let (to_writer, from_workers) = bounded(QUEUE);
    let (to_committer, from_writer) = bounded(1);
    std::thread::scope(|scope| {
        let packer = Packer {
            repository,
            suite: repository.suite(),
            open: Mutex::default(),
            pending: Mutex::default(),
            writer: to_writer,
            stored: AtomicU64::new(0),
        };
        let shared = Arc::new(packer);
        let unfinished = Arc::new(AtomicBool::new(false));
        let writer = scope.spawn(|| write_packs(repository, from_workers, to_committer));
        let commits = Arc::clone(&shared);
        let committed = spawn_committer(
            scope,
            repository,
            from_writer,
            checkpoints,
            Arc::downgrade(&commits),
            Arc::clone(&unfinished),
        );
        drop(commits);
        let result = work(&shared);
        // Also after a failure: what is complete becomes durable, and the checkpoint names it for the next run.
        unfinished.store(result.is_err(), Ordering::Release);
        shared.retire_all();
        // The writer ends when the last sender is gone.
        drop(shared);
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let committed = committed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // The cause, not the threads it stopped: disk errors first.
        for outcome in [committed, written] {
            match outcome {
                Ok(()) | Err(StoreError::Stopped) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
        let value = result?;
        repository.index().flush().map_err(StoreError::from)?;
        Ok(value)
    })
}

fn spawn_committer<'scope, 'r: 'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    repository: &'r Repository,
    finished: Receiver<Finished>,
    checkpoints: Option<CheckpointFor<'r>>,
    packer: std::sync::Weak<Packer<'r>>,
    unfinished: Arc<AtomicBool>,
) -> std::thread::ScopedJoinHandle<'scope, Result<(), StoreError>> {
    scope.spawn(move || {
        let mut journal = checkpoints.map(|whose| Journal {
            repository,
            whose,
            packs: Vec::new(),
            last: None,
            bytes: 0,
            at: Duration::ZERO,
        });
        for pack in finished {
            let (id, kind, size, chunks) = pack.commit()?;
            repository.index().insert_pack(id, kind, size, &chunks)?;
            if let Some(packer) = packer.upgrade() {
                let mut pending = lock(&packer.pending);
                chunks.iter().for_each(|chunk| {
                    pending.remove(chunk);
                });
            }
            if let Some(journal) = &mut journal {
                journal.add(id, size)?;
            }
        }
        match &mut journal {
            Some(journal) if unfinished.load(Ordering::Acquire) && journal.bytes > 0 => journal.write(),
            _ => Ok(()),
        }
    })
}

/// Writes checkpoints as packs become durable.
struct Journal<'r> {
    repository: &'r Repository,
    whose: CheckpointFor<'r>,
    packs: Vec<PackId>,
    last: Option<String>,
    bytes: u64,
    at: Duration,
}

impl Journal<'_> {
    fn add(&mut self, id: PackId, size: u64) -> Result<(), StoreError> {
        self.packs.push(id);
        self.bytes += size;
        let waited = (self.whose.elapsed)().saturating_sub(self.at);
        if self.bytes < CHECKPOINT_BYTES && waited < CHECKPOINT_TIME { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let storage = self.repository.storage();
        let name =
            checkpoint::write(storage, self.repository.keys(), self.whose.writer, self.whose.sequence, &self.packs)?;
        if let Some(old) = self.last.replace(name) {
            storage.remove(crate::storage::Area::Checkpoints, &old)?;
        }
        (self.bytes, self.at) = (0, (self.whose.elapsed)());
        Ok(())
    }
}

/// What one thread needs to store chunks.
pub struct Sealer {
    compressor: Compressor,
    decompressor: Decompressor,
    opened: Vec<u8>,
    plain: Vec<u8>,
}

impl Sealer {
    /// Buffers for compressing at this zstd level.
    pub fn new(level: i32) -> Self {
        Sealer {
            compressor: Compressor::new(level),
            decompressor: Decompressor::default(),
            opened: Vec::new(),
            plain: Vec::new(),
        }
    }
}

impl Packer<'_> {
    /// The repository.
    pub fn repository(&self) -> &Repository {
        self.repository
    }

    /// Stores a chunk unless the repository has it or another thread is storing it. Says how many bytes that added.
    pub fn store(&self, kind: Kind, chunk: ChunkId, plain: &[u8], sealer: &mut Sealer) -> Result<u64, RepositoryError> {
        let limit = match kind {
            Kind::Data => DATA_MAX,
            Kind::Metadata => METADATA_MAX,
        };
        if plain.is_empty() || plain.len() > limit {
            return Err(StoreError::Size { chunk, len: plain.len(), limit }.into());
        }
        if self.has(&chunk)? || !lock(&self.pending).insert(chunk) {
            return Ok(0);
        }
        Ok(self.seal_and_send(kind, chunk, plain, sealer)?)
    }

    /// Whether a snapshot may refer to this chunk: stored, or being stored now.
    pub fn has(&self, chunk: &ChunkId) -> Result<bool, RepositoryError> {
        Ok(lock(&self.pending).contains(chunk) || self.repository.has_chunk(chunk)?)
    }

    fn seal_and_send(&self, kind: Kind, chunk: ChunkId, plain: &[u8], sealer: &mut Sealer) -> Result<u64, StoreError> {
        let mut sealed = Vec::with_capacity(plain.len() + crate::seal::TAG_LEN);
        let codec = sealer.compressor.compress(plain, &mut sealed);
        let (pack, bound) = self.seal(kind, chunk, plain.len() as u32, codec as u8, &mut sealed)?;
        self.prove(&pack, &bound, codec, &sealed, sealer)?;
        self.send(pack, bound, sealed)
    }

    /// Moves a chunk's stored form into a new pack, proven like any other: where it came from may be deleted next.
    pub fn store_again(&self, kind: Kind, row: &Row, stored: &[u8], sealer: &mut Sealer) -> Result<u64, StoreError> {
        let codec = Codec::from_u8(row.codec).map_err(|_| StoreError::Faulty)?;
        let mut sealed = stored.to_vec();
        let (pack, bound) = self.seal(kind, row.chunk, row.plain_len, row.codec, &mut sealed)?;
        self.prove(&pack, &bound, codec, &sealed, sealer)?;
        self.send(pack, bound, sealed)
    }

    fn seal(
        &self,
        kind: Kind,
        chunk: ChunkId,
        plain_len: u32,
        codec: u8,
        buf: &mut Vec<u8>,
    ) -> Result<(Arc<OpenPack>, Bound), StoreError> {
        let (pack, slot) = self.draw(kind, buf.len())?;
        let bound = Bound { slot, chunk, plain_len, codec };
        pack.seal(&bound, buf);
        Ok((pack, bound))
    }

    fn prove(
        &self,
        pack: &OpenPack,
        bound: &Bound,
        codec: Codec,
        sealed: &[u8],
        sealer: &mut Sealer,
    ) -> Result<(), StoreError> {
        pack.open(bound, sealed, &mut sealer.opened).map_err(|_| StoreError::Faulty)?;
        let plain = match codec {
            Codec::Stored => &sealer.opened,
            Codec::Zstd => {
                sealer.plain.resize(bound.plain_len as usize, 0);
                let (opened, plain) = (&sealer.opened, &mut sealer.plain);
                sealer.decompressor.decompress(codec, opened, plain).map_err(|_| StoreError::Faulty)?;
                &sealer.plain
            }
        };
        if self.repository.keys().chunk_id(plain) == bound.chunk { Ok(()) } else { Err(StoreError::Faulty) }
    }

    fn send(&self, pack: Arc<OpenPack>, bound: Bound, sealed: Vec<u8>) -> Result<u64, StoreError> {
        let len = sealed.len() as u64;
        self.stored.fetch_add(len, Ordering::Relaxed);
        self.writer.send(Message::Chunk { pack, bound, sealed }).map_err(|_| StoreError::Stopped)?;
        Ok(len)
    }

    /// A slot in the open pack of this kind; a full pack is retired first.
    fn draw(&self, kind: Kind, len: usize) -> Result<(Arc<OpenPack>, u32), StoreError> {
        let mut open = lock(&self.open);
        if open.get(&kind).is_some_and(|pack| pack.is_full())
            && let Some(full) = open.remove(&kind)
        {
            self.writer.send(Message::Retired(full)).map_err(|_| StoreError::Stopped)?;
        }
        let pack =
            open.entry(kind).or_insert_with(|| Arc::new(OpenPack::new(self.repository.keys(), self.suite, kind)));
        let slot = pack.draw(len);
        Ok((Arc::clone(pack), slot))
    }

    fn retire_all(&self) {
        for (_, pack) in lock(&self.open).drain() {
            // A writer that is gone has told why.
            let _ = self.writer.send(Message::Retired(pack));
        }
    }
}

struct Writing {
    file: PackFile,
    retired: bool,
}

/// The pack writer: appends chunks as they come, closes a pack when it is retired and its last chunk has come.
fn write_packs(
    repository: &Repository,
    messages: Receiver<Message>,
    finished: Sender<Finished>,
) -> Result<(), StoreError> {
    let mut writing: HashMap<PackId, Writing> = HashMap::new();
    for message in messages {
        let pack = match message {
            Message::Chunk { pack, bound, sealed } => {
                let writing = match writing.entry(pack.id()) {
                    std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        entry.insert(Writing { file: PackFile::create(repository.storage(), &pack)?, retired: false })
                    }
                };
                writing.file.append(&bound, &sealed)?;
                pack
            }
            Message::Retired(pack) => {
                if let Some(writing) = writing.get_mut(&pack.id()) {
                    writing.retired = true;
                } else {
                    // Its first chunk is still on its way.
                    let file = PackFile::create(repository.storage(), &pack)?;
                    writing.insert(pack.id(), Writing { file, retired: true });
                }
                pack
            }
        };
        let is_done = |writing: &Writing| writing.retired && writing.file.count() == pack.drawn();
        if writing.get(&pack.id()).is_some_and(is_done)
            && let Some(done) = writing.remove(&pack.id())
        {
            let done = done.file.finish(&pack)?;
            finished.send(done).map_err(|_| StoreError::Stopped)?;
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
