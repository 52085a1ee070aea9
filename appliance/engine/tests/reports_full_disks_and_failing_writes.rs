//! Promise: a medium that fails at any step, or is full at any byte, gives an error that says so, takes nothing that was
//! committed, and once it is well again the next run completes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use saveos_engine::backup::BackupError;
use saveos_engine::key::{self, KeyError, SlotKind};
use saveos_engine::lease::LeaseKind;
use saveos_engine::prune::{self, Mode};
use saveos_engine::repository::store::StoreError;
use saveos_engine::repository::{self, OpenOptions, RESERVE, Repository, RepositoryError};
use saveos_engine::seal::Suite;
use saveos_engine::snapshot::SnapshotId;
use saveos_engine::storage::recorded::{RecordedStorage, Sabotage};
use saveos_engine::storage::{Area, Storage, StorageError};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::disk::{Disk, changed, image, noise};
use support::{Files, Images};
use tempfile::TempDir;

/// A repository with two snapshots, each with something of its own.
struct Given {
    files: Files,
    images: Images,
    ids: Vec<SnapshotId>,
    next: Arc<Vec<u8>>,
}

fn given() -> Given {
    let storage = support::fresh_medium(Sabotage::None);
    let index = TempDir::new().unwrap();
    let old = image(1, 2);
    let mut new = old.to_vec();
    let half = new.len() / 4;
    new[..half].copy_from_slice(&noise(77, half));
    let new = Arc::new(new);
    let mut ids = Vec::new();
    for disk in [&old, &new] {
        ids.push(support::snapshot_of(&support::open(&storage, index.path()).unwrap(), disk, "nas"));
    }
    let images = ids.iter().copied().zip([old, Arc::clone(&new)]).collect();
    let mut next = changed(&new, 5, 4).to_vec();
    next.extend(noise(78, 3 << 20));
    Given { files: storage.steps().files(), images, ids, next: Arc::new(next) }
}

/// How a medium fails: from the `n`-th step on, or with no room for the `n`-th append and those behind it.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Broken,
    Full,
}

impl Fault {
    const ALL: [Fault; 2] = [Fault::Broken, Fault::Full];

    fn strike(self, storage: &RecordedStorage, n: Option<u64>) {
        match self {
            Fault::Broken => storage.steps().fail_after(n),
            Fault::Full => storage.steps().full_after(n),
        }
    }

    #[track_caller]
    fn is_told(self, n: u64, told: Option<&StorageError>, error: &dyn std::error::Error) {
        let fits = match self {
            Fault::Broken => matches!(told, Some(StorageError::Io { .. })),
            Fault::Full => matches!(told, Some(StorageError::Full { .. })),
        };
        assert!(fits, "{self:?} at {n}: {error}");
    }

    /// Fewer than this are no operation worth failing.
    fn least(self) -> u64 {
        match self {
            Fault::Broken => 15,
            Fault::Full => 2,
        }
    }
}

/// The fault of the medium that an error tells of.
fn storage_fault(error: &RepositoryError) -> Option<&StorageError> {
    match error {
        RepositoryError::Storage(fault) | RepositoryError::Store(StoreError::Storage(fault)) => Some(fault),
        _ => None,
    }
}

fn fault_of_backup(error: &BackupError) -> Option<&StorageError> {
    match error {
        BackupError::Repository(cause) => storage_fault(cause),
        _ => None,
    }
}

fn check(storage: &Arc<RecordedStorage>, index: &Path, must: &Images, new: &Arc<Vec<u8>>, when: &str) {
    let repository = support::open(storage, index).unwrap();
    assert_eq!(support::complaint_with_new(&repository, must, new), None, "{when}");
}

/// Backs up after the medium is well again.
fn next_backup_completes(storage: &Arc<RecordedStorage>, index: &Path, given: &Given, must: &Images) {
    storage.clear_drafts(&|| true).unwrap();
    let id = support::snapshot_of(&support::open(storage, index).unwrap(), &given.next, "nas");
    let mut must = must.clone();
    must.insert(id, Arc::clone(&given.next));
    check(storage, index, &must, &given.next, "after the next backup");
    assert_eq!(storage.list(Area::Checkpoints).unwrap(), []);
}

#[test]
fn a_backup_fails_at_every_step_and_every_append_and_loses_nothing() {
    Fault::ALL.into_iter().for_each(a_backup_fails_everywhere);
}

