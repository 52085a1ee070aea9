//! Nothing durable refers to bytes that are not on the disk yet, and a source is only read: judged from outside, by the
//! system calls of the real binary under strace.
//!
//! A file gets its name after its bytes were synced; what refers to it gets its own name after the folder was. The judge is
//! shown each trace again without one of its syncs, and has to notice every time.

#[path = "support/support.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Image, Loop, Ran, Repo, can, noise, read, saveos, skip, text, write_at};

const MIB: u64 = 1 << 20;
const CALLS: &str = "trace=openat,open,creat,write,pwrite64,writev,pwritev,ftruncate,fallocate,fdatasync,fsync,rename,\
                     renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,ioctl";

/// Folders in which a name means that the bytes are there.
const NAMED: [&str; 5] = ["packs", "snapshots", "keys", "checkpoints", "dead"];

/// A system call that succeeded, with the paths it is about: of its descriptor, or its arguments.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    paths: Vec<String>,
    arguments: String,
}

/// Runs a command under strace; its calls in the order in which their effects may be relied on.
fn traced(command: &Command) -> Vec<Call> {
    let home = tempfile::tempdir().expect("a scratch folder");
    let log = home.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-s", "0", "-e", "signal=none", "-e", CALLS, "-o", text(&log)]);
    strace.arg(command.get_program()).args(command.get_args()).env_remove("SAVEOS_REPO");
    Ran::of(&mut strace).exits(0);
    calls_of(&String::from_utf8_lossy(&read(&log)))
}

fn calls_of(log: &str) -> Vec<Call> {
    let mut begun: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let (process, rest) = line.split_once(' ').expect("a process number");
        let rest = rest.trim_start();
        if let Some(first) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(process, first);
            // A sync counts when it has returned; all else may take effect as soon as it is called.
            if !is_sync(first) {
                calls.extend(call_of(&format!("{first}) = 0")));
            }
        } else if rest.contains(" resumed>") {
            let first = begun.remove(process).expect("it was begun");
            if is_sync(first) {
                let (_, second) = rest.split_once("resumed>").expect("it resumes");
                calls.extend(call_of(&format!("{first}{second}")));
            }
        } else {
            calls.extend(call_of(rest));
        }
    }
    calls
}

fn is_sync(call: &str) -> bool {
    call.starts_with("fsync(") || call.starts_with("fdatasync(")
}

/// `renameat2(AT_FDCWD</cwd>, "a", …) = 0`. A call that failed did nothing.
fn call_of(line: &str) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(") ")?;
    if result.trim_start().starts_with("= -1") {
        return None;
    }
    let mut paths: Vec<String> = arguments.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    // The path of the first descriptor, where it is one: `9</repo/tmp/x>`.
    let descriptor = arguments.split_once('<').filter(|(number, _)| number.parse::<u32>().is_ok());
    paths.extend(descriptor.and_then(|(_, path)| path.split(['>', '<']).next()).map(str::to_owned));
    Some(Call { name: name.to_owned(), paths, arguments: arguments.to_owned() })
}

/// A path within the repository: its first folder and the folder it lies in.
fn place<'p>(repo: &Path, path: &'p str) -> Option<(&'p str, &'p str)> {
    let inside = path.strip_prefix(text(repo))?.strip_prefix('/')?;
    let area = inside.split('/').next()?;
    Some((area, path.rsplit_once('/')?.0))
}

/// What a trace names and removes, when everything was synced in time.
#[derive(Debug, Default)]
struct Judged {
    named: Vec<String>,
    removed: Vec<String>,
}

impl Judged {
    fn count(&self, area: &str) -> usize {
        self.named.iter().filter(|name| *name == area).count()
    }
}

