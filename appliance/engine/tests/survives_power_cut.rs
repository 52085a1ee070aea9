//! Promise: the power may go after any step of a backup, a prune or a key change, and nothing that was committed is lost.
//!
//! Each operation is recorded once. Then every prefix of its steps, with every fate of what was not synced, becomes a
//! repository that is opened, verified, restored and backed up to. A medium that skips one kind of sync must be caught.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use saveos_engine::key::{self, SlotKind};
use saveos_engine::prune::{self, Mode};
use saveos_engine::storage::Storage;
use saveos_engine::storage::recorded::{Recorded, RecordedStorage, Sabotage, Step, Unsynced};
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use support::disk::{changed, image, noise};
use support::{DEVICE, Files, Images, REPOSITORY};
use tempfile::TempDir;

/// Nothing has the name of a snapshot before all that it needs is durable, folders included.
#[test]
fn the_snapshot_is_written_last() {
    for recording in [first_backup(Sabotage::None), second_backup(Sabotage::None)] {
        let log = recording.log();
        let is_named = |step: &Step| matches!(step, Step::Rename(_, to) if to.starts_with("snapshots/"));
        let named = log.iter().position(is_named).unwrap();
        let mut open = HashSet::new();
        for step in &log[..named] {
            match step {
                Step::Append(file, _) => drop(open.insert(file.clone())),
                Step::SyncFile(file) => drop(open.remove(file)),
                Step::Rename(from, to) => {
                    assert!(!open.contains(from), "{to} was named before it was synced");
                    open.insert(to.rsplit_once('/').unwrap().0.to_owned());
                }
                Step::SyncDirectory(folder) => drop(open.remove(folder)),
                Step::Create(_) | Step::Remove(_) => {}
            }
        }
        assert_eq!(open, HashSet::new(), "not durable when the snapshot of {} got its name", recording.name);
        let later: Vec<&Step> = log[named + 1..].iter().collect();
        assert!(!later.iter().any(|step| matches!(step, Step::Append(..) | Step::Rename(..))), "{later:?}");
    }
}

#[test]
fn a_first_backup_may_be_cut_anywhere() {
    first_backup(Sabotage::None).survives();
}

#[test]
fn a_second_backup_may_be_cut_anywhere() {
    second_backup(Sabotage::None).survives();
}

#[test]
fn a_backup_of_a_real_filesystem_may_be_cut_anywhere() {
    let disk =
        support::ext::image(6, &[("etc/passwd", b"root"), ("data", &noise(9, 900_000)), ("log", &[b'a'; 300_000])]);
    let recording = Recording::begin(Sabotage::None, &[]);
    recording.back_up(&disk).survives();
}

#[test]
fn forgetting_and_pruning_may_be_cut_anywhere() {
    forget_and_prune(Sabotage::None).survives();
}

#[test]
fn adding_and_removing_keys_may_be_cut_anywhere() {
    assert_eq!(locked_out(&key_changes(Sabotage::None)), None);
}

#[test]
fn a_medium_that_forgets_to_sync_is_caught() {
    for sabotage in [Sabotage::SyncFile, Sabotage::SyncDirectory] {
        for recording in [first_backup(sabotage), second_backup(sabotage), forget_and_prune(sabotage)] {
            assert!(recording.loss().is_some(), "{sabotage:?} went unnoticed in {}", recording.name);
        }
        assert!(locked_out(&key_changes(sabotage)).is_some(), "{sabotage:?} of a key slot went unnoticed");
    }
}

#[test]
fn every_kind_of_sync_is_needed() {
    let needed = [
        (first_backup(Sabotage::None), "packs", Sync::File),
        (first_backup(Sabotage::None), "packs", Sync::Directory),
        (first_backup(Sabotage::None), "snapshots", Sync::File),
        (first_backup(Sabotage::None), "snapshots", Sync::Directory),
        (first_backup(Sabotage::None), "checkpoints", Sync::File),
        (second_backup(Sabotage::None), "packs", Sync::Directory),
        (forget_and_prune(Sabotage::None), "packs", Sync::File),
        (forget_and_prune(Sabotage::None), "packs", Sync::Directory),
        (forget_and_prune(Sabotage::None), "snapshots", Sync::Directory),
        (forget_and_prune(Sabotage::None), "dead", Sync::File),
    ];
    for (mut recording, folder, sync) in needed {
        recording.drop_syncs(folder, sync);
        assert!(recording.loss().is_some(), "{} does not need {sync:?} of {folder}", recording.name);
    }
}

