//! Holds the rules of Prometheus to what promtool knows, and runs their tests.

use crate::shell::{output, root, run};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) fn check() -> anyhow::Result<()> {
    let folder = root().join("control-plane/deploy/prometheus");
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let promtool = promtool()?.to_string_lossy().into_owned();
    run(&promtool, &["check", "rules", &file("rules.yml")])?;
    run(&promtool, &["check", "config", "--syntax-only", &file("prometheus.yml")])?;
    run(&promtool, &["test", "rules", &file("rules.test.yml")])
}

/// On the path, or out of Debian's package: that is unpacked and not installed, since it would start a server.
fn promtool() -> anyhow::Result<PathBuf> {
    let folder = root().join("target/promtool");
    let program = folder.join("usr/bin/promtool");
    if crate::shell::has("promtool") {
        return Ok("promtool".into());
    }
    if !program.exists() {
        std::fs::create_dir_all(&folder)?;
        println!("fetching promtool");
        download(&folder)?;
        let packages = std::fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let package = packages.filter(|path| path.extension().is_some_and(|end| end == "deb")).last();
        let package = package.context("apt-get fetched no package")?;
        output("dpkg-deb", &["--extract", &package.to_string_lossy(), &folder.to_string_lossy()])?;
    }
    Ok(program)
}

fn download(folder: &Path) -> anyhow::Result<()> {
    let fetch = || Command::new("apt-get").args(["download", "-q", "prometheus"]).current_dir(folder).status();
    // The lists of packages may be old, or none.
    if !fetch()?.success() {
        run("apt-get", &["-q", "update"])?;
        anyhow::ensure!(fetch()?.success(), "apt-get cannot fetch prometheus, of which promtool is a part");
    }
    Ok(())
}
