//! Damage, at random and on purpose: nothing may panic, loop, or take memory without bound.

use std::sync::Arc;

use saveos_engine::fs::{Extent, FsError, exfat};

use super::handmade::{CLUSTERS, SECTOR, Stream, Tiny};
use super::support::{Failing, damage, find, read_node, use_tree};
use super::told::Told;

fn told(tiny: &Tiny) -> Told {
    let told = super::survey(&tiny.0);
    use_tree(&*exfat::browse(Arc::new(tiny.0.clone())).unwrap());
    told.assert_claims_are_disjoint();
    told
}

#[test]
fn bytes_that_were_never_written_are_raw_and_read_as_zeros() {
    let tiny = Tiny::sane();
    let told = told(&tiny);
    assert_eq!(told.doubts, Vec::<String>::new());
    assert_eq!(told.notes, Vec::<String>::new());
    let heap = Extent::new(tiny.at(2) as u64, u64::from(CLUSTERS) * SECTOR as u64);
    super::assert_whole(&told, heap, tiny.0.len() as u64);
    let short = told.files.iter().find(|file| file.id & 0xFFFF_FFFF == 6).unwrap();
    assert_eq!(short.runs, [(0, tiny.extent(6, 600))]);
    assert!(told.raw.contains(&Extent::new(tiny.at(6) as u64 + 600, 3 * 512 - 600)));

    let tree = exfat::browse(Arc::new(tiny.0.clone())).unwrap();
    let content = read_node(&*tree, &find(&*tree, "SHORT.bin"));
    assert_eq!(content, [vec![6; 512], vec![7; 88], vec![0; 700]].concat());
    assert_eq!(read_node(&*tree, &find(&*tree, "file.bin"))[..1024], [[5; 512], [9; 512]].concat());
    assert_eq!(read_node(&*tree, &find(&*tree, "sub/INNER")), [12]);
}

/// One change to the volume.
type Change = fn(&mut Tiny);

#[test]
fn contradictions_are_doubts() {
    const FILE: Stream = Stream { first: 5, contiguous: false, valid: 1200, size: 1200 };
    let changes: [(&str, Change); 16] = [
        ("a chain returns to its start", |tiny| tiny.link(10, 5)),
        ("a chain returns to its middle", |tiny| tiny.link(10, 9)),
        ("a cluster follows itself", |tiny| tiny.link(5, 5)),
        ("a chain leads to a free entry", |tiny| tiny.link(10, 20)),
        ("a chain leads out of the volume", |tiny| tiny.link(10, 9000)),
        ("a chain leads to a bad cluster", |tiny| tiny.link(9, 0xFFFF_FFF7)),
        ("two files share a cluster", |tiny| tiny.link(5, 6)),
        ("a file larger than its chain", |tiny| tiny.entry(4, 2, "file.bin", 0x20, Stream { size: 1537, ..FILE })),
        ("more valid than there is", |tiny| tiny.entry(4, 2, "file.bin", 0x20, Stream { valid: 1201, ..FILE })),
        ("a file without clusters", |tiny| tiny.entry(4, 2, "file.bin", 0x20, Stream { first: 0, ..FILE })),
        ("a file of all bytes there can be", |tiny| {
            tiny.entry(4, 2, "file.bin", 0x20, Stream { contiguous: true, size: u64::MAX, ..FILE });
        }),
        ("a directory in itself", |tiny| tiny.entry(11, 3, "self", 0x10, Stream { first: 11, ..FILE })),
        ("the root in a directory", |tiny| tiny.entry(11, 3, "root", 0x10, Stream { first: 4, ..FILE })),
        ("a set with a wrong checksum", |tiny| {
            let at = tiny.at(4) + 2 * 32 + 70;
            tiny.0[at] ^= 1;
        }),
        ("an upper-case table with a wrong checksum", |tiny| {
            let at = tiny.at(3) + 20;
            tiny.0[at] ^= 1;
        }),
        ("a bitmap that is too short", |tiny| {
            let at = tiny.at(4) + 24;
            tiny.0[at] = 3;
        }),
    ];
    for (what, change) in changes {
        let mut tiny = Tiny::sane();
        change(&mut tiny);
        assert!(!told(&tiny).doubts.is_empty(), "{what}");
    }
}