/// Syncs without which no cut loses anything, and why we make them all the same.
const NOT_NEEDED: [(&str, &str); 6] = [
    ("name in checkpoints", "a checkpoint that is gone costs storing its packs again, and names nothing committed"),
    ("removal from checkpoints", "one that comes back keeps its packs a little longer; the next backup removes it"),
    ("name in dead", "packs that are listed nowhere, or without leases, stay; the next prune lists them again"),
    ("bytes of leases", "who held a lease before the cut is dead, so none of those named is held"),
    ("removal from dead", "a list that comes back names packs that are gone, and the next prune removes it"),
    ("removal from packs", "a pack that comes back is whole, and the next prune finds it dead again"),
];

#[test]
fn every_single_sync_is_needed() {
    let recordings = [first_backup(Sabotage::None), second_backup(Sabotage::None), forget_and_prune(Sabotage::None)];
    let (mut needed, mut not_needed) = (BTreeSet::new(), BTreeSet::new());
    for recording in &recordings {
        let honest = recording.states();
        for (at, sync) in recording.syncs() {
            match recording.loss_without(at, &honest) {
                Some(_) => needed.insert(sync),
                // Two packs may draw the same folder: then its next sync stands in for this one.
                None if recording.is_synced_again(at) => false,
                None => not_needed.insert(sync),
            };
        }
    }
    let told: BTreeSet<String> = NOT_NEEDED.iter().map(|(sync, _)| (*sync).to_owned()).collect();
    assert_eq!(not_needed, told, "syncs that nothing needs");
    let expected = ["bytes in checkpoints", "bytes in dead", "bytes in packs", "bytes in snapshots", "name in packs"];
    let expected = expected.into_iter().chain(["name in snapshots", "removal from snapshots"]);
    assert_eq!(needed, expected.map(str::to_owned).collect());
}

#[test]
fn every_single_sync_of_a_key_is_needed() {
    let changes = key_changes(Sabotage::None);
    let syncs = changes.log.iter().enumerate();
    let syncs: Vec<usize> = syncs
        .filter(|(_, step)| matches!(step, Step::SyncFile(_) | Step::SyncDirectory(_)))
        .map(|(at, _)| at)
        .collect();
    assert_eq!(syncs.len(), 3, "bytes and name of the new slot, and the old one's removal");
    for at in syncs {
        let mut cut = key_changes(Sabotage::None);
        let step = cut.log.remove(at);
        cut.promises.iter_mut().for_each(|promise| promise.from -= usize::from(promise.from > at));
        assert!(locked_out(&cut).is_some(), "nothing needs {step:?}");
    }
}

fn first_backup(sabotage: Sabotage) -> Recording {
    Recording::begin(sabotage, &[]).named("a first backup").back_up(&image(1, 2))
}

fn second_backup(sabotage: Sabotage) -> Recording {
    let old = image(1, 2);
    Recording::begin(sabotage, &[Arc::clone(&old)]).named("a second backup").back_up(&changed(&old, 1, 6))
}

/// The first snapshot's data pack is half needed by the second: it is moved, listed and deleted.
fn forget_and_prune(sabotage: Sabotage) -> Recording {
    let old = image(1, 2);
    let mut new = old.to_vec();
    let half = new.len() / 4;
    new[..half].copy_from_slice(&noise(77, half));
    let mut recording = Recording::begin(sabotage, &[old, Arc::new(new)]).named("forget and prune");
    let oldest = recording.ids[0];

    let repository = recording.open();
    let mut kept = recording.committed.clone();
    kept.remove(&oldest);
    recording.promises.push((recording.steps(), kept)); // from the first step on it may be gone
    prune::forget(&repository, &[oldest]).unwrap();
    let first = prune::run(&repository, Mode::Run).unwrap();
    assert!(first.repacked_packs > 0 && first.listed_packs > 0, "{first:?}");
    drop(repository);

    let second = prune::run(&recording.open(), Mode::Run).unwrap();
    assert!(second.deleted_packs >= first.listed_packs, "{second:?}");
    recording
}

