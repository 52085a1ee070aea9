//! A repository on a recorded medium, disks in memory, and a restore into memory: what the promises in this folder are
//! tested with.
//!
//! Nothing here decides whether a promise holds; `check` only says what a person would notice.
#![allow(dead_code, reason = "each promise uses a part of it")]

pub(crate) mod disk;
pub(crate) mod ext;
pub(crate) mod hooked;

use disk::Disk;
use saveos_engine::backup::{self, BackupError, Flow, Options};
use saveos_engine::key::{self, Secret, SlotKind};
use saveos_engine::lease::Lease;
use saveos_engine::repository::{self, Parts, Repository, RepositoryError};
use saveos_engine::restore::target::Target;
use saveos_engine::restore::{self, Part, RestoreError};
use saveos_engine::seal::{Keys, RepositoryId, RootKey, Suite};
use saveos_engine::snapshot::{Snapshot, SnapshotId, WriterId};
use saveos_engine::source::Source;
use saveos_engine::storage::Storage;
use saveos_engine::storage::recorded::{Recorded, RecordedStorage, Sabotage};
use saveos_engine::verify;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

/// Every file of a recorded medium.
pub(crate) type Files = BTreeMap<String, Arc<Vec<u8>>>;

/// Which images must come back, by snapshot.
pub(crate) type Images = BTreeMap<SnapshotId, Arc<Vec<u8>>>;

pub(crate) const REPOSITORY: RepositoryId = RepositoryId([2; 16]);
pub(crate) const DEVICE: [u8; 32] = [8; 32];
pub(crate) const WRITER: WriterId = WriterId([3; 16]);

pub(crate) fn root_key() -> RootKey {
    RootKey::from_bytes([1; 32])
}

pub(crate) fn keys() -> Keys {
    Keys::derive(&root_key(), REPOSITORY)
}

pub(crate) fn device(bytes: [u8; 32]) -> Secret {
    Secret::Device(Zeroizing::new(bytes))
}

/// A medium that holds an empty repository with one key slot.
pub(crate) fn fresh_medium(sabotage: Sabotage) -> Arc<RecordedStorage> {
    let storage = Recorded::storage(sabotage);
    key::add_secret(&storage, REPOSITORY, &root_key(), "box", SlotKind::Device, &DEVICE)
        .expect("the medium is healthy");
    repository::seal_init(&storage, REPOSITORY).expect("the medium is healthy");
    Arc::new(storage)
}

/// A medium with these files.
pub(crate) fn medium_with(files: &Files) -> Arc<RecordedStorage> {
    Arc::new(Recorded::with_files(files.clone()))
}

/// Opens a repository as the program does, with an index in this folder.
pub(crate) fn open(storage: &Arc<impl Storage + 'static>, index: &Path) -> Result<Repository, RepositoryError> {
    open_leased(storage, index, None, None)
}

/// The same, on a machine that seals with this suite.
pub(crate) fn open_sealing(
    storage: &Arc<impl Storage + 'static>,
    index: &Path,
    suite: Suite,
) -> Result<Repository, RepositoryError> {
    assemble(storage, index, suite, None, None)
}

/// The same, with a lease.
pub(crate) fn open_leased(
    storage: &Arc<impl Storage + 'static>,
    index: &Path,
    locks: Option<PathBuf>,
    lease: Option<Lease>,
) -> Result<Repository, RepositoryError> {
    assemble(storage, index, Suite::for_this_cpu(), locks, lease)
}

fn assemble(
    storage: &Arc<impl Storage + 'static>,
    index: &Path,
    suite: Suite,
    locks: Option<PathBuf>,
    lease: Option<Lease>,
) -> Result<Repository, RepositoryError> {
    let storage: Arc<dyn Storage> = storage.clone();
    let id = repository::read_config(&*storage, Path::new("recorded"))?;
    let root = key::unlock(&*storage, id, &device(DEVICE))?;
    Repository::assemble(Parts { storage, keys: Keys::derive(&root, id), suite, locks, lease }, index)
}

/// Backs a disk up under this name. One worker: the steps come in the same order every time.
pub(crate) fn back_up(
    repository: &Repository,
    disk: &Arc<Disk>,
    name: &str,
) -> Result<(SnapshotId, Snapshot), BackupError> {
    back_up_source(repository, &(Arc::<Disk>::clone(disk) as Arc<dyn Source>), name, 1)
}

