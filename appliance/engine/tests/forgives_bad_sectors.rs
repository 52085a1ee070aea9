//! Promise: a sick disk is backed up as far as it can be read, and the snapshot says to the sector what is missing and which
//! files it hurts. A disk that goes away, changes or shrinks meanwhile never passes for whole.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "exfat_survey/handmade.rs"]
#[expect(dead_code, reason = "one volume of it is enough here")]
mod exfat;
mod support;

use proptest::prelude::*;
use saveos_engine::backup::{BackupError, Flow};
use saveos_engine::files;
use saveos_engine::layout::identify::Filesystem;
use saveos_engine::read::ReadAt;
use saveos_engine::repository::Repository;
use saveos_engine::rescue_map;
use saveos_engine::snapshot::{Snapshot, SourceKind, State};
use saveos_engine::source::{DiskSource, Source};
use saveos_engine::storage::recorded::{RecordedStorage, Sabotage};
use saveos_engine::storage::{Area, Storage};
use saveos_engine::view::SnapshotDisk;
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use support::disk::{Disk, SECTOR, changed, image, noise};
use support::ext;
use tempfile::TempDir;

/// A repository of its own.
struct Place {
    storage: Arc<RecordedStorage>,
    index: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { storage: support::fresh_medium(Sabotage::None), index: TempDir::new().unwrap() }
    }

    fn open(&self) -> Repository {
        support::open(&self.storage, self.index.path()).unwrap()
    }

    fn back_up(&self, disk: &Arc<Disk>) -> Result<Snapshot, BackupError> {
        support::back_up(&self.open(), disk, "nas").map(|(_, snapshot)| snapshot)
    }

    fn restored(&self, snapshot: &Snapshot) -> Vec<u8> {
        support::restored(&self.open(), snapshot).unwrap()
    }

    fn stored(&self) -> u64 {
        self.storage.list(Area::Packs).unwrap().iter().map(|pack| pack.size).sum()
    }
}

fn sectors(numbers: &[u64]) -> Vec<Range<u64>> {
    numbers.iter().map(|number| number * SECTOR..(number + 1) * SECTOR).collect()
}

/// The image with zeros where it could not be read.
fn without(image: &[u8], bad: &[Range<u64>]) -> Vec<u8> {
    let mut left = image.to_vec();
    bad.iter().for_each(|bad| left[bad.start as usize..bad.end as usize].fill(0));
    left
}

/// Sorted and joined.
fn joined(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted: Vec<Range<u64>> = ranges.into_iter().collect();
    sorted.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

fn noted(snapshot: &Snapshot) -> Vec<Range<u64>> {
    joined(snapshot.summary.holes.iter().map(|hole| hole.start..hole.start + hole.len))
}

/// The lines of a ddrescue map: position, size, status. They must cover the disk without gap or overlap.
fn map_of(place: &Place, snapshot: &Snapshot) -> Vec<(Range<u64>, char)> {
    let text = rescue_map::of(&place.open(), snapshot).unwrap();
    let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap();
    let lines: Vec<(Range<u64>, char)> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .skip(1) // where ddrescue would go on
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let start = number(words[0]);
            (start..start + number(words[1]), words[2].parse().unwrap())
        })
        .collect();
    assert!(lines.windows(2).all(|pair| pair[0].0.end == pair[1].0.start), "{text}");
    let whole = lines.first().map(|line| line.0.start).zip(lines.last().map(|line| line.0.end));
    assert_eq!(whole, Some((0, snapshot.source.size)));
    lines
}

fn assert_holes_are(place: &Place, snapshot: &Snapshot, image: &[u8], bad: &[Range<u64>]) {
    let bad = joined(bad.iter().cloned());
    assert_eq!(snapshot.state, State::Partial);
    assert_eq!(noted(snapshot), bad);
    assert_eq!(snapshot.summary.hole_bytes, bad.iter().map(|range| range.end - range.start).sum::<u64>());
    assert!(place.restored(snapshot) == without(image, &bad), "a readable byte is missing, or a bad one made up");
    let map = map_of(place, snapshot).into_iter().filter(|(_, status)| *status == '-').map(|(range, _)| range);
    assert_eq!(joined(map), bad);
}

