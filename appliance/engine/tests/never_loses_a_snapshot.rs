//! Promise: a committed snapshot that nobody forgot restores bit for bit, whatever else happens to the repository:
//! backups, prunes and restores beside each other, cut short, with an old index or none.
//!
//! A model of nothing but "which snapshot holds which image" runs beside the real thing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use proptest::prelude::*;
use saveos_engine::key::{self, SlotKind};
use saveos_engine::lease::{self, LeaseKind};
use saveos_engine::prune::{self, Mode, Pruned};
use saveos_engine::repair;
use saveos_engine::repository::{self, OpenOptions, Repository};
use saveos_engine::seal::Suite;
use saveos_engine::snapshot::SnapshotId;
use saveos_engine::storage::recorded::{Recorded, RecordedStorage, Sabotage, Unsynced};
use saveos_engine::storage::{Area, Storage};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::Images;
use support::disk::{Disk, image, noise};
use support::hooked::Hooked;
use tempfile::TempDir;

/// A repository several processes use: each opens it with a lease of its own and the same index.
struct World {
    storage: Arc<RecordedStorage>,
    locks: TempDir,
    indexes: TempDir,
    index: PathBuf,
    /// The index as it was at some earlier time.
    older: PathBuf,
    model: Images,
}

impl World {
    fn new() -> World {
        let indexes = TempDir::new().unwrap();
        let (index, older) = (indexes.path().join("0"), indexes.path().join("older"));
        std::fs::create_dir(&older).unwrap();
        let storage = support::fresh_medium(Sabotage::None);
        World { storage, locks: TempDir::new().unwrap(), indexes, index, older, model: Images::new() }
    }

    fn open(&self, kind: LeaseKind) -> Repository {
        self.open_over(&self.storage, kind)
    }

    fn open_over(&self, storage: &Arc<impl Storage + 'static>, kind: LeaseKind) -> Repository {
        let locks = self.locks.path().to_owned();
        let lease = lease::take(&locks, kind, "boot").expect("nobody has this lease");
        support::open_leased(storage, &self.index, Some(locks), Some(lease)).expect("the repository opens")
    }

    fn back_up(&mut self, disk: &Arc<Vec<u8>>) -> SnapshotId {
        let writer = self.open(LeaseKind::Writer);
        self.back_up_with(writer, disk)
    }

    fn back_up_with(&mut self, writer: Repository, disk: &Arc<Vec<u8>>) -> SnapshotId {
        let id = support::snapshot_of(&writer, disk, "nas");
        self.model.insert(id, Arc::clone(disk));
        id
    }

    fn forget(&mut self, id: SnapshotId) {
        prune::forget(&self.open(LeaseKind::Sweeper), &[id]).unwrap();
        self.model.remove(&id);
    }

    fn prune(&self) -> Pruned {
        prune::run(&self.open(LeaseKind::Sweeper), Mode::Run).expect("prune runs beside anything")
    }

    #[track_caller]
    fn check(&self) {
        let complaint = support::complaint(&self.open(LeaseKind::Reader), &self.model, &Images::new());
        assert_eq!(complaint, None);
    }

    /// The same with an index built anew.
    #[track_caller]
    fn check_with_fresh_index(&self) {
        let index = TempDir::new().unwrap();
        let repository = support::open(&self.storage, index.path()).unwrap();
        assert_eq!(support::complaint(&repository, &self.model, &Images::new()), None);
    }

    fn use_empty_index(&mut self) {
        let number = std::fs::read_dir(self.indexes.path()).unwrap().count();
        self.index = self.indexes.path().join(format!("empty-{number}"));
    }

    fn use_older_index(&mut self) {
        self.use_empty_index();
        support::copy_index(&self.older, &self.index);
    }

    fn remember_index(&self) {
        if self.index.exists() {
            std::fs::remove_dir_all(&self.older).unwrap();
            support::copy_index(&self.index, &self.older);
        }
    }

    fn packs(&self) -> (usize, u64) {
        let packs = self.storage.list(Area::Packs).unwrap();
        (packs.len(), packs.iter().map(|pack| pack.size).sum())
    }
}

