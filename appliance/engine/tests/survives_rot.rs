//! Threat: bytes of a repository rot where they lie. What another copy proves is read from there, what is lost is stored anew
//! by the next backup, and nothing good is thrown away with the bad.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use saveos_engine::chunk::{ChunkId, DATA_MAX, METADATA_MAX};
use saveos_engine::fs::{Extent, LeftOut};
use saveos_engine::lease::{self, LeaseKind};
use saveos_engine::pack::read::{PackReader, ReadBuffers};
use saveos_engine::prune::{self, Mode, Pruned};
use saveos_engine::read::ReadAt;
use saveos_engine::record::{self, RecordKind};
use saveos_engine::repair;
use saveos_engine::repository::store::{Sealer, StoreError, storing};
use saveos_engine::repository::{Repository, RepositoryError};
use saveos_engine::restore;
use saveos_engine::restore::target::Target;
use saveos_engine::seal::{Kind, PackId};
use saveos_engine::segment::{Builder, Cause, Class, Content, Entry};
use saveos_engine::snapshot::{SegmentRef, Snapshot, SnapshotId, State, encode_list};
use saveos_engine::storage::recorded::{RecordedStorage, Sabotage};
use saveos_engine::storage::{Area, Draft, Object, Storage, StorageError};
use saveos_engine::verify;
use saveos_engine::view::SnapshotDisk;
use std::ops::Range;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use support::Images;
use support::disk::{image, noise};
use tempfile::TempDir;

const ALL: verify::Options = verify::Options { sample: 1.0, seed: 0, workers: 1 };

/// A repository with one snapshot.
struct Place {
    storage: Arc<RecordedStorage>,
    index: TempDir,
    disk: Arc<Vec<u8>>,
    id: SnapshotId,
}

impl Place {
    fn new() -> Place {
        let (storage, index) = (support::fresh_medium(Sabotage::None), TempDir::new().unwrap());
        let disk = image(1, 2);
        let id = support::snapshot_of(&support::open(&storage, index.path()).unwrap(), &disk, "nas");
        Place { storage, index, disk, id }
    }

    fn open(&self) -> Repository {
        support::open(&self.storage, self.index.path()).unwrap()
    }

    fn restored(&self, repository: &Repository) -> Vec<u8> {
        let (_, snapshot) = repository.find_snapshot(&self.id.to_string()).unwrap();
        support::restored(repository, &snapshot).unwrap()
    }

    /// Packs of this kind.
    fn packs(&self, kind: Kind) -> Vec<PackId> {
        let repository = self.open();
        let of_kind = |id: &PackId| {
            let pack = repository.index().open_pack(&*self.storage, repository.keys(), *id).unwrap();
            pack.kind() == kind
        };
        repository.index().packs().into_iter().filter(of_kind).collect()
    }

    /// Flips a bit in the first bytes of the body: one chunk is lost, the table is whole.
    fn rot(&self, pack: PackId) {
        let path = format!("packs/{}/{}", &pack.hex()[..2], pack.hex());
        let mut bytes = self.storage.steps().files()[&path].to_vec();
        bytes[80] ^= 1;
        self.storage.steps().tamper(&path, bytes);
    }

    fn prune(&self) -> Pruned {
        prune::run(&self.open(), Mode::Run).unwrap()
    }

    fn use_empty_index(&mut self) {
        self.index = TempDir::new().unwrap();
    }

    /// Stores every chunk of a pack in another pack, too.
    fn copy_pack(&self, pack: PackId) {
        let repository = self.open();
        let reader = PackReader::open(&*self.storage, repository.keys(), pack).unwrap();
        storing(&repository, None, |packer| {
            let (mut buffers, mut sealer) = (ReadBuffers::default(), Sealer::new(1));
            for row in reader.rows() {
                let stored = reader.read_stored(&row, &mut buffers)?;
                packer.store_again(reader.kind(), &row, stored, &mut sealer)?;
            }
            Ok::<_, RepositoryError>(())
        })
        .unwrap();
    }
}

