//! A release is offered and becomes what runs: fetched over a line that breaks all the time, installed, started, found healthy, kept,
//! and confirmed by its first good backup. It stays after the power was cut.

use super::ready;
use super::releases::{Releases, TRIAL, firmware, is_at, offer};
use super::usb_backup::done;
use crate::bench::Bench;
use anyhow::{bail, ensure};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
/// Fetched, installed and started, on a machine that is emulated beside other work.
const STARTED: Duration = Duration::from_secs(400);
/// A minute without a fault is healthy.
const HEALTHY: Duration = Duration::from_secs(150);
/// The line breaks after so much of every answer; more are asked for at once.
const BREAKS: u64 = 3 << 20;

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let mut releases = Releases::of(bench, images)?;
    let bundle = images.join("good.raucb");
    let length = std::fs::metadata(&bundle)?.len();
    releases.publish(&bundle, "2.0.0", 24)?;
    releases.start_box(bench, images, TRIAL)?;
    let before = releases.served.bytes.load(Ordering::Relaxed);
    releases.served.longest.store(BREAKS, Ordering::Relaxed);
    let offered = Instant::now();
    offer(bench, Some("2.0.0"))?;
    bench.console()?.expect("SAVEOS-BOOT slot=B", STARTED)?;
    let fetched = releases.served.bytes.load(Ordering::Relaxed) - before;
    let cut = releases.served.cut.load(Ordering::Relaxed);
    ensure!(cut >= 20, "the line broke {cut} times");
    ensure!(fetched * 100 <= length * 105, "{fetched} bytes were fetched for a bundle of {length}");
    ready(bench, "B")?;
    let started = offered.elapsed();

    let judged = |firmware: &Value| is_at(firmware, "2.0.0", "soaking") || is_at(firmware, "2.0.0", "leaving");
    let healthy = firmware(bench, HEALTHY, &judged)?;
    if !is_at(&healthy, "2.0.0", "soaking") {
        let seen = bench
            .console()?
            .run("saveosd disks; ls -l /dev/sd*; journalctl -u saveosd --no-pager -q -n 12 | cut -c1-300", SOON)?;
        bail!("{healthy}\n{seen}");
    }
    ensure!(healthy["slot"] == "good" && healthy["release"] == "2.0.0", "{healthy}");
    let kept = offered.elapsed();
    let disk = "$(saveosd disks --json | sed 's/.*\"id\":\"\\(disk-[0-9a-z]*\\)\".*/\\1/')";
    bench.console()?.run(&format!("saveosd backup {disk}"), SOON)?;
    done(bench, 2)?;
    firmware(bench, SOON, &|firmware: &Value| is_at(firmware, "2.0.0", "confirmed"))?;
    let left = bench.console()?.run("ls /data/saveos/update 2>/dev/null | wc -l", SOON)?;
    ensure!(left.trim().ends_with('0'), "the bundle is still there: {left}");

    bench.power_off()?;
    bench.power_on()?;
    ready(bench, "B")?;
    Ok(format!(
        "{length} bytes over a line that broke {cut} times: {:.3} of them fetched; started {:.0} s after the offer, kept after {:.0} s",
        fetched as f64 / length as f64,
        started.as_secs_f64(),
        kept.as_secs_f64()
    ))
}
