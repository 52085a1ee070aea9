//! A restore that was cut goes on where it stopped, writes no zeros into a new file, and counts only what it was asked for.

#[path = "support/support.rs"]
mod support;

use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{Image, Ran, Repo, noise, read, text, write_at};

const MIB: u64 = 1 << 20;

fn allocated(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Kills a restore when so much has arrived; false when it was faster.
fn killed_at(mut restore: Child, target: &Path, bytes: u64) -> bool {
    let begun = Instant::now();
    while allocated(target) < bytes {
        if restore.try_wait().expect("a child").is_some() {
            return false;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing arrives");
        std::thread::yield_now();
    }
    restore.kill().expect("a child");
    !restore.wait().expect("a child").success()
}

#[test]
fn a_restore_that_was_killed_goes_on() {
    let (repo, disk) = (Repo::new(), Image::blank(96 * MIB));
    write_at(&disk.path(), 0, &noise(1, 96 << 20));
    repo.backup(&disk.path(), "disk");
    let target = repo.beside("restored");
    // Earlier each time: a fast machine may be done before it is killed.
    let cut = [48, 24, 12, 6, 3, 1].into_iter().any(|mib| {
        let _ = std::fs::remove_file(&target); // there is none the first time
        let mut command = repo.command(&["restore", "latest", text(&target)]);
        let restore = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        killed_at(restore, &target, mib * MIB)
    });
    assert!(cut, "it was always faster");
    let missing = read(&target).chunks(1 << 18).zip(disk.bytes().chunks(1 << 18)).filter(|(a, b)| a != b).count() << 18;
    assert!(missing > 0 && missing < 96 << 20, "{missing} bytes were missing");
    repo.run(&["restore", "latest", text(&target)]).refuses("--force");
    let restored = repo.json(&["restore", "latest", text(&target), "--force"]).exits(0).last("restored");
    assert!(read(&target) == disk.bytes());
    // Pieces that were there are not written again. Those in flight were in part.
    let written = number(&restored["written"]);
    assert!(written >= missing as u64 && written < missing as u64 + 4 * MIB, "{written} written for {missing}");
    assert_eq!(number(&restored["bytes"]), 96 * MIB);
}

#[test]
fn a_restored_file_is_sparse() {
    let (repo, disk) = (Repo::new(), Image::blank(256 * MIB));
    for at in [0, 100, 255] {
        write_at(&disk.path(), at * MIB, &noise(at, 300_000));
    }
    repo.backup(&disk.path(), "disk");
    let target = repo.beside("restored");
    let restored = repo.json(&["restore", "latest", text(&target)]).exits(0).last("restored");
    assert_eq!(std::fs::metadata(&target).expect("a file").len(), 256 * MIB);
    assert!((900_000..4 * MIB).contains(&allocated(&target)), "{} bytes on the disk", allocated(&target));
    assert!(number(&restored["written"]) < 4 * MIB, "{restored}");
    assert!(read(&target) == disk.bytes());
}

fn packs_of(repo: &Repo) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(repo.path().join("packs")).expect("a folder").flatten();
    folders.flat_map(|folder| std::fs::read_dir(folder.path()).expect("a folder").flatten()).map(|e| e.path()).collect()
}

/// What is missing in one partition is no reason to call another one partial.
#[test]
fn a_hole_in_another_partition_is_not_counted() {
    let (repo, disk) = (Repo::new(), Image::blank(10 * MIB));
    write_at(&disk.path(), 510, &[0x55, 0xaa]);
    for (at, first) in [(446, 2048u32), (462, 10240)] {
        let entry = [&[0, 0, 0, 0, 0x83, 0, 0, 0], &first.to_le_bytes()[..], &8192u32.to_le_bytes()[..]].concat();
        write_at(&disk.path(), at, &entry);
    }
    write_at(&disk.path(), MIB, &noise(2, 4 << 20));
    repo.backup(&disk.path(), "disk");
    let first = packs_of(&repo);
    write_at(&disk.path(), 5 * MIB, &noise(3, 4 << 20));
    repo.backup(&disk.path(), "disk");
    // In whichever order its workers were done, what the second backup stored is the second partition's.
    let second = packs_of(&repo).into_iter().filter(|pack| !first.contains(pack));
    let largest = second.max_by_key(|pack| std::fs::metadata(pack).expect("a pack").len());
    let largest = largest.expect("a pack");
    let len = std::fs::metadata(&largest).expect("a pack").len();
    write_at(&largest, len - MIB / 2, &[0xff; 64]);
    repo.json(&["repair", "index"]).exits(3);
    repo.json(&["repair", "snapshots"]).exits(3);
    let restored = |partition: &[&str], code: i32| {
        let target = repo.beside(&format!("restored{}", partition.concat()));
        let words = [&["restore", "latest", text(&target)], partition].concat();
        let holes = number(&repo.json(&words).exits(code).last("restored")["hole_bytes"]);
        let streamed: Ran = repo.run(&[&["restore", "latest", "-"], partition].concat()).exits(code);
        assert!(streamed.out == read(&target));
        (holes, streamed.out)
    };
    let (holes, bytes) = restored(&["--partition", "1"], 0);
    assert!(holes == 0 && bytes == disk.bytes()[1 << 20..5 << 20]);
    let (second, _) = restored(&["--partition", "2"], 3);
    let (whole, _) = restored(&[], 3);
    assert!(second > 0 && second == whole, "{second} and {whole}");
}