#[test]
fn prune_needs_no_lock_on_backups_that_began_before_it_and_ended_after() {
    let mut world = World::new();
    let disk = image(1, 2);
    let first = world.back_up(&disk);
    let early = world.open(LeaseKind::Writer);
    world.forget(first);
    let listed = world.prune();
    assert!(listed.listed_packs > 0 && listed.deleted_packs == 0, "{listed:?}");
    // It knows nothing of the list and refers to chunks in listed packs.
    world.back_up_with(early, &disk);
    world.check();
    world.check_with_fresh_index();
    let second = world.prune();
    assert!(second.deleted_packs == 0 && second.revived_packs > 0, "{second:?}");
    world.check();
    world.prune();
    world.check();
    world.check_with_fresh_index();
}

#[test]
fn packs_of_a_backup_in_progress_outlive_a_prune_beside_it() {
    let mut world = World::new();
    let (one, other) = (image(1, 2), image(50, 20));
    let id = world.back_up(&one);
    let early = world.open(LeaseKind::Writer);
    let reads = reads_of_a_backup(&other);
    // The first half of a backup: its packs are there, and no snapshot names them.
    let unplugged = Disk::unplugged_after(&other, reads - 3);
    support::back_up(&early, &unplugged, "other").unwrap_err();
    world.storage.list(Area::Checkpoints).unwrap().iter().for_each(|checkpoint| {
        world.storage.remove(Area::Checkpoints, &checkpoint.name).unwrap();
    });
    assert!(world.prune().listed_packs > 0);
    world.back_up_with(early, &other);
    world.check();
    world.forget(id);
    for _ in 0..3 {
        world.prune();
        world.check();
        world.check_with_fresh_index();
    }
}

/// How often a backup reads this disk.
fn reads_of_a_backup(disk: &Arc<Vec<u8>>) -> u64 {
    let disk = Disk::healthy(disk);
    let index = TempDir::new().unwrap();
    let elsewhere = support::open(&support::fresh_medium(Sabotage::None), index.path()).unwrap();
    support::back_up(&elsewhere, &disk, "nas").unwrap();
    disk.reads()
}

#[test]
fn a_backup_that_ends_between_mark_and_deletion_is_not_deleted_under() {
    let mut world = World::new();
    let disk = image(1, 2);
    let first = world.back_up(&disk);
    let early = world.open(LeaseKind::Writer);
    world.forget(first);
    world.prune();

    let hooked = Hooked::over(world.storage.clone());
    let sweeper = world.open_over(&hooked, LeaseKind::Sweeper);
    let (send, receive) = std::sync::mpsc::channel();
    let again = Arc::clone(&disk);
    // Prune lists the dead lists after its mark: just then the backup commits, and its lease ends.
    hooked.before_listing(Area::Dead, move || send.send(support::snapshot_of(&early, &again, "nas")).unwrap());
    prune::run(&sweeper, Mode::Run).unwrap();
    assert!(!hooked.is_armed());
    drop(sweeper);
    world.model.insert(receive.recv().unwrap(), disk);
    world.check();
    for _ in 0..2 {
        world.prune();
        world.check();
    }
}

#[test]
fn a_backup_that_ends_while_prune_or_verify_begins_disturbs_neither() {
    let mut world = World::new();
    let (one, other) = (image(1, 2), image(50, 2));
    world.back_up(&one);
    for what in [LeaseKind::Sweeper, LeaseKind::Reader] {
        let writer = world.open(LeaseKind::Writer);
        let hooked = Hooked::over(world.storage.clone());
        let beside = world.open_over(&hooked, what);
        let (send, receive) = std::sync::mpsc::channel();
        let disk = Arc::new(noise(what as u64 + 60, other.len()));
        let again = Arc::clone(&disk);
        hooked
            .before_listing(Area::Snapshots, move || send.send(support::snapshot_of(&writer, &again, "nas")).unwrap());
        match what {
            LeaseKind::Sweeper => drop(prune::run(&beside, Mode::Run).unwrap()),
            _ => {
                let options = saveos_engine::verify::Options { sample: 1.0, seed: 0, workers: 1 };
                let report = saveos_engine::verify::run(&beside, None, &options, &|_, _| ()).unwrap();
                assert_eq!(report.problems, []);
            }
        }
        drop(beside);
        world.model.insert(receive.recv().unwrap(), disk);
        world.check();
    }
}