/// What is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    File,
    Directory,
}

/// An operation on a recorded medium, with what it promised when.
struct Recording {
    name: &'static str,
    storage: Arc<RecordedStorage>,
    before: Files,
    begins: usize,
    log: Option<Vec<Step>>,
    index: TempDir,
    stale: TempDir,
    ids: Vec<saveos_engine::snapshot::SnapshotId>,
    committed: Images,
    /// After so many steps, these snapshots must be there.
    promises: Vec<(usize, Images)>,
}

impl Recording {
    /// Begins on a repository that holds a snapshot of each of these disks.
    fn begin(sabotage: Sabotage, disks: &[Arc<Vec<u8>>]) -> Recording {
        let storage = support::fresh_medium(sabotage);
        let (index, stale) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let (mut ids, mut committed) = (Vec::new(), Images::new());
        for disk in disks {
            let id = support::snapshot_of(&support::open(&storage, index.path()).unwrap(), disk, "nas");
            ids.push(id);
            committed.insert(id, Arc::clone(disk));
        }
        drop(support::open(&storage, index.path()).unwrap());
        support::copy_index(index.path(), stale.path());
        let (before, begins) = (storage.steps().files(), storage.steps().log().len());
        let promises = vec![(0, committed.clone())];
        Recording { name: "an operation", storage, before, begins, log: None, index, stale, ids, committed, promises }
    }

    fn named(self, name: &'static str) -> Recording {
        Recording { name, ..self }
    }

    fn back_up(mut self, disk: &Arc<Vec<u8>>) -> Recording {
        let id = support::snapshot_of(&self.open(), disk, "nas");
        self.committed.insert(id, Arc::clone(disk));
        self.promises.push((self.steps(), self.committed.clone()));
        self
    }

    fn open(&self) -> saveos_engine::repository::Repository {
        support::open(&self.storage, self.index.path()).unwrap()
    }

    fn steps(&self) -> usize {
        self.storage.steps().log().len() - self.begins
    }

    fn log(&self) -> Vec<Step> {
        self.log.clone().unwrap_or_else(|| self.storage.steps().log().split_off(self.begins))
    }

    /// Takes every sync of one kind in one folder out of the log.
    fn drop_syncs(&mut self, folder: &str, sync: Sync) {
        let log = self.log();
        let inside = |path: &str| path.split('/').next() == Some(folder);
        let named_later = |temporary: &str| {
            log.iter().any(|step| matches!(step, Step::Rename(from, to) if from == temporary && inside(to)))
        };
        let dropped: Vec<bool> = log
            .iter()
            .map(|step| match step {
                Step::SyncFile(temporary) => sync == Sync::File && named_later(temporary),
                Step::SyncDirectory(path) => sync == Sync::Directory && inside(path),
                _ => false,
            })
            .collect();
        assert!(dropped.contains(&true), "{} never syncs {folder}", self.name);
        let gone_before = |steps: usize| dropped[..steps.min(dropped.len())].iter().filter(|gone| **gone).count();
        for (steps, _) in &mut self.promises {
            *steps -= gone_before(*steps);
        }
        self.log = Some(log.into_iter().zip(&dropped).filter(|(_, gone)| !**gone).map(|(step, _)| step).collect());
    }

    fn survives(&self) {
        assert!(self.log().len() >= 10, "{} has next to no steps", self.name);
        assert_eq!(self.loss(), None, "in {}", self.name);
    }

