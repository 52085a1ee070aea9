//! Three boxes in two rings. A good release goes through both by itself; it is taken back while no bundle can be fetched, so what starts
//! again was in the other slots; a rotten one halts in the first ring, and the boxes of the other were never offered it.

use super::enrol::join;
use super::releases::Releases;
use crate::bench::Bench;
use crate::control_plane::ControlPlane;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// A rollout of three boxes, emulated at once beside other work.
const JUDGED: Duration = Duration::from_secs(900);
/// Until a box has reported what it was born with.
const REPORTED: Duration = Duration::from_secs(60);
/// As [`super::releases::TRIAL`], for boxes that share this machine.
const TRIAL: (u64, u64) = (240, 300);

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let mut control = ControlPlane::start(bench)?;
    let mut releases = Releases::of(bench, images)?;
    std::os::unix::fs::symlink(releases.served(""), control.releases())?;
    let (mut second, mut third) = (bench.neighbour()?, bench.neighbour()?);
    let mut boxes = Vec::new();
    for bench in [bench, second.as_mut(), third.as_mut()] {
        bench.flash(&images.join("disk.img"))?;
        boxes.push(join(bench, &mut control, Some(TRIAL))?.path);
    }
    let first = running(&control, &boxes[0])?;
    for (bundle, release) in [("first", first.as_str()), ("good", "2.0.0"), ("rotten", "3.3.0")] {
        releases.publish(&bundle_of(images, bundle)?, release, 24)?;
    }

    let began = Instant::now();
    let good = begin(&control, "2.0.0")?;
    until(&mut control, "the good release is through", &good, |rollout| rollout["state"] == "finished")?;
    let through = began.elapsed();
    let rollout = control.ask(&good, None)?;
    let rings = rollout["rings"].as_array().context("rings")?;
    let counts = |ring: &Value| [ring["offered"].as_u64(), ring["passed"].as_u64()];
    ensure!(rings.iter().map(counts).eq([[Some(1); 2], [Some(2); 2]]), "{rollout}");
    all_run(&mut control, &boxes, "2.0.0")?;

    // Whoever would fetch one now fails.
    let (there, aside) = (releases.served("targets"), releases.served("aside"));
    move_folder(&there, &aside)?;
    let began = Instant::now();
    control.patch(&good, &json!({ "change": "halt" }))?;
    control.patch(&good, &json!({ "change": "roll_back" }))?;
    let back = json!({ "told": 3, "back": 3, "failed": 0, "stay": 0 });
    until(&mut control, "all are back", &good, |rollout| rollout["recall"] == back)?;
    let back = began.elapsed();
    all_run(&mut control, &boxes, &first)?;
    move_folder(&aside, &there)?;

    let began = Instant::now();
    let bad = begin(&control, "3.3.0")?;
    let rollout = until(&mut control, "the rotten release halts", &bad, |rollout| rollout["state"] == "halted")?;
    let halted = began.elapsed();
    ensure!(counts(&rollout["rings"][0]) == [Some(1), Some(0)] && rollout["rings"][0]["failed"] == 1, "{rollout}");
    ensure!(rollout["rings"][1]["opened_ms"].is_null() && rollout["rings"][1]["offered"] == 0, "{rollout}");
    all_run(&mut control, &boxes, &first)?;
    let mut tried = 0;
    for path in &boxes {
        let said = control.ask(&format!("{path}/reported"), None)?;
        tried += u32::from(said["reported"]["firmware"]["update"]["release"] == "3.3.0");
    }
    ensure!(tried == 1, "{tried} boxes heard of it");
    let because = rollout["because"][0].as_str().context("why it halted")?.to_owned();
    Ok(format!(
        "a good release went through both rings in {:.0} s; all three were back on {first} {:.0} s after it was taken back, \
         while no bundle could be fetched; a rotten one halted after {:.0} s with one box that tried it and was back ({because})",
        through.as_secs_f64(),
        back.as_secs_f64(),
        halted.as_secs_f64()
    ))
}

#[expect(clippy::disallowed_methods, reason = "nothing of a bench has to survive a power cut of this machine")]
fn move_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(from, to)
}

/// The image itself as a bundle is called after its version.
fn bundle_of(images: &Path, name: &str) -> anyhow::Result<std::path::PathBuf> {
    if name != "first" {
        return Ok(images.join(format!("{name}.raucb")));
    }
    let all = std::fs::read_dir(images)?.filter_map(|entry| Some(entry.ok()?.path()));
    let versioned = |path: &std::path::PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("saveos-") && name.ends_with(".raucb")
    };
    all.filter(versioned).last().context("the image has no bundle beside it")
}

/// Two rings of three boxes: one, and all. One that fails where nobody usually does is enough.
fn begin(control: &ControlPlane, release: &str) -> anyhow::Result<String> {
    let ring = |name: &str, up_to: u32| {
        json!({
            "name": name, "up_to": up_to, "minimum": 1, "spread_s": 1, "soak_s": 5, "worst": 200_000, "approval": false,
        })
    };
    let policy = json!({
        "rings": [ring("first", 10_000), ring("all", 1_000_000)],
        "usual_failures": 100, "usual_silence": 100, "false_halts": 9_500, "in_flight": 100,
        "suspected_after_s": 1_800, "lost_after_s": 7_200,
    });
    let made = control.ask("/api/v1/rollouts", Some(&json!({ "release": release, "policy": policy })))?;
    Ok(format!("/api/v1/rollouts/{}", made["id"].as_str().context("an id")?))
}

fn until(control: &mut ControlPlane, what: &str, path: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let look = |control: &ControlPlane| {
        let rollout = control.ask(path, None)?;
        Ok(is(&rollout).then_some(rollout))
    };
    control.until_within(JUDGED, what, look)
}

/// What a box said last that it runs.
fn running(control: &ControlPlane, path: &str) -> anyhow::Result<String> {
    let said = control.ask(&format!("{path}/reported"), None)?;
    said["reported"]["firmware"]["release"].as_str().map(str::to_owned).context("a release")
}

/// What boxes report follows the birth of their session by a moment, and by the birth they are counted.
fn all_run(control: &mut ControlPlane, boxes: &[String], release: &str) -> anyhow::Result<()> {
    for path in boxes {
        let look = |control: &ControlPlane| Ok((running(control, path)? == release).then_some(()));
        control.until_within(REPORTED, &format!("{path} runs {release}"), look)?;
    }
    Ok(())
}