#[test]
fn a_bit_that_flips_while_a_chunk_is_moved_ends_the_move() {
    let place = Place::new();
    let repository = place.open();
    for kind in [Kind::Data, Kind::Metadata] {
        let reader = PackReader::open(&*place.storage, repository.keys(), place.packs(kind)[0]).unwrap();
        let (mut buffers, mut sealer) = (ReadBuffers::default(), Sealer::new(1));
        for row in reader.rows() {
            let mut stored = reader.read_stored(&row, &mut buffers).unwrap().to_vec();
            let middle = stored.len() / 2;
            stored[middle] ^= 1;
            let moved = storing(&repository, None, |packer| {
                packer.store_again(kind, &row, &stored, &mut sealer).map_err(RepositoryError::from)
            });
            assert!(matches!(moved, Err(RepositoryError::Store(StoreError::Faulty))));
        }
    }
}

#[test]
fn a_chunk_that_no_reader_would_take_is_not_stored() {
    let place = Place::new();
    let repository = place.open();
    for (kind, len) in [(Kind::Data, DATA_MAX + 1), (Kind::Metadata, METADATA_MAX + 1), (Kind::Data, 0)] {
        let bytes = noise(1, len);
        let chunk = repository.keys().chunk_id(&bytes);
        let stored = storing(&repository, None, |packer| packer.store(kind, chunk, &bytes, &mut Sealer::new(1)));
        assert!(matches!(stored, Err(RepositoryError::Store(StoreError::Size { .. }))));
    }
}

#[test]
fn a_chunk_is_read_from_whichever_pack_proves_it() {
    for kind in [Kind::Data, Kind::Metadata] {
        for damaged in 0..2 {
            let place = Place::new();
            place.copy_pack(place.packs(kind)[0]);
            let copies = place.packs(kind);
            assert_eq!(copies.len(), 2);
            place.rot(copies[damaged]);
            assert!(place.restored(&place.open()) == *place.disk);
        }
    }
}

#[test]
fn what_is_lost_is_stored_again_by_the_next_backup_though_prune_ran_before() {
    for kind in [Kind::Data, Kind::Metadata] {
        let mut place = Place::new();
        let damaged = place.packs(kind)[0];
        place.rot(damaged);
        place.use_empty_index();
        let repaired = repair::index(&place.open(), &|_, _| ()).unwrap();
        assert_eq!((repaired.salvaged_packs, repaired.lost_chunks), (1, 1), "{repaired:?}");
        assert_the_next_backup_heals(&mut place, damaged);
    }
}

#[test]
fn what_verify_finds_damaged_is_stored_again_by_the_next_backup() {
    for kind in [Kind::Data, Kind::Metadata] {
        let mut place = Place::new();
        let damaged = place.packs(kind)[0];
        place.rot(damaged);
        let repository = place.open();
        let report = verify::run(&repository, None, &ALL, &|_, _| ()).unwrap();
        assert_eq!(report.damaged, [damaged]);
        assert_eq!(repository.set_aside(&report.damaged).unwrap(), 1);
        assert_eq!(repository.set_aside(&report.damaged).unwrap(), 0);
        drop(repository);
        assert_the_next_backup_heals(&mut place, damaged);
    }
}

fn assert_the_next_backup_heals(place: &mut Place, damaged: PackId) {
    if place.packs(Kind::Data).contains(&damaged) {
        let waiting = place.prune();
        assert_eq!((waiting.damaged_packs, waiting.revived_packs, waiting.deleted_packs), (1, 0, 0), "{waiting:?}");
        place.prune();
    } else {
        // What a lost segment names cannot be told dead.
        prune::run(&place.open(), Mode::Run).unwrap_err();
    }
    let again = support::snapshot_of(&place.open(), &place.disk, "nas");
    let images = Images::from([(place.id, Arc::clone(&place.disk)), (again, Arc::clone(&place.disk))]);
    assert_eq!(support::complaint(&place.open(), &images, &Images::new()), None);
    // What was in it is elsewhere now: it goes the way of every pack that nothing needs.
    for _ in 0..3 {
        place.prune();
        place.use_empty_index();
        assert_eq!(support::complaint(&place.open(), &images, &Images::new()), None);
    }
    assert!(!place.storage.list(Area::Packs).unwrap().iter().any(|pack| pack.name == damaged.hex()));
    assert_eq!(place.storage.list(Area::Dead).unwrap(), []);
}

