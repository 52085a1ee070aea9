//! An open repository: its storage, keys and index together. Everything that reads or writes backups starts here.

pub mod checkpoint;
pub mod dead;
pub mod store;

use crate::chunk::ChunkId;
use crate::index::{Index, IndexError, Location, Refresh};
use crate::key::{self, KeyError, Secret};
use crate::lease::{self, Lease, LeaseError, LeaseKind};
use crate::pack::read::{Nature, PackError, ReadBuffers};
use crate::record::{self, RecordError, RecordKind};
use crate::seal::{Keys, PackId, RepositoryId, RootKey, Suite, random_bytes};
use crate::segment::{self, Entry, SegmentError};
use crate::snapshot::{SegmentRef, Snapshot, SnapshotId, decode_list};
use crate::storage::local::Local;
use crate::storage::{Area, Storage, StorageError, get, put};
use dead::Why;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Space kept so that prune can work on a full disk.
pub const RESERVE: u64 = 64 * 1024 * 1024;

/// With less than this a restore keeps its index elsewhere: SQLite's files beside the database and a run of a few packs.
const INDEX_ROOM: u64 = 4 * 1024 * 1024;

/// Why a repository could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is none.
    #[error("{path} is not a SaveOS repository (no saveos.json); `saveos init` makes one")]
    NotARepository {
        /// Where we looked.
        path: PathBuf,
    },
    /// Its `saveos.json` is not what this version knows.
    #[error("saveos.json: {0}")]
    Config(String),
    /// Files.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A pack.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Storing.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record is damaged, and stays in the way until somebody removes it.
    #[error("{source}; {remedy}")]
    DamagedRecord {
        /// What is wrong with which.
        #[source]
        source: RecordError,
        /// What removes it.
        remedy: String,
    },
    /// Somebody else is using it.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// No pack has the chunk.
    #[error("chunk {0} is in no pack that can be read: the repository has lost it")]
    LostChunk(ChunkId),
    /// A segment does not decode.
    #[error("segment {segment}: {source}")]
    Segment {
        /// Which one.
        segment: ChunkId,
        /// What is wrong.
        #[source]
        source: SegmentError,
    },
    /// No snapshot of that name.
    #[error("no snapshot {0}")]
    NoSnapshot(String),
    /// The prefix fits several.
    #[error("{0} fits {1} snapshots; give more digits")]
    Ambiguous(String, usize),
}

#[derive(Serialize, Deserialize)]
struct Config {
    format: String,
    version: u32,
    repository: String,
}

/// Makes the folders and `saveos.json` of a new repository, and returns what the first key slots wrap.
pub fn init(path: &Path) -> Result<(Local, RepositoryId, RootKey), RepositoryError> {
    let storage = Local::create(path)?;
    Ok((storage, RepositoryId(random_bytes()), RootKey::random()))
}

/// Writes `saveos.json`: the last step of init, after the key slots, so a repository without a way in never exists.
pub fn seal_init(storage: &dyn Storage, id: RepositoryId) -> Result<(), RepositoryError> {
    let config = Config { format: "saveos-repository".to_owned(), version: 1, repository: crate::chunk::hex(&id.0) };
    let json = serde_json::to_vec(&config).expect("three plain fields");
    Ok(put(storage, Area::Root, "saveos.json", &json)?)
}

/// Reads `saveos.json`.
pub fn read_config(storage: &dyn Storage, path: &Path) -> Result<RepositoryId, RepositoryError> {
    let json = match get(storage, Area::Root, "saveos.json", 64 * 1024) {
        Err(missing) if missing.is_missing() => {
            return Err(RepositoryError::NotARepository { path: path.to_owned() });
        }
        other => other?,
    };
    let config: Config = serde_json::from_slice(&json).map_err(|cause| RepositoryError::Config(cause.to_string()))?;
    if config.format != "saveos-repository" || config.version != 1 {
        let text = format!("format {} version {} is not known to this program", config.format, config.version);
        return Err(RepositoryError::Config(text));
    }
    let id = crate::chunk::unhex(&config.repository);
    id.map(RepositoryId).ok_or_else(|| RepositoryError::Config("the repository id is not 32 hex digits".to_owned()))
}

