//! Promise: a (key, nonce) pair seals one message, ever. Keys come from pack ids and record salts, nonces from slots; here
//! everything that ever reached the medium is collected, what crashed included, and none occurs twice.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use saveos_engine::pack::read::PackReader;
use saveos_engine::prune::{self, Mode};
use saveos_engine::repair;
use saveos_engine::seal::PackId;
use saveos_engine::source::Source;
use saveos_engine::storage::recorded::{RecordedStorage, Sabotage, Step};
use saveos_engine::storage::{Area, Storage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use support::disk::{Disk, changed, image, noise};
use tempfile::TempDir;

/// Everything that was sealed: which key, and which slot under it.
#[derive(Default)]
struct Sealed {
    salts: BTreeSet<Vec<u8>>,
    slots: BTreeSet<(PackId, u32)>,
    packs: usize,
    unfinished: usize,
    records: usize,
}

impl Sealed {
    /// Takes in every draft that was ever begun.
    fn of(storage: &RecordedStorage, tables: &BTreeMap<PackId, Vec<u32>>) -> Sealed {
        let mut sealed = Sealed::default();
        let mut drafts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for step in storage.steps().log() {
            match step {
                Step::Create(path) => assert!(drafts.insert(path, Vec::new()).is_none(), "a draft's name occurs twice"),
                Step::Append(path, bytes) => drafts.get_mut(&path).unwrap().extend_from_slice(&bytes),
                _ => {}
            }
        }
        for bytes in drafts.values().filter(|bytes| !bytes.is_empty()) {
            match &bytes[..8] {
                b"SVOSPACK" => sealed.pack(PackId(bytes[16..40].try_into().unwrap()), tables),
                b"SVOSRECD" => sealed.record(&bytes[12..36]),
                _ => assert_eq!(bytes[0], b'{', "neither pack nor record nor key slot"),
            }
        }
        sealed
    }

    fn pack(&mut self, id: PackId, tables: &BTreeMap<PackId, Vec<u32>>) {
        assert!(self.salts.insert(id.0.to_vec()), "{id:?} was begun twice");
        self.packs += 1;
        self.unfinished += usize::from(!tables.contains_key(&id));
        for slot in tables.get(&id).into_iter().flatten() {
            assert!(self.slots.insert((id, *slot)), "slot {slot} of {id:?} seals two chunks");
        }
    }

    fn record(&mut self, salt: &[u8]) {
        assert!(self.salts.insert(salt.to_vec()), "two records share a salt");
        self.records += 1;
    }
}

#[test]
fn a_key_and_nonce_pair_seals_one_message() {
    let storage = support::fresh_medium(Sabotage::None);
    let index = TempDir::new().unwrap();
    let mut tables = BTreeMap::new();
    let mut disk = image(1, 3);
    let mut ids = Vec::new();
    // Each day a backup fails a step later than the day before, and is tried again with several workers.
    for day in 0..24 {
        disk = if day % 4 == 3 { rewritten(&disk, day) } else { changed(&disk, day, 3) };
        let source: Arc<dyn Source> = Disk::healthy(&disk);
        let repository = support::open(&storage, index.path()).unwrap();
        storage.steps().fail_after(Some(day));
        let cut = support::back_up_source(&repository, &source, "nas", 4);
        storage.steps().fail_after(None);
        ids.extend(cut.ok().map(|(id, _)| id));
        note_tables(&storage, &mut tables);
        ids.push(support::back_up_source(&repository, &source, "nas", 4).unwrap().0);
        note_tables(&storage, &mut tables);
    }
    for _ in 0..3 {
        let repository = support::open(&storage, index.path()).unwrap();
        let half = ids.len() / 2;
        prune::forget(&repository, &ids.drain(..half).collect::<Vec<_>>()).unwrap();
        storage.steps().fail_after(Some(9));
        drop(prune::run(&repository, Mode::Run)); // cut in the midst of moving chunks
        storage.steps().fail_after(None);
        note_tables(&storage, &mut tables);
        drop(repository);
        prune::run(&support::open(&storage, index.path()).unwrap(), Mode::Run).unwrap();
        note_tables(&storage, &mut tables);
    }
    // A damaged pack is salvaged into a new one.
    let pack = storage.list(Area::Packs).unwrap().into_iter().max_by_key(|pack| pack.size).unwrap().name;
    let path = format!("packs/{}/{pack}", &pack[..2]);
    let mut bytes = storage.steps().files()[&path].to_vec();
    bytes[200] ^= 1;
    storage.steps().tamper(&path, bytes);
    let empty = TempDir::new().unwrap();
    let salvaged = repair::index(&support::open(&storage, empty.path()).unwrap(), &|_, _| ()).unwrap();
    assert_eq!((salvaged.salvaged_packs, salvaged.lost_chunks), (1, 1));
    note_tables(&storage, &mut tables);

    let sealed = Sealed::of(&storage, &tables);
    // Which packs were begun when a step failed depends on the threads; many were.
    let (packs, unfinished, records) = (sealed.packs, sealed.unfinished, sealed.records);
    assert!(packs > 40 && unfinished > 2 && records > 20, "{packs} packs, {unfinished} unfinished, {records} records");
    assert!(sealed.slots.len() > 100, "{} chunks", sealed.slots.len());
}

fn rewritten(disk: &Arc<Vec<u8>>, day: u64) -> Arc<Vec<u8>> {
    let mut bytes = disk.to_vec();
    let half = bytes.len() / 4;
    bytes[..half].copy_from_slice(&noise(day + 500, half));
    Arc::new(bytes)
}

/// Remembers which slots the packs that are there now name: a later prune deletes some.
fn note_tables(storage: &Arc<RecordedStorage>, tables: &mut BTreeMap<PackId, Vec<u32>>) {
    for object in storage.list(Area::Packs).unwrap() {
        let id = PackId::from_hex(&object.name).unwrap();
        tables.entry(id).or_insert_with(|| {
            let pack = PackReader::open(&**storage, &support::keys(), id).unwrap();
            pack.rows().map(|row| row.slot).collect()
        });
    }
}