/// Wherever one sector is bad, the snapshot is partial and lists it. With none it is complete.
#[test]
fn skips_count() {
    let image = image(2, 1);
    assert_eq!(Place::new().back_up(&Disk::healthy(&image)).unwrap().state, State::Complete);
    for sector in (0..image.len() / SECTOR).step_by(97) {
        let (place, bad) = (Place::new(), sectors(&[sector]));
        let snapshot = place.back_up(&Disk::with_bad_sectors(&image, &bad)).unwrap();
        assert_eq!((snapshot.state, snapshot.summary.hole_bytes), (State::Partial, SECTOR), "sector {sector}");
        assert_eq!(noted(&snapshot), bad);
    }
}

#[test]
fn holes_are_exactly_the_bad_sectors() {
    let image = image(1, 2);
    let last = image.len() / SECTOR - 1;
    // The first and the last sector, neighbours, both sides of a chunk's end, a whole chunk, one in zeros.
    let mut bad = sectors(&[0, 9, 10, 511, 512, 3500, last]);
    bad.push(1024 * SECTOR..1536 * SECTOR);
    let place = Place::new();
    let snapshot = place.back_up(&Disk::with_bad_sectors(&image, &bad)).unwrap();
    assert_holes_are(&place, &snapshot, &image, &bad);

    // The sectors come back: the next run is whole, and stores little more than what was missing.
    let healed = place.back_up(&Disk::healthy(&image)).unwrap();
    assert_eq!((healed.state, healed.summary.hole_bytes), (State::Complete, 0));
    assert!(place.restored(&healed) == *image);
    assert!(place.restored(&snapshot) == without(&image, &bad), "the older snapshot is what it was");
}

#[test]
fn a_disk_without_a_readable_sector_is_all_hole() {
    let image = image(1, 1);
    let all = sectors(&(0..image.len() / SECTOR).collect::<Vec<_>>());
    let place = Place::new();
    let snapshot = place.back_up(&Disk::with_bad_sectors(&image, &all)).unwrap();
    assert_holes_are(&place, &snapshot, &image, &all);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bad_sectors_are_holes_and_nothing_else_is(
        bad in prop::collection::vec((0..2048u64, 1..40u64), 1..12),
        seed in 0..4u64,
    ) {
        let image = image(seed, 1);
        let end = image.len();
        let bad: Vec<Range<u64>> =
            bad.iter().map(|(at, count)| at * SECTOR..((at + count) * SECTOR).min(end)).collect();
        let place = Place::new();
        let snapshot = place.back_up(&Disk::with_bad_sectors(&image, &bad)).unwrap();
        assert_holes_are(&place, &snapshot, &image, &bad);
    }
}

#[test]
fn the_files_that_bad_sectors_hurt_are_named() {
    let precious = noise(3, 700_000);
    let image = ext::image(
        8,
        &[("a/healthy", &noise(4, 300_000)), ("a/deep/precious", &precious), ("also hurt", &noise(5, 90_000))],
    );
    let at = |path: &str, block| ext::place_of(&image, path, block);
    // Blocks 3 and 160 of one file, block 0 of the other: one sector of each.
    let hurt = [
        (at("/a/deep/precious", 3) + SECTOR, "/a/deep/precious"),
        (at("/a/deep/precious", 160), "/a/deep/precious"),
        (at("\"/also hurt\"", 0) + 7 * SECTOR, "/also hurt"),
    ];
    let bad: Vec<Range<u64>> = hurt.iter().map(|(start, _)| *start..*start + SECTOR).collect();
    let place = Place::new();
    let snapshot = place.back_up(&Disk::with_bad_sectors(&image, &bad)).unwrap();
    assert_eq!(snapshot.state, State::Partial);
    for (start, path) in hurt {
        let hole = snapshot.summary.holes.iter().find(|hole| hole.start == start).unwrap();
        assert_eq!((hole.len, hole.file.as_deref()), (SECTOR, Some(path)));
    }
    assert_eq!(noted(&snapshot), joined(bad.iter().cloned()));
    assert!(place.restored(&snapshot) == without(&image, &bad));
    let map = map_of(&place, &snapshot);
    assert!(map.iter().any(|(_, status)| *status == '?'), "free space was never tried");

    assert_copies_name(&place, &snapshot, &[("files/a/deep/precious", 2 * SECTOR), ("files/also hurt", SECTOR)]);

    let healed = place.back_up(&Disk::healthy(&image)).unwrap();
    assert_eq!(healed.state, State::Complete);
    assert!(place.restored(&healed) == *image);
    assert_copies_name(&place, &healed, &[]);
}