fn a_backup_fails_everywhere(fault: Fault) {
    let given = given();
    let mut hurt = Vec::new();
    for n in 0.. {
        let (storage, index) = (support::medium_with(&given.files), TempDir::new().unwrap());
        let repository = support::open(&storage, index.path()).unwrap();
        fault.strike(&storage, Some(n));
        let outcome = support::back_up(&repository, &Disk::healthy(&given.next), "nas");
        fault.strike(&storage, None);
        drop(repository);
        match outcome {
            Ok(_) => {
                assert!(n > fault.least(), "{fault:?}: a backup of {n} steps");
                break;
            }
            Err(error) => {
                let told = fault_of_backup(&error);
                fault.is_told(n, told, &error);
                hurt.extend(told.map(StorageError::area));
            }
        }
        check(&storage, index.path(), &given.images, &given.next, &format!("after step {n} failed"));
        next_backup_completes(&storage, index.path(), &given, &given.images);
    }
    // Packs, the checkpoint and the record: each failed, and was told as what it is. Once the record is durable nothing that
    // fails is a failure of the backup.
    hurt.dedup();
    assert_eq!(hurt, [Area::Packs, Area::Checkpoints, Area::Snapshots], "{fault:?}");
}

#[test]
fn forget_and_prune_fail_at_every_step_and_every_append_and_lose_nothing() {
    Fault::ALL.into_iter().for_each(forget_and_prune_fail_everywhere);
}

fn forget_and_prune_fail_everywhere(fault: Fault) {
    let given = given();
    let mut kept = given.images.clone();
    kept.remove(&given.ids[0]);
    for n in 0.. {
        let (storage, index) = (support::medium_with(&given.files), TempDir::new().unwrap());
        let repository = support::open(&storage, index.path()).unwrap();
        fault.strike(&storage, Some(n));
        let outcome = prune::forget(&repository, &given.ids[..1]).and_then(|()| {
            prune::run(&repository, Mode::Run)?;
            drop(repository);
            prune::run(&support::open(&storage, index.path())?, Mode::Run)
        });
        fault.strike(&storage, None);
        match outcome {
            Ok(pruned) => {
                assert!(n > fault.least() && pruned.deleted_packs > 0, "{fault:?}: {n} steps, {pruned:?}");
                break;
            }
            Err(error) => fault.is_told(n, storage_fault(&error), &error),
        }
        check(&storage, index.path(), &kept, &given.images[&given.ids[0]], &format!("after step {n} failed"));
        // Twice more, and everything is as if nothing had failed.
        let forgotten = storage.list(Area::Snapshots).unwrap().len() == 1;
        if forgotten {
            for _ in 0..3 {
                prune::run(&support::open(&storage, index.path()).unwrap(), Mode::Run).unwrap();
            }
            let idle = prune::run(&support::open(&storage, index.path()).unwrap(), Mode::Run).unwrap();
            assert_eq!((idle.listed_packs, idle.deleted_packs, idle.waiting_packs), (0, 0, 0), "step {n}");
        }
        next_backup_completes(&storage, index.path(), &given, &kept_of(&storage, &given));
    }
}

/// Of the given snapshots those whose records are still there.
fn kept_of(storage: &Arc<RecordedStorage>, given: &Given) -> Images {
    let there: Vec<String> = storage.list(Area::Snapshots).unwrap().into_iter().map(|object| object.name).collect();
    given.images.clone().into_iter().filter(|(id, _)| there.contains(&id.to_string())).collect()
}

#[test]
fn a_key_is_added_whole_or_not_at_all() {
    let given = given();
    let cases = Fault::ALL.into_iter().flat_map(|fault| (0..8).map(move |n| (fault, n)));
    let mut added = 0;
    for (fault, n) in cases {
        let storage = support::medium_with(&given.files);
        fault.strike(&storage, Some(n));
        let (root, id) = (support::root_key(), support::REPOSITORY);
        let outcome = key::add_secret(&*storage, id, &root, "new", SlotKind::Device, &[9; 32]);
        fault.strike(&storage, None);
        let (_, damaged) = key::list(&*storage).unwrap();
        assert!(damaged.is_empty());
        key::unlock(&*storage, id, &support::device(support::DEVICE)).unwrap();
        match outcome {
            Ok(_) => {
                key::unlock(&*storage, id, &support::device([9; 32])).unwrap();
                added += 1;
            }
            Err(KeyError::Storage(told)) => fault.is_told(n, Some(&told), &told),
            Err(other) => panic!("{fault:?} at {n}: {other}"),
        }
    }
    // A key is one append among five steps.
    assert_eq!(added, 7 + 3);
}