#[test]
fn a_reader_older_than_the_dead_list_delays_deletion() {
    let mut world = World::new();
    let disk = image(1, 2);
    let id = world.back_up(&disk);
    world.back_up(&image(50, 2));
    let reader = world.open(LeaseKind::Reader);
    let (_, snapshot) = reader.find_snapshot(&id.to_string()).unwrap();
    world.forget(id);
    let listed = world.prune();
    assert!(listed.listed_packs > 0);
    for _ in 0..2 {
        let waiting = world.prune();
        assert_eq!((waiting.deleted_packs, waiting.waiting_packs), (0, listed.listed_packs), "{waiting:?}");
    }
    // The forgotten snapshot is still whole for who began to restore it before.
    assert!(support::restored(&reader, &snapshot).unwrap() == *disk);
    drop(reader);
    // A reader that came after the list is not waited for.
    let late = world.open(LeaseKind::Reader);
    let deleted = world.prune();
    assert_eq!((deleted.deleted_packs, deleted.waiting_packs), (listed.listed_packs, 0));
    assert_eq!(support::complaint(&late, &world.model, &Images::new()), None);
    drop(late);
    world.check();
}

#[test]
fn the_second_prune_gives_space_back_and_moves_what_is_still_needed() {
    let mut world = World::new();
    let old = image(1, 2);
    let mut new = old.to_vec();
    let half = new.len() / 4;
    new[..half].copy_from_slice(&noise(77, half));
    let first = world.back_up(&old);
    world.back_up(&Arc::new(new));
    let (packs, bytes) = world.packs();
    world.forget(first);

    let listed = world.prune();
    assert!(listed.repacked_packs > 0 && listed.repacked_bytes > 0, "{listed:?}");
    assert!(world.packs().1 > bytes, "moved chunks lie twice until the next prune");
    world.check_with_fresh_index();
    let deleted = world.prune();
    assert_eq!((deleted.deleted_packs, deleted.deleted_bytes), (listed.listed_packs, listed.listed_bytes));
    let (packs_now, bytes_now) = world.packs();
    assert!(packs_now <= packs && bytes_now + half as u64 / 2 < bytes, "{bytes} became {bytes_now}");
    assert_eq!(world.storage.list(Area::Dead).unwrap(), []);
    let idle = world.prune();
    assert_eq!((idle.listed_packs, idle.deleted_packs, idle.repacked_packs), (0, 0, 0));
    world.check();
    world.check_with_fresh_index();
}

/// Something that happens. Numbers are taken modulo what there is to choose from.
#[derive(Clone, Debug)]
enum Event {
    BackUp {
        disk: Contents,
        name: u8,
    },
    Forget(u8),
    Prune,
    RepairIndex,
    ChangeKeys,
    EmptyIndex,
    OlderIndex,
    RememberIndex,
    /// A process opens the repository and goes to sleep.
    OpenWriter,
    OpenReader,
    /// It wakes up.
    WriterBacksUp {
        disk: Contents,
    },
    ReaderRestores,
    /// The medium fails at some step of this, and other processes live on.
    Fail {
        doing: Doing,
        at: u16,
    },
    /// The power goes at some step of this, for everybody.
    Cut {
        doing: Doing,
        at: u16,
        unsynced: u8,
    },
}

#[derive(Clone, Debug)]
enum Doing {
    BackUp(Contents),
    Prune,
    Forget(u8),
}

/// Three chunks of a disk, out of few: what one snapshot forgets, another brings back.
type Contents = [u8; 3];

fn disk_of(contents: Contents) -> Arc<Vec<u8>> {
    const CHUNK: usize = 256 * 1024;
    let mut bytes = Vec::new();
    for digit in contents {
        let mut chunk = noise(u64::from(digit % 4), CHUNK);
        if digit >= 4 {
            chunk[40_000..44_096].copy_from_slice(&noise(u64::from(digit) + 100, 4096)); // one page of it is new
        }
        bytes.extend(chunk);
    }
    Arc::new(bytes)
}

fn contents() -> impl Strategy<Value = Contents> {
    [0..8u8, 0..8u8, 0..8u8]
}

fn events() -> impl Strategy<Value = Event> {
    let doing = prop_oneof![
        3 => contents().prop_map(Doing::BackUp),
        3 => Just(Doing::Prune),
        1 => any::<u8>().prop_map(Doing::Forget),
    ];
    prop_oneof![
        5 => (contents(), 0..2u8).prop_map(|(disk, name)| Event::BackUp { disk, name }),
        4 => any::<u8>().prop_map(Event::Forget),
        6 => Just(Event::Prune),
        1 => Just(Event::RepairIndex),
        1 => Just(Event::ChangeKeys),
        1 => Just(Event::EmptyIndex),
        1 => Just(Event::OlderIndex),
        1 => Just(Event::RememberIndex),
        2 => Just(Event::OpenWriter),
        2 => Just(Event::OpenReader),
        3 => contents().prop_map(|disk| Event::WriterBacksUp { disk }),
        2 => Just(Event::ReaderRestores),
        2 => (doing.clone(), any::<u16>()).prop_map(|(doing, at)| Event::Fail { doing, at }),
        3 => (doing, any::<u16>(), any::<u8>()).prop_map(|(doing, at, unsynced)| Event::Cut { doing, at, unsynced }),
    ]
}