#[test]
fn a_pack_that_is_whole_again_comes_back_into_use() {
    let mut place = Place::new();
    let [data, metadata] = [Kind::Data, Kind::Metadata].map(|kind| place.packs(kind)[0]);
    place.rot(metadata);
    place.open().set_aside(&[data, metadata]).unwrap();
    place.use_empty_index();
    let repaired = repair::index(&place.open(), &|_, _| ()).unwrap();
    assert_eq!((repaired.healed_packs, repaired.salvaged_packs), (1, 1), "{repaired:?}");
    let repository = place.open();
    assert!(!repository.index().is_absent(&data) && repository.index().is_absent(&metadata));
}

#[test]
fn a_snapshot_that_is_younger_than_the_index_restores() {
    let place = Place::new();
    let reader = place.open();
    let disk = image(77, 2);
    let elsewhere = TempDir::new().unwrap();
    let id = support::snapshot_of(&support::open(&place.storage, elsewhere.path()).unwrap(), &disk, "nas");
    let (_, snapshot) = reader.find_snapshot(&id.to_string()).unwrap();
    assert!(support::restored(&reader, &snapshot).unwrap() == *disk);
}

/// A storage on which opening or reading packs fails with this error number, once it is set.
struct Failing {
    inner: Arc<dyn Storage>,
    opening: AtomicI32,
    reading: Arc<AtomicI32>,
}

struct FailingReader {
    inner: Box<dyn ReadAt>,
    reading: Arc<AtomicI32>,
}

fn failed(errno: &AtomicI32) -> std::io::Result<()> {
    match errno.load(Ordering::Relaxed) {
        0 => Ok(()),
        errno => Err(std::io::Error::from_raw_os_error(errno)),
    }
}

impl ReadAt for FailingReader {
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        failed(&self.reading).and_then(|()| self.inner.read_at(offset, buf))
    }
}

impl Storage for Failing {
    fn list(&self, area: Area) -> Result<Vec<Object>, StorageError> {
        self.inner.list(area)
    }
    fn open(&self, area: Area, name: &str) -> Result<Box<dyn ReadAt>, StorageError> {
        let opened = self.inner.open(area, name)?;
        if area != Area::Packs {
            return Ok(opened);
        }
        failed(&self.opening).map_err(|source| StorageError::new("open", area, name, source))?;
        Ok(Box::new(FailingReader { inner: opened, reading: Arc::clone(&self.reading) }))
    }
    fn create(&self, area: Area, name: &str) -> Result<Box<dyn Draft>, StorageError> {
        self.inner.create(area, name)
    }
    fn remove(&self, area: Area, name: &str) -> Result<(), StorageError> {
        self.inner.remove(area, name)
    }
    fn clear_drafts(&self, alone: &dyn Fn() -> bool) -> Result<(), StorageError> {
        self.inner.clear_drafts(alone)
    }
    fn free_bytes(&self) -> Option<u64> {
        self.inner.free_bytes()
    }
    fn reserve(&self, bytes: u64) -> Result<(), StorageError> {
        self.inner.reserve(bytes)
    }
}

#[test]
fn trouble_of_the_medium_is_told_as_such_and_not_as_loss() {
    let place = Place::new();
    for (opening, errno) in
        [(true, rustix::io::Errno::MFILE), (true, rustix::io::Errno::IO), (false, rustix::io::Errno::IO)]
    {
        let failing = Arc::new(Failing {
            inner: place.storage.clone(),
            opening: AtomicI32::new(0),
            reading: Arc::new(AtomicI32::new(0)),
        });
        let repository = support::open(&failing, place.index.path()).unwrap();
        let (_, snapshot) = repository.find_snapshot(&place.id.to_string()).unwrap();
        if !opening {
            place.restored(&repository); // packs stay open
        }
        let which = if opening { &failing.opening } else { &*failing.reading };
        which.store(errno.raw_os_error(), Ordering::Relaxed);
        let error = support::restored(&repository, &snapshot).unwrap_err();
        let mut causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let told = causes.any(|cause| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|told| told.raw_os_error() == Some(errno.raw_os_error()))
        });
        assert!(told, "{errno}: {error:?}");
        which.store(0, Ordering::Relaxed);
        assert!(place.restored(&repository) == *place.disk);
    }
}

