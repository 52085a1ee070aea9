//! Threat: somebody changes, swaps, cuts, replaces or forges files of a repository. Reading gives the right bytes or an error
//! that names the thing, never wrong bytes and never a panic; what the change does not touch still restores; verify finds it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use saveos_engine::chunk::ChunkId;
use saveos_engine::key;
use saveos_engine::prune::{self, Mode};
use saveos_engine::record::{self, RecordKind};
use saveos_engine::repair;
use saveos_engine::repository::dead::{self, Why};
use saveos_engine::repository::{self, Parts, Repository, checkpoint};
use saveos_engine::seal::{Keys, PackId, RepositoryId, RootKey, Suite};
use saveos_engine::snapshot::{Snapshot, SnapshotId};
use saveos_engine::storage::recorded::Sabotage;
use saveos_engine::storage::{Area, Storage};
use saveos_engine::verify;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use support::disk::noise;
use support::{Files, Images};
use tempfile::TempDir;

/// A repository with two snapshots that share nothing, a checkpoint, and a dead list.
struct Given {
    files: Files,
    first: SnapshotId,
    second: SnapshotId,
    images: Images,
    index: TempDir,
}

fn given() -> Given {
    let storage = support::fresh_medium(Sabotage::None);
    let index = TempDir::new().unwrap();
    let disks = [support::disk::image(1, 1), support::disk::image(2, 1)];
    let ids = disks.each_ref().map(|disk| {
        support::snapshot_of(&support::open(&storage, index.path()).unwrap(), disk, &format!("{}", disk[0]))
    });
    let repository = support::open(&storage, index.path()).unwrap();
    checkpoint::write(&*storage, repository.keys(), support::WRITER, 9, &[PackId([7; 24])]).unwrap();
    dead::write(&*storage, repository.keys(), &[PackId([8; 24])], Why::Unneeded).unwrap();
    drop(repository);
    let images = ids.into_iter().zip(disks).collect();
    Given { files: storage.steps().files(), first: ids[0], second: ids[1], images, index }
}

impl Given {
    fn paths(&self, folder: &str) -> Vec<String> {
        let inside = |path: &&String| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        self.files.keys().filter(inside).cloned().collect()
    }

    fn with(&self, path: &str, bytes: Vec<u8>) -> Files {
        let mut files = self.files.clone();
        files.insert(path.to_owned(), Arc::new(bytes));
        files
    }

    fn swapped(&self, one: &str, other: &str) -> Files {
        let mut files = self.with(one, self.files[other].to_vec());
        files.insert(other.to_owned(), Arc::clone(&self.files[one]));
        files
    }

    /// The snapshot whose packs these are: each backup wrote its own.
    fn owner(&self, pack: &str) -> SnapshotId {
        let storage = support::medium_with(&self.files);
        let index = TempDir::new().unwrap();
        let repository = support::open(&storage, index.path()).unwrap();
        let id = PackId::from_hex(pack.rsplit('/').next().unwrap()).unwrap();
        let reader = repository.index().open_pack(&*storage, repository.keys(), id).unwrap();
        let chunks: BTreeSet<ChunkId> = reader.rows().map(|row| row.chunk).collect();
        let (_, first) = repository.find_snapshot(&self.first.to_string()).unwrap();
        let named = chunks_of(&repository, &first);
        if chunks.iter().any(|chunk| named.contains(chunk)) { self.first } else { self.second }
    }
}

fn chunks_of(repository: &Repository, snapshot: &Snapshot) -> BTreeSet<ChunkId> {
    let mut chunks: BTreeSet<ChunkId> = snapshot.segment_lists.iter().copied().collect();
    for row in repository.read_segment_list(snapshot).unwrap() {
        chunks.insert(row.segment);
        let entries = repository.read_segment(&row.segment, &mut Default::default()).unwrap();
        chunks.extend(entries.iter().flat_map(|entry| entry.content.chunks()));
    }
    chunks
}

/// What became of a repository.
#[derive(Debug, Default)]
struct Outcome {
    /// Why it does not open.
    closed: Option<String>,
    /// Snapshots that gave their exact image.
    exact: BTreeSet<SnapshotId>,
    /// Errors of records and restores.
    refused: Vec<String>,
    /// What verify says.
    problems: Vec<String>,
}

impl Outcome {
    fn is_noticed(&self) -> bool {
        self.closed.is_some() || !self.problems.is_empty()
    }
}