fn judge(repo: &Path, calls: &[Call]) -> Result<Judged, String> {
    let (mut unsynced, mut synced, mut pending) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut judged = Judged::default();
    for call in calls {
        let Some(path) = call.paths.first().map(String::as_str) else { continue };
        match call.name.as_str() {
            "fsync" | "fdatasync" => {
                unsynced.remove(path);
                pending.remove(path);
                synced.insert(path);
            }
            "write" | "pwrite64" | "writev" | "pwritev" | "ftruncate" | "fallocate" => {
                if place(repo, path).is_some_and(|(area, _)| NAMED.contains(&area)) {
                    return Err(format!("{path} is written to under its name"));
                }
                unsynced.insert(path);
            }
            "rename" | "renameat" | "renameat2" => {
                let to = call.paths.get(1).map_or("", String::as_str);
                let Some((area, folder)) = place(repo, to).filter(|(area, _)| NAMED.contains(area)) else { continue };
                if unsynced.contains(path) || !synced.contains(path) {
                    return Err(format!("{to} got its name before its bytes were synced"));
                }
                // A pack refers to nothing. A record refers to packs, a dead list's leases to the list.
                if !pending.is_empty() && area != "packs" {
                    return Err(format!("{to} got its name while that of others was not synced: {pending:?}"));
                }
                if area == "packs" && judged.named.iter().any(|area| area == "snapshots") {
                    return Err(format!("{to} came after the snapshot"));
                }
                pending.insert(folder);
                judged.named.push(area.to_owned());
            }
            "mkdir" | "mkdirat" => {
                // Also those above the repository: without them there is none.
                let named = place(repo, path).is_none_or(|(area, _)| NAMED.contains(&area));
                let holder = path.rsplit_once('/').map_or(".", |(holder, _)| holder);
                if named && (place(repo, path).is_some() || repo.starts_with(path)) {
                    pending.insert(holder);
                }
            }
            "unlink" | "unlinkat" => {
                let Some((area, folder)) = place(repo, path).filter(|(area, _)| NAMED.contains(area)) else { continue };
                // Deleting may rely on what was named before, and forgetting a dead list on what was deleted.
                if !pending.is_empty() && (area != "packs" || judged.removed.is_empty()) {
                    return Err(format!("{path} was removed while the names of others were not synced: {pending:?}"));
                }
                pending.insert(folder);
                judged.removed.push(area.to_owned());
            }
            _ => {}
        }
    }
    if pending.is_empty() { Ok(judged) } else { Err(format!("never synced: {pending:?}")) }
}

/// Judges a command; then again without each of its syncs that matter, which must be noticed.
#[track_caller]
fn syncs_in_time(repo: &Repo, command: &Command) -> Judged {
    let calls = traced(command);
    let judged = judge(&repo.path(), &calls).unwrap_or_else(|broken| panic!("{command:?}: {broken}"));
    let mut missed = 0;
    for (at, call) in calls.iter().enumerate().filter(|(_, call)| is_sync(&format!("{}(", call.name))) {
        // The index is a cache and its syncs are SQLite's; a draft that never got a name needs none.
        let path = call.paths.first().map_or("", String::as_str);
        let named =
            |call: &Call| call.name.starts_with("rename") && call.paths.first().is_some_and(|from| from == path);
        let matters = match place(&repo.path(), path) {
            Some(("tmp", _)) => calls[at..].iter().any(named),
            Some((area, _)) => NAMED.contains(&area),
            None => false,
        };
        if matters {
            // Of two packs whose names happen to lie in one folder, the sync of the second covers the first: then both go.
            let in_packs = matches!(place(&repo.path(), path), Some(("packs", _)));
            let stays = |call: &&Call| !(in_packs && call.name == calls[at].name && call.paths == calls[at].paths);
            let rest: Vec<Call> = calls[at + 1..].iter().filter(stays).cloned().collect();
            let without = [&calls[..at], &rest].concat();
            assert!(judge(&repo.path(), &without).is_err(), "nobody notices that the sync of {path} is gone");
            missed += 1;
        }
    }
    assert!(missed >= 2 * judged.named.len(), "{missed} syncs for {judged:?}");
    judged
}

#[test]
fn the_snapshot_is_written_last() {
    if let Err(missing) = can(&["strace"]) {
        skip!("{missing}");
    }
    let (repo, disk) = (Repo::new(), Image::blank(68 * MIB));
    write_at(&disk.path(), 0, &noise(1, 67 << 20));
    // More than one pack of data, one of metadata, the record.
    let backup = ["backup", &disk.text(), "--name", "disk"];
    let first = syncs_in_time(&repo, &repo.command(&backup));
    assert!(first.count("packs") >= 3 && first.count("snapshots") == 1, "{first:?}");
    assert_eq!(first.named.last().map(String::as_str), Some("snapshots"));

    let key = repo.beside("another key");
    let added = syncs_in_time(&repo, &repo.command(&["key", "add", "--device", text(&key)]));
    assert_eq!(added.named, ["keys"]);

    // Most of the first pack goes: prune writes what is left anew, lists the old one, and deletes it the next time.
    write_at(&disk.path(), 0, &noise(2, 40 << 20));
    let old = repo.json(&["show", "latest"]).exits(0).last("snapshot")["id"].as_str().expect("an id").to_owned();
    syncs_in_time(&repo, &repo.command(&backup));
    let forgotten = syncs_in_time(&repo, &repo.command(&["forget", &old]));
    assert_eq!(forgotten.removed, ["snapshots"]);
    let listed = syncs_in_time(&repo, &repo.command(&["prune"]));
    assert!(listed.count("packs") > 0 && listed.count("dead") == 2 && listed.removed.is_empty(), "{listed:?}");
    let deleted = syncs_in_time(&repo, &repo.command(&["prune"]));
    assert!(deleted.removed.iter().any(|area| area == "packs"), "{deleted:?}");
    repo.json(&["verify"]).exits(0);
}