/// Processes that have the repository open.
#[derive(Default)]
struct Open {
    writer: Option<Repository>,
    readers: Vec<(Repository, Images)>,
}

fn happen(world: &mut World, open: &mut Open, event: &Event) {
    match event {
        Event::BackUp { disk, name } if open.writer.is_none() => {
            let disk = disk_of(*disk);
            let id = support::snapshot_of(&world.open(LeaseKind::Writer), &disk, &format!("disk {name}"));
            world.model.insert(id, disk);
        }
        Event::BackUp { .. } => {
            let refused = lease::take(world.locks.path(), LeaseKind::Writer, "boot");
            assert!(matches!(refused, Err(lease::LeaseError::Held { .. })));
        }
        Event::Forget(which) => {
            if let Some(id) = chosen(world, *which) {
                world.forget(id);
            }
        }
        Event::Prune => drop(world.prune()),
        Event::RepairIndex => {
            world.use_empty_index();
            repair::index(&world.open(LeaseKind::Sweeper), &|_, _| ()).unwrap();
        }
        Event::ChangeKeys => {
            let root = support::root_key();
            let storage = &*world.storage;
            let slot = key::add_secret(storage, support::REPOSITORY, &root, "", SlotKind::Device, &[9; 32]).unwrap();
            key::remove(storage, &slot).unwrap();
        }
        Event::EmptyIndex => world.use_empty_index(),
        Event::OlderIndex => world.use_older_index(),
        Event::RememberIndex => world.remember_index(),
        Event::OpenWriter if open.writer.is_none() => open.writer = Some(world.open(LeaseKind::Writer)),
        Event::OpenWriter => {}
        Event::OpenReader => open.readers.push((world.open(LeaseKind::Reader), world.model.clone())),
        Event::WriterBacksUp { disk } => {
            if let Some(writer) = open.writer.take() {
                world.back_up_with(writer, &disk_of(*disk));
            }
        }
        Event::ReaderRestores => {
            // Also what was forgotten since: it has a lease.
            for (reader, images) in open.readers.drain(..) {
                for (id, image) in images {
                    let Ok((_, snapshot)) = reader.find_snapshot(&id.to_string()) else { continue };
                    assert!(
                        support::restored(&reader, &snapshot).unwrap() == *image,
                        "an old reader restores other bytes"
                    );
                }
            }
        }
        Event::Fail { doing, at } => {
            world.storage.steps().fail_after(Some(u64::from(*at % 40)));
            attempt(world, open, doing);
            world.storage.steps().fail_after(None);
            adopt(world, doing);
        }
        Event::Cut { doing, at, unsynced } => {
            *open = Open::default();
            let (before, begins) = (world.storage.steps().files(), world.storage.steps().log().len());
            attempt(world, open, doing);
            let log = world.storage.steps().log().split_off(begins);
            let unsynced = Unsynced::ALL[usize::from(*unsynced) % Unsynced::ALL.len()];
            let files = Recorded::after_cut(&before, &log, usize::from(*at) % (log.len() + 1), unsynced);
            world.storage = support::medium_with(&files);
            adopt(world, doing);
        }
    }
}

fn chosen(world: &World, which: u8) -> Option<SnapshotId> {
    world.model.keys().nth(usize::from(which) % world.model.len().max(1)).copied()
}

/// Does something that may fail half way.
fn attempt(world: &World, open: &Open, doing: &Doing) {
    let kind = if matches!(doing, Doing::BackUp(_)) { LeaseKind::Writer } else { LeaseKind::Sweeper };
    let locks = world.locks.path().to_owned();
    let Ok(lease) = lease::take(&locks, kind, "boot") else {
        assert!(open.writer.is_some());
        return;
    };
    let Ok(repository) = support::open_leased(&world.storage, &world.index, Some(locks), Some(lease)) else { return };
    match doing {
        Doing::BackUp(disk) => drop(support::back_up(&repository, &Disk::healthy(&disk_of(*disk)), "disk 0")),
        Doing::Prune => drop(prune::run(&repository, Mode::Run)),
        Doing::Forget(which) => {
            if let Some(id) = chosen(world, *which) {
                drop(prune::forget(&repository, &[id]));
            }
        }
    }
}