/// Opens, restores and verifies. Panics on wrong bytes.
fn look_at(given: &Given, files: &Files, index: &Path) -> Outcome {
    let storage = support::medium_with(files);
    let mut outcome = Outcome::default();
    let repository = match support::open(&storage, index) {
        Ok(repository) => repository,
        Err(error) => return Outcome { closed: Some(told(&error)), ..outcome },
    };
    match repository.snapshots() {
        Ok((snapshots, damaged)) => {
            outcome.refused.extend(damaged.iter().map(|error| told(error)));
            for (id, snapshot) in snapshots {
                match support::restored(&repository, &snapshot) {
                    Ok(image) => {
                        assert!(image == *given.images[&id], "wrong bytes from {id:?}");
                        outcome.exact.insert(id);
                    }
                    Err(error) => outcome.refused.push(told(&error)),
                }
            }
        }
        Err(error) => outcome.refused.push(told(&error)),
    }
    match verify::run(&repository, None, &verify::Options { sample: 1.0, seed: 0, workers: 1 }, &|_, _| ()) {
        Ok(report) => outcome.problems.extend(report.problems.iter().map(|p| format!("{}: {}", p.place, p.what))),
        Err(error) => outcome.problems.push(told(&error)),
    }
    outcome
}

fn told(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    assert!(!text.is_empty());
    text
}

fn look_fresh(given: &Given, files: &Files) -> Outcome {
    let index = TempDir::new().unwrap();
    look_at(given, files, index.path())
}

/// Asserts that a change to a pack hurts only its owner, and that verify names the pack.
fn assert_pack_is_refused(given: &Given, path: &str, owner: SnapshotId, files: &Files, change: &str) {
    let other = if owner == given.first { given.second } else { given.first };
    let outcome = look_fresh(given, files);
    assert_eq!(outcome.closed, None, "{change}");
    assert!(outcome.exact.contains(&other), "{change} hurts the other snapshot: {outcome:?}");
    let name = path.rsplit('/').next().unwrap();
    assert!(outcome.problems.iter().any(|problem| problem.contains(name)), "{change} of {path}: {outcome:?}");
}

#[test]
fn a_flipped_bit_in_a_pack_is_found_and_hurts_only_its_snapshot() {
    let given = given();
    let packs = given.paths("packs");
    assert_eq!(packs.len(), 4);
    for path in &packs {
        let bytes = &given.files[path];
        let owner = given.owner(path);
        let len = bytes.len();
        // Header; the body here and there; table and both trailers.
        let tail = len.saturating_sub(700);
        let offsets = (0..72).step_by(5).chain((72..tail).step_by(1 + tail / 17)).chain((tail..len).step_by(19));
        for at in offsets.chain([len - 1]) {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << (at % 8);
            let change = format!("a bit at {at} of {len}");
            assert_pack_is_refused(&given, path, owner, &given.with(path, flipped), &change);
        }
    }
}

#[test]
fn a_pack_whose_header_is_damaged_is_found_and_read_by_its_trailer() {
    let given = given();
    for path in &given.paths("packs") {
        let flips = (0..72).map(|at| (at..at + 1, 1 << (at % 8)));
        for (range, change) in flips.chain([(0..72, 0xff)]) {
            let mut bytes = given.files[path].to_vec();
            bytes[range.clone()].iter_mut().for_each(|byte| *byte ^= change);
            let outcome = look_fresh(&given, &given.with(path, bytes));
            assert_eq!(outcome.exact.len(), 2, "{range:?} of {path}: {outcome:?}");
            let name = path.rsplit('/').next().unwrap();
            assert!(outcome.problems.iter().any(|problem| problem.contains(name)), "{range:?}: {outcome:?}");
        }
    }
}

#[test]
fn a_pack_cut_emptied_or_lengthened_is_found() {
    let given = given();
    for path in &given.paths("packs") {
        let (bytes, owner) = (&given.files[path], given.owner(path));
        for len in [0, 1, 71, 72, 100, bytes.len() / 2, bytes.len() - 300, bytes.len() - 1] {
            let files = given.with(path, bytes[..len].to_vec());
            assert_pack_is_refused(&given, path, owner, &files, &format!("a cut at {len}"));
        }
        let longer = [bytes.as_slice(), b"and more"].concat();
        assert_pack_is_refused(&given, path, owner, &given.with(path, longer), "eight more bytes");
        let mut without = given.files.clone();
        without.remove(path);
        let outcome = look_fresh(&given, &without);
        assert!(outcome.is_noticed() && !outcome.exact.contains(&owner) && outcome.exact.len() == 1, "{outcome:?}");
    }
}