/// An open repository.
pub struct Repository {
    storage: Arc<dyn Storage>,
    keys: Keys,
    suite: Suite,
    index: Index,
    locks: Option<PathBuf>,
    /// What opening the index found out of step.
    pub refresh: Refresh,
    lease: Option<Lease>,
    temporary_index: Option<TemporaryFolder>,
    damaged_lists: Vec<RecordError>,
    searched: Mutex<Searched>,
}

/// How far the index was mistrusted: each step once, when something is found nowhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Searched {
    /// As it was opened.
    AsOpened,
    /// Packs that came since are in it.
    CaughtUp,
    /// It was made anew from all tables.
    AllTables,
}

/// The index of a medium that cannot be written or is full: gone with the repository.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new(scratch: &Path) -> Self {
        TemporaryFolder(scratch.join(format!("saveos-index-{}", crate::chunk::hex(&random_bytes::<8>()))))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // best effort: it lies in a scratch folder
    }
}

/// Snapshots that can be read, and what is wrong with the others.
pub type Readable = (Vec<(SnapshotId, Snapshot)>, Vec<RecordError>);

/// How to open a repository.
pub struct OpenOptions<'a> {
    /// What the process will do.
    pub lease: LeaseKind,
    /// Names this boot of the machine.
    pub boot: &'a str,
    /// A folder for an index when the repository's own cannot be written (a read-only medium).
    pub scratch: &'a Path,
    /// What new packs are sealed with: `Suite::for_this_cpu`, but where somebody wants the other one. Both are always read.
    pub suite: Suite,
}

/// What a repository is put together from.
pub struct Parts {
    /// Its objects.
    pub storage: Arc<dyn Storage>,
    /// Its keys.
    pub keys: Keys,
    /// What new packs are sealed with.
    pub suite: Suite,
    /// The folder of leases, where there is one.
    pub locks: Option<PathBuf>,
    /// Ours.
    pub lease: Option<Lease>,
}

impl Repository {
    /// Opens a local repository: lease, keys, dead lists, index.
    pub fn open(path: &Path, secret: &Secret, options: &OpenOptions<'_>) -> Result<Repository, RepositoryError> {
        let storage = Local::open(path);
        let id = read_config(&storage, path)?;
        if !is_read_only(path) {
            storage.steps().restore_folders()?;
        }
        let locks = path.join("locks");
        let free = storage.free_bytes().unwrap_or(u64::MAX);
        if options.lease == LeaseKind::Sweeper && free < RESERVE {
            // Before anything is written: prune needs room for its lease and index, too.
            storage.reserve(0)?;
        }
        let lease = match lease::take(&locks, options.lease, options.boot) {
            // Nobody prunes a medium that cannot be written.
            Err(LeaseError::Io { .. }) if options.lease == LeaseKind::Reader && is_read_only(path) => None,
            other => Some(other?),
        };
        let root = key::unlock(&storage, id, secret)?;
        if options.lease == LeaseKind::Writer {
            // When in doubt they stay: the next backup asks again.
            storage.clear_drafts(&|| lease::is_free(&locks, LeaseKind::Sweeper).unwrap_or(false))?;
        }
        let own_index = path.join("index");
        let no_room = options.lease == LeaseKind::Reader && free < INDEX_ROOM;
        let locks = lease.is_some().then_some(locks);
        let keys = Keys::derive(&root, id);
        let parts = Parts { storage: Arc::new(storage), keys, suite: options.suite, locks, lease };
        if !no_room && !is_read_only(path) {
            return Self::assemble(parts, &own_index);
        }
        let temporary = TemporaryFolder::new(options.scratch);
        let mut repository = Self::assemble(parts, &temporary.0)?;
        repository.temporary_index = Some(temporary);
        Ok(repository)
    }

