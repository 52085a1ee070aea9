//! Promise: should somebody take the daemon over, systemd leaves little to take: an exposure of at most 2.0 out of 10.

use std::path::Path;
use std::process::Command;

#[test]
fn the_unit_is_exposed_by_two_of_ten_at_most() {
    let analyze = Path::new("/usr/bin/systemd-analyze");
    if !analyze.exists() {
        println!("SKIPPED: no systemd-analyze");
        return;
    }
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("saveosd.service");
    let judged = |threshold: &str| {
        let mut command = Command::new(analyze);
        command.args(["--no-pager", "security", "--offline=true", threshold]).arg(&unit);
        command.output().expect("it starts")
    };
    let output = judged("--threshold=20");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Overall exposure level for saveosd.service"), "{said}");
    assert!(output.status.success(), "{said}");
    assert!(!judged("--threshold=1").status.success(), "the judge can say no");
}
