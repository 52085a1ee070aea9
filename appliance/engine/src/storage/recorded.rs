//! A medium in memory that records every step, so a test can cut the power after any of them.
//!
//! What survives a cut is what the steps promised: synced bytes under synced names. Everything else may be there, torn,
//! or gone, and `Recorded::after_cut` makes each of these states.

use super::durable::{Durable, IsFolder, Steps};
use crate::read::ReadAt;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// Objects on the recorded medium.
pub type RecordedStorage = Durable<Recorded>;

/// One step, as it reached the medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A temporary file was made.
    Create(String),
    /// Bytes were added to it.
    Append(String, Arc<Vec<u8>>),
    /// Its bytes were made durable.
    SyncFile(String),
    /// It got its name.
    Rename(String, String),
    /// The names of a folder were made durable.
    SyncDirectory(String),
    /// A file was removed.
    Remove(String),
}

/// What becomes of steps that were not synced when the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All of them reached the medium.
    Kept,
    /// None did.
    Lost,
    /// Names did, bytes did not: the classic empty file after a rename without sync.
    NamesOnly,
    /// Bytes did, but only the first half of each unsynced append; names did.
    Torn,
    /// Removals did, new names did not: folders are written back in any order.
    NewNamesLost,
    /// New names did, removals did not.
    RemovalsLost,
}

impl Unsynced {
    /// Every way to lose power.
    pub const ALL: [Unsynced; 6] = [
        Unsynced::Kept,
        Unsynced::Lost,
        Unsynced::NamesOnly,
        Unsynced::Torn,
        Unsynced::NewNamesLost,
        Unsynced::RemovalsLost,
    ];
}

/// Makes one kind of sync do nothing, to prove that a test would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Honest medium.
    None,
    /// `sync_file` does nothing.
    SyncFile,
    /// `sync_directory` does nothing.
    SyncDirectory,
}

/// The medium.
pub struct Recorded {
    state: Mutex<State>,
    sabotage: Sabotage,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Arc<Vec<u8>>>,
    log: Vec<Step>,
    drafts: u64,
    capacity: Option<u64>,
    fail_at: Option<u64>,
    steps: u64,
    full_at: Option<u64>,
    appends: u64,
    reserved: u64,
}

impl Recorded {
    /// An empty medium with the folders of a repository.
    pub fn storage(sabotage: Sabotage) -> RecordedStorage {
        Durable::new(Recorded { state: Mutex::default(), sabotage })
    }

    /// A medium that holds these files and has recorded nothing.
    pub fn with_files(files: BTreeMap<String, Arc<Vec<u8>>>) -> RecordedStorage {
        let state = State { files, ..State::default() };
        Durable::new(Recorded { state: Mutex::new(state), sabotage: Sabotage::None })
    }

    /// All files as they stand.
    pub fn files(&self) -> BTreeMap<String, Arc<Vec<u8>>> {
        self.lock().files.clone()
    }

    /// Everything recorded so far.
    pub fn log(&self) -> Vec<Step> {
        self.lock().log.clone()
    }

    /// From now on the medium holds at most so many bytes.
    pub fn limit_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// The `n`-th step from now, and all after it, fail with EIO.
    pub fn fail_after(&self, n: Option<u64>) {
        let mut state = self.lock();
        state.steps = 0;
        state.fail_at = n;
    }

    /// The `n`-th append from now, and all after it, find the medium full.
    pub fn full_after(&self, n: Option<u64>) {
        let mut state = self.lock();
        state.appends = 0;
        state.full_at = n;
    }

    /// Replaces the bytes of a file, as a tampering hand would.
    pub fn tamper(&self, path: &str, bytes: Vec<u8>) {
        self.lock().files.insert(path.to_owned(), Arc::new(bytes));
    }

    /// The files after a power cut behind the first `n` steps of `log`, on a medium that held `before`.
    pub fn after_cut(
        before: &BTreeMap<String, Arc<Vec<u8>>>,
        log: &[Step],
        n: usize,
        unsynced: Unsynced,
    ) -> BTreeMap<String, Arc<Vec<u8>>> {
        Cut::new(before.clone(), unsynced).run(&log[..n])
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.steps += 1;
        match state.fail_at {
            Some(n) if state.steps > n => Err(io::Error::other("the recorded medium fails here")),
            _ => Ok(state),
        }
    }
}

/// Works out what a power cut leaves: names and bytes each have a durable and a volatile side.
struct Cut {
    durable_names: BTreeMap<String, u64>,
    live_names: BTreeMap<String, u64>,
    durable_bytes: BTreeMap<u64, Vec<u8>>,
    live_bytes: BTreeMap<u64, Vec<u8>>,
    unsynced: Unsynced,
}

impl Cut {
    fn new(before: BTreeMap<String, Arc<Vec<u8>>>, unsynced: Unsynced) -> Self {
        let mut cut = Cut {
            durable_names: BTreeMap::new(),
            live_names: BTreeMap::new(),
            durable_bytes: BTreeMap::new(),
            live_bytes: BTreeMap::new(),
            unsynced,
        };
        for (inode, (name, bytes)) in before.into_iter().enumerate() {
            cut.durable_names.insert(name.clone(), inode as u64);
            cut.live_names.insert(name, inode as u64);
            cut.durable_bytes.insert(inode as u64, bytes.to_vec());
            cut.live_bytes.insert(inode as u64, bytes.to_vec());
        }
        cut
    }

