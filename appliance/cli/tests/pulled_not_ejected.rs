//! A disk that is pulled without being ejected loses nothing that an application had fsynced.
//!
//! Files are written and fsynced through the real driver; then the bytes of the disk are copied while it is still mounted,
//! which is what a pulled plug leaves. The copy is backed up and restored, the driver mends it as after any crash, and
//! every file that had been fsynced must be there, byte for byte.

#[path = "support/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use support::{Image, Kind, Mount, Repo, can, noise, read, skip, text, tool, tool_result};

const MIB: u64 = 1 << 20;

/// Name to content.
type Synced = BTreeMap<String, Vec<u8>>;

/// Formats, mounts, writes, fsyncs; gives the image as it lies at that moment, and what was fsynced.
fn pulled(kind: Kind, mkfs: &str, options: &str) -> (Image, Synced) {
    let image = Image::blank(64 * MIB);
    let path = image.path();
    tool(&mkfs.split_whitespace().chain([text(&path)]).collect::<Vec<_>>());
    let copy = Image::blank(0);
    let mount = Mount::try_new(kind, &path, options).expect("the image mounts");
    let mut synced = Synced::new();
    write_synced(&mount.at, 0..12, &mut synced);
    // Old files go, new ones take their blocks: without the journal their old owners would still be believed.
    for n in (0..12).step_by(2) {
        std::fs::remove_file(mount.at.join(format!("f{n}"))).expect("the file was just made");
        synced.remove(&format!("f{n}"));
    }
    std::fs::create_dir_all(mount.at.join("new/deep")).expect("a directory");
    write_synced(&mount.at, 12..24, &mut synced);
    for (name, content) in [("new/deep/x", noise(77, 5000)), ("new/small", b"small".to_vec())] {
        write_and_sync(&mount.at.join(name), &content);
        synced.insert(name.to_owned(), content);
    }
    for folder in ["new/deep", "new", "."] {
        let _ = File::open(mount.at.join(folder)).and_then(|folder| folder.sync_all()); // not every driver can
    }
    // Written, not synced: may come back or not, and must not harm the others.
    support::write(&mount.at.join("unsynced"), &noise(99, 300_000));
    flush_device(&path);
    std::fs::copy(&path, copy.path()).expect("space");
    drop(mount);
    (copy, synced)
}

fn write_synced(root: &Path, files: std::ops::Range<u64>, synced: &mut Synced) {
    for n in files {
        let content = noise(n, 40_000 + 30_011 * n as usize);
        write_and_sync(&root.join(format!("f{n}")), &content);
        synced.insert(format!("f{n}"), content);
    }
}

fn write_and_sync(path: &Path, content: &[u8]) {
    let mut file = File::create(path).expect("a file");
    file.write_all(content).and_then(|()| file.sync_all()).expect("a synced file");
}

/// A loop device writes to its file when it is flushed; a driver's fsync has done that. FUSE drivers write the file itself.
fn flush_device(image: &Path) {
    File::open(image).and_then(|file| file.sync_all()).expect("a synced image");
}

/// Each filesystem's checker finds nothing wrong with it, once its journal is replayed.
fn is_proven_clean(repo: &Repo) {
    let objects = repo.json(&["verify", "--fsck"]).exits(0).objects();
    let verdict = objects.iter().find(|object| object["type"] == "fsck").expect("a verdict");
    assert_eq!(verdict["verdict"], "clean", "{verdict}");
}

/// Backs the pulled image up, restores it, lets the driver mend it, and looks for every file.
fn nothing_is_lost(kind: Kind, image: &Image, synced: &Synced, options: &str) {
    let repo = Repo::new();
    repo.backup(&image.path(), "pulled");
    if kind == Kind::Ext && needs_recovery(image) {
        is_proven_clean(&repo);
    }
    let restored = repo.beside("restored");
    repo.run(&["restore", "latest", text(&restored)]).exits(0);
    if kind == Kind::Fat {
        // What a person's computer does first. It may say that it mended something.
        assert!(tool_result(&["fsck.fat", "-a", text(&restored)]).code <= 1);
    }
    let mount = Mount::try_new(kind, &restored, options).expect("the restored image mounts");
    for (name, content) in synced {
        assert!(read(&mount.at.join(name)) == *content, "{name} differs");
    }
    if kind == Kind::Ext {
        for n in (0..12).step_by(2) {
            assert!(!mount.at.join(format!("f{n}")).exists(), "f{n} had been removed before a later fsync");
        }
    }
}

