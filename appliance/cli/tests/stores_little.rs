//! What is stored once is not stored again: equal files on other places, other disks and other filesystems, and the parts
//! of a disk that did not change.

#[path = "support/support.rs"]
mod support;

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use support::{Image, Kind, Mount, Repo, UsedMap, can, noise, read, settle, skip, text, tool, write};

const MIB: u64 = 1 << 20;

/// A file of the collection: noise, so that nothing but equality saves space.
fn file(n: u64) -> Vec<u8> {
    noise(n, 30_000 + (n as usize * 77_777) % 900_000)
}

/// Formats and writes these files in this order.
fn disk(kind: Kind, mib: u64, mkfs: &str, files: &[u64]) -> Image {
    let image = Image::blank(mib * MIB);
    let path = image.path();
    tool(&mkfs.split_whitespace().chain([text(&path)]).collect::<Vec<_>>());
    let mount = Mount::writable(kind, &path);
    for n in files {
        write(&mount.at.join(format!("file-{n}")), &file(*n));
    }
    settle(&mount.at);
    drop(mount);
    image
}

/// Bytes that structure costs at best: all that is used and is no part of these files, in one go through `zstd -3`.
fn structure(kind: Kind, image: &Image, files: &[u64]) -> u64 {
    let sectors = |bytes: &[u8]| bytes.chunks(512).map(sector).collect::<Vec<_>>();
    let of_files: HashSet<[u8; 512]> = files.iter().flat_map(|n| sectors(&file(*n))).collect();
    let (bytes, used) = (image.bytes(), UsedMap::of(kind, &image.path()));
    let all = used.ranges(true).flat_map(|range| sectors(&bytes[range]));
    let rest: Vec<u8> = all.filter(|sector| !of_files.contains(sector)).flatten().collect();
    zstd::bulk::compress(&rest, 3).expect("memory").len() as u64
}

/// The end of a file is filled up with zeros.
fn sector(bytes: &[u8]) -> [u8; 512] {
    let mut sector = [0; 512];
    sector[..bytes.len()].copy_from_slice(bytes);
    sector
}

fn len(files: &[u64]) -> u64 {
    files.iter().map(|n| file(*n).len() as u64).sum()
}

/// Backs both up; the packs may grow by what is new on the second disk and its structure, and a tenth of that.
fn second_costs_what_is_new(first: (Kind, &Image), second: (Kind, &Image), common: &[u64], new: &[u64]) {
    let repo = Repo::new();
    repo.backup(&first.1.path(), "first");
    let before = repo.pack_bytes();
    assert!(before > len(common), "the first disk was not stored");
    let summary = repo.backup(&second.1.path(), "second");
    let cost = repo.pack_bytes() - before;
    let ideal = len(new) + structure(second.0, second.1, &[common, new].concat());
    assert!(cost * 10 <= ideal * 11, "{cost} bytes stored where {ideal} would do ({} of new files)", len(new));
    assert!(ideal < len(common) / 2, "the disks share too little to tell");
    // Before compression, too: no byte of a common file is new, only structure is.
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let regions = summary["regions"].as_array().expect("a list");
    let meta: u64 = regions.iter().map(|region| number(&region["bytes"]["meta"])).sum();
    let bytes_new = number(&summary["bytes_new"]);
    assert!(bytes_new <= len(new) + meta, "{bytes_new} new bytes of {} in new files and {meta} of structure", len(new));
}

fn backwards(files: &[u64]) -> Vec<u64> {
    files.iter().rev().copied().collect()
}

#[test]
fn two_ext4_disks_with_the_same_files_at_other_places() {
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    let (common, new): (Vec<u64>, Vec<u64>) = ((0..60).collect(), (100..106).collect());
    let first = disk(Kind::Ext, 64, "mke2fs -q -F -t ext4 -b 4096", &common);
    let second = disk(Kind::Ext, 64, "mke2fs -q -F -t ext4 -b 1024", &[new.clone(), backwards(&common)].concat());
    second_costs_what_is_new((Kind::Ext, &first), (Kind::Ext, &second), &common, &new);
}

#[test]
fn files_of_ext4_are_known_on_ntfs() {
    if let Err(missing) = can(Kind::Ext.tools()).and_then(|()| can(Kind::Ntfs.tools())) {
        skip!("{missing}");
    }
    let (common, new): (Vec<u64>, Vec<u64>) = ((0..60).collect(), (200..204).collect());
    let first = disk(Kind::Ext, 64, "mke2fs -q -F -t ext4", &common);
    let second = disk(Kind::Ntfs, 64, "mkntfs -F -Q -q -c 4096", &[backwards(&common), new.clone()].concat());
    second_costs_what_is_new((Kind::Ext, &first), (Kind::Ntfs, &second), &common, &new);
}

#[test]
fn files_of_ntfs_are_known_on_exfat() {
    if let Err(missing) = can(Kind::Ntfs.tools()).and_then(|()| can(Kind::Exfat.tools())) {
        skip!("{missing}");
    }
    let (common, new): (Vec<u64>, Vec<u64>) = ((0..60).collect(), (300..304).collect());
    let first = disk(Kind::Ntfs, 64, "mkntfs -F -Q -q -c 4096", &common);
    let second = disk(Kind::Exfat, 64, "mkfs.exfat", &[backwards(&common), new.clone()].concat());
    second_costs_what_is_new((Kind::Ntfs, &first), (Kind::Exfat, &second), &common, &new);
}

/// Files added and removed, and 400 pages written in the middle of big files.
#[test]
fn a_changed_disk_costs_what_changed() {
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    let image = Image::blank(128 * MIB);
    tool(&["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", &image.text()]);
    {
        let mount = Mount::writable(Kind::Ext, &image.path());
        for n in 0..3 {
            write(&mount.at.join(format!("big-{n}")), &noise(1000 + n, 16 << 20));
        }
        for n in 0..40 {
            write(&mount.at.join(format!("file-{n}")), &file(n));
        }
        settle(&mount.at);
    }
    let repo = Repo::new();
    repo.backup(&image.path(), "disk");
    let (stored, before) = (repo.pack_bytes(), image.bytes());
    {
        let mount = Mount::writable(Kind::Ext, &image.path());
        for n in 0..400u64 {
            let at = ((n * 2_654_435_761) >> 7) % 4096 * 4096;
            change(&mount.at.join(format!("big-{}", n % 3)), at, &noise(n, 4096));
        }
        (0..6).for_each(|n| std::fs::remove_file(mount.at.join(format!("file-{n}"))).expect("the file was there"));
        (50..55).for_each(|n| write(&mount.at.join(format!("file-{n}")), &file(n)));
        settle(&mount.at);
    }
    let after = image.bytes();
    let used = UsedMap::of(Kind::Ext, &image.path());
    let pages = used.ranges(true).flat_map(|range| range.step_by(4096));
    let changed: u64 = pages.filter(|&at| before[at..][..4096] != after[at..][..4096]).map(|_| 4096).sum();
    assert!(changed > 400 * 4000, "{changed}");
    repo.backup(&image.path(), "disk");
    let cost = repo.pack_bytes() - stored;
    assert!(cost <= 2 * changed, "{cost} bytes stored for {changed} that changed");
    assert!(repo.run(&["restore", "latest", text(&repo.beside("restored"))]).exits(0).err.is_empty());
    assert_eq!(used.first_difference(&after, &read(&repo.beside("restored"))), None);
}

fn change(path: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.write_all_at(bytes, at)).expect("the file is there");
}
