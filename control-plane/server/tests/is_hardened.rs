//! Promise: should somebody take the control plane over, systemd leaves little beside its own folder: an exposure of at most 1.5 of 10.

use std::path::Path;
use std::process::{Command, Output};

fn judged(unit: &Path, threshold: &str) -> Output {
    let words = ["--no-pager", "security", "--offline=true", threshold];
    Command::new("/usr/bin/systemd-analyze").args(words).arg(unit).output().expect("it starts")
}

#[test]
fn the_units_of_the_control_plane_are_exposed_little() {
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        println!("SKIPPED: no systemd-analyze");
        return;
    }
    for name in ["saveos-server.service", "saveos-server-backup.service"] {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name);
        let output = judged(&unit, "--threshold=15");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(&format!("Overall exposure level for {name}")), "{said}");
        assert!(!judged(&unit, "--threshold=1").status.success(), "the judge can say no");
    }
}