    /// Puts a repository together from its parts; for storages that are no local folder.
    pub fn assemble(parts: Parts, index_folder: &Path) -> Result<Repository, RepositoryError> {
        let Parts { storage, keys, suite, locks, lease } = parts;
        // After the lease: a dead list that became visible before it counts, a later one names the lease (FORMAT.md §9).
        let (lists, damaged_lists) = dead::read_all(&*storage, &keys)?;
        let (index, refresh) = Index::open(index_folder, &*storage, &keys)?;
        index.treat_as_absent(lists.into_iter().flat_map(|list| list.packs));
        let searched = Mutex::new(Searched::AsOpened);
        Ok(Repository {
            storage,
            keys,
            suite,
            index,
            locks,
            refresh,
            lease,
            temporary_index: None,
            damaged_lists,
            searched,
        })
    }

    /// Dead lists that could not be read. Reading goes on without them.
    pub fn damaged_lists(&self) -> &[RecordError] {
        &self.damaged_lists
    }

    /// Refuses to write snapshots while a dead list cannot be read: one could refer to a pack that prune is about to delete.
    pub fn may_refer_to_packs(&self) -> Result<(), RepositoryError> {
        let (_, damaged) = dead::read_all(&*self.storage, &self.keys)?;
        damaged.into_iter().next().map_or(Ok(()), |error| Err(repairable(error)))
    }

    /// Names damaged packs in a dead list, so that later backups store what they held anew. Says how many were not named before.
    pub fn set_aside(&self, packs: &[PackId]) -> Result<usize, RepositoryError> {
        let _sweeper = self.lease_beside(LeaseKind::Sweeper)?;
        let (lists, _) = dead::read_all(&*self.storage, &self.keys)?;
        let known: HashSet<PackId> =
            lists.into_iter().filter(|l| l.why == Why::Damaged).flat_map(|l| l.packs).collect();
        let fresh: Vec<PackId> = packs.iter().filter(|pack| !known.contains(pack)).copied().collect();
        if !fresh.is_empty() {
            dead::write(&*self.storage, &self.keys, &fresh, Why::Damaged)?;
        }
        self.index.treat_as_absent(packs.iter().copied());
        Ok(fresh.len())
    }

    /// Another lease, for as long as it is kept; `None` where our own is of that kind or nobody takes leases.
    pub fn lease_beside(&self, kind: LeaseKind) -> Result<Option<Lease>, RepositoryError> {
        match &self.lease {
            Some(own) if own.kind() != kind => Ok(Some(own.beside(kind)?)),
            _ => Ok(None),
        }
    }

    /// The objects.
    pub fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What new packs are sealed with.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The folder of leases, where there is one.
    pub fn locks(&self) -> Option<&Path> {
        self.locks.as_deref()
    }

    /// The name of our own lease.
    pub fn lease_name(&self) -> &str {
        self.lease.as_ref().map_or("", Lease::name)
    }

    /// Reads a chunk, proven. Packs that a dead list names are read too: a backup that began before the list may have
    /// referred to them, and prune takes them off it later.
    pub fn read_chunk(
        &self,
        chunk: &ChunkId,
        buffers: &mut ReadBuffers,
        plain: &mut Vec<u8>,
    ) -> Result<(), RepositoryError> {
        let mut loss = RepositoryError::LostChunk(*chunk);
        if let Some(location) = self.index.locate(&*self.storage, &self.keys, chunk)?
            && self.read_at(&location, buffers, plain).is_ok()
        {
            return Ok(());
        }
        let found = self.insist(|| match self.read_anywhere(chunk, buffers, plain) {
            Ok(()) => Ok(Some(())),
            Err(error) if self.is_loss(&error) => {
                loss = error;
                Ok(None)
            }
            Err(other) => Err(other),
        })?;
        found.ok_or(loss)
    }