    fn run(mut self, log: &[Step]) -> BTreeMap<String, Arc<Vec<u8>>> {
        for step in log {
            self.apply(step);
        }
        let mut files = BTreeMap::new();
        for (name, inode) in self.surviving_names() {
            let durable = self.durable_bytes.get(&inode).cloned().unwrap_or_default();
            let live = self.live_bytes.get(&inode).cloned().unwrap_or_default();
            let bytes = match self.unsynced {
                Unsynced::Kept => live,
                Unsynced::Torn => live[..durable.len() + (live.len() - durable.len()) / 2].to_vec(),
                _ => durable,
            };
            files.insert(name, Arc::new(bytes));
        }
        files
    }

    fn surviving_names(&self) -> BTreeMap<String, u64> {
        let (durable, live) = (&self.durable_names, &self.live_names);
        match self.unsynced {
            Unsynced::Kept | Unsynced::NamesOnly | Unsynced::Torn => live.clone(),
            Unsynced::Lost => durable.clone(),
            Unsynced::NewNamesLost => durable
                .iter()
                .filter(|(name, _)| live.contains_key(*name))
                .map(|(name, at)| (name.clone(), *at))
                .collect(),
            Unsynced::RemovalsLost => durable.iter().chain(live).map(|(name, at)| (name.clone(), *at)).collect(),
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Create(name) => {
                let inode = self.live_bytes.len() as u64;
                self.live_names.insert(name.clone(), inode);
                self.live_bytes.insert(inode, Vec::new());
            }
            Step::Append(name, bytes) => {
                if let Some(inode) = self.live_names.get(name) {
                    self.live_bytes.entry(*inode).or_default().extend_from_slice(bytes);
                }
            }
            Step::SyncFile(name) => {
                if let Some(inode) = self.live_names.get(name) {
                    let bytes = self.live_bytes.get(inode).cloned().unwrap_or_default();
                    self.durable_bytes.insert(*inode, bytes);
                }
            }
            Step::Rename(from, to) => {
                if let Some(inode) = self.live_names.remove(from) {
                    self.live_names.insert(to.clone(), inode);
                }
            }
            Step::Remove(name) => {
                self.live_names.remove(name);
            }
            Step::SyncDirectory(folder) => {
                let inside = |name: &String| name.rsplit_once('/').map_or("", |(folder, _)| folder) == folder;
                self.durable_names.retain(|name, _| !inside(name));
                let live = self.live_names.iter().filter(|(name, _)| inside(name));
                self.durable_names.extend(live.map(|(name, inode)| (name.clone(), *inode)));
            }
        }
    }
}

impl Steps for Recorded {
    type File = String;

    fn create(&self, temporary: &str) -> io::Result<String> {
        let mut state = self.step()?;
        state.files.insert(temporary.to_owned(), Arc::default());
        state.log.push(Step::Create(temporary.to_owned()));
        Ok(temporary.to_owned())
    }

    fn append(&self, file: &mut String, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.step()?;
        state.appends += 1;
        if state.full_at.is_some_and(|n| state.appends > n) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let used: u64 = state.files.values().map(ReadAt::len).sum::<u64>() + state.reserved;
        if state.capacity.is_some_and(|capacity| used + bytes.len() as u64 > capacity) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Arc::make_mut(state.files.entry(file.clone()).or_default()).extend_from_slice(bytes);
        state.log.push(Step::Append(file.clone(), Arc::new(bytes.to_vec())));
        Ok(())
    }

    fn sync_file(&self, file: &String) -> io::Result<()> {
        let mut state = self.step()?;
        if self.sabotage != Sabotage::SyncFile {
            state.log.push(Step::SyncFile(file.clone()));
        }
        Ok(())
    }

    fn rename(&self, temporary: &str, path: &str) -> io::Result<()> {
        let mut state = self.step()?;
        if state.files.contains_key(path) {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let bytes = state.files.remove(temporary).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        state.files.insert(path.to_owned(), bytes);
        state.log.push(Step::Rename(temporary.to_owned(), path.to_owned()));
        Ok(())
    }

    fn sync_directory(&self, folder: &str) -> io::Result<()> {
        let mut state = self.step()?;
        if self.sabotage != Sabotage::SyncDirectory {
            state.log.push(Step::SyncDirectory(folder.to_owned()));
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.step()?;
        state.files.remove(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        state.log.push(Step::Remove(path.to_owned()));
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64, IsFolder)>> {
        let state = self.lock();
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut folders = BTreeSet::new();
        let mut names = Vec::new();
        for (path, bytes) in &state.files {
            let Some(rest) = path.strip_prefix(&prefix) else { continue };
            match rest.split_once('/') {
                Some((inner, _)) => drop(folders.insert(inner.to_owned())),
                None => names.push((rest.to_owned(), ReadAt::len(bytes), IsFolder::No)),
            }
        }
        names.extend(folders.into_iter().map(|name| (name, 0, IsFolder::Yes)));
        Ok(names)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn ReadAt>> {
        let state = self.lock();
        let bytes = state.files.get(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(Arc::clone(bytes)))
    }

    fn free_bytes(&self) -> Option<u64> {
        let state = self.lock();
        let used: u64 = state.files.values().map(ReadAt::len).sum::<u64>() + state.reserved;
        state.capacity.map(|capacity| capacity.saturating_sub(used))
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.lock().reserved = bytes;
        Ok(())
    }

    fn unique(&self) -> String {
        let mut state = self.lock();
        state.drafts += 1;
        format!("draft-{}", state.drafts)
    }
}