#[test]
fn swapped_and_foreign_packs_are_refused() {
    let given = given();
    let packs = given.paths("packs");
    for one in &packs {
        for other in packs.iter().filter(|other| *other != one) {
            let outcome = look_fresh(&given, &given.swapped(one, other));
            assert!(outcome.problems.iter().any(|problem| problem.contains("instead")), "{outcome:?}");
            // One pack in two places: the second is no pack of that name.
            let copied = given.with(one, given.files[other].to_vec());
            assert_pack_is_refused(&given, one, given.owner(one), &copied, "another pack's bytes");
        }
    }
    for foreign in [foreign_pack(root_of(1), RepositoryId([3; 16])), foreign_pack(root_of(9), support::REPOSITORY)] {
        for path in &packs {
            // As it is, and with the name it now lies under written into it.
            let id = PackId::from_hex(path.rsplit('/').next().unwrap()).unwrap();
            let mut renamed = foreign.clone();
            renamed[16..40].copy_from_slice(&id.0);
            for bytes in [foreign.clone(), renamed] {
                assert_pack_is_refused(&given, path, given.owner(path), &given.with(path, bytes), "a foreign pack");
            }
        }
        // One more pack that nobody needs hurts nobody.
        let id = PackId(foreign[16..40].try_into().unwrap()).hex();
        let outcome = look_fresh(&given, &given.with(&format!("packs/{}/{id}", &id[..2]), foreign));
        assert_eq!((outcome.exact.len(), outcome.problems.len()), (2, 1), "{outcome:?}");
    }
}

fn root_of(byte: u8) -> RootKey {
    RootKey::from_bytes([byte; 32])
}

/// A data pack of another repository.
fn foreign_pack(root: RootKey, id: RepositoryId) -> Vec<u8> {
    let storage = support::fresh_medium(Sabotage::None);
    let index = TempDir::new().unwrap();
    let (keys, suite) = (Keys::derive(&root, id), Suite::for_this_cpu());
    let parts = Parts { storage: storage.clone(), keys, suite, locks: None, lease: None };
    let repository = Repository::assemble(parts, index.path()).unwrap();
    support::snapshot_of(&repository, &support::disk::image(1, 1), "nas");
    let largest = storage.list(Area::Packs).unwrap().into_iter().max_by_key(|pack| pack.size).unwrap().name;
    storage.steps().files()[&format!("packs/{}/{largest}", &largest[..2])].to_vec()
}

#[test]
fn every_changed_byte_of_a_record_is_refused() {
    let given = given();
    let kinds =
        [("snapshots", RecordKind::Snapshot), ("checkpoints", RecordKind::Checkpoint), ("dead", RecordKind::DeadList)];
    for (folder, kind) in kinds {
        for path in given.paths(folder) {
            let bytes = &given.files[&path];
            let name = path.rsplit('/').next().unwrap();
            let storage = support::medium_with(&given.files);
            let mut changes: Vec<Vec<u8>> = (0..bytes.len())
                .map(|at| {
                    let mut flipped = bytes.to_vec();
                    flipped[at] ^= 1 << (at % 8);
                    flipped
                })
                .collect();
            changes.extend([0, 1, 67, 68, bytes.len() - 1].map(|len| bytes[..len].to_vec()));
            changes.push([bytes.as_slice(), b"x"].concat());
            for change in changes {
                // Under its own name, and under the name its changed bytes would have.
                let renamed = blake3::hash(&change).to_hex().to_string();
                for name in [name, &renamed] {
                    storage.steps().tamper(&format!("{folder}/{name}"), change.clone());
                    let refusal =
                        record::read::<serde_json::Value>(&*storage, &support::keys(), kind, name).unwrap_err();
                    assert!(refusal.to_string().contains(name), "{refusal}");
                }
            }
            // The same through the whole repository, for a few.
            for at in [0, 9, 30, 68, bytes.len() - 1] {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1;
                let outcome = look_fresh(&given, &given.with(&path, flipped));
                match kind {
                    RecordKind::Snapshot => assert!(outcome.exact.len() == 1 && outcome.is_noticed(), "{outcome:?}"),
                    RecordKind::DeadList | RecordKind::Checkpoint => {
                        assert_eq!(outcome.exact.len(), 2);
                        assert!(outcome.problems.iter().any(|problem| problem.contains(name)), "{outcome:?}");
                    }
                }
            }
        }
    }
}