    /// Whether an error says that bytes are lost, as opposed to out of reach now.
    pub fn is_loss(&self, error: &RepositoryError) -> bool {
        match error {
            RepositoryError::LostChunk(_) | RepositoryError::Segment { .. } => true,
            RepositoryError::Pack(error) => match error.fault.nature() {
                Nature::Damaged | Nature::Gone => true,
                // In a pack that was set aside a bad sector is a verdict, not an accident.
                Nature::Unreadable => self.index.is_absent(&error.pack),
                Nature::Refused => false,
            },
            _ => false,
        }
    }

    /// Where a chunk is: in a pack that may be used, else in one that a dead list names.
    pub fn locate(&self, chunk: &ChunkId) -> Result<Location, RepositoryError> {
        let (storage, keys) = (&*self.storage, &self.keys);
        let found = self.insist(|| match self.index.locate(storage, keys, chunk)? {
            Some(location) => Ok(Some(location)),
            None => Ok(self.index.locate_in_dead(storage, keys, chunk)?),
        })?;
        found.ok_or(RepositoryError::LostChunk(*chunk))
    }

    /// Looks again, each time with more trust in the packs and less in the index, before something counts as lost. A backup
    /// does not: it stores what it does not find.
    fn insist<T>(
        &self,
        mut look: impl FnMut() -> Result<Option<T>, RepositoryError>,
    ) -> Result<Option<T>, RepositoryError> {
        loop {
            let before = *self.searched.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            let is_backup = self.lease.as_ref().is_some_and(|lease| lease.kind() == LeaseKind::Writer);
            if is_backup || !self.search_beyond(before)? {
                return Ok(None);
            }
        }
    }

    /// Makes the index know more than at `before`; false when it knows everything.
    fn search_beyond(&self, before: Searched) -> Result<bool, RepositoryError> {
        let mut searched = self.searched.lock().unwrap_or_else(PoisonError::into_inner);
        if *searched > before {
            return Ok(true); // another thread did it meanwhile
        }
        match *searched {
            Searched::AsOpened => {
                self.index.catch_up(&*self.storage, &self.keys)?;
                *searched = Searched::CaughtUp;
            }
            Searched::CaughtUp => {
                self.index.rebuild(&*self.storage, &self.keys)?;
                *searched = Searched::AllTables;
            }
            Searched::AllTables => return Ok(false),
        }
        Ok(true)
    }

    /// Tries one place after the other until one proves the chunk. What the system refused is told as such; a chunk is lost
    /// when every place was read and none proved it.
    fn read_anywhere(
        &self,
        chunk: &ChunkId,
        buffers: &mut ReadBuffers,
        plain: &mut Vec<u8>,
    ) -> Result<(), RepositoryError> {
        let mut worst: Option<PackError> = None;
        for place in self.index.locate_all(&*self.storage, &self.keys, chunk)? {
            let Err(error) = place.and_then(|location| self.read_at(&location, buffers, plain)) else { return Ok(()) };
            let gravity = |error: &PackError| match error.fault.nature() {
                Nature::Refused => 3,
                Nature::Unreadable if !self.index.is_absent(&error.pack) => 2,
                Nature::Unreadable | Nature::Damaged => 1,
                Nature::Gone => 0,
            };
            if gravity(&error) > worst.as_ref().map_or(0, gravity) {
                worst = Some(error);
            }
        }
        Err(worst.map_or(RepositoryError::LostChunk(*chunk), RepositoryError::Pack))
    }

    fn read_at(&self, at: &Location, buffers: &mut ReadBuffers, plain: &mut Vec<u8>) -> Result<(), PackError> {
        let row = at.pack.row(at.position).expect("a location is a position in its pack's table");
        at.pack.read_chunk(&self.keys, &row, buffers, plain)
    }

    /// Whether a chunk is stored where a new snapshot may refer to it.
    pub fn has_chunk(&self, chunk: &ChunkId) -> Result<bool, RepositoryError> {
        Ok(self.index.locate(&*self.storage, &self.keys, chunk)?.is_some())
    }