    /// Every sync by its place in the log, and what it makes durable.
    fn syncs(&self) -> Vec<(usize, String)> {
        let log = self.log();
        let folder = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
        let told = |(at, step): (usize, &Step)| match step {
            Step::SyncFile(temporary) => log.iter().find_map(|later| match later {
                Step::Rename(from, to) if from == temporary && to.ends_with(".leases") => {
                    Some((at, "bytes of leases".to_owned()))
                }
                Step::Rename(from, to) if from == temporary => Some((at, format!("bytes in {}", folder(to)))),
                _ => None,
            }),
            Step::SyncDirectory(path) => match &log[at - 1] {
                Step::Remove(_) => Some((at, format!("removal from {}", folder(path)))),
                _ => Some((at, format!("name in {}", folder(path)))),
            },
            _ => None,
        };
        log.iter().enumerate().filter_map(told).collect()
    }

    /// Whether this is the sync of a pack's folder, and not the last one.
    fn is_synced_again(&self, at: usize) -> bool {
        let log = self.log();
        matches!(&log[at], Step::SyncDirectory(path) if path.starts_with("packs/") && log[at + 1..].contains(&log[at]))
    }

    /// What every cut of the honest log leaves, by the promises that hold then.
    fn states(&self) -> HashSet<(usize, blake3::Hash)> {
        let log = self.log();
        let cuts = (0..=log.len()).flat_map(|steps| Unsynced::ALL.map(|unsynced| (steps, unsynced)));
        let state = |(steps, unsynced)| {
            (promised(&self.promises, steps), fingerprint(&Recorded::after_cut(&self.before, &log, steps, unsynced)))
        };
        cuts.map(state).collect()
    }

    /// The first cut that loses something when one sync is left out. States of the honest log are known to be well.
    fn loss_without(&self, at: usize, honest: &HashSet<(usize, blake3::Hash)>) -> Option<String> {
        let mut log = self.log();
        log.remove(at);
        let promises: Vec<_> =
            self.promises.iter().map(|(from, must)| (from - usize::from(*from > at), must.clone())).collect();
        self.loss_in(&log, &promises, honest.clone())
    }

    /// The first cut that loses something.
    fn loss(&self) -> Option<String> {
        self.loss_in(&self.log(), &self.promises, HashSet::new())
    }

    fn loss_in(
        &self,
        log: &[Step],
        promises: &[(usize, Images)],
        mut seen: HashSet<(usize, blake3::Hash)>,
    ) -> Option<String> {
        for steps in 0..=log.len() {
            let promised = promised(promises, steps);
            for unsynced in Unsynced::ALL {
                let files = Recorded::after_cut(&self.before, log, steps, unsynced);
                if !seen.insert((promised, fingerprint(&files))) {
                    continue;
                }
                let complaint = self.examine(&files, &promises[promised].1);
                if let Some(complaint) = complaint {
                    let last = steps.checked_sub(1).map(|last| shown(&log[last]));
                    return Some(format!("cut after step {steps} ({last:?}), unsynced {unsynced:?}: {complaint}"));
                }
            }
        }
        None
    }

    fn examine(&self, files: &Files, must: &Images) -> Option<String> {
        let scratch = TempDir::new().unwrap();
        let (fresh, stale, finished) =
            (scratch.path().join("fresh"), scratch.path().join("stale"), scratch.path().join("finished"));
        support::copy_index(self.stale.path(), &stale);
        support::copy_index(self.index.path(), &finished);
        for (index, what) in
            [(&fresh, "a fresh"), (&stale, "the index from before:"), (&finished, "the finished run's")]
        {
            let storage = support::medium_with(files);
            let complaint = match support::open(&storage, index) {
                Ok(repository) => support::complaint(&repository, must, &self.committed),
                Err(error) => Some(format!("does not open: {error}")),
            };
            if let Some(complaint) = complaint {
                return Some(format!("with {what} index: {complaint}"));
            }
        }
        self.goes_on(files, &finished, must)
    }

