//! Releases that are signed and bad: each ends on the slot before, with its reason, and is not tried again.

use super::releases::{Releases, TRIAL, firmware, is_at, offer};
use crate::bench::Bench;
use anyhow::{Context, ensure};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(90);
/// Fetched, installed and started.
const STARTED: Duration = Duration::from_secs(400);
/// Three tries, or as long as a trial lasts.
const BACK: Duration = Duration::from_secs(600);

/// A release as `cargo xtask hil` makes it, and what becomes of it.
struct Bad {
    name: &'static str,
    release: &'static str,
    reason: &'static str,
    /// So often it is started.
    starts: usize,
}

const ALL: &[Bad] = &[
    Bad { name: "panics", release: "3.0.0", reason: "not_started", starts: 3 },
    Bad { name: "daemonless", release: "3.1.0", reason: "unhealthy", starts: 1 },
    Bad { name: "crashes", release: "3.2.0", reason: "unhealthy", starts: 1 },
    Bad { name: "rotten", release: "3.3.0", reason: "not_started", starts: 1 },
    Bad { name: "blind", release: "3.4.0", reason: "unhealthy", starts: 1 },
];
/// Hangs after the watchdog is armed. What hangs before that is not covered: nothing feeds or fears a watchdog then.
const HANGS: &[Bad] = &[Bad { name: "hangs", release: "3.5.0", reason: "unhealthy", starts: 3 }];

/// Long enough for it to hang before it is found healthy.
const LONG: (u64, u64) = (900, 1200);

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    // Each takes minutes: somebody who mends one names it.
    let named = std::env::var("SAVEOS_HIL_RELEASES").ok();
    let chosen: Vec<&Bad> = ALL
        .iter()
        .filter(|bad| named.as_deref().is_none_or(|named| named.split(',').any(|name| name == bad.name)))
        .collect();
    all_end_on_the_slot_before(bench, images, &chosen, TRIAL)
}

pub(super) fn hang(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    all_end_on_the_slot_before(bench, images, &HANGS.iter().collect::<Vec<_>>(), LONG)
}

fn all_end_on_the_slot_before(
    bench: &mut dyn Bench,
    images: &Path,
    all: &[&Bad],
    trial: (u64, u64),
) -> anyhow::Result<String> {
    let mut releases = Releases::of(bench, images)?;
    releases.publish(&images.join("good.raucb"), "2.0.0", 24)?;
    releases.start_box(bench, images, trial)?;
    let mut told = Vec::new();
    for bad in all {
        releases.publish(&images.join(format!("{}.raucb", bad.name)), bad.release, 24)?;
        told.push(ends_on_the_slot_before(bench, bad).with_context(|| bad.name)?);
    }
    Ok(told.join("; "))
}

fn starts(bench: &mut dyn Bench) -> anyhow::Result<usize> {
    Ok(bench.console()?.text().matches("SAVEOS-BOOT slot=B").count())
}

fn ends_on_the_slot_before(bench: &mut dyn Bench, bad: &Bad) -> anyhow::Result<String> {
    let before = starts(bench)?;
    offer(bench, Some(bad.release))?;
    bench.console()?.expect("SAVEOS-BOOT slot=B", STARTED)?;
    let began = Instant::now();
    bench.console()?.expect("SAVEOS-READY slot=A ", BACK)?;
    let took = began.elapsed();
    let ended = firmware(bench, SOON, &|firmware: &Value| is_at(firmware, bad.release, "failed"))?;
    ensure!(ended["slot"] == "good" && ended["update"]["reason"] == bad.reason, "{ended}");
    let tried = starts(bench)? - before;
    ensure!(tried == bad.starts, "it was started {tried} times");
    // It is still offered.
    std::thread::sleep(Duration::from_secs(5));
    firmware(bench, SOON, &|firmware: &Value| is_at(firmware, bad.release, "failed"))?;
    Ok(format!("{}: back after {:.0} s, {} ({})", bad.name, took.as_secs_f64(), bad.reason, ended["update"]["text"]))
}