    /// Reads a segment.
    pub fn read_segment(&self, segment: &ChunkId, buffers: &mut ReadBuffers) -> Result<Vec<Entry>, RepositoryError> {
        let mut plain = Vec::new();
        self.read_chunk(segment, buffers, &mut plain)?;
        segment::decode(&plain).map_err(|source| RepositoryError::Segment { segment: *segment, source })
    }

    /// Reads the list of a snapshot's segments.
    pub fn read_segment_list(&self, snapshot: &Snapshot) -> Result<Vec<SegmentRef>, RepositoryError> {
        let (mut buffers, mut plain, mut rows) = (ReadBuffers::default(), Vec::new(), Vec::new());
        for list in &snapshot.segment_lists {
            self.read_chunk(list, &mut buffers, &mut plain)?;
            let more = decode_list(&plain);
            rows.extend(more.ok_or(RepositoryError::Segment { segment: *list, source: SegmentError::Length })?);
        }
        Ok(rows)
    }

    /// All snapshots that can be read, by writer and sequence, and what is wrong with the others.
    pub fn snapshots(&self) -> Result<Readable, RepositoryError> {
        let (mut snapshots, mut damaged) = (Vec::new(), Vec::new());
        for name in record::names(&*self.storage, RecordKind::Snapshot)? {
            match record::read(&*self.storage, &self.keys, RecordKind::Snapshot, &name) {
                Ok(snapshot) => snapshots.extend(name.parse().ok().map(|id| (id, snapshot))),
                // Forgotten between listing and reading.
                Err(RecordError::Storage(gone)) if gone.is_missing() => {}
                Err(error) => damaged.push(error),
            }
        }
        snapshots.sort_by_key(|(id, snapshot): &(SnapshotId, Snapshot)| (snapshot.writer, snapshot.sequence, *id));
        Ok((snapshots, damaged))
    }

    /// Finds a snapshot by id, by a unique prefix of it, or `latest`.
    pub fn find_snapshot(&self, wanted: &str) -> Result<(SnapshotId, Snapshot), RepositoryError> {
        let (snapshots, mut damaged) = self.snapshots()?;
        let mut fitting: Vec<(SnapshotId, Snapshot)> = if wanted == "latest" {
            snapshots.into_iter().max_by_key(|(_, snapshot)| (snapshot.time, snapshot.sequence)).into_iter().collect()
        } else {
            let digits = wanted.to_ascii_lowercase();
            snapshots.into_iter().filter(|(id, _)| !digits.is_empty() && id.to_string().starts_with(&digits)).collect()
        };
        match (fitting.len(), fitting.pop()) {
            (1, Some(snapshot)) => Ok(snapshot),
            (0, _) => match damaged.pop() {
                Some(error) => Err(forgettable(error)),
                None => Err(RepositoryError::NoSnapshot(wanted.to_owned())),
            },
            (several, _) => Err(RepositoryError::Ambiguous(wanted.to_owned(), several)),
        }
    }

    /// What to forget: as `find_snapshot`, or the full name of a record that cannot be read.
    pub fn find_to_forget(&self, wanted: &str) -> Result<SnapshotId, RepositoryError> {
        self.find_snapshot(wanted).map(|(id, _)| id).or_else(|error| {
            let named = record::names(&*self.storage, RecordKind::Snapshot)?.iter().any(|name| name == wanted);
            wanted.parse().ok().filter(|_| named).ok_or(error)
        })
    }
}

/// The error of a damaged dead list or checkpoint.
pub(crate) fn repairable(error: RecordError) -> RepositoryError {
    if !error.is_damage() {
        return error.into();
    }
    RepositoryError::DamagedRecord { source: error, remedy: "`saveos repair index` removes it".to_owned() }
}

/// The error of a damaged snapshot record.
pub(crate) fn forgettable(error: RecordError) -> RepositoryError {
    if !error.is_damage() {
        return error.into();
    }
    let remedy = format!("`saveos forget {}` removes it", error.name());
    RepositoryError::DamagedRecord { source: error, remedy }
}

fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
        || rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_err()
}
