//! A disk is pulled in the middle of its backup, changed elsewhere, and comes back: what is stored is the disk as it came back, and what
//! was stored before it was pulled is not stored again.

use super::{ready, usb_backup};
use crate::bench::{Bench, Bus};
use crate::source_disk;
use anyhow::{Context, ensure};
use saveos_hal::lights::Glow;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
/// So slow that there is a middle.
const RATE: u64 = 2 << 20;
/// The source holds 5 MiB that do not compress, twice by name; all else is small.
const AT_MOST: u64 = 9 << 20;

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.img");
    source_disk::make(&source)?;
    bench.flash(&images.join("disk.img"))?;
    bench.power_on()?;
    ready(bench, "A")?;
    usb_backup::eager(bench)?;
    let words = usb_backup::write_words_down(bench)?;
    bench.plug_slow(&source, RATE)?;
    until(bench, "a backup runs", |jobs| jobs.iter().any(|job| job["state"] == "running"))?;
    usb_backup::until_shown(bench, "Backing up|", [Glow::Off, Glow::Slow, Glow::Off])?;
    bench.unplug()?;
    let alarm = usb_backup::until_shown(bench, "NEEDS HELP||Unplugged too early:|", [Glow::Off, Glow::Off, Glow::On])?;
    until(bench, "it waits for the disk", |jobs| jobs.iter().all(|job| job["state"] != "running"))?;
    let before = jobs(bench)?;
    ensure!(before.iter().all(|job| job["state"] != "done"), "it was over before the disk was pulled: {before:?}");

    source_disk::change(&source)?;
    let changed = usb_backup::checksum(&source)?;
    bench.plug(Bus::Usb, &source)?;
    let began = Instant::now();
    usb_backup::done(bench, 1)?;
    let took = began.elapsed();
    usb_backup::until_shown(bench, "Safe to unplug||", [Glow::On, Glow::Off, Glow::Off])?;
    let restored = usb_backup::restored(bench, &words)?;
    ensure!(restored == changed, "{restored} came back, not {changed}");
    let size = bench.console()?.run("du -sb /data/saveos/repository/packs | cut -f1", SOON)?;
    let size: u64 = size.parse().with_context(|| format!("du: {size}"))?;
    ensure!(size <= AT_MOST, "{size} bytes are stored");
    bench.power_off()?;
    ensure!(usb_backup::checksum(&source)? == changed, "the customer's disk was changed");
    Ok(format!(
        "called for help {:.1} s after it was pulled; backed up {:.1} s after it came back, as it came back; {size} bytes are \
         stored",
        alarm.as_secs_f64(),
        took.as_secs_f64()
    ))
}

fn jobs(bench: &mut dyn Bench) -> anyhow::Result<Vec<Value>> {
    // A daemon that has just been restarted answers a moment later.
    let answer = bench.console()?.run("saveosd jobs --json || true", SOON)?;
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    Ok(answer["jobs"].as_array().cloned().unwrap_or_default())
}

fn until(bench: &mut dyn Bench, what: &str, is: impl Fn(&[Value]) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let now = jobs(bench)?;
        if is(&now) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "never: {what}; {now:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