/// Takes into the model what an operation that was cut has done: a record that is there is a commit, one that is not is not.
fn adopt(world: &mut World, doing: &Doing) {
    let there: Vec<SnapshotId> =
        world.storage.list(Area::Snapshots).unwrap().iter().map(|object| object.name.parse().unwrap()).collect();
    match doing {
        Doing::BackUp(disk) => {
            for id in there {
                world.model.entry(id).or_insert_with(|| disk_of(*disk));
            }
        }
        Doing::Prune => {}
        Doing::Forget(which) => {
            if let Some(id) = chosen(world, *which).filter(|id| !there.contains(id)) {
                world.model.remove(&id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_may_happen_loses_a_snapshot(events in prop::collection::vec(events(), 8..24)) {
        let (mut world, mut open) = (World::new(), Open::default());
        for event in &events {
            happen(&mut world, &mut open, event);
            world.check();
        }
        drop(open);
        world.check_with_fresh_index();
        // Left alone, prune comes to rest, and everything is still there.
        let at_rest = (0..6).any(|_| {
            let pruned = world.prune();
            world.check();
            pruned.listed_packs + pruned.deleted_packs + pruned.waiting_packs + pruned.repacked_packs == 0
        });
        prop_assert!(at_rest);
        world.check_with_fresh_index();
    }
}

/// A repository in a real folder, with a device key.
fn local_repository() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("repository");
    let (storage, id, root) = repository::init(&path).unwrap();
    key::add_secret(&storage, id, &root, "box", SlotKind::Device, &support::DEVICE).unwrap();
    repository::seal_init(&storage, id).unwrap();
    (folder, path)
}

fn open_local(path: &Path, lease: LeaseKind) -> Repository {
    let options = OpenOptions { lease, boot: "boot", scratch: path.parent().unwrap(), suite: Suite::for_this_cpu() };
    Repository::open(path, &support::device(support::DEVICE), &options).unwrap()
}

#[test]
fn a_backup_that_starts_leaves_the_drafts_of_a_running_prune_alone() {
    let (_folder, path) = local_repository();
    let sweeper = open_local(&path, LeaseKind::Sweeper);
    let mut draft = sweeper.storage().create(Area::Snapshots, "record").unwrap();
    let writer = open_local(&path, LeaseKind::Writer);
    draft.append(b"anything").unwrap();
    draft.commit().unwrap();
    drop((sweeper, writer));
    // Nobody sweeps now: what is left in there is nobody's.
    std::fs::File::create(path.join("tmp/leftover")).unwrap();
    open_local(&path, LeaseKind::Writer);
    assert_eq!(std::fs::read_dir(path.join("tmp")).unwrap().count(), 0);
}

#[test]
fn drafts_of_a_dead_process_with_the_same_number_are_in_nobodys_way() {
    let (_folder, path) = local_repository();
    // In a container every run may be process 1; only a backup clears what the last one left.
    for number in 0..4 {
        std::fs::File::create(path.join(format!("tmp/{}-{number}", std::process::id()))).unwrap();
    }
    let sweeper = open_local(&path, LeaseKind::Sweeper);
    saveos_engine::storage::put(sweeper.storage(), Area::Dead, "list", b"packs").unwrap();
}

#[test]
fn a_real_folder_keeps_its_snapshots_through_prunes_and_a_lost_index() {
    let (_folder, path) = local_repository();
    let (old, new) = (image(1, 2), support::disk::changed(&image(1, 2), 4, 5));
    let first = support::snapshot_of(&open_local(&path, LeaseKind::Writer), &old, "nas");
    let second = support::snapshot_of(&open_local(&path, LeaseKind::Writer), &new, "nas");
    let kept = Images::from([(second, new)]);
    prune::forget(&open_local(&path, LeaseKind::Sweeper), &[first]).unwrap();
    for _ in 0..3 {
        prune::run(&open_local(&path, LeaseKind::Sweeper), Mode::Run).unwrap();
        std::fs::remove_dir_all(path.join("index")).unwrap();
        let reader = open_local(&path, LeaseKind::Reader);
        assert_eq!(support::complaint(&reader, &kept, &Images::new()), None);
    }
}
