//! Promise: the exit code tells how a command ended, also when nobody reads what it prints.

#[path = "support/support.rs"]
mod support;

use std::process::{Command, Stdio};
use support::{Image, Repo, noise, saveos, text, write_at};

/// A pipe whose reader has gone.
fn broken() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn unread(command: &mut Command) -> Option<i32> {
    command.stdout(broken()).stderr(broken()).status().expect("it starts").code()
}

#[test]
fn a_backup_goes_on_and_tells_how_it_ended() {
    let repo = Repo::new();
    let image = Image::blank(4 << 20);
    write_at(&image.path(), 4096, &noise(7, 3 << 20));
    let path = image.path();
    let words = ["backup", text(&path), "--name", "disk"];
    assert_eq!(unread(&mut repo.command(&words)), Some(0));
    assert_eq!(unread(repo.command(&words).arg("--json")), Some(0));
    assert_eq!(repo.json(&["snapshots"]).exits(0).objects().len(), 2);
    // It prints what it will forget before it forgets.
    assert_eq!(unread(repo.command(&["forget", "--keep-last", "1"]).arg("--json")), Some(0));
    assert_eq!(repo.json(&["snapshots"]).exits(0).objects().len(), 1);
}

#[test]
fn failures_stay_failures() {
    let repo = Repo::new();
    assert_eq!(unread(&mut repo.command(&["backup", "/no/such/disk"])), Some(1));
    assert_eq!(unread(&mut repo.command(&["show", "nonsense"])), Some(1));
    assert_eq!(unread(repo.command(&["show", "nonsense"]).arg("--json")), Some(1));
    assert_eq!(unread(&mut repo.command(&["verify"])), Some(0));
    // What verify finds is printed before it ends.
    let image = Image::blank(2 << 20);
    write_at(&image.path(), 4096, &noise(8, 1 << 20));
    repo.backup(&image.path(), "disk");
    let folders = std::fs::read_dir(repo.path().join("packs")).expect("a folder").flatten();
    let packs = folders.flat_map(|folder| std::fs::read_dir(folder.path()).expect("a folder").flatten());
    for pack in packs {
        write_at(&pack.path(), 1000, b"damaged");
    }
    assert_eq!(unread(&mut repo.command(&["verify"])), Some(1));
    assert_eq!(unread(repo.command(&["verify"]).arg("--json")), Some(1));
}

#[test]
fn words_that_nobody_read_are_not_called_shown() {
    let repo = Repo::new();
    let other = repo.beside("other");
    let mut init = saveos();
    init.arg("init").arg(&other).arg("--key-file").arg(repo.key());
    assert_eq!(unread(&mut init), Some(1));
}