    /// After the cut a backup and a prune run to their ends.
    fn goes_on(&self, files: &Files, index: &Path, must: &Images) -> Option<String> {
        let storage = support::medium_with(files);
        storage.clear_drafts(&|| true).unwrap();
        let disk = changed(&image(1, 2), 99, 3);
        let repository = match support::open(&storage, index) {
            Ok(repository) => repository,
            Err(error) => return Some(format!("does not open again: {error}")),
        };
        let id = match support::back_up(&repository, &support::disk::Disk::healthy(&disk), "nas") {
            Ok((id, _)) => id,
            Err(error) => return Some(format!("no backup after the cut: {error}")),
        };
        drop(repository);
        let (mut must, mut may) = (must.clone(), self.committed.clone());
        must.insert(id, Arc::clone(&disk));
        may.insert(id, disk);
        for _ in 0..2 {
            let repository = support::open(&storage, index).unwrap();
            if let Err(error) = prune::run(&repository, Mode::Run) {
                return Some(format!("no prune after the cut: {error}"));
            }
            if let Some(complaint) = support::complaint(&repository, &must, &may) {
                return Some(format!("after a backup and a prune: {complaint}"));
            }
        }
        None
    }
}

/// The last promise that holds after so many steps.
fn promised(promises: &[(usize, Images)], steps: usize) -> usize {
    promises.iter().rposition(|(from, _)| *from <= steps).unwrap()
}

/// Everything that another process could see: unfinished drafts are nobody's.
fn fingerprint(files: &Files) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for (path, bytes) in files.iter().filter(|(path, _)| !path.starts_with("tmp/")) {
        hasher.update(path.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }
    hasher.finalize()
}

fn shown(step: &Step) -> String {
    match step {
        Step::Append(path, bytes) => format!("append {} bytes to {path}", bytes.len()),
        other => format!("{other:?}"),
    }
}

/// A second key is added, then the first is removed.
struct KeyChanges {
    before: Files,
    log: Vec<Step>,
    promises: Vec<KeyPromise>,
}

/// After so many steps, these secrets open and those do not.
struct KeyPromise {
    from: usize,
    opens: Vec<[u8; 32]>,
    removed: Vec<[u8; 32]>,
}

impl KeyPromise {
    fn new(from: usize, opens: &[[u8; 32]], removed: &[[u8; 32]]) -> KeyPromise {
        KeyPromise { from, opens: opens.to_vec(), removed: removed.to_vec() }
    }
}

fn key_changes(sabotage: Sabotage) -> KeyChanges {
    let storage = support::fresh_medium(sabotage);
    let (before, begins) = (storage.steps().files(), storage.steps().log().len());
    let steps = || storage.steps().log().len() - begins;
    let second = [9; 32];
    let first_slot = key::list(&*storage).unwrap().0[0].name().to_owned();
    key::add_secret(&*storage, REPOSITORY, &support::root_key(), "new", SlotKind::Device, &second).unwrap();
    let mut promises = vec![KeyPromise::new(0, &[DEVICE], &[]), KeyPromise::new(steps(), &[DEVICE, second], &[])];
    promises.push(KeyPromise::new(steps() + 1, &[second], &[])); // the next step begins the removal
    key::remove(&*storage, &first_slot).unwrap();
    promises.push(KeyPromise::new(steps(), &[second], &[DEVICE]));
    KeyChanges { before, log: storage.steps().log().split_off(begins), promises }
}

fn locked_out(changes: &KeyChanges) -> Option<String> {
    for steps in 0..=changes.log.len() {
        let promise = changes.promises.iter().rfind(|promise| promise.from <= steps).unwrap();
        for unsynced in Unsynced::ALL {
            let storage = support::medium_with(&Recorded::after_cut(&changes.before, &changes.log, steps, unsynced));
            if let Some(error) = key::list(&*storage).unwrap().1.first() {
                return Some(format!("after step {steps}, {unsynced:?}: {error}"));
            }
            for secret in &promise.removed {
                if key::unlock(&*storage, REPOSITORY, &support::device(*secret)).is_ok() {
                    return Some(format!("after step {steps}, {unsynced:?}: a removed key opens"));
                }
            }
            for secret in &promise.opens {
                match key::unlock(&*storage, REPOSITORY, &support::device(*secret)) {
                    Ok(root) if root.expose() == support::root_key().expose() => {}
                    Ok(_) => return Some("another root key".to_owned()),
                    Err(error) => return Some(format!("after step {steps}, {unsynced:?}: {error}")),
                }
            }
        }
    }
    None
}