/// A damaged record is in the way of what it says, and its error names what removes it.
fn assert_in_the_way<T>(outcome: Result<T, impl std::error::Error>, path: &str, remedy: &str) {
    let error = outcome.err().expect("somebody has to look first").to_string();
    let name = path.rsplit('/').next().unwrap();
    assert!(error.contains(name) && error.contains(remedy), "{error}");
}

#[test]
fn a_damaged_dead_list_stops_backup_and_prune_until_repair_and_not_restores() {
    let given = given();
    let path = given.paths("dead").pop().unwrap();
    let storage = support::medium_with(&given.with(&path, vec![0; 200]));
    let index = TempDir::new().unwrap();
    let repository = support::open(&storage, index.path()).unwrap();
    let (_, snapshot) = repository.find_snapshot(&given.first.to_string()).unwrap();
    assert!(support::restored(&repository, &snapshot).unwrap() == *given.images[&given.first]);
    // Guessing what it said could bring a pack into use that prune deletes.
    let disk = support::disk::Disk::healthy(&given.images[&given.first]);
    assert_in_the_way(support::back_up(&repository, &disk, "nas"), &path, "saveos repair index");
    assert_in_the_way(prune::run(&repository, Mode::Run), &path, "saveos repair index");
    assert_eq!(repair::index(&repository, &|_, _| ()).unwrap().removed_records, 1);
    support::back_up(&repository, &disk, "nas").unwrap();
    prune::run(&repository, Mode::Run).unwrap();
}

#[test]
fn a_damaged_checkpoint_stops_prune_until_repair_and_nothing_else() {
    let given = given();
    let path = given.paths("checkpoints").pop().unwrap();
    let storage = support::medium_with(&given.with(&path, vec![0; 200]));
    let index = TempDir::new().unwrap();
    let repository = support::open(&storage, index.path()).unwrap();
    support::back_up(&repository, &support::disk::Disk::healthy(&given.images[&given.first]), "nas").unwrap();
    assert_in_the_way(prune::run(&repository, Mode::Run), &path, "saveos repair index");
    assert_eq!(repair::index(&repository, &|_, _| ()).unwrap().removed_records, 1);
    prune::run(&repository, Mode::Run).unwrap();
}

#[test]
fn a_damaged_snapshot_stops_prune_until_it_is_forgotten_by_its_name() {
    let given = given();
    let path = format!("snapshots/{}", given.first);
    let storage = support::medium_with(&given.with(&path, vec![0; 200]));
    let index = TempDir::new().unwrap();
    let repository = support::open(&storage, index.path()).unwrap();
    let name = given.first.to_string();
    let remedy = format!("saveos forget {name}");
    assert_in_the_way(prune::run(&repository, Mode::Run), &path, &remedy);
    assert_in_the_way(repository.find_to_forget(&name[..20]), &path, &remedy);
    let id = repository.find_to_forget(&name).unwrap();
    prune::forget(&repository, &[id]).unwrap();
    prune::run(&repository, Mode::Run).unwrap();
    let kept = Images::from([(given.second, Arc::clone(&given.images[&given.second]))]);
    assert_eq!(support::complaint(&repository, &kept, &Images::new()), None);
}

#[test]
fn files_that_are_not_ours_are_in_nobodys_way() {
    let given = given();
    let mut files = given.files.clone();
    for folder in ["keys", "packs/00", "snapshots", "checkpoints", "dead"] {
        files.insert(format!("{folder}/.DS_Store"), Arc::new(vec![0; 100_000]));
        files.insert(format!("{folder}/Thumbs.db"), Arc::default());
    }
    let storage = support::medium_with(&files);
    let index = TempDir::new().unwrap();
    let repository = support::open(&storage, index.path()).unwrap();
    let mut images = given.images.clone();
    images.insert(
        support::snapshot_of(&repository, &given.images[&given.first], "nas"),
        given.images[&given.first].clone(),
    );
    prune::run(&repository, Mode::Run).unwrap();
    assert_eq!(repair::index(&repository, &|_, _| ()).unwrap().removed_records, 0);
    assert_eq!(support::complaint(&repository, &images, &Images::new()), None);
    assert!(storage.steps().files().contains_key("dead/.DS_Store"));
}