/// Copies everything out: exactly these files are said to be incomplete, by so many bytes.
fn assert_copies_name(place: &Place, snapshot: &Snapshot, incomplete: &[(&str, u64)]) {
    let folder = TempDir::new().unwrap();
    let disk = Arc::new(SnapshotDisk::open(Arc::new(place.open()), snapshot, folder.path()).unwrap());
    let tree = files::browse(Arc::<SnapshotDisk>::clone(&disk), Filesystem::Ext).unwrap();
    let root = tree.root().unwrap();
    let copied = files::copy::copy(&*tree, &root, b"files", folder.path(), &|| disk.missing_bytes()).unwrap();
    let named: Vec<(&str, u64)> =
        copied.incomplete.iter().map(|file| (file.path.as_str(), file.missing_bytes)).collect();
    assert_eq!((named, copied.failed.len(), copied.files), (incomplete.to_vec(), 0, 3));
}

/// A FAT16 volume that mkfs.fat made, with one file in a folder.
fn fat_image(bytes: &[u8]) -> Vec<u8> {
    made(16, "mkfs.fat -F 16 IMAGE", &["mmd -i IMAGE ::deep", "mcopy -i IMAGE FILE ::deep/precious.bin"], bytes)
}

/// An NTFS volume that mkntfs made, with one file.
fn ntfs_image(bytes: &[u8]) -> Vec<u8> {
    made(8, "mkntfs -F -Q -q -c 4096 IMAGE", &["ntfscp -f IMAGE FILE precious.bin"], bytes)
}

fn made(mebibytes: u64, mkfs: &str, fill: &[&str], bytes: &[u8]) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let (image, file) = (folder.path().join("image"), folder.path().join("file"));
    std::fs::File::create(&image).and_then(|image| image.set_len(mebibytes << 20)).unwrap();
    std::fs::File::create(&file).and_then(|mut file| std::io::Write::write_all(&mut file, bytes)).unwrap();
    for words in [mkfs].iter().chain(fill) {
        let words = words.replace("IMAGE", image.to_str().unwrap()).replace("FILE", file.to_str().unwrap());
        let words: Vec<&str> = words.split(' ').collect();
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(words[0]);
        let done = command.args(&words[1..]).env("PATH", path).env("MTOOLS_SKIP_CHECK", "1").output();
        let done = done.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
    std::fs::read(&image).unwrap()
}

fn place_of(image: &[u8], bytes: &[u8]) -> u64 {
    image.windows(SECTOR as usize).position(|window| window == &bytes[..SECTOR as usize]).unwrap() as u64
}

/// Makes one sector bad and says which file it hurts, by the snapshot.
fn file_hurt_at(image: Vec<u8>, at: u64) -> Option<String> {
    assert_eq!(image.len() as u64 % SECTOR, 0);
    let (place, bad) = (Place::new(), at..at + SECTOR);
    let disk = Disk::with_bad_sectors(&Arc::new(image), std::slice::from_ref(&bad));
    let snapshot = place.back_up(&disk).unwrap();
    assert_eq!((snapshot.state, noted(&snapshot)), (State::Partial, vec![bad]));
    snapshot.summary.holes.iter().find_map(|hole| hole.file.clone())
}

#[test]
fn hurt_files_are_named_on_every_filesystem() {
    let bytes = noise(11, 100_000);
    for (image, path) in [(fat_image(&bytes), "/deep/precious.bin"), (ntfs_image(&bytes), "/precious.bin")] {
        let at = place_of(&image, &bytes);
        assert_eq!(file_hurt_at(image, at).as_deref(), Some(path));
    }
    // exFAT has no tool that writes files without mounting: this volume is made by hand.
    let tiny = exfat::Tiny::sane();
    let (at, whole) = (tiny.at(12) as u64, tiny.0.len() / SECTOR as usize * SECTOR as usize);
    assert_eq!(file_hurt_at(tiny.0[..whole].to_vec(), at).as_deref(), Some("/Sub/inner"));
}

