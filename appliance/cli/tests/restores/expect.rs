//! The promise, step by step.

use crate::support::{
    Disk, Part, Ran, Repo, Tree, UsedMap, check, contents, damage, first_difference, read, saveos, text, tree_of,
    write, write_at,
};
use crate::support::{Image, Kind};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// How the layout has to see the filesystems of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Understood, without doubt. Free space is full of garbage, which must not come back.
    Parsed,
    /// Every byte is read.
    Raw,
}

/// Backs a disk up and gets it back in every way there is.
#[track_caller]
pub(crate) fn restores_exactly(disk: &Disk, seen: Seen) {
    let repo = Repo::new();
    is_seen_as(disk, seen);
    stores_nothing_twice(&repo, &disk.image.path());
    let restored = repo.beside("restored");
    repo.run(&["restore", "latest", text(&restored)]).exits(0);
    let bytes = read(&restored);
    same_used_bytes(disk, &bytes);
    assert!(repo.run(&["restore", "latest", "-"]).exits(0).out == bytes, "standard output differs from the file");
    goes_on_where_it_differs(&repo, &restored, &bytes);
    is_proven_clean(&repo, disk);
    for part in &disk.parts {
        same_filesystem(&repo, disk, part, seen, &bytes);
    }
}

fn plan_of(image: &Path) -> Vec<Value> {
    let plan = Ran::of(saveos().args(["plan", text(image), "--json"])).exits(0);
    plan.last("layout");
    plan.objects().into_iter().filter(|object| object["type"] == "region").collect()
}

fn is_seen_as(disk: &Disk, seen: Seen) {
    let regions = plan_of(&disk.image.path());
    let covered = regions.iter().try_fold(0, |at, region| (region["start"] == at).then(|| at + number(&region["len"])));
    assert_eq!(covered, Some(disk.image.len()), "the regions are not the disk: {regions:#?}");
    for part in &disk.parts {
        let region =
            regions.iter().find(|region| number(&region["start"]) == part.start).expect("a region starts there");
        assert_eq!(region["partition"].as_u64(), part.number.map(u64::from), "{region}");
        assert_eq!(number(&region["len"]), part.len, "{region}");
        assert_eq!(region["filesystem"], part.kind.name(), "{region}");
        let parsed = region["doubts"].as_array().is_some_and(Vec::is_empty);
        assert_eq!(parsed, seen != Seen::Raw, "{region:#}");
    }
    if seen == Seen::Raw {
        assert!(regions.iter().all(|region| region["bytes"]["free"] == 0), "{regions:#?}");
    }
}

fn stores_nothing_twice(repo: &Repo, source: &Path) {
    let first = repo.backup(source, "disk");
    let before = repo.pack_bytes();
    let second = repo.backup(source, "disk");
    assert_eq!((number(&second["bytes_new"]), number(&second["bytes_stored"])), (0, 0), "{second}");
    assert_eq!(first["bytes_hashed"], second["bytes_hashed"]);
    assert_eq!(repo.pack_bytes(), before, "a second backup of the same disk made packs");
}

/// Whatever an independent tool calls used is equal; without such a tool, or where all was read, every byte is.
#[track_caller]
pub(crate) fn same_used_bytes(disk: &Disk, restored: &[u8]) {
    let source = disk.image.bytes();
    assert_eq!(source.len(), restored.len());
    let show = Ran::of(saveos().args(["plan", &disk.image.text(), "--json"])).exits(0).objects();
    for region in show.iter().filter(|object| object["type"] == "region") {
        let (start, len) = (number(&region["start"]) as usize, number(&region["len"]) as usize);
        let (a, b) = (&source[start..start + len], &restored[start..start + len]);
        let part = disk.parts.iter().find(|part| part.start == start as u64 && region["bytes"]["free"] != 0);
        let difference = match part {
            Some(part) => UsedMap::of(part.kind, &carve(&disk.image, part)).first_difference(a, b),
            // Swap pages are left out; their header is not.
            None if region["filesystem"] == "swap" => first_difference(a, b, 0..4096),
            None => {
                assert_eq!(region["bytes"]["free"], 0, "nobody tells what is free here: {region}");
                first_difference(a, b, 0..len)
            }
        };
        assert_eq!(difference, None, "differs at this byte of the region {region}");
    }
}

/// One partition of the source as a file of its own.
fn carve(image: &Image, part: &Part) -> PathBuf {
    if part.number.is_none() {
        return image.path();
    }
    let path = image.beside(&format!("part-{}", part.start));
    if !path.exists() {
        write(&path, &image.bytes()[part.start as usize..(part.start + part.len) as usize]);
    }
    path
}

