//! Damage, at random and on purpose: nothing may panic, loop, or take memory without bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use saveos_engine::fs::{Extent, fat};

use super::support::{Failing, damage, use_tree};
use super::survey;
use super::told::Told;

const SECTOR: usize = 512;
const END: u16 = 0xFFF;

/// A tiny volume made by hand: one sector each for boot, FAT and root directory, then clusters of one sector.
struct Tiny(Vec<u8>);

impl Tiny {
    fn new() -> Self {
        let mut disk = vec![0; 64 * SECTOR];
        disk[..3].copy_from_slice(&[0xEB, 0x3C, 0x90]);
        disk[11..25].copy_from_slice(&[0, 2, 1, 1, 0, 1, 16, 0, 64, 0, 0xF8, 1, 0, 18]);
        disk[510..512].copy_from_slice(&[0x55, 0xAA]);
        let mut tiny = Self(disk);
        tiny.link(0, 0xFF8);
        tiny.link(1, END);
        tiny
    }

    fn link(&mut self, cluster: u16, next: u16) {
        let at = SECTOR + usize::from(cluster) * 3 / 2;
        let (keep, value) = if cluster.is_multiple_of(2) { (0xF000, next) } else { (0x000F, next << 4) };
        let pair = u16::from_le_bytes([self.0[at], self.0[at + 1]]) & keep | value;
        self.0[at..at + 2].copy_from_slice(&pair.to_le_bytes());
    }

    fn chain(&mut self, clusters: &[u16]) {
        for pair in clusters.windows(2) {
            self.link(pair[0], pair[1]);
        }
        self.link(*clusters.last().unwrap(), END);
    }

    /// Puts an entry into the root directory (cluster 0) or a directory of one cluster.
    fn entry(&mut self, directory: u16, slot: usize, name: &[u8; 11], attributes: u8, first: u16, size: u32) {
        let sector = if directory == 0 { 2 } else { 1 + usize::from(directory) };
        let at = sector * SECTOR + slot * 32;
        self.0[at..at + 11].copy_from_slice(name);
        self.0[at + 11] = attributes;
        self.0[at + 26..at + 28].copy_from_slice(&first.to_le_bytes());
        self.0[at + 28..at + 32].copy_from_slice(&size.to_le_bytes());
    }

    /// A directory with a file, and a file in two pieces.
    fn sane() -> Self {
        let mut tiny = Self::new();
        tiny.chain(&[2, 5, 6]);
        tiny.chain(&[3]);
        tiny.chain(&[4]);
        tiny.entry(0, 0, b"FILE    BIN", 0x20, 2, 1200);
        tiny.entry(0, 1, b"SUB        ", 0x10, 3, 0);
        tiny.entry(3, 0, b".          ", 0x10, 3, 0);
        tiny.entry(3, 1, b"..         ", 0x10, 0, 0);
        tiny.entry(3, 2, b"INNER   BIN", 0x20, 4, 512);
        tiny
    }

    fn survey(&self) -> Told {
        let told = survey(&self.0);
        use_tree(&*fat::browse(Arc::new(self.0.clone())).unwrap());
        told.assert_claims_are_disjoint();
        told
    }

    fn doubts(&self) -> Vec<String> {
        self.survey().doubts
    }
}

#[test]
fn a_sane_volume_raises_no_doubt() {
    let told = Tiny::sane().survey();
    assert_eq!(told.doubts, Vec::<String>::new());
    let runs: Vec<_> = told.files.iter().map(|file| file.runs.clone()).collect();
    let at = |cluster: u64| (cluster + 1) * 512;
    let inner = vec![(0, Extent::new(at(4), 512))];
    assert_eq!(runs, [vec![(0, Extent::new(at(2), 512)), (512, Extent::new(at(5), 688))], inner]);
    assert_eq!(told.raw, [Extent::new(at(5) + 688, 336)]);
    assert_eq!(told.in_use(), [Extent::new(0, at(7))]);
}

/// One change to the volume.
type Change = fn(&mut Tiny);

#[test]
fn contradictions_are_doubts() {
    let changes: [(&str, Change); 13] = [
        ("a chain returns to its start", |tiny| tiny.link(6, 2)),
        ("a chain returns to its middle", |tiny| tiny.link(6, 5)),
        ("a cluster follows itself", |tiny| tiny.link(2, 2)),
        ("a chain leads to a free cluster", |tiny| tiny.link(6, 9)),
        ("a chain leads out of the volume", |tiny| tiny.link(6, 900)),
        ("a chain leads to a bad cluster", |tiny| tiny.link(5, 0xFF7)),
        ("a chain leads to a reserved number", |tiny| tiny.link(5, 1)),
        ("two files share a cluster", |tiny| tiny.link(4, 6)),
        ("two names for one file", |tiny| tiny.entry(0, 2, b"TWIN    BIN", 0x20, 2, 1200)),
        ("a directory in itself", |tiny| tiny.entry(3, 3, b"SELF       ", 0x10, 3, 0)),
        ("a directory without clusters", |tiny| tiny.entry(0, 2, b"NONE       ", 0x10, 0, 0)),
        ("a file larger than its chain", |tiny| tiny.entry(0, 0, b"FILE    BIN", 0x20, 2, 1537)),
        ("a file without its chain", |tiny| tiny.entry(0, 2, b"NONE    BIN", 0x20, 0, 1)),
    ];
    for (what, change) in changes {
        let mut tiny = Tiny::sane();
        change(&mut tiny);
        assert!(!tiny.doubts().is_empty(), "{what}");
    }
}