#[test]
fn a_hurt_file_of_a_partition_is_named_with_its_number() {
    let bytes = noise(12, 100_000);
    let (ext, fat) = (ext::image(8, &[("one", &noise(13, 50_000))]), fat_image(&bytes));
    let mut disk = vec![0; 1 << 20];
    for (number, (kind, partition)) in [(0x83, ext.as_slice()), (0x0e, &fat)].into_iter().enumerate() {
        let entry = 446 + 16 * number;
        let (start, len) = ((disk.len() as u64 / SECTOR) as u32, (partition.len() as u64 / SECTOR) as u32);
        disk[entry + 4] = kind;
        disk[entry + 8..entry + 12].copy_from_slice(&start.to_le_bytes());
        disk[entry + 12..entry + 16].copy_from_slice(&len.to_le_bytes());
        disk.extend_from_slice(partition);
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let at = place_of(&disk, &bytes);
    assert_eq!(file_hurt_at(disk, at).as_deref(), Some("2:/deep/precious.bin"));
}

#[test]
fn ddrescue_takes_our_map() {
    let image = image(3, 1);
    let bad = [sectors(&[7]), sectors(&[1000, 1001])].concat();
    let place = Place::new();
    let snapshot = place.back_up(&Disk::with_bad_sectors(&image, &bad)).unwrap();
    let folder = TempDir::new().unwrap();
    let map = folder.path().join("map");
    let text = rescue_map::of(&place.open(), &snapshot).unwrap();
    std::fs::File::create(&map).and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).unwrap();
    let told = match Command::new("ddrescuelog").arg("-t").arg(&map).env("LC_ALL", "C").output() {
        Ok(told) => told,
        Err(error) => return eprintln!("SKIPPED: ddrescuelog (package gddrescue): {error}"),
    };
    let words = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.status.success(), "{words}{}", String::from_utf8_lossy(&told.stderr));
    let row = |name: &str| words.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{words}"));
    assert!(row("bad-sector").contains("1536 B") && row("bad-sector").contains(" 2 area(s)"), "{words}");
    assert!(row("rescued").contains(" 3 area(s)") && row("non-tried").contains(" 0 area(s)"), "{words}");
}

#[test]
fn bad_sectors_in_the_structure_of_a_filesystem_lose_no_file_data() {
    let image = ext::image(8, &[("one", &noise(3, 400_000)), ("two", &noise(4, 200_000))]);
    // Superblock, group descriptors, bitmaps, inode table, root folder: each in turn.
    for block in (0..80).step_by(3) {
        let bad = sectors(&[block * 8 + 2]);
        let place = Place::new();
        let snapshot = place.back_up(&Disk::with_bad_sectors(&image, &bad)).unwrap();
        assert!(place.restored(&snapshot) == without(&image, &bad), "bad sector in block {block}");
        let missing = noted(&snapshot);
        assert!(missing.is_empty() || missing == bad, "bad sector in block {block}: {missing:?}");
        assert_eq!(snapshot.state, if missing.is_empty() { State::Complete } else { State::Partial });
    }
}

/// Unplugs the disk after every number of reads, plugs `later` in, and backs that up.
fn unplugged_anywhere(disk: &Arc<Vec<u8>>, later: &Arc<Vec<u8>>, step: usize) {
    let undisturbed = Place::new();
    let healthy = Disk::healthy(disk);
    undisturbed.back_up(&healthy).unwrap();
    let new_in_later = if disk == later { 0 } else { 2 << 20 };
    let mut kept_something = 0;
    for reads in (0..healthy.reads()).step_by(step) {
        let place = Place::new();
        match place.back_up(&Disk::unplugged_after(disk, reads)) {
            Err(BackupError::Gone { .. }) => {}
            other => panic!("gone after {reads} of {} reads: {other:?}", healthy.reads()),
        }
        assert_eq!(place.storage.list(Area::Snapshots).unwrap(), [], "a snapshot of a disk that is gone");
        let kept = place.stored();
        let checkpoints = place.storage.list(Area::Checkpoints).unwrap().len();
        assert_eq!(checkpoints, usize::from(kept > 0), "what is stored needs a checkpoint");
        kept_something += checkpoints;
        // A prune between the two keeps what the checkpoint names.
        let pruned = saveos_engine::prune::run(&place.open(), saveos_engine::prune::Mode::Run).unwrap();
        assert_eq!(pruned.listed_packs, 0, "{pruned:?}");

        let snapshot = place.back_up(&Disk::healthy(later)).unwrap();
        assert_eq!(snapshot.state, State::Complete);
        assert!(place.restored(&snapshot) == **later, "gone after {reads} reads");
        assert_eq!(place.storage.list(Area::Checkpoints).unwrap(), []);
        // Stored once: only the ends of two more packs come on top.
        let (both, once) = (place.stored(), undisturbed.stored());
        assert!(both <= once + new_in_later + 16 * 1024, "{both} bytes for a disk of {once}, gone after {reads} reads");
        assert!(snapshot.summary.bytes_stored + kept <= both + 16 * 1024);
    }
    assert!(kept_something > 0, "no cut left anything behind");
}

