//! Which pack holds a chunk: a cache that is never believed. A Bloom filter and sorted runs point at a pack's own sealed
//! table, and there the full id decides. Losing or forging all of it costs time, never data.
//!
//! Memory: 14 bits of Bloom filter and half a bit of fences a chunk. Reads: one block of a run and one table for
//! each pack visited, and chunks of one backup lie together, so both are amortised over hundreds of look-ups.

pub mod catalogue;
pub mod run;

use crate::chunk::ChunkId;
use crate::pack::read::{Nature, PackError, PackReader};
use crate::seal::{Keys, Kind, PackId};
use crate::storage::{Area, Object, Storage, StorageError};
use catalogue::{Catalogue, CatalogueError};
use run::{Position, Run, RunEntry};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// New chunks kept in memory before they become a run: 5 MiB.
const FRESH_LIMIT: usize = 128 * 1024;

/// More runs than this are merged: each one adds its Bloom filter's errors (0.12 %) to every look-up.
const MAX_RUNS: usize = 12;

/// Opened packs kept, file and table: at most 25 MiB, and the locality of a whole backup lies in two or three of them.
const OPEN_PACKS: usize = 8;

/// Why the index could not be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The repository could not be listed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A run file.
    #[error("could not use the index run {path}")]
    Run {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A pack could not be opened for a reason that says nothing about the pack: too many open files, no permission.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// A chunk found.
#[derive(Clone)]
pub struct Location {
    /// The pack, opened.
    pub pack: Arc<PackReader>,
    /// Where in its table.
    pub position: usize,
}

/// Random reads so far, for the bound that a test holds the index to.
#[derive(Default)]
pub struct Reads {
    /// Blocks of runs.
    pub runs: AtomicU64,
    /// Packs opened for their table.
    pub tables: AtomicU64,
}

/// The index of one repository.
pub struct Index {
    folder: PathBuf,
    catalogue: Mutex<Catalogue>,
    packs: RwLock<HashMap<u32, PackId>>,
    numbers: RwLock<HashMap<PackId, u32>>,
    runs: RwLock<Vec<Arc<Run>>>,
    fresh: Mutex<Fresh>,
    opened: Mutex<VecDeque<Arc<PackReader>>>,
    absent: RwLock<HashSet<PackId>>,
    /// Counters.
    pub reads: Reads,
}

#[derive(Default)]
struct Fresh {
    /// In the order of a run. Repeats stay: a chunk may lie in a dead-listed pack and in the one it was moved to.
    entries: BTreeSet<RunEntry>,
    packs: Vec<catalogue::PackRow>,
}

impl Fresh {
    fn find(&self, prefix: &[u8; 16]) -> Vec<Position> {
        let at = |pack, slot| RunEntry { prefix: *prefix, position: Position { pack, slot } };
        self.entries.range(at(0, 0)..=at(u32::MAX, u32::MAX)).map(|entry| entry.position).collect()
    }
}

/// What opening found out of step.
#[derive(Debug, Default)]
pub struct Refresh {
    /// Packs whose tables were read because the index did not know them.
    pub added: usize,
    /// Packs the index knew that are gone or differ in size.
    pub dropped: usize,
    /// Packs whose table could not be read: their chunks count as absent.
    pub unreadable: Vec<PackError>,
}

impl Index {
    /// Opens the index in `folder` and brings it in step with the packs that are really there.
    pub fn open(folder: &Path, storage: &dyn Storage, keys: &Keys) -> Result<(Index, Refresh), IndexError> {
        std::fs::create_dir_all(folder).map_err(|source| IndexError::Run { path: folder.to_owned(), source })?;
        let catalogue = Catalogue::open(&folder.join("index.sqlite"))?;
        let index = Index {
            folder: folder.to_owned(),
            catalogue: Mutex::new(catalogue),
            packs: RwLock::default(),
            numbers: RwLock::default(),
            runs: RwLock::default(),
            fresh: Mutex::default(),
            opened: Mutex::default(),
            absent: RwLock::default(),
            reads: Reads::default(),
        };
        let refresh = index.refresh(storage, keys)?;
        Ok((index, refresh))
    }

    /// Takes these packs as absent, too: a dead list names them.
    pub fn treat_as_absent(&self, packs: impl IntoIterator<Item = PackId>) {
        write(&self.absent).extend(packs);
    }

    /// Takes a pack back into use.
    pub fn treat_as_present(&self, pack: &PackId) {
        write(&self.absent).remove(pack);
    }

    /// Whether a dead list names this pack.
    pub fn is_absent(&self, pack: &PackId) -> bool {
        read(&self.absent).contains(pack)
    }

    /// Takes in packs that other processes have made durable since this index was opened. No other thread may be looking
    /// chunks up.
    pub fn catch_up(&self, storage: &dyn Storage, keys: &Keys) -> Result<Refresh, IndexError> {
        self.flush()?;
        write(&self.packs).clear();
        write(&self.numbers).clear();
        self.refresh(storage, keys)
    }

    /// Forgets everything and reads every pack's own table: the last word before a chunk counts as lost. Who looks chunks up
    /// meanwhile may miss some and has to ask again.
    pub fn rebuild(&self, storage: &dyn Storage, keys: &Keys) -> Result<Refresh, IndexError> {
        let catalogue = lock(&self.catalogue);
        let names = catalogue.runs()?;
        catalogue.forget_runs()?;
        drop(catalogue);
        *lock(&self.fresh) = Fresh::default();
        write(&self.runs).clear();
        lock(&self.opened).clear();
        for name in names.iter().filter(|name| run::is_name(name)) {
            // Best effort: an orphaned run costs space until the index is deleted.
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        write(&self.packs).clear();
        write(&self.numbers).clear();
        self.refresh(storage, keys)
    }

    /// Compares names and sizes of all packs with the rows; reads the tables of those that differ.
    fn refresh(&self, storage: &dyn Storage, keys: &Keys) -> Result<Refresh, IndexError> {
        let mut refresh = Refresh::default();
        let mut there: HashMap<PackId, u64> = HashMap::new();
        for Object { name, size } in storage.list(Area::Packs)? {
            if let Some(id) = PackId::from_hex(&name) {
                there.insert(id, size);
            }
        }
        let catalogue = lock(&self.catalogue);
        let known_runs = self.load_runs(&catalogue)?;
        let mut stale = Vec::new();
        for row in catalogue.packs()? {
            // Without its run a row promises nothing.
            if there.get(&row.id) == Some(&row.size) && known_runs {
                write(&self.packs).insert(row.number, row.id);
                write(&self.numbers).insert(row.id, row.number);
                there.remove(&row.id);
            } else {
                stale.push(row.number);
            }
        }
        refresh.dropped = stale.len();
        catalogue.remove_packs(&stale)?;
        drop(catalogue);
        for id in there.into_keys() {
            match PackReader::open(storage, keys, id) {
                Ok(pack) => {
                    let chunks: Vec<ChunkId> = pack.rows().map(|row| row.chunk).collect();
                    self.insert_pack(id, pack.kind(), pack.size(), &chunks)?;
                    refresh.added += 1;
                }
                Err(error) => refresh.unreadable.push(error),
            }
        }
        self.flush()?;
        Ok(refresh)
    }

    /// Opens all runs the catalogue names; false when one is missing, and then all are forgotten.
    fn load_runs(&self, catalogue: &Catalogue) -> Result<bool, IndexError> {
        let mut runs = Vec::new();
        for name in catalogue.runs()? {
            match Run::open(&self.folder.join(&name), &name) {
                Ok(run) => runs.push(Arc::new(run)),
                Err(_) => {
                    // Damaged or missing: the tables tell it all again.
                    catalogue.forget_runs()?;
                    return Ok(false);
                }
            }
        }
        *write(&self.runs) = runs;
        Ok(true)
    }

    /// Where a chunk is stored; `None` when no pack has it that may be used.
    pub fn locate(&self, storage: &dyn Storage, keys: &Keys, chunk: &ChunkId) -> Result<Option<Location>, IndexError> {
        self.locate_among(storage, keys, chunk, |absent, pack| !absent.contains(pack))
    }

    /// Where a chunk is stored in a pack that a dead list names.
    pub fn locate_in_dead(
        &self,
        storage: &dyn Storage,
        keys: &Keys,
        chunk: &ChunkId,
    ) -> Result<Option<Location>, IndexError> {
        self.locate_among(storage, keys, chunk, |absent, pack| absent.contains(pack))
    }

    fn locate_among(
        &self,
        storage: &dyn Storage,
        keys: &Keys,
        chunk: &ChunkId,
        usable: impl Fn(&HashSet<PackId>, &PackId) -> bool,
    ) -> Result<Option<Location>, IndexError> {
        let usable = |pack: &PackId| usable(&read(&self.absent), pack);
        let prefix = chunk.prefix();
        let fresh = lock(&self.fresh).find(&prefix);
        if fresh.is_empty() && !read(&self.runs).iter().any(|run| run.may_hold(&prefix)) {
            return Ok(None);
        }
        if let Some(location) = self.in_opened(chunk, &usable) {
            return Ok(Some(location));
        }
        for position in fresh {
            if let Some(found) = self.confirm(storage, keys, chunk, position, &usable)? {
                return Ok(Some(found));
            }
        }
        for run in self.runs_with(&prefix) {
            for position in self.find_in(&run, &prefix)? {
                if let Some(found) = self.confirm(storage, keys, chunk, position, &usable)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// Every place that has a chunk, packs that may be used first, and every pack that might have it and does not open.
    /// Slower than `locate`: for a chunk whose first place did not prove it.
    pub fn locate_all(
        &self,
        storage: &dyn Storage,
        keys: &Keys,
        chunk: &ChunkId,
    ) -> Result<Vec<Result<Location, PackError>>, IndexError> {
        let prefix = chunk.prefix();
        let mut positions = lock(&self.fresh).find(&prefix);
        for run in self.runs_with(&prefix) {
            positions.extend(self.find_in(&run, &prefix)?);
        }
        let mut packs: Vec<PackId> =
            positions.iter().filter_map(|at| read(&self.packs).get(&at.pack).copied()).collect();
        packs.sort_unstable_by_key(|pack| (self.is_absent(pack), *pack));
        packs.dedup();
        let open = |id| match self.open_pack(storage, keys, id) {
            Ok(pack) => pack.find(chunk).map(|position| Ok(Location { pack, position })),
            Err(error) => Some(Err(error)),
        };
        Ok(packs.into_iter().filter_map(open).collect())
    }

    fn runs_with(&self, prefix: &[u8; 16]) -> Vec<Arc<Run>> {
        read(&self.runs).iter().filter(|run| run.may_hold(prefix)).cloned().collect()
    }

    fn find_in(&self, run: &Run, prefix: &[u8; 16]) -> Result<Vec<Position>, IndexError> {
        self.reads.runs.fetch_add(1, Ordering::Relaxed);
        run.find(prefix).map_err(|source| IndexError::Run { path: self.folder.join(&run.name), source })
    }

    fn in_opened(&self, chunk: &ChunkId, usable: &dyn Fn(&PackId) -> bool) -> Option<Location> {
        let mut opened = lock(&self.opened);
        let (at, position) = opened
            .iter()
            .enumerate()
            .filter(|(_, pack)| usable(&pack.id()))
            .find_map(|(at, pack)| Some((at, pack.find(chunk)?)))?;
        let pack = opened.remove(at).expect("its place was just found");
        opened.push_front(Arc::clone(&pack));
        Some(Location { pack, position })
    }

    /// The pack's own table decides. A pack that is gone, damaged or on a bad sector has nothing.
    fn confirm(
        &self,
        storage: &dyn Storage,
        keys: &Keys,
        chunk: &ChunkId,
        at: Position,
        usable: &dyn Fn(&PackId) -> bool,
    ) -> Result<Option<Location>, IndexError> {
        let Some(id) = read(&self.packs).get(&at.pack).copied().filter(usable) else { return Ok(None) };
        match self.open_pack(storage, keys, id) {
            Ok(pack) => Ok(pack.find(chunk).map(|position| Location { pack, position })),
            Err(error) if error.fault.nature() == Nature::Refused => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// Opens a pack, or takes it from those still open.
    pub fn open_pack(&self, storage: &dyn Storage, keys: &Keys, id: PackId) -> Result<Arc<PackReader>, PackError> {
        if let Some(pack) = lock(&self.opened).iter().find(|pack| pack.id() == id) {
            return Ok(Arc::clone(pack));
        }
        self.reads.tables.fetch_add(1, Ordering::Relaxed);
        let pack = Arc::new(PackReader::open(storage, keys, id)?);
        let mut opened = lock(&self.opened);
        opened.push_front(Arc::clone(&pack));
        opened.truncate(OPEN_PACKS);
        Ok(pack)
    }

    /// Takes in a durable pack with its chunks in the order of its table.
    pub fn insert_pack(&self, id: PackId, kind: Kind, size: u64, chunks: &[ChunkId]) -> Result<(), IndexError> {
        let number = lock(&self.catalogue).next_number()?;
        write(&self.packs).insert(number, id);
        write(&self.numbers).insert(id, number);
        let mut fresh = lock(&self.fresh);
        for (slot, chunk) in chunks.iter().enumerate() {
            let position = Position { pack: number, slot: slot as u32 };
            fresh.entries.insert(RunEntry { prefix: chunk.prefix(), position });
        }
        fresh.packs.push(catalogue::PackRow { number, id, kind, size, chunks: chunks.len() as u64 });
        let full = fresh.entries.len() >= FRESH_LIMIT;
        drop(fresh);
        if full { self.flush() } else { Ok(()) }
    }

    /// Writes new chunks as a run, and then the rows of their packs: a row without its run would hide chunks.
    pub fn flush(&self) -> Result<(), IndexError> {
        let mut fresh = lock(&self.fresh);
        if fresh.packs.is_empty() {
            return Ok(());
        }
        let name = run::fresh_name();
        let path = self.folder.join(&name);
        let count = fresh.entries.len() as u64;
        let run = run::write(&path, &name, count, fresh.entries.iter().copied().map(Ok))
            .map_err(|source| IndexError::Run { path, source })?;
        lock(&self.catalogue).add_run(&name, count, &fresh.packs)?;
        write(&self.runs).push(Arc::new(run));
        *fresh = Fresh::default();
        drop(fresh);
        self.merge_runs()
    }

    /// Merges the small runs when there are many. Filters of the merged runs leave memory before the new one is built.
    fn merge_runs(&self) -> Result<(), IndexError> {
        let mut runs = write(&self.runs);
        if runs.len() <= MAX_RUNS {
            return Ok(());
        }
        runs.sort_by_key(|run| run.count());
        let mut taken = 2;
        let mut sum = runs[0].count() + runs[1].count();
        while taken < runs.len() && runs[taken].count() <= 2 * sum {
            sum += runs[taken].count();
            taken += 1;
        }
        let merged: Vec<Arc<Run>> = runs.drain(..taken).collect();
        let names: Vec<String> = merged.iter().map(|run| run.name.clone()).collect();
        let name = run::fresh_name();
        let path = self.folder.join(&name);
        let readers: Result<Vec<_>, io::Error> = merged.iter().map(|run| run.entries()).collect();
        drop(merged);
        let wrap = |source| IndexError::Run { path: path.clone(), source };
        let run = run::write(&path, &name, sum, run::merge(readers.map_err(wrap)?)).map_err(wrap)?;
        runs.push(Arc::new(run));
        lock(&self.catalogue).replace_runs(&names, &name, sum)?;
        for name in names {
            // Best effort: an orphaned run costs space until the index is rebuilt.
            let _ = std::fs::remove_file(self.folder.join(name));
        }
        Ok(())
    }

    /// Forgets packs that were deleted.
    pub fn remove_packs(&self, gone: &[PackId]) -> Result<(), IndexError> {
        let mut numbers = write(&self.numbers);
        let gone: Vec<u32> = gone.iter().filter_map(|id| numbers.remove(id)).collect();
        let mut packs = write(&self.packs);
        packs.retain(|number, _| !gone.contains(number));
        Ok(lock(&self.catalogue).remove_packs(&gone)?)
    }

    /// Every pack the index knows.
    pub fn packs(&self) -> Vec<PackId> {
        let mut ids: Vec<PackId> = read(&self.packs).values().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Bytes of memory that grow with the number of chunks, and how many chunks those are.
    pub fn memory(&self) -> (u64, u64) {
        let runs = read(&self.runs);
        (runs.iter().map(|run| run.memory()).sum(), runs.iter().map(|run| run.count()).sum())
    }
}

// A thread that panicked while it held one of these left it whole: every change is a single insert or swap.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
