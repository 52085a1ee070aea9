//! The row of docs/FORMAT.md §9 that only one process may be in: prune, forget, repair and changes of keys refuse each other
//! and name who is at work. Everybody else goes on.

#[path = "support/support.rs"]
mod support;

use saveos_engine::lease::{self, LeaseKind};
use support::{Image, Repo, noise, text, write};

#[test]
fn one_sweeper_at_a_time_and_everybody_else_together() {
    let (repo, source) = (Repo::new(), Image::blank(1 << 20));
    write(&source.path(), &noise(1, 1 << 20));
    repo.backup(&source.path(), "disk");
    let (new, slots) = (repo.beside("new key"), repo.json(&["key", "list"]).exits(0).objects().len());
    let sweep: [&[&str]; 7] = [
        &["prune"],
        &["prune", "--dry-run"],
        &["forget", "--keep-last", "1"],
        &["repair", "index"],
        &["repair", "snapshots"],
        &["key", "add", "--device", text(&new)],
        &["key", "remove", "0011223344556677"],
    ];
    // In the place of another process: a lease is an open file, whoever holds it.
    let held = lease::take(&repo.path().join("locks"), LeaseKind::Sweeper, "this boot").expect("nobody has it");
    for arguments in sweep {
        repo.run(arguments).refuses(&format!("sweeper, process {} (boot this boot)", std::process::id()));
    }
    assert!(!new.exists(), "a key file for a key that was not added");
    assert_eq!(repo.json(&["key", "list"]).exits(0).objects().len(), slots);
    repo.backup(&source.path(), "disk");
    repo.run(&["verify"]).exits(0);
    repo.run(&["restore", "latest", "-"]).exits(0);
    drop(held);
    for arguments in &sweep[..6] {
        repo.run(arguments).exits(0);
    }
}
