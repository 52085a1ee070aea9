//! `saveos status`, `jobs` and `disks` are answered by the `saveosd` that is installed with it.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// `saveos` in a folder of its own, where nothing else is installed.
fn saveos(folder: &Path, arguments: &[&str]) -> Output {
    let program = folder.join("saveos");
    if !program.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_saveos"), &program).expect("room");
    }
    Command::new(program).args(arguments).env("PATH", "/usr/bin:/bin").output().expect("it starts")
}

/// A daemon that says what it was asked, and ends as one that refuses.
fn install(folder: &Path) {
    let mut daemon = std::fs::File::options();
    let mut daemon = daemon.write(true).create_new(true).mode(0o755).open(folder.join("saveosd")).expect("room");
    daemon.write_all(b"#!/bin/sh\necho \"$@\"\nexit 1\n").expect("room");
}

/// One test: a program that another thread is about to start must not be open for writing.
#[test]
fn what_is_asked_reaches_the_daemon_and_its_answer_is_ours() {
    let folder = tempfile::tempdir().expect("room");
    let alone = saveos(folder.path(), &["status"]);
    let said = String::from_utf8_lossy(&alone.stderr);
    assert!(said.contains("no saveosd is installed here"), "{said}");
    assert_eq!(alone.status.code(), Some(1));

    install(folder.path());
    for (asked, heard) in [
        (&["status"][..], "status\n"),
        (&["status", "--qr", "--socket", "/run/s.sock"], "status --socket /run/s.sock --qr\n"),
        (&["jobs", "--json"], "jobs --json\n"),
        (&["--json", "disks", "--socket", "a b"], "disks --socket a b --json\n"),
    ] {
        let output = saveos(folder.path(), asked);
        assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), output.status.code()), (heard, Some(1)));
    }
}