fn needs_recovery(image: &Image) -> bool {
    tool(&["dumpe2fs", "-h", &image.text()]).contains("needs_recovery")
}

/// Whether leaving out the free blocks of the disk as it lies would have lost something: proves that the test can fail.
fn only_the_journal_owns_some(image: &Image) -> bool {
    let (before, after) = (image.bytes(), Image::blank(0));
    support::write(&after.path(), &before);
    let used = |image: &Image| {
        // Bitmaps may not fit their checksums before the journal is replayed: then it says so and lists less.
        let listing = String::from_utf8_lossy(&tool_result(&["dumpe2fs", &image.text()]).out).into_owned();
        listing.lines().filter(|line| line.starts_with("  Free blocks")).map(str::to_owned).collect::<Vec<_>>()
    };
    let lying = used(&after);
    tool(&["debugfs", "-n", "-w", "-R", "journal_run", &after.text()]);
    lying != used(&after)
}

/// Byte ranges that the bitmaps call free.
fn free_ranges(image: &Image) -> Vec<std::ops::Range<u64>> {
    let listing = String::from_utf8_lossy(&tool_result(&["dumpe2fs", &image.text()]).out).into_owned();
    let number = |text: &str| text.trim().parse::<u64>().expect("a number");
    let block = listing.lines().find_map(|line| line.strip_prefix("Block size:")).map(number).expect("a block size");
    let lists = listing.lines().filter_map(|line| line.strip_prefix("  Free blocks: "));
    let ranges = lists.flat_map(|list| list.split(',')).filter(|range| !range.trim().is_empty()).map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        number(first) * block..(number(last) + 1) * block
    });
    ranges.collect()
}

/// The image as it would come back if free blocks were left out by these bitmaps; how many synced files it lost.
fn lost_without(image: &Image, free: &[std::ops::Range<u64>], synced: &Synced) -> usize {
    let mut bytes = image.bytes();
    free.iter().for_each(|range| bytes[range.start as usize..range.end as usize].fill(0));
    let copy = Image::blank(0);
    support::write(&copy.path(), &bytes);
    let mount = Mount::try_new(Kind::Ext, &copy.path(), "rw").expect("the image mounts");
    let is_whole = |name: &str, content: &[u8]| std::fs::read(mount.at.join(name)).is_ok_and(|found| found == content);
    synced.iter().filter(|(name, content)| !is_whole(name, content)).count()
}

/// With replay switched off files are lost, so the tests here would fail; with it, none is.
fn replay_is_needed(image: &Image, synced: &Synced) {
    let replayed = Image::blank(0);
    support::write(&replayed.path(), &image.bytes());
    let before = free_ranges(image);
    tool(&["debugfs", "-n", "-w", "-R", "journal_run", &replayed.text()]);
    assert!(!before.is_empty());
    assert_ne!(lost_without(image, &before, synced), 0, "the bitmaps before replay lose nothing");
    assert_eq!(lost_without(image, &free_ranges(&replayed), synced), 0, "the bitmaps after replay lose something");
}

fn ext4(mkfs: &str, options: &str) {
    let (image, synced) = pulled(Kind::Ext, mkfs, options);
    assert!(needs_recovery(&image) && only_the_journal_owns_some(&image), "nothing was left to the journal");
    replay_is_needed(&image, &synced);
    nothing_is_lost(Kind::Ext, &image, &synced, "rw");
    // Without writing to it, as a rescue system would.
    nothing_is_lost(Kind::Ext, &image, &synced, "ro");
}

#[test]
fn ext4_with_ordered_data() {
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    ext4("mke2fs -q -F -t ext4 -b 4096", "rw,data=ordered,commit=300");
}

#[test]
fn ext4_with_journalled_data() {
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    ext4("mke2fs -q -F -t ext4 -b 1024 -J size=8", "rw,data=journal,commit=300");
}