fn same_filesystem(repo: &Repo, disk: &Disk, part: &Part, seen: Seen, whole: &[u8]) {
    let source = carve(&disk.image, part);
    let (restored, name) = match part.number {
        None => (repo.beside("restored"), "latest".to_owned()),
        Some(number) => {
            let alone = repo.beside(&format!("alone-{number}"));
            repo.run(&["restore", "latest", text(&alone), "--partition", &number.to_string()]).exits(0);
            let bytes = read(&alone);
            assert!(bytes == whole[part.start as usize..][..part.len as usize], "partition {number} alone differs");
            let streamed = repo.run(&["restore", "latest", "-", "--partition", &number.to_string()]).exits(0);
            assert!(streamed.out == bytes, "partition {number} on standard output differs");
            (alone, format!("latest:{number}"))
        }
    };
    if seen == Seen::Parsed {
        let used = UsedMap::of(part.kind, &source);
        assert!(used.dirty(&read(&source)) > used.bytes(false) / 2, "there was no garbage");
        assert_eq!(used.dirty(&read(&restored)), 0, "free space was read");
    }
    if let Some(checked) = check(part.kind, &restored) {
        checked.exits(0);
    }
    let expected = tree_of(part.kind, &source).expect("the source can be read");
    let found = tree_of(part.kind, &restored).expect("the restored filesystem can be read");
    assert!(expected.len() > 50, "only {} files", expected.len());
    same_trees(&expected, &found);
    if seen != Seen::Raw {
        copies_files_out(repo, &name, part.kind, &expected);
    }
}

#[track_caller]
fn same_trees(expected: &Tree, found: &Tree) {
    for (path, shown) in expected {
        assert_eq!(found.get(path), Some(shown), "{path:?}");
    }
    assert_eq!(found.len(), expected.len(), "files that were not there");
}

/// `files cp` gives what the kernel's or another driver shows.
fn copies_files_out(repo: &Repo, name: &str, kind: Kind, expected: &Tree) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let out = folder.path().join("out");
    let ran = repo.run(&["files", "cp", name, "/", text(&out)]);
    // FIFOs are not copied, and that is said.
    let special = expected.values().filter(|shown| shown.kind == "other").count();
    assert_eq!(ran.code, if special > 0 { 3 } else { 0 }, "{}", ran.err);
    let copied = crate::support::below(&out).expect("the copy can be read");
    let without = if kind == Kind::Ntfs { "System Volume Information" } else { "" };
    let (mut expected, mut copied) = (contents(expected, without), contents(&copied, without));
    // NTFS keeps its own files in the root, where drivers hide them.
    copied.retain(|path, _| kind != Kind::Ntfs || !path.to_string_lossy().starts_with('$'));
    expected.retain(|path, _| !path.as_os_str().is_empty());
    for (path, shown) in &expected {
        assert_eq!(copied.get(path), Some(shown), "{path:?}");
    }
    let extra: Vec<_> = copied.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(extra.is_empty(), "{extra:?}");
}

/// A restore onto what is there writes only what differs.
fn goes_on_where_it_differs(repo: &Repo, target: &Path, whole: &[u8]) {
    repo.run(&["restore", "latest", text(target)]).refuses("--force");
    let again = |expected: &[u8]| {
        let restored = repo.json(&["restore", "latest", text(target), "--force"]).exits(0).last("restored");
        assert!(read(target) == expected, "the target differs after a restore onto it");
        number(&restored["written"])
    };
    assert_eq!(again(whole), 0, "an equal target was written to");
    // Bytes that are not zero are in use, or were never free.
    let Some(at) = whole.iter().rposition(|&byte| byte != 0) else { return };
    write_at(target, at as u64, &[!whole[at]]);
    write_at(target, 0, &[!whole[0]]);
    let written = again(whole);
    assert!((1..=2 * 262_144).contains(&written), "{written} bytes written for two that differed");
}

fn is_proven_clean(repo: &Repo, disk: &Disk) {
    let ran = repo.json(&["verify", "--fsck", "--snapshot", "latest"]).exits(0);
    assert_eq!(ran.last("verified")["problems"], 0);
    let objects = ran.objects();
    let verdicts: Vec<&Value> = objects.iter().filter(|object| object["type"] == "fsck").collect();
    for part in &disk.parts {
        let mine = verdicts.iter().find(|verdict| verdict["partition"].as_u64() == part.number.map(u64::from));
        let mine = mine.unwrap_or_else(|| panic!("no verdict on {part:?}: {verdicts:?}"));
        assert_eq!(mine["verdict"], "clean", "{mine}");
    }
    assert_eq!(verdicts.len(), disk.parts.len());
}

/// Damages a restored image; the comparison, the checker, the driver and `verify --fsck` all have to notice.
pub(crate) fn sees_damage(kind: Kind, image: &Image) {
    let repo = Repo::new();
    repo.backup(&image.path(), "disk");
    let restored = repo.beside("restored");
    repo.run(&["restore", "latest", text(&restored)]).exits(0);
    let used = UsedMap::of(kind, &image.path());
    let whole = tree_of(kind, &image.path()).expect("the source can be read");
    assert_eq!(used.first_difference(&image.bytes(), &read(&restored)), None);
    damage(kind, &restored);
    assert!(used.first_difference(&image.bytes(), &read(&restored)).is_some(), "{kind:?}: the comparison is blind");
    if let Some(checked) = check(kind, &restored) {
        assert_ne!(checked.code, 0, "{kind:?}: the checker is blind");
    }
    // The same damage at the source: it is said, and it is not ours.
    repo.json(&["backup", text(&restored), "--name", "damaged"]).exits(0);
    let ran = repo.json(&["verify", "--fsck", "--snapshot", "latest"]);
    let objects = ran.objects();
    let verdict = objects.iter().find(|object| object["type"] == "fsck").unwrap_or_else(|| panic!("{objects:?}"));
    assert_eq!(verdict["verdict"], "damaged-at-source", "{kind:?}: {verdict}");
    assert_ne!(tree_of(kind, &restored), Ok(whole), "{kind:?}: the driver is blind");
}

#[track_caller]
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}