#[test]
fn marks_of_an_unfinished_mount_are_notes() {
    let mut tiny = Tiny::sane();
    tiny.0[37] = 1;
    let told = tiny.survey();
    assert_eq!(told.doubts, Vec::<String>::new());
    assert_eq!(told.notes, ["the volume was not unmounted cleanly"]);
}

/// The tiny volume with a second FAT behind the first.
fn with_two_fats() -> Vec<u8> {
    let Tiny(one) = Tiny::sane();
    let mut two = [&one[..2 * SECTOR], &one[SECTOR..]].concat();
    two[16] = 2;
    two[19] += 1;
    two
}

#[test]
fn fats_that_differ_are_a_doubt() {
    let mut two = with_two_fats();
    assert_eq!(survey(&two).doubts, Vec::<String>::new());
    two[2 * SECTOR + 1] ^= 1;
    assert_eq!(survey(&two).doubts, Vec::<String>::new(), "the first two entries are marks");
    two[2 * SECTOR + 20] ^= 1;
    assert_eq!(survey(&two).doubts, ["FAT 2 is not a copy of the first"]);
}

#[test]
fn an_unreadable_fat_is_replaced_by_its_copy() {
    let two = with_two_fats();
    let clean = survey(&two);
    for sector in [1, 2] {
        let told = survey(&Failing(two.clone(), vec![Extent::new(sector * 512 + 4, 1)]));
        assert_eq!(told.doubts.len(), 1, "{:?}", told.doubts);
        assert_eq!(told.claims(), clean.claims());
        assert_eq!(told.in_use(), clean.in_use());
    }
}

#[test]
fn what_an_unreadable_directory_names_stays_without_an_owner() {
    let Tiny(bytes) = Tiny::sane();
    let clean = survey(&bytes);
    let sub = Extent::new(4 * 512, 512);
    let told = survey(&Failing(bytes, vec![sub]));
    assert!(told.doubts[0].contains("could not read"), "{:?}", told.doubts);
    assert_eq!(told.in_use(), clean.in_use());
    assert_eq!((told.files.len(), clean.files.len()), (1, 2));
}

#[test]
fn deleted_names_and_labels_are_not_listed() {
    let mut tiny = Tiny::sane();
    tiny.entry(0, 2, b"\xE5ONE    BIN", 0x20, 2, 1200);
    tiny.entry(0, 3, b"LABEL      ", 0x08, 0, 0);
    assert_eq!(tiny.doubts(), Vec::<String>::new());
    let files = super::read_tree(&*fat::browse(Arc::new(tiny.0)).unwrap());
    assert_eq!(files.keys().collect::<Vec<_>>(), ["FILE.BIN", "SUB/INNER.BIN"]);
}

#[test]
fn damage_at_random_never_panics() {
    let clean = Tiny::sane().0;
    let targets = [(0, 64), (SECTOR, 20), (SECTOR, 20), (2 * SECTOR, 64), (4 * SECTOR, 96)];
    let targets = targets.map(|(start, len)| Extent::new(start as u64, len));
    damage(&clean, 6000, &targets, &|bytes| {
        let mut told = Told::default();
        if fat::survey(&bytes, &mut told).is_ok() {
            told.assert_claims_are_disjoint();
        }
        if let Ok(tree) = fat::browse(Arc::new(bytes)) {
            use_tree(&*tree);
        }
    });
}

/// A FAT32 volume that ends in nothing: a gigabyte of FAT and directories that all claim it.
#[test]
fn shared_chains_cost_their_length_once() {
    let clusters = 200_000u32;
    let fat_sectors = (clusters + 2).div_ceil(128);
    let heap = 32 + fat_sectors as usize;
    let mut disk = vec![0; (heap + clusters as usize) * SECTOR];
    disk[..3].copy_from_slice(&[0xEB, 0x58, 0x90]);
    disk[11..22].copy_from_slice(&[0, 2, 1, 32, 0, 1, 0, 0, 0, 0, 0xF8]);
    let total = (heap + clusters as usize) as u32;
    for (at, field) in [(32, total), (36, fat_sectors), (44, 2)] {
        disk[at..at + 4].copy_from_slice(&field.to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xAA]);
    // One chain through everything, back to its start.
    for cluster in 0..clusters + 2 {
        let next = match cluster {
            0 => 0x0FFF_FFF8,
            1 => 0x0FFF_FFFF,
            last if last == clusters + 1 => 2,
            _ => cluster + 1,
        };
        let at = 32 * SECTOR + cluster as usize * 4;
        disk[at..at + 4].copy_from_slice(&next.to_le_bytes());
    }
    // And every cluster is full of directories that begin somewhere in it.
    for (number, entry) in disk[heap * SECTOR..].chunks_exact_mut(32).enumerate() {
        entry[..12].copy_from_slice(b"DIRECTORY  \x10");
        let first = (number as u32).wrapping_mul(2_654_435_761) % clusters + 2;
        entry[20..22].copy_from_slice(&first.to_le_bytes()[2..]);
        entry[26..28].copy_from_slice(&first.to_le_bytes()[..2]);
    }
    let started = Instant::now();
    let told = survey(&disk);
    assert!(!told.doubts.is_empty() && told.doubts.len() <= 101);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let tree = fat::browse(Arc::new(disk)).unwrap();
    let mut entries = 0;
    let _ = tree.list(&tree.root().unwrap(), &mut |_| {
        entries += 1;
        true
    });
    assert_eq!(entries, 65536);
}