#[test]
fn swapped_records_are_refused_and_the_others_restore() {
    let given = given();
    let [one, other] = given.paths("snapshots").try_into().unwrap();
    let outcome = look_fresh(&given, &given.swapped(&one, &other));
    assert_eq!((outcome.exact.len(), outcome.refused.len()), (0, 2), "{outcome:?}");
    assert!(outcome.is_noticed());
    let outcome = look_fresh(&given, &given.with(&one, given.files[&other].to_vec()));
    assert_eq!((outcome.exact.len(), outcome.refused.len()), (1, 1), "{outcome:?}");
    // A checkpoint is no snapshot, though its key and its name are right.
    let checkpoint = given.paths("checkpoints").pop().unwrap();
    let name = checkpoint.rsplit('/').next().unwrap();
    let outcome = look_fresh(&given, &given.with(&format!("snapshots/{name}"), given.files[&checkpoint].to_vec()));
    assert_eq!((outcome.exact.len(), outcome.refused.len()), (2, 1), "{outcome:?}");
}

#[test]
fn every_changed_byte_of_saveos_json_and_key_slots_is_refused_or_harmless() {
    let given = given();
    let slot = given.paths("keys").pop().unwrap();
    let mut refused = 0;
    for path in ["saveos.json", slot.as_str()] {
        let bytes = &given.files[path];
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                refused += usize::from(is_refused(&given.with(path, flipped)));
            }
            refused += usize::from(is_refused(&given.with(path, bytes[..at].to_vec())));
        }
    }
    assert!(refused > 3500, "{refused} changes were refused");
}

/// Either an error, or the right key: nothing in between.
fn is_refused(files: &Files) -> bool {
    let storage = support::medium_with(files);
    let id = match repository::read_config(&*storage, Path::new("here")) {
        Ok(id) => id,
        Err(error) => return !told(&error).is_empty(),
    };
    match key::unlock(&*storage, id, &support::device(support::DEVICE)) {
        Ok(root) => {
            assert!(root.expose() == support::root_key().expose() && id == support::REPOSITORY);
            false
        }
        Err(error) => !told(&error).is_empty(),
    }
}

/// Changes an index folder.
type Forge = Box<dyn Fn(&Path)>;

#[test]
fn the_index_is_never_believed_and_repair_undoes_a_forged_one() {
    let given = given();
    let swap_ids = "UPDATE packs SET number = -number; UPDATE packs SET number = 1 + (-number) % 4";
    let one_number = "UPDATE packs SET id = (SELECT id FROM packs LIMIT 1), size = (SELECT size FROM packs LIMIT 1)";
    let forgeries: Vec<(&str, Forge)> = vec![
        ("numbers point at other packs", Box::new(|index| sql(index, swap_ids))),
        ("all numbers are one pack's", Box::new(|index| sql(index, one_number))),
        ("sizes that no pack has", Box::new(|index| sql(index, "UPDATE packs SET size = size + 1"))),
        ("no packs", Box::new(|index| sql(index, "DELETE FROM packs"))),
        ("no runs", Box::new(|index| sql(index, "DELETE FROM runs"))),
        ("runs of nowhere", Box::new(|index| sql(index, "INSERT INTO runs VALUES ('../../etc/passwd', 7)"))),
        ("a counter that goes back", Box::new(|index| sql(index, "UPDATE counter SET next = 1"))),
        ("other tables", Box::new(|index| sql(index, "DROP TABLE packs; CREATE TABLE packs (number TEXT)"))),
        ("empty filters", Box::new(|index| runs(index, |run| run[32..40].fill(0)))),
        ("full filters", Box::new(|index| runs(index, |run| run[32..40].fill(255)))),
        ("other positions", Box::new(|index| runs(index, |run| last_bytes(run, 8).fill(1)))),
        ("other prefixes", Box::new(|index| runs(index, |run| last_bytes(run, 24).fill(0)))),
        ("a run cut short", Box::new(|index| runs(index, |run| run.truncate(run.len() / 2)))),
        ("an empty run", Box::new(|index| runs(index, Vec::clear))),
        ("runs that name no chunk", Box::new(|index| runs(index, empty_run))),
        ("no database", Box::new(|index| std::fs::remove_file(index.join("index.sqlite")).unwrap())),
        ("a torn database", Box::new(|index| files(index, "index.sqlite", |bytes| bytes.truncate(5000)))),
        ("a database of noise", Box::new(|index| files(index, "index.sqlite", |bytes| *bytes = noise(1, 9000)))),
    ];
    for (what, forge) in forgeries {
        let scratch = TempDir::new().unwrap();
        let index = scratch.path().join("index");
        support::copy_index(given.index.path(), &index);
        forge(&index);
        let outcome = look_at(&given, &given.files, &index);
        assert!(outcome.exact.len() == 2 || outcome.closed.is_some(), "{what}: {outcome:?}");
        // As `repair index` does: an empty index.
        std::fs::remove_dir_all(&index).unwrap();
        let storage = support::medium_with(&given.files);
        let repository = support::open(&storage, &index).unwrap();
        let repaired = repair::index(&repository, &|_, _| ()).unwrap();
        assert_eq!((repaired.packs, repaired.lost_chunks, repaired.unreadable_packs), (4, 0, 0), "{what}");
        assert_eq!(support::complaint(&repository, &given.images, &Images::new()), None, "{what}");
    }
}