#[test]
fn a_disk_that_goes_away_is_resumed_without_storing_twice() {
    let disk = Arc::new(noise(1, 10 << 20));
    unplugged_anywhere(&disk, &disk, 2);
}

#[test]
fn a_disk_that_went_away_and_came_back_changed_is_taken_as_it_is_now() {
    let disk = Arc::new(noise(1, 10 << 20));
    unplugged_anywhere(&disk, &changed(&disk, 3, 5), 5);
}

#[test]
fn a_filesystem_that_goes_away_is_resumed_without_storing_twice() {
    let disk = ext::image(16, &[("one", &noise(3, 4_000_000)), ("two", &noise(4, 5_000_000))]);
    unplugged_anywhere(&disk, &disk, 11);
}

#[test]
fn a_filesystem_written_to_meanwhile_is_torn_or_one_moment() {
    let before = ext::image(8, &[("one", &noise(3, 400_000)), ("two", &noise(4, 200_000))]);
    // Somebody mounts it and unmounts it again.
    let after = ext::edited(&before, "set_super_value mnt_count 7");
    assert!(before != after);
    let healthy = Disk::healthy(&before);
    Place::new().back_up(&healthy).unwrap();
    let outcomes: Vec<&str> = (1..healthy.reads())
        .map(|reads| {
            let place = Place::new();
            let snapshot = place.back_up(&Disk::changing_after(&before, reads, &after)).unwrap();
            let found = place.restored(&snapshot);
            match snapshot.state {
                State::Torn => {
                    assert!(!snapshot.state.is_recovery_point() && snapshot.summary.torn_pieces == 1);
                    assert!(found == *before, "the first reading is what is kept");
                    "torn"
                }
                State::Complete if found == *after => "written before it was read",
                State::Complete if found == *before => "written after it was read again",
                other => panic!("{other}, and no moment of the disk, when written to after {reads} reads"),
            }
        })
        .collect();
    let mut phases = outcomes;
    phases.dedup();
    assert_eq!(phases, ["written before it was read", "torn", "written after it was read again"]);
    let last = Place::new().back_up(&Disk::changing_after(&before, healthy.reads(), &after)).unwrap();
    assert_eq!(last.state, State::Complete);
}

#[test]
fn a_file_written_meanwhile_makes_the_snapshot_torn_or_is_whole_in_it() {
    let before = ext::image(8, &[("one", &noise(3, 400_000)), ("two", &noise(4, 200_000))]);
    let after = ext::with_another_file(&before, "three", &noise(5, 300_000));
    assert!(before != after);
    let healthy = Disk::healthy(&before);
    Place::new().back_up(&healthy).unwrap();
    let mut torn = 0;
    for reads in (1..healthy.reads()).step_by(3) {
        let place = Place::new();
        let snapshot = place.back_up(&Disk::changing_after(&before, reads, &after)).unwrap();
        let found = place.restored(&snapshot);
        torn += usize::from(snapshot.state == State::Torn);
        assert!(
            snapshot.state == State::Torn || found == *before || found == *after,
            "{} and no moment of the disk, when written to after {reads} of {} reads",
            snapshot.state,
            healthy.reads()
        );
    }
    assert!(torn > 0);
}

#[test]
fn what_nobody_can_parse_is_torn_when_its_header_changes_meanwhile() {
    let image = Arc::new(noise(77, 3 << 20));
    let mut later = image.to_vec();
    later[4096..8192].fill(0x55);
    let place = Place::new();
    let healthy = Disk::healthy(&image);
    assert_eq!(place.back_up(&healthy).unwrap().state, State::Complete);
    let (later, mut torn) = (Arc::new(later), 0);
    for reads in 1..healthy.reads() {
        let place = Place::new();
        let snapshot = place.back_up(&Disk::changing_after(&image, reads, &later)).unwrap();
        let found = place.restored(&snapshot);
        torn += usize::from(snapshot.state == State::Torn);
        assert!(
            snapshot.state == State::Torn || found == *image || found == *later,
            "{} and no moment of the disk, when written to after {reads} reads",
            snapshot.state
        );
    }
    // The header is read first in the first look and first in the second: most writes fall between.
    assert!(torn > 1, "{torn} of {} were torn", healthy.reads());
}