#[test]
fn ext4_with_fast_commits() {
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    let (image, synced) = pulled(Kind::Ext, "mke2fs -q -F -t ext4 -b 4096 -O fast_commit", "rw,commit=300");
    nothing_is_lost(Kind::Ext, &image, &synced, "rw");
}

#[test]
fn ext3_without_checksums() {
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    ext4("mke2fs -q -F -t ext3 -b 1024", "rw,commit=300");
}

#[test]
fn ext2_has_no_journal() {
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    let (image, synced) = pulled(Kind::Ext, "mke2fs -q -F -t ext2 -b 1024", "rw");
    nothing_is_lost(Kind::Ext, &image, &synced, "ro");
}

#[test]
fn ntfs() {
    if let Err(missing) = can(Kind::Ntfs.tools()) {
        skip!("{missing}");
    }
    let (image, synced) = pulled(Kind::Ntfs, "mkntfs -F -Q -q -c 4096", "rw");
    nothing_is_lost(Kind::Ntfs, &image, &synced, "ro");
}

#[test]
fn exfat() {
    if let Err(missing) = can(Kind::Exfat.tools()) {
        skip!("{missing}");
    }
    let (image, synced) = pulled(Kind::Exfat, "mkfs.exfat", "rw");
    nothing_is_lost(Kind::Exfat, &image, &synced, "ro");
}

/// Marks a FAT disk as in use, in the boot sector and in the second entry of its tables, as kernels do while it is mounted, and
/// leaves a chain that ends in a free cluster: the table was written, the file's directory entry was not yet.
fn cut_short(image: &Image) {
    let mut bytes = image.bytes();
    let short = |bytes: &[u8], at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let is_fat32 = short(&bytes, 22) == 0;
    let (width, per_fat) = if is_fat32 { (4, short(&bytes, 36)) } else { (2, short(&bytes, 22)) };
    let (first, fats) = (short(&bytes, 14) * 512, usize::from(bytes[16]));
    let heap = first + fats * per_fat * 512 + short(&bytes, 17) * 32;
    let last = (bytes.len() - heap) / (usize::from(bytes[13]) * 512) + 1;
    bytes[if is_fat32 { 0x41 } else { 0x25 }] |= 1;
    for fat in (0..fats).map(|number| first + number * per_fat * 512) {
        bytes[fat + 2 * width - 1] &= if is_fat32 { !0x08 } else { !0x80 };
        let at = fat + (last - 1) * width;
        assert!(bytes[at..at + 2 * width].iter().all(|&byte| byte == 0), "the last clusters are in use");
        bytes[at..at + width].copy_from_slice(&(last as u32).to_le_bytes()[..width]);
    }
    support::write(&image.path(), &bytes);
}

/// Not every kernel has a driver, and the one used here marks FAT32 alone: the marks are made by hand.
#[test]
fn fat() {
    if let Err(missing) = can(Kind::Fat.tools()) {
        skip!("{missing}");
    }
    if let Err(missing) = can(&["fusefat", "/dev/fuse"]) {
        skip!("no FAT driver: {missing}");
    }
    for mkfs in ["mkfs.fat -F 32 -s 1", "mkfs.fat -F 16 -s 4"] {
        let (image, synced) = pulled(Kind::Fat, mkfs, "rw");
        cut_short(&image);
        let said = tool_result(&["fsck.fat", "-n", &image.text()]);
        assert!(said.text().contains("Dirty bit is set") && said.text().contains("Reclaimed"), "{}", said.text());
        nothing_is_lost(Kind::Fat, &image, &synced, "ro");
    }
}

/// The same while it is still mounted: only with `--live`, and never as a recovery point.
#[test]
fn a_mounted_image_is_backed_up_live_and_proves_nothing() {
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    let image = Image::blank(48 * MIB);
    tool(&["mke2fs", "-q", "-F", "-t", "ext4", &image.text()]);
    let repo = Repo::new();
    let mount = Mount::writable(Kind::Ext, &image.path());
    let mut synced = Synced::new();
    write_synced(&mount.at, 0..6, &mut synced);
    repo.run(&["backup", &image.text()]).refuses("mounted read-write");
    let summary = repo.json(&["backup", &image.text(), "--live"]).exits(3).last("summary");
    assert_eq!(summary["state"], "live");
    drop(mount);
    let restored = repo.beside("restored");
    repo.run(&["restore", "latest", text(&restored)]).exits(0);
    let mount = Mount::writable(Kind::Ext, &restored);
    for (name, content) in &synced {
        assert!(read(&mount.at.join(name)) == *content, "{name} differs");
    }
    drop(mount);
    // Unmounted, the same command makes a recovery point, also with --live.
    assert_eq!(repo.json(&["backup", &image.text(), "--live"]).exits(0).last("summary")["state"], "complete");
}

