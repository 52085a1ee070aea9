//! `verify --fsck` tells apart what the source was like, what the repository lost, and what nobody could check.

#[path = "support/support.rs"]
mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Image, Kind, Ran, Repo, can, read, skip, text, tool, write_at};

const MIB: u64 = 1 << 20;

const FILESYSTEMS: [(Kind, &str, &str); 4] = [
    (Kind::Ext, "mke2fs -q -F -t ext4 -b 1024", "e2fsck"),
    (Kind::Ntfs, "mkntfs -F -Q -q -c 4096", "mkntfs"),
    (Kind::Fat, "mkfs.fat -F 16", "fsck.fat"),
    (Kind::Exfat, "mkfs.exfat", "fsck.exfat"),
];

/// A backed up, empty filesystem: all of it is structure.
fn given(mkfs: &str) -> (Repo, Image) {
    let (repo, image) = (Repo::new(), Image::blank(16 * MIB));
    tool(&mkfs.split_whitespace().chain([text(&image.path())]).collect::<Vec<_>>());
    repo.backup(&image.path(), "disk");
    (repo, image)
}

/// The verdict on the only filesystem of the newest snapshot.
#[track_caller]
fn verdict(ran: &Ran) -> Value {
    let verdicts: Vec<Value> = ran.objects().into_iter().filter(|object| object["type"] == "fsck").collect();
    let [verdict] = verdicts.try_into().unwrap_or_else(|several| panic!("not one verdict: {several:?}"));
    verdict
}

/// The packs of one kind: 1 data, 2 metadata.
fn packs(repo: &Repo, kind: u8) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(repo.path().join("packs")).expect("a folder").flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).expect("a folder").flatten());
    files.map(|file| file.path()).filter(|pack| read(pack)[10] == kind).collect()
}

/// Overwrites every chunk of a pack; the table still tells what was there.
fn empty_pack(pack: &Path) {
    let bytes = read(pack);
    let number = |at: usize, len: usize| bytes[at..at + len].iter().rev().fold(0, |n, &b| n << 8 | usize::from(b));
    let trailer = bytes.len() - number(bytes.len() - 12, 4);
    assert_eq!(&bytes[trailer..trailer + 8], b"SVOSTRLR");
    let body = number(trailer + 40, 8);
    assert!(body > 72, "a pack without chunks");
    write_at(pack, 72, &vec![0xff; body - 72]);
}

#[test]
fn structure_the_repository_lost_is_damage_by_us() {
    for (kind, mkfs, checker) in FILESYSTEMS {
        if let Err(missing) = can(&[mkfs.split(' ').next().unwrap_or_default(), checker]) {
            eprintln!("SKIPPED: {kind:?} {missing}");
            continue;
        }
        let (repo, _image) = given(mkfs);
        let check = || repo.json(&["verify", "--fsck", "--snapshot", "latest"]);
        assert_eq!(verdict(&check().exits(0))["verdict"], "clean", "{kind:?}");
        packs(&repo, 1).iter().for_each(|pack| empty_pack(pack));
        let unread = verdict(&check().exits(1));
        assert_eq!(unread["verdict"], "damaged-by-us", "{kind:?}, a chunk that does not read: {unread}");
        assert_ne!(repo.json(&["repair", "index"]).exits(3).last("repaired")["lost_chunks"], 0);
        repo.json(&["repair", "snapshots"]).exits(3).last("repaired");
        let mended = verdict(&check().exits(1));
        assert_eq!(mended["verdict"], "damaged-by-us", "{kind:?}, after repair: {mended}");
    }
}

/// Repair knows of a lost segment nothing but where it lay, so its pieces lose their class.
#[test]
fn a_lost_segment_is_damage_by_us() {
    for (kind, mkfs, checker) in FILESYSTEMS {
        if let Err(missing) = can(&[mkfs.split(' ').next().unwrap_or_default(), checker]) {
            eprintln!("SKIPPED: {kind:?} {missing}");
            continue;
        }
        let (repo, _image) = given(mkfs);
        let check = || repo.json(&["verify", "--fsck", "--snapshot", "latest"]);
        for pack in packs(&repo, 2) {
            write_at(&pack, 72, &[0xff; 16]);
        }
        let unread = verdict(&check().exits(1));
        assert_eq!(unread["verdict"], "damaged-by-us", "{kind:?}, a segment that does not read: {unread}");
        repo.json(&["repair", "index"]).exits(3);
        let lost = repo.json(&["repair", "snapshots"]).exits(3).last("repaired");
        assert!(lost["lost_bytes"].as_u64().is_some_and(|lost| lost > MIB), "{lost}");
        let mended = verdict(&check().exits(1));
        assert_eq!(mended["verdict"], "damaged-by-us", "{kind:?}, after repair: {mended}");
    }
}

/// A checker that is not there, or that does not start, has proven nothing.
#[test]
fn what_nobody_could_check_is_not_clean() {
    if let Err(missing) = can(&["mke2fs", "e2fsck", "unshare", "mount"]) {
        skip!("{missing}");
    }
    let (repo, _image) = given("mke2fs -q -F -t ext4 -b 1024");
    let checker = ["/usr/sbin/e2fsck", "/sbin/e2fsck"].into_iter().find(|path| Path::new(path).exists());
    let saveos = repo.command(&["verify", "--fsck", "--json"]);
    let hidden = format!("mount --bind /dev/null {} && exec \"$@\"", checker.expect("can() found it"));
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &hidden, "sh"]).arg(saveos.get_program()).args(saveos.get_args());
    let ran = Ran::of(&mut command).exits(3);
    let verdict = verdict(&ran);
    assert_eq!(verdict["verdict"], "unchecked", "{verdict}");
    assert_eq!(ran.last("verified")["problems"], 0);
    repo.json(&["verify", "--fsck"]).exits(0);
}
