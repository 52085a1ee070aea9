//! The control plane offers releases and serves them. One whose root does not match its proof ends where it began, and the control plane
//! knows why; one that works is offered in its place, started, kept, and confirmed by a backup that was asked for from afar.

use super::enrol::{ask, join};
use super::ready;
use super::releases::{Releases, TRIAL};
use crate::bench::{Bench, Bus};
use crate::control_plane::ControlPlane;
use crate::source_disk;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Fetched, installed, started and judged, on a machine that is emulated beside other work.
const JUDGED: Duration = Duration::from_secs(500);

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let mut control = ControlPlane::start(bench)?;
    let mut releases = Releases::of(bench, images)?;
    std::os::unix::fs::symlink(releases.served(""), control.releases())?;
    releases.publish(&images.join("rotten.raucb"), "3.3.0", 24)?;
    releases.publish(&images.join("good.raucb"), "2.0.0", 24)?;
    let source = releases.folder.path().join("source.img");
    source_disk::make(&source)?;
    bench.flash(&images.join("disk.img"))?;
    let path = join(bench, &mut control, Some(TRIAL))?.path;
    bench.plug(Bus::Usb, &source)?;
    let disk = control.until("a recovery point", |control| {
        let seen = control.ask(&path, None)?;
        Ok(seen["disks"].as_array().into_iter().flatten().find(|disk| !disk["newest_ms"].is_null()).cloned())
    })?;

    let offered = Instant::now();
    let bad = offer(&mut control, &path, "3.3.0", "failed")?;
    let left = offered.elapsed();
    ensure!(bad["slot"] == "good" && bad["release"] != "3.3.0", "{bad}");
    let why = bad["update"]["text"].as_str().context("why it was left")?.to_owned();
    ensure!(bad["update"]["reason"] == "not_started", "{bad}");

    let offered = Instant::now();
    offer(&mut control, &path, "2.0.0", "soaking")?;
    ready(bench, "B")?;
    ask(&mut control, &path, &json!({ "type": "start_backup", "args": { "disk": disk["id"] } }))?;
    let good = at(&mut control, &path, "2.0.0", "confirmed")?;
    let kept = offered.elapsed();
    ensure!(good["slot"] == "good" && good["release"] == "2.0.0", "{good}");
    Ok(format!(
        "a rotten release was left after {:.0} s ({why}), as the control plane knows; a good one was confirmed {:.0} s after its \
         offer",
        left.as_secs_f64(),
        kept.as_secs_f64()
    ))
}

/// Offers a release; what the control plane knows of the box's system when its update has come so far.
fn offer(control: &mut ControlPlane, path: &str, release: &str, state: &str) -> anyhow::Result<Value> {
    control.put(&format!("{path}/release"), &json!({ "release": release }))?;
    at(control, path, release, state)
}

fn at(control: &mut ControlPlane, path: &str, release: &str, state: &str) -> anyhow::Result<Value> {
    control.until_within(JUDGED, &format!("{release} is {state}"), |control| {
        let said = control.ask(&format!("{path}/reported"), None)?;
        let firmware = said["reported"]["firmware"].clone();
        let update = &firmware["update"];
        let over =
            update["release"] == release && ["failed", "confirmed"].contains(&update["state"].as_str().unwrap_or(""));
        ensure!(!over || update["state"] == state, "{release} is not {state}: {firmware}");
        Ok((update["release"] == release && update["state"] == state).then_some(firmware))
    })
}