/// Backs up slowly, and does something to the source when the backup has stored its first megabyte.
fn disturbed(repo: &Repo, image: &Image, deed: impl Fn(&Path)) -> support::Ran {
    let words = ["backup", &image.text(), "--name", "disturbed", "--limit-read", "8", "--json"];
    let mut command = repo.command(&words);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = command.spawn().expect("the binary starts");
    let (begun, tmp) = (std::time::Instant::now(), repo.path().join("tmp"));
    let drafted = || -> u64 {
        let files = std::fs::read_dir(&tmp).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    while drafted() < MIB {
        assert!(begun.elapsed().as_secs() < 20, "nothing is written");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    deed(&image.path());
    support::Ran::from(child.wait_with_output().expect("it ends"), "disturbed backup".to_owned())
}

fn full_disk() -> Image {
    let image = Image::blank(40 * MIB);
    tool(&["mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", &image.text()]);
    let mount = Mount::writable(Kind::Ext, &image.path());
    (0..28).for_each(|n| support::write(&mount.at.join(format!("f{n}")), &noise(n, 1 << 20)));
    support::settle(&mount.at);
    drop(mount);
    image
}

/// Somebody else writes to the disk while it is read: no moment of it looked like the snapshot.
#[test]
fn a_disk_that_changes_while_it_is_read_is_torn() {
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    let (repo, image) = (Repo::new(), full_disk());
    let ran = disturbed(&repo, &image, |path| {
        // The volume's name, in the superblock that was read first.
        support::write_at(path, 1024 + 120, b"changed");
    });
    let summary = ran.exits(3).last("summary");
    assert_eq!(summary["state"], "torn", "{summary}");
    assert_ne!(summary["torn_pieces"], 0);
    assert_eq!(repo.backup(&image.path(), "disturbed")["state"], "complete");
}

/// The disk goes away: no snapshot, and what was stored is kept for the next time.
#[test]
fn a_disk_that_vanishes_leaves_no_snapshot() {
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    let (repo, image) = (Repo::new(), full_disk());
    let whole = image.bytes();
    let shrink = |path: &Path| File::options().write(true).open(path).and_then(|f| f.set_len(9 * MIB)).expect("a file");
    disturbed(&repo, &image, shrink).refuses("vanished or shrank");
    assert!(repo.json(&["snapshots"]).exits(0).out.is_empty());
    support::write(&image.path(), &whole);
    let summary = repo.backup(&image.path(), "disturbed");
    let (new, hashed) = (summary["bytes_new"].as_u64(), summary["bytes_hashed"].as_u64());
    assert!(new < hashed, "nothing was kept: {new:?} of {hashed:?} stored again");
    assert_eq!(repo.json(&["verify", "--fsck"]).exits(0).last("verified")["problems"], 0);
}

/// A FUSE driver over an image file has no device of ours to look at; the mount names the file.
#[test]
fn an_image_mounted_by_ntfs_3g_is_refused() {
    if let Err(missing) = can(Kind::Ntfs.tools()) {
        skip!("{missing}");
    }
    let image = Image::blank(24 * MIB);
    tool(&["mkntfs", "-F", "-Q", "-q", &image.text()]);
    let repo = Repo::new();
    repo.backup(&image.path(), "before");
    let mount = Mount::writable(Kind::Ntfs, &image.path());
    repo.run(&["backup", &image.text()]).refuses("mounted read-write");
    repo.json(&["backup", &image.text(), "--live"]).exits(3);
    repo.run(&["restore", "latest", &image.text(), "--force"]).refuses("refused, even with --force");
    drop(mount);
    let _mount = Mount::readable(Kind::Ntfs, &image.path()).expect("the image mounts");
    repo.backup(&image.path(), "read-only");
}