#[test]
fn an_image_that_is_written_to_meanwhile_is_torn_wherever_that_was() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.img");
    std::fs::File::create(&path).unwrap().set_len(8 << 20).unwrap();
    let source: Arc<dyn Source> = Arc::new(DiskSource::open(&path).unwrap());
    assert!(!source.was_written());
    let place = Place::new();
    let written = std::sync::Once::new();
    let write = || {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        // A step of the clock that every filesystem can tell apart.
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1)).unwrap();
    };
    let (_, snapshot) = support::back_up_observed(&place.open(), &source, "nas", 1, &|_| {
        written.call_once(write);
        Flow::Continue
    })
    .unwrap();
    assert_eq!(snapshot.state, State::Torn);
}

#[test]
fn an_image_that_shrinks_is_gone_and_not_whole() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk.img");
    let bytes = noise(1, 3 << 20);
    let mut file = std::fs::File::create(&path).unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    let source: Arc<dyn Source> = Arc::new(DiskSource::open(&path).unwrap());
    file.set_len(2 << 20).unwrap();
    let place = Place::new();
    let outcome = support::back_up_source(&place.open(), &source, "image", 1);
    assert!(matches!(outcome, Err(BackupError::Gone { .. })), "{outcome:?}");
    assert_eq!(place.storage.list(Area::Snapshots).unwrap(), []);
    // As long as it is now, it is a disk like any other.
    let source: Arc<dyn Source> = Arc::new(DiskSource::open(&path).unwrap());
    let (_, snapshot) = support::back_up_source(&place.open(), &source, "image", 1).unwrap();
    assert_eq!(snapshot.state, State::Complete);
    assert!(place.restored(&snapshot) == bytes[..2 << 20]);
}

#[test]
fn stopping_on_request_keeps_what_is_stored() {
    let disk = Arc::new(noise(1, 18 << 20));
    let place = Place::new();
    let source: Arc<dyn Source> = Disk::healthy(&disk);
    let outcome = support::back_up_observed(&place.open(), &source, "nas", 1, &|progress| {
        if progress.done > 8 << 20 { Flow::Stop } else { Flow::Continue }
    });
    assert!(matches!(outcome, Err(BackupError::Stopped)), "{outcome:?}");
    assert_eq!(place.storage.list(Area::Checkpoints).unwrap().len(), 1);
    let kept = place.stored();
    assert!(kept > 8 << 20);
    let snapshot = place.back_up(&Disk::healthy(&disk)).unwrap();
    assert!(snapshot.summary.bytes_stored + kept < (18 << 20) + 64 * 1024);
    assert!(place.restored(&snapshot) == *disk);
}

/// A disk on which every second sector is bad.
struct Striped(Vec<u8>);

impl ReadAt for Striped {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let (first, last) = (offset / SECTOR, (offset + buf.len() as u64 - 1) / SECTOR);
        if first != last || first % 2 == 1 {
            return Err(std::io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        self.0.read_at(offset, buf)
    }
}

impl Source for Striped {
    fn kind(&self) -> SourceKind {
        SourceKind::Disk
    }
    fn sector_size(&self) -> u32 {
        SECTOR as u32
    }
}

#[test]
fn a_window_full_of_bad_sectors_takes_several_segments_and_restores() {
    let place = Place::new();
    let bytes = noise(9, 112 << 20);
    let mut expected = bytes.clone();
    expected.chunks_mut(SECTOR as usize).skip(1).step_by(2).for_each(|sector| sector.fill(0));
    let source: Arc<dyn Source> = Arc::new(Striped(bytes));
    let (_, snapshot) = support::back_up_source(&place.open(), &source, "nas", 2).unwrap();
    let rows = place.open().read_segment_list(&snapshot).unwrap();
    assert_eq!((snapshot.segments, rows.len()), (2, 2));
    assert!(rows.iter().all(|row| row.window == 0));
    assert_eq!(snapshot.summary.hole_bytes, expected.len() as u64 / 2);
    assert!(place.restored(&snapshot) == expected);
}