/// A snapshot made by hand: one window in two segments, each in a pack of its own, the rest of the disk empty.
struct Crowded {
    place: Place,
    id: SnapshotId,
    disk: Vec<u8>,
    /// The pack of the first segment, of the second, of the first list, of the second.
    packs: [PackId; 4],
}

const FIRST: [Range<usize>; 2] = [0..4096, 20_480..24_576];
const SECOND: [Range<usize>; 2] = [8192..12_288, 12_288..16_384];

fn crowded(extra: &[Entry]) -> Crowded {
    let place = Place::new();
    let repository = place.open();
    let mut disk = vec![0; place.disk.as_slice().len()];
    let segment_of = |ranges: &[Range<usize>], extra: &[Entry], disk: &mut Vec<u8>| {
        let mut builder = Builder::new(0);
        for range in ranges {
            let bytes = noise(range.start as u64, range.len());
            disk[range.clone()].copy_from_slice(&bytes);
            store(&repository, Kind::Data, &bytes);
            let extents = vec![Extent::new(range.start as u64, range.len() as u64)];
            let content = Content::Chunk(repository.keys().chunk_id(&bytes));
            builder.push(&Entry { class: Class::Raw, extents, content });
        }
        extra.iter().for_each(|entry| builder.push(entry));
        let (segment, pack) = store(&repository, Kind::Metadata, &builder.finish());
        (SegmentRef { window: 0, segment }, pack)
    };
    let (one, first) = segment_of(&FIRST, extra, &mut disk);
    let (other, second) = segment_of(&SECOND, &[], &mut disk);
    let lists = [one, other].map(|row| store(&repository, Kind::Metadata, &encode_list(&[row])));
    let (_, like) = repository.find_snapshot(&place.id.to_string()).unwrap();
    let segment_lists = lists.iter().map(|(list, _)| *list).collect();
    let forged = Snapshot { segment_lists, segments: 2, sequence: 2, time: like.time + 1, ..like };
    let name = record::write(&*place.storage, repository.keys(), RecordKind::Snapshot, &forged).unwrap();
    let packs = [first, second, lists[0].1, lists[1].1];
    drop(repository);
    Crowded { place, id: name.parse().unwrap(), disk, packs }
}

/// Stores a chunk in a pack of its own.
fn store(repository: &Repository, kind: Kind, bytes: &[u8]) -> (ChunkId, PackId) {
    let (id, before) = (repository.keys().chunk_id(bytes), repository.index().packs());
    storing(repository, None, |packer| packer.store(kind, id, bytes, &mut Sealer::new(1))).unwrap();
    (id, repository.index().packs().into_iter().find(|pack| !before.contains(pack)).unwrap())
}

impl Crowded {
    /// Loses a pack, repairs the snapshots, and gives back the one that was written.
    fn repaired_without(&self, pack: PackId) -> Snapshot {
        self.place.storage.remove(Area::Packs, &pack.hex()).unwrap();
        let repository = self.place.open();
        let [done] = repair::snapshots(&repository, &|_, _| ()).unwrap().try_into().unwrap();
        assert_eq!(done.original, self.id);
        assert!(repair::snapshots(&repository, &|_, _| ()).unwrap().is_empty(), "it repairs its own work");
        let (_, repaired) = repository.find_snapshot(&done.repaired.to_string()).unwrap();
        assert_eq!((repaired.sequence, repaired.state), (3, State::Partial));
        assert_eq!(repaired.summary.hole_bytes, done.lost_bytes);
        assert_eq!(repaired.summary.holes.iter().map(|hole| hole.len).sum::<u64>(), done.lost_bytes);
        repaired
    }

    /// Every way to read the snapshot gives these parts of the disk, and zeros elsewhere.
    fn assert_reads(&self, snapshot: &Snapshot, kept: &[Range<usize>]) {
        let mut expected = vec![0; self.disk.len()];
        kept.iter().for_each(|part| expected[part.clone()].copy_from_slice(&self.disk[part.clone()]));
        let repository = Arc::new(self.place.open());
        assert!(support::restored(&repository, snapshot).unwrap() == expected);
        assert!(restored_over(&repository, snapshot, 0xff)[..24_576] == expected[..24_576]);
        let view = SnapshotDisk::open(repository, snapshot, self.place.index.path()).unwrap();
        assert!(view.read_vec(0, expected.len()).unwrap() == expected);
    }
}

