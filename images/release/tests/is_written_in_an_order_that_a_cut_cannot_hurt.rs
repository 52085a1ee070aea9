//! What is published lies on the disk before what points to it: each file is flushed, gets its name, and its folder is flushed, before the
//! next begins. As the kernel sees it (`strace`).

use std::process::Command;

mod support;
use support::workshop;

#[test]
fn every_file_is_on_the_disk_before_what_points_to_it() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIPPED: no strace");
        return;
    }
    let Some(workshop) = workshop() else { return };
    workshop.root();
    workshop.release("1.0.0", None, "");
    let publish = workshop.online("publish", "served", "1.json", "--file 1.0.0.raucb targets-1.0.0.json");
    let out = Command::new("strace")
        .args(["-f", "-y", "-s", "4096", "-o", "calls", "-e", "trace=rename,renameat,renameat2,fsync,fdatasync"])
        .arg(env!("CARGO_BIN_EXE_saveos-release"))
        .args(publish.split_whitespace())
        .current_dir(workshop.path(""))
        .output();
    assert!(out.expect("it runs").status.success());
    let calls = std::fs::read_to_string(workshop.path("calls")).expect("a trace");
    let served = workshop.path("served").canonicalize().expect("it is there").display().to_string();
    let calls: Vec<(bool, String)> = calls.lines().filter_map(|line| call(line, &served)).collect();
    let named: Vec<&str> = calls.iter().filter(|(renames, _)| *renames).map(|(_, path)| path.as_str()).collect();
    let kind = |path: &str| {
        path.rsplit('/').next().map(|name| name.rsplit_once("saveos-").map_or(name, |_| "bundle").to_owned())
    };
    let order: Vec<String> = named.iter().filter_map(|path| kind(path)).collect();
    assert_eq!(order, ["bundle", "1.targets.json", "1.root.json", "1.snapshot.json", "timestamp.json"]);

    for (at, (renames, path)) in calls.iter().enumerate() {
        if !renames {
            continue;
        }
        let before = calls[..at].iter().rev().take_while(|(renames, _)| !renames);
        assert!(before.clone().any(|(_, flushed)| flushed.starts_with(path.as_str())), "{path} got its name unflushed");
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut after = calls[at + 1..].iter().take_while(|(renames, _)| !renames);
        assert!(after.any(|(_, flushed)| flushed == folder), "the name of {path} was not flushed");
    }
}

/// Whether a line is a rename, and its new path; or the path of a flush.
fn call(line: &str, served: &str) -> Option<(bool, String)> {
    let path =
        if line.contains("sync(") { line.split_once('<')?.1.split_once('>')?.0 } else { line.rsplit('"').nth(1)? };
    path.starts_with(served).then(|| (line.contains("rename"), path.to_owned()))
}