fn sql(index: &Path, text: &str) {
    rusqlite::Connection::open(index.join("index.sqlite")).unwrap().execute_batch(text).unwrap();
}

fn runs(index: &Path, change: impl Fn(&mut Vec<u8>)) {
    files(index, "run-", change);
}

fn files(index: &Path, prefix: &str, change: impl Fn(&mut Vec<u8>)) {
    for entry in std::fs::read_dir(index).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with(prefix) {
            let mut bytes = std::fs::read(&path).unwrap();
            change(&mut bytes);
            std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), &bytes).unwrap();
        }
    }
}

/// A run with a right digest and nothing in it.
fn empty_run(bytes: &mut Vec<u8>) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("run");
    saveos_engine::index::run::write(&path, "run", 0, std::iter::empty()).unwrap();
    *bytes = std::fs::read(&path).unwrap();
}

fn last_bytes(bytes: &mut [u8], count: usize) -> &mut [u8] {
    let from = bytes.len() - count;
    &mut bytes[from..]
}

#[test]
fn an_older_repository_under_a_newer_index_is_what_it_was() {
    let storage = support::fresh_medium(Sabotage::None);
    let index = TempDir::new().unwrap();
    let disks = [support::disk::image(1, 1), support::disk::image(2, 1), support::disk::image(3, 1)];
    let first = support::snapshot_of(&support::open(&storage, index.path()).unwrap(), &disks[0], "nas");
    let older = storage.steps().files();
    support::snapshot_of(&support::open(&storage, index.path()).unwrap(), &disks[1], "nas");

    let storage = support::medium_with(&older);
    let mut images = Images::from([(first, Arc::clone(&disks[0]))]);
    let repository = support::open(&storage, index.path()).unwrap();
    assert_eq!(support::complaint(&repository, &images, &Images::new()), None);
    for disk in &disks[1..] {
        images.insert(support::snapshot_of(&repository, disk, "nas"), Arc::clone(disk));
    }
    assert_eq!(support::complaint(&repository, &images, &Images::new()), None);
}

#[test]
fn huge_and_strange_records_are_refused() {
    let given = given();
    let nested = (0..100_000).fold(String::new(), |text, _| text + "[");
    let strange: Vec<(&str, serde_json::Value)> = vec![
        ("65 MiB of text", serde_json::json!({ "name": "a".repeat(65 << 20) })),
        ("a million numbers", serde_json::json!((0..1_000_000).collect::<Vec<u32>>())),
        ("nothing", serde_json::Value::Null),
        ("a text of brackets", serde_json::json!(nested)),
        ("other fields", serde_json::json!({ "writer": 7 })),
    ];
    for (what, value) in strange {
        let storage = support::medium_with(&given.files);
        record::write(&*storage, &support::keys(), RecordKind::Snapshot, &value).unwrap();
        let outcome = look_fresh(&given, &storage.steps().files());
        assert_eq!((outcome.exact.len(), outcome.refused.len()), (2, 1), "{what}: {outcome:?}");
        assert!(outcome.is_noticed(), "{what}");
    }
}
