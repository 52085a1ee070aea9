//! Promise: a machine without AES instructions seals with ChaCha20-Poly1305, and any machine reads, verifies, prunes and adds
//! to what any other wrote.
mod support;

use saveos_engine::prune::{self, Mode};
use saveos_engine::seal::Suite;
use saveos_engine::storage::recorded::{RecordedStorage, Sabotage};
use std::collections::BTreeSet;
use std::sync::Arc;
use support::disk::{changed, image, noise};
use support::{Images, open_sealing};
use tempfile::TempDir;

const AES: u8 = Suite::Aes256Gcm as u8;
const CHACHA: u8 = Suite::ChaCha20Poly1305 as u8;

/// The suite that the header of each pack names.
fn suites(storage: &Arc<RecordedStorage>) -> BTreeSet<u8> {
    let files = storage.steps().files();
    files.iter().filter(|(path, _)| path.starts_with("packs/")).map(|(_, bytes)| bytes[9]).collect()
}

#[test]
fn a_repository_of_chacha_alone_works_as_any() {
    let (storage, index) = (support::fresh_medium(Sabotage::None), TempDir::new().unwrap());
    let open = || open_sealing(&storage, index.path(), Suite::ChaCha20Poly1305).unwrap();
    let old = image(1, 2);
    let mut half_new = old.to_vec();
    let half = half_new.len() / 4;
    half_new[..half].copy_from_slice(&noise(77, half));
    let disks = [Arc::clone(&old), changed(&old, 1, 6), Arc::new(half_new)];
    let mut images = Images::new();
    for disk in &disks {
        images.insert(support::snapshot_of(&open(), disk, "nas"), Arc::clone(disk));
    }
    assert_eq!(suites(&storage), BTreeSet::from([CHACHA]));
    assert_eq!(support::complaint(&open(), &images, &Images::new()), None);

    let (oldest, middle) = (*images.keys().next().unwrap(), *images.keys().nth(1).unwrap());
    prune::forget(&open(), &[oldest, middle]).unwrap();
    images.retain(|id, _| *id != oldest && *id != middle);
    let first = prune::run(&open(), Mode::Run).unwrap();
    let second = prune::run(&open(), Mode::Run).unwrap();
    assert!(first.listed_packs > 0 && second.deleted_packs >= first.listed_packs, "{first:?} {second:?}");
    assert_eq!(suites(&storage), BTreeSet::from([CHACHA]));
    assert_eq!(support::complaint(&open(), &images, &Images::new()), None);
}

#[test]
fn machines_with_and_without_aes_share_a_repository() {
    let (storage, index) = (support::fresh_medium(Sabotage::None), TempDir::new().unwrap());
    let mut images = Images::new();
    let mut disk = image(2, 2);
    for (number, suite) in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305, Suite::Aes256Gcm].into_iter().enumerate() {
        let before: u64 = storage.steps().files().values().map(|bytes| bytes.len() as u64).sum();
        let repository = open_sealing(&storage, index.path(), suite).unwrap();
        images.insert(support::snapshot_of(&repository, &disk, "nas"), Arc::clone(&disk));
        let added = storage.steps().files().values().map(|bytes| bytes.len() as u64).sum::<u64>() - before;
        assert!(number == 0 || added < 256 * 1024, "{added} bytes: what the other machine stored was stored again");
        disk = changed(&disk, number as u64, 6);
    }
    assert_eq!(suites(&storage), BTreeSet::from([AES, CHACHA]));
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let fresh = TempDir::new().unwrap();
        let repository = open_sealing(&storage, fresh.path(), suite).unwrap();
        assert_eq!(support::complaint(&repository, &images, &Images::new()), None);
    }
}