/// Restores onto a disk that is full of this byte.
fn restored_over(repository: &Repository, snapshot: &Snapshot, byte: u8) -> Vec<u8> {
    let target = UsedDisk(Mutex::new(vec![byte; snapshot.source.size as usize]));
    let part = restore::Part { start: 0, len: snapshot.source.size };
    let options = restore::Options { part, only_metadata: false, workers: 1 };
    restore::run(repository, snapshot, &target, &options, &|_| true).unwrap();
    target.0.into_inner().unwrap()
}

struct UsedDisk(Mutex<Vec<u8>>);

impl Target for UsedDisk {
    fn len(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }
    fn holds_data(&self) -> bool {
        true
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        buf.copy_from_slice(&self.0.lock().unwrap()[offset as usize..offset as usize + buf.len()]);
        Ok(())
    }
    fn write_at(&self, offset: u64, new: &[u8]) -> std::io::Result<()> {
        self.0.lock().unwrap()[offset as usize..offset as usize + new.len()].copy_from_slice(new);
        Ok(())
    }
    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_lost_segment_becomes_a_hole_where_no_other_segment_says_more() {
    let crowded = crowded(&[]);
    let repaired = crowded.repaired_without(crowded.packs[0]);
    let holes: Vec<Range<u64>> = repaired.summary.holes.iter().map(|hole| hole.start..hole.start + hole.len).collect();
    assert_eq!(holes, [0..8192, 16_384..crowded.disk.len() as u64]);
    crowded.assert_reads(&repaired, &SECOND);
}

#[test]
fn a_lost_list_of_segments_becomes_a_hole_where_no_other_segment_says_more() {
    for (list, kept) in [(2, SECOND), (3, FIRST)] {
        let crowded = crowded(&[]);
        let repaired = crowded.repaired_without(crowded.packs[list]);
        assert_eq!(repaired.summary.hole_bytes, crowded.disk.len() as u64 - 8192);
        crowded.assert_reads(&repaired, &kept);
    }
}

#[test]
fn a_hole_over_stored_bytes_hides_none_of_them() {
    for content in [Content::Hole(Cause::Lost), Content::LeftOut(LeftOut::Pagefile)] {
        let over = Entry { class: Class::Raw, extents: vec![Extent::new(0, 24_576)], content };
        let crowded = crowded(&[over]);
        let (_, snapshot) = crowded.place.open().find_snapshot(&crowded.id.to_string()).unwrap();
        crowded.assert_reads(&snapshot, &[FIRST, SECOND].concat());
    }
}

#[test]
fn snapshots_are_not_repaired_while_a_backup_draws_its_number_or_the_medium_is_out_of_reach() {
    let place = Place::new();
    place.rot(place.packs(Kind::Data)[0]);
    let locks = TempDir::new().unwrap();
    let leased = |kind| {
        let lease = lease::take(locks.path(), kind, "boot").unwrap();
        support::open_leased(&place.storage, place.index.path(), Some(locks.path().to_owned()), Some(lease)).unwrap()
    };
    let sweeper = leased(LeaseKind::Sweeper);
    let writer = leased(LeaseKind::Writer);
    assert!(matches!(repair::snapshots(&sweeper, &|_, _| ()), Err(RepositoryError::Lease(_))));
    drop(writer);
    assert_eq!(repair::snapshots(&sweeper, &|_, _| ()).unwrap().len(), 1);
    drop(sweeper);

    let place = Place::new();
    let failing = Arc::new(Failing {
        inner: place.storage.clone(),
        opening: AtomicI32::new(rustix::io::Errno::IO.raw_os_error()),
        reading: Arc::default(),
    });
    let repository = support::open(&failing, place.index.path()).unwrap();
    assert!(matches!(repair::snapshots(&repository, &|_, _| ()), Err(RepositoryError::Pack(_))));
    assert_eq!(place.storage.list(Area::Snapshots).unwrap().len(), 1);
}