#[test]
fn a_disk_full_at_any_byte_is_reported_and_prune_still_runs_on_it() {
    let given = given();
    let used: u64 = given.files.values().map(|bytes| bytes.len() as u64).sum::<u64>() + RESERVE;
    let mut kept = given.images.clone();
    kept.remove(&given.ids[0]);
    for (refused, room) in (0..).step_by(150_000).enumerate() {
        let (storage, index) = (support::medium_with(&given.files), TempDir::new().unwrap());
        storage.reserve(RESERVE).unwrap();
        let repository = support::open(&storage, index.path()).unwrap();
        storage.steps().limit_capacity(Some(used + room));
        let outcome = support::back_up(&repository, &Disk::healthy(&given.next), "nas");
        drop(repository);
        let Err(error) = outcome else {
            assert!(refused > 15, "full {refused} times");
            break;
        };
        let fault = fault_of_backup(&error).unwrap_or_else(|| panic!("room for {room} bytes: {error}"));
        assert!(matches!(fault, StorageError::Full { .. }), "room for {room} bytes: {fault}");
        check(&storage, index.path(), &given.images, &given.next, "on the full disk");

        // Not one byte is left besides the reserve, and prune gives space back.
        let now: u64 = storage.steps().files().values().map(|bytes| bytes.len() as u64).sum();
        storage.steps().limit_capacity(Some(now + RESERVE));
        let sweeper = support::open(&storage, index.path()).unwrap();
        prune::forget(&sweeper, &given.ids[..1]).unwrap();
        prune::run(&sweeper, Mode::Run).unwrap();
        drop(sweeper);
        let second = prune::run(&support::open(&storage, index.path()).unwrap(), Mode::Run).unwrap();
        assert!(second.deleted_packs > 0 && second.deleted_bytes > 0, "{second:?}");
        check(&storage, index.path(), &kept, &given.next, "after pruning the full disk");

        storage.steps().limit_capacity(None);
        next_backup_completes(&storage, index.path(), &given, &kept);
    }
}

/// A small disk of its own, unmounted when dropped.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mounted(options: &str) -> Option<SmallDisk> {
        let folder = TempDir::new().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path()).output();
        let mounted = mount.is_ok_and(|done| done.status.success());
        if !mounted {
            eprintln!("SKIPPED: may not mount a small disk");
        }
        mounted.then_some(SmallDisk { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn open(&self, lease: LeaseKind, scratch: &Path) -> Repository {
        let options = OpenOptions { lease, boot: "boot", scratch, suite: Suite::for_this_cpu() };
        Repository::open(&self.path(), &support::device(support::DEVICE), &options).unwrap()
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut file = File::create(self.folder.path().join("filler")).unwrap();
        for size in [65_536, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(self.folder.path()).status());
    }
}

#[test]
fn a_real_full_disk_still_restores_and_prunes() {
    let Some(disk) = SmallDisk::mounted("size=90m") else { return };
    let scratch = TempDir::new().unwrap();
    let (storage, id, root) = repository::init(&disk.path()).unwrap();
    key::add_secret(&storage, id, &root, "box", SlotKind::Device, &support::DEVICE).unwrap();
    storage.reserve(RESERVE).unwrap();
    repository::seal_init(&storage, id).unwrap();
    let images = [noise(1, 4 << 20), noise(2, 4 << 20)].map(Arc::new);
    let ids = images
        .each_ref()
        .map(|image| support::snapshot_of(&disk.open(LeaseKind::Writer, scratch.path()), image, "nas"));
    let writer = disk.open(LeaseKind::Writer, scratch.path());
    let refused = support::back_up(&writer, &Disk::healthy(&Arc::new(noise(3, 40 << 20))), "nas").unwrap_err();
    assert!(matches!(fault_of_backup(&refused), Some(StorageError::Full { .. })), "{refused}");
    drop(writer);
    disk.fill();

    let mut all: Images = ids.into_iter().zip(images).collect();
    let reader = disk.open(LeaseKind::Reader, scratch.path());
    assert_eq!(support::complaint(&reader, &all, &Images::new()), None);
    drop(reader);
    prune::forget(&disk.open(LeaseKind::Sweeper, scratch.path()), &ids[..1]).unwrap();
    all.remove(&ids[0]);
    prune::run(&disk.open(LeaseKind::Sweeper, scratch.path()), Mode::Run).unwrap();
    let pruned = prune::run(&disk.open(LeaseKind::Sweeper, scratch.path()), Mode::Run).unwrap();
    assert!(pruned.deleted_bytes > 4 << 20, "{pruned:?}");
    let reader = disk.open(LeaseKind::Reader, scratch.path());
    assert_eq!(support::complaint(&reader, &all, &Images::new()), None);
}
