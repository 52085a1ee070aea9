//! A repository on a medium that cannot be written (a write-protected disk, a mounted copy) lists, verifies, restores and
//! serves files; what would write says that it cannot, and nothing on the medium changes.

#[path = "support/support.rs"]
mod support;

use std::path::Path;
use std::process::Command;
use support::{Image, Loop, Ran, Repo, can, noise, read, saveos, skip, text, tool, write};

const MIB: u64 = 1 << 20;

/// Something mounted on a folder.
struct Mounted {
    at: tempfile::TempDir,
}

impl Mounted {
    fn new(device: &str, options: &str) -> Mounted {
        let at = tempfile::tempdir().expect("a folder");
        tool(&["mount", "-o", options, device, text(at.path())]);
        Mounted { at }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        tool(&["umount", text(self.at.path())]);
    }
}

#[test]
fn a_read_only_repository_opens_and_restores() {
    if let Err(missing) = can(&["mke2fs", "mount", "/dev/loop-control"]) {
        skip!("{missing}");
    }
    let (repo, source) = (Repo::new(), Image::blank(8 * MIB));
    write(&source.path(), &noise(1, 8 << 20));
    repo.backup(&source.path(), "disk");

    let medium = Image::blank(160 * MIB);
    tool(&["mke2fs", "-q", "-F", "-t", "ext4", &medium.text()]);
    {
        let device = Loop::new(&medium.path(), &[]).expect("a loop device");
        let mounted = Mounted::new(&device.0, "rw");
        tool(&["cp", "-a", text(&repo.path()), text(&mounted.at.path().join("repo"))]);
    }
    let before = blake3::hash(&medium.bytes());
    {
        let device = Loop::new(&medium.path(), &["-r"]).expect("a loop device");
        let mounted = Mounted::new(&device.0, "ro,noload");
        let run = |arguments: &[&str]| at(&mounted.at.path().join("repo"), &repo.key(), arguments);
        assert_eq!(run(&["snapshots", "--json"]).exits(0).objects().len(), 1);
        assert_eq!(run(&["verify", "--json"]).exits(0).last("verified")["problems"], 0);
        let restored = repo.beside("restored");
        run(&["restore", "latest", text(&restored)]).exits(0);
        assert!(read(&restored) == source.bytes());
        let refused = run(&["backup", &source.text()]).exits(1);
        assert!(refused.err.contains("lease file"), "{}", refused.err);
        run(&["prune"]).exits(1);
    }
    assert_eq!(blake3::hash(&medium.bytes()), before, "the medium was written to");
}

fn at(repository: &Path, key: &Path, arguments: &[&str]) -> Ran {
    let mut command: Command = saveos();
    Ran::of(command.args(arguments).arg("--repo").arg(repository).arg("--key-file").arg(key))
}