#[test]
fn what_a_short_bitmap_does_not_tell_is_read() {
    let mut tiny = Tiny::sane();
    let at = tiny.at(4) + 24;
    tiny.0[at] = 3;
    let rest = tiny.extent(2 + 24, u64::from(CLUSTERS - 24) * SECTOR as u64);
    assert!(told(&tiny).in_use().iter().any(|extent| extent.start <= rest.start && extent.end() >= rest.end()));
}

#[test]
fn unreadable_parts_are_doubts_and_count_as_in_use() {
    let tiny = Tiny::sane();
    let clean = told(&tiny);
    for (cluster, files) in [(2, 3), (3, 3), (11, 2)] {
        let told = super::survey(&Failing(tiny.0.clone(), vec![tiny.extent(cluster, 1)]));
        assert!(!told.doubts.is_empty());
        assert_eq!(told.files.len(), files, "cluster {cluster}");
        let all = Extent::new(0, tiny.0.len() as u64);
        let expected = if cluster == 2 { vec![all] } else { clean.in_use() };
        assert_eq!(told.in_use(), expected, "cluster {cluster}");
    }
    // Without its root or its table the volume is not worth believing, or only files in one piece are known.
    assert!(exfat::survey(&Failing(tiny.0.clone(), vec![tiny.extent(4, 1)]), &mut Told::default()).is_err());
    let _ = exfat::survey(&Failing(tiny.0.clone(), vec![Extent::new(24 * 512, 1)]), &mut Told::default());
}

#[test]
fn marks_of_an_unfinished_mount_are_notes() {
    let mut tiny = Tiny::sane();
    tiny.0[106] = 2;
    let told = told(&tiny);
    assert_eq!(told.doubts, Vec::<String>::new());
    assert_eq!(told.notes, ["the volume was not unmounted cleanly"]);
}

#[test]
fn a_second_fat_is_refused() {
    let mut tiny = Tiny::sane();
    tiny.0[110] = 2;
    tiny.seal_boot();
    let refused = exfat::survey(&tiny.0, &mut Told::default());
    assert!(matches!(refused, Err(FsError::Unsupported(_))), "{refused:?}");
}

#[test]
fn damage_at_random_never_panics() {
    let clean = Tiny::sane();
    let target = |cluster, len| clean.extent(cluster, len);
    // The FAT, the entries of both directories, the bitmap; checksums keep the boot region from being looked at.
    let targets = [Extent::new(24 * SECTOR as u64, 52), target(4, 352), target(4, 64), target(11, 96), target(2, 5)];
    damage(&clean.0, 3000, &targets, &|bytes| {
        let mut told = Told::default();
        if exfat::survey(&bytes, &mut told).is_ok() {
            told.assert_claims_are_disjoint();
        }
        if let Ok(tree) = exfat::browse(Arc::new(bytes)) {
            use_tree(&*tree);
        }
    });
}

#[test]
fn damaged_sets_with_good_checksums_never_panic() {
    let clean = Tiny::sane().0;
    let boot = [Extent::new(64, 50), Extent::new(80, 32)];
    damage(&clean, 2000, &boot, &|bytes| {
        let mut tiny = Tiny(bytes);
        tiny.seal_boot();
        let _ = exfat::survey(&tiny.0, &mut Told::default());
    });
    for number in 0..4000u64 {
        let mut tiny = Tiny::sane();
        let pick = |salt: u64, of: &[u64]| {
            let hash = (number * 31 + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
            of[hash as usize % of.len()]
        };
        let odd = [0, 1, 2, 3, 4, 5, 11, 12, 41, 42, 512, 1300, 1 << 31, u64::from(u32::MAX), 1 << 40, u64::MAX];
        for (directory, slot) in [(4, 2), (4, 5), (4, 8), (11, 0), (11, 3)] {
            let salt = u64::from(directory) * 100 + slot as u64;
            let size = pick(salt, &odd);
            let stream = Stream {
                first: pick(salt + 7, &odd) as u32,
                contiguous: pick(salt + 11, &[0, 1]) == 1,
                valid: pick(salt + 13, &[size, size / 2, 0]),
                size,
            };
            tiny.entry(directory, slot, "name", pick(salt + 17, &[0x10, 0x20]) as u16, stream);
        }
        tiny.link(pick(1, &odd[..10]) as u32, pick(2, &odd) as u32);
        let mut told = Told::default();
        if exfat::survey(&tiny.0, &mut told).is_ok() {
            told.assert_claims_are_disjoint();
        }
        if number % 8 == 0 {
            use_tree(&*exfat::browse(Arc::new(tiny.0)).unwrap());
        }
    }
}