#[test]
fn folders_have_durable_names_before_anything_lies_in_them() {
    if let Err(missing) = can(&["strace"]) {
        skip!("{missing}");
    }
    // A copy by a tool that leaves empty folders out.
    let (repo, disk) = (Repo::new(), Image::blank(2 * MIB));
    write_at(&disk.path(), 0, &noise(4, 1 << 20));
    for folder in ["packs", "snapshots", "checkpoints", "dead", "tmp"] {
        std::fs::remove_dir_all(repo.path().join(folder)).expect("an empty folder");
    }
    std::fs::create_dir(repo.path().join("packs")).expect("a folder");
    let made = syncs_in_time(&repo, &repo.command(&["backup", &disk.text()]));
    assert_eq!(made.count("snapshots"), 1);

    // A new repository, two folders deep, named from where the person stands.
    let new = repo.beside("shelf/box/repository");
    let mut init = saveos();
    init.arg("init").arg(&new).arg("--key-file").arg(repo.key());
    let calls = traced(&init);
    judge(&new, &calls).unwrap_or_else(|broken| panic!("{broken}"));
    for holder in [repo.beside(""), repo.beside("shelf"), repo.beside("shelf/box"), new.clone(), new.join("packs")] {
        let holder = text(&holder).trim_end_matches('/').to_owned();
        let without = calls.iter().filter(|call| !(call.name == "fsync" && call.paths[0] == holder));
        assert!(
            judge(&new, &without.cloned().collect::<Vec<_>>()).is_err(),
            "nobody notices that {holder} is not synced"
        );
    }
}

/// Questions that a disk may be asked: how long, how large are its sectors, is it read-only.
const QUESTIONS: [&str; 5] = ["BLKGETSIZE64", "BLKGETSIZE", "BLKSSZGET", "BLKPBSZGET", "BLKROGET"];

/// The source is opened to read alone, and asked nothing that could change it.
#[track_caller]
fn is_only_read(source: &str, command: &Command) {
    let calls = traced(command);
    let about: Vec<&Call> = calls.iter().filter(|call| call.paths.iter().any(|path| path == source)).collect();
    let opened = about.iter().filter(|call| call.name.starts_with("open")).count();
    assert!(opened > 0, "{source} was never opened");
    for call in about {
        let harmless = match call.name.as_str() {
            "openat" | "open" => {
                let flags = call.arguments.rsplit(", ").next().unwrap_or_default();
                flags.split('|').any(|flag| flag == "O_RDONLY")
                    && !["O_RDWR", "O_WRONLY", "O_CREAT", "O_TRUNC"].iter().any(|flag| call.arguments.contains(flag))
            }
            "ioctl" => QUESTIONS.iter().any(|question| call.arguments.contains(&format!(", {question},"))),
            _ => false,
        };
        assert!(harmless, "{call:?}");
    }
}

#[test]
fn a_source_disk_is_never_written() {
    if let Err(missing) = can(&["strace", "losetup", "mke2fs", "/dev/loop-control"]) {
        skip!("{missing}");
    }
    let image = Image::blank(8 * MIB);
    support::tool(&["mke2fs", "-q", "-F", "-t", "ext4", &image.text()]);
    write_at(&image.path(), 6 * MIB, &noise(3, 1 << 20));
    let before = blake3::hash(&image.bytes());
    let repo = Repo::new();
    let plan = |source: &str| {
        let mut command = saveos();
        command.args(["plan", source]);
        command
    };
    is_only_read(&image.text(), &repo.command(&["backup", &image.text()]));
    is_only_read(&image.text(), &plan(&image.text()));
    assert_eq!(blake3::hash(&image.bytes()), before);
    // A disk that could be written: nothing but our own care keeps it as it is.
    let device = Loop::new(&image.path(), &[]).expect("a loop device");
    is_only_read(&device.0, &repo.command(&["backup", &device.0]));
    is_only_read(&device.0, &plan(&device.0));
    assert_eq!(blake3::hash(&read(&PathBuf::from(&device.0))), before);
    drop(device);
    assert_eq!(blake3::hash(&image.bytes()), before);
}
