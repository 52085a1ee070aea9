//! Promise: `(writer, sequence)` names one snapshot, ever. The control plane remembers it, so another snapshot under it would be
//! taken for the one that is known.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use saveos_engine::prune::{self, Mode};
use saveos_engine::storage::recorded::Sabotage;
use saveos_engine::storage::{Area, Storage};
use std::sync::Arc;
use support::disk::{Disk, image};

fn numbers(storage: &Arc<impl Storage + 'static>, index: &std::path::Path) -> Vec<u64> {
    let repository = support::open(storage, index).unwrap();
    let mut numbers: Vec<u64> = repository.snapshots().unwrap().0.iter().map(|(_, s)| s.sequence).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn the_number_of_a_forgotten_snapshot_stays_used() {
    let storage = support::fresh_medium(Sabotage::None);
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index");
    let repository = support::open(&storage, &index).unwrap();
    let disk = Disk::healthy(&image(1, 2));
    let ids: Vec<_> = (0..3).map(|_| support::back_up(&repository, &disk, "disk").unwrap().0).collect();
    prune::forget(&repository, &ids[1..]).unwrap();
    // Neither prune, twice, nor an index that is lost forgets the number.
    prune::run(&repository, Mode::Run).unwrap();
    prune::run(&repository, Mode::Run).unwrap();
    drop(repository);
    std::fs::remove_dir_all(&index).unwrap();
    let repository = support::open(&storage, &index).unwrap();
    let (fourth, snapshot) = support::back_up(&repository, &disk, "disk").unwrap();
    assert_eq!(snapshot.sequence, 4);
    drop(repository);
    assert_eq!(numbers(&storage, &index), [1, 4]);
    // What remembered the number has served.
    assert_eq!(storage.list(Area::Checkpoints).unwrap().len(), 0);

    let repository = support::open(&storage, &index).unwrap();
    prune::forget(&repository, &[ids[0], fourth]).unwrap();
    assert_eq!(support::back_up(&repository, &disk, "disk").unwrap().1.sequence, 5);
}

#[test]
fn the_number_of_a_backup_that_was_cut_stays_used() {
    let storage = support::fresh_medium(Sabotage::None);
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("index");
    let repository = support::open(&storage, &index).unwrap();
    let bytes = image(2, 4);
    let gone = Disk::unplugged_after(&bytes, 8);
    support::back_up(&repository, &gone, "disk").unwrap_err();
    let checkpoints = storage.list(Area::Checkpoints).unwrap().len();
    let (_, snapshot) = support::back_up(&repository, &Disk::healthy(&bytes), "disk").unwrap();
    assert_eq!(snapshot.sequence, 1 + checkpoints as u64, "{checkpoints} checkpoints");
}