/// Backs any source up.
pub(crate) fn back_up_source(
    repository: &Repository,
    source: &Arc<dyn Source>,
    name: &str,
    workers: usize,
) -> Result<(SnapshotId, Snapshot), BackupError> {
    back_up_observed(repository, source, name, workers, &|_| Flow::Continue)
}

/// The same, with somebody watching.
pub(crate) fn back_up_observed(
    repository: &Repository,
    source: &Arc<dyn Source>,
    name: &str,
    workers: usize,
    observe: &backup::Observer<'_>,
) -> Result<(SnapshotId, Snapshot), BackupError> {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    // Each look at the clock is more than the time between two checkpoints: every pack gets one.
    let minutes = AtomicU64::new(0);
    let elapsed = || Duration::from_secs(120 * minutes.fetch_add(1, Ordering::Relaxed));
    let options = Options {
        writer: WRITER,
        name: name.to_owned(),
        tags: Vec::new(),
        time: 1_764_000_000,
        boot: "boot".to_owned(),
        uptime: 60,
        live: false,
        workers,
        level: backup::DEFAULT_LEVEL,
        limit_read: None,
        scratch: scratch.path(),
        elapsed: &elapsed,
    };
    backup::run(repository, source, &options, observe)
}

/// A backup of bytes, which must work.
pub(crate) fn snapshot_of(repository: &Repository, bytes: &Arc<Vec<u8>>, name: &str) -> SnapshotId {
    back_up(repository, &Disk::healthy(bytes), name).expect("nothing is in the way of this backup").0
}

/// The image a snapshot gives back.
pub(crate) fn restored(repository: &Repository, snapshot: &Snapshot) -> Result<Vec<u8>, RestoreError> {
    let target = MemoryTarget { bytes: Mutex::new(vec![0; snapshot.source.size as usize]) };
    let part = Part { start: 0, len: snapshot.source.size };
    restore::run(repository, snapshot, &target, &restore::Options { part, only_metadata: false, workers: 1 }, &|_| {
        true
    })?;
    Ok(target.bytes.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// What is wrong with a repository that must hold all of `must`, may hold `may`, and nothing else.
pub(crate) fn complaint(repository: &Repository, must: &Images, may: &Images) -> Option<String> {
    complain(repository, must, may).err()
}

fn complain(repository: &Repository, must: &Images, may: &Images) -> Result<(), String> {
    let (snapshots, damaged) = repository.snapshots().map_err(|error| format!("snapshots: {error}"))?;
    if let Some(error) = damaged.first() {
        return Err(format!("a record is damaged: {error}"));
    }
    for id in must.keys() {
        if !snapshots.iter().any(|(found, _)| found == id) {
            return Err(format!("committed snapshot {id:?} is gone"));
        }
    }
    for (id, snapshot) in &snapshots {
        let Some(expected) = must.get(id).or_else(|| may.get(id)) else {
            return Err(format!("nobody made snapshot {id:?}"));
        };
        let found =
            restored(repository, snapshot).map_err(|error| format!("snapshot {id:?} does not restore: {error}"))?;
        if found != **expected {
            return Err(format!("snapshot {id:?} restores other bytes"));
        }
    }
    let options = verify::Options { sample: 1.0, seed: 0, workers: 1 };
    let report = verify::run(repository, None, &options, &|_, _| ()).map_err(|error| format!("verify: {error}"))?;
    match report.problems.first() {
        Some(problem) => Err(format!("verify: {}: {}", problem.place, problem.what)),
        None => Ok(()),
    }
}

/// The complaint about a repository in which some snapshots may be new: those hold this disk.
pub(crate) fn complaint_with_new(repository: &Repository, must: &Images, new: &Arc<Vec<u8>>) -> Option<String> {
    let (snapshots, _) = repository.snapshots().ok()?;
    let may = snapshots.into_iter().map(|(id, _)| (id, Arc::clone(new))).collect();
    complaint(repository, must, &may)
}

/// Copies an index while nobody has it open.
pub(crate) fn copy_index(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a scratch folder");
    for entry in std::fs::read_dir(from).expect("an index folder") {
        let path = entry.expect("an index folder").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a readable index");
    }
}

/// Where a restore in memory goes.
struct MemoryTarget {
    bytes: Mutex<Vec<u8>>,
}

impl Target for MemoryTarget {
    fn len(&self) -> u64 {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    fn holds_data(&self) -> bool {
        false
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        buf.copy_from_slice(&bytes[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes[offset as usize..offset as usize + new.len()].copy_from_slice(new);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
