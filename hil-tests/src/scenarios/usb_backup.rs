//! A disk is plugged in and backed up, by itself; it is what it was, and what comes back with the recovery words is the same, bit for
//! bit.

use super::ready;
use crate::bench::{Bench, Bus};
use crate::source_disk;
use anyhow::{Context, ensure};
use saveos_hal::lights::{Glow, Light};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const BACKED_UP: Duration = Duration::from_secs(90);
/// Whatever is plugged in is backed up.
const POLICY: &str = r#"{"backup": {"on_plug": "backup", "time_zone": "UTC"}, "new_disk": "backup"}"#;

pub(super) fn usb(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    run(bench, images, Bus::Usb)
}

pub(super) fn sata(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    run(bench, images, Bus::Sata)
}

fn run(bench: &mut dyn Bench, images: &Path, bus: Bus) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.img");
    source_disk::make(&source)?;
    let before = checksum(&source)?;
    bench.flash(&images.join("disk.img"))?;
    if bus == Bus::Sata {
        // Its cable is not for pulling.
        bench.plug(bus, &source)?;
    }
    bench.power_on()?;
    ready(bench, "A")?;
    eager(bench)?;
    let words = write_words_down(bench)?;
    if bus == Bus::Usb {
        until_shown(bench, "Ready||Plug a disk in", [Glow::On, Glow::Off, Glow::Off])?;
    }
    let began = Instant::now();
    if bus == Bus::Usb {
        bench.plug(bus, &source)?;
    }
    let job = done(bench, 1)?;
    let took = began.elapsed();

    until_shown(bench, "Safe to unplug||", [Glow::On, Glow::Off, Glow::Off])?;
    let restored = restored(bench, &words)?;
    ensure!(restored == before, "{restored} came back, not {before}; {job}");
    bench.power_off()?;
    ensure!(checksum(&source)? == before, "the customer's disk was changed");
    Ok(format!(
        "backed up {:.1} s after it was plugged in; restored bit for bit; the disk is what it was",
        took.as_secs_f64()
    ))
}

/// Lets the box back up whatever is plugged in.
pub(super) fn eager(bench: &mut dyn Bench) -> anyhow::Result<()> {
    let settings = "echo 'SAVEOSD_OPTIONS=--policy /config/policy.json' >/config/saveosd.env";
    let policy = format!(
        "install -m 0600 -o saveos -g saveos /dev/null /config/policy.json; echo '{POLICY}' >/config/policy.json"
    );
    bench.console()?.run(&format!("{settings}; {policy}; sync; systemctl restart saveosd"), SOON).map(drop)
}

/// Reads the recovery words, and says back the two that are asked.
pub(super) fn write_words_down(bench: &mut dyn Bench) -> anyhow::Result<String> {
    let console = bench.console()?;
    // A daemon that has just been restarted answers a moment later.
    let answer: Value = console.ask("until saveosd words --json 2>/dev/null; do sleep 1; done", SOON)?;
    let words = answer["words"].as_str().context("words")?;
    let word = |at: usize| {
        let number = answer["confirm"][at].as_u64().and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| words.split(' ').nth(number.checked_sub(1)?)).context("a word")
    };
    console.run(&format!("saveosd confirm {} {}", word(0)?, word(1)?), SOON)?;
    Ok(words.to_owned())
}

/// Waits until the panel shows a page that begins so, and its lights glow so: ready, working, help.
pub(super) fn until_shown(bench: &mut dyn Bench, page: &str, glows: [Glow; 3]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    loop {
        let seen = bench.panel()?;
        let shown = Light::ALL.map(|light| seen.lights.get(&light).copied().unwrap_or_default());
        if seen.text.lines().join("|").starts_with(page) && shown == glows {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < SOON, "never on the panel: {page} {glows:?}; {seen:?}");
    }
}

/// The checksum of what comes back with the recovery words.
pub(super) fn restored(bench: &mut dyn Bench, words: &str) -> anyhow::Result<String> {
    let console = bench.console()?;
    console.run(&format!("echo '{words}' >/tmp/words"), SOON)?;
    let restore = "saveos restore latest - --repo /data/saveos/repository --words-file /tmp/words | sha256sum";
    let printed = console.run(restore, BACKED_UP)?;
    let sum = printed.lines().rev().find_map(|line| line.split(' ').next().filter(|word| word.len() == 64));
    sum.map(str::to_owned).with_context(|| format!("no checksum: {printed}"))
}

/// Waits for that many backups that are done; gives the last.
pub(super) fn done(bench: &mut dyn Bench, times: usize) -> anyhow::Result<Value> {
    let deadline = Instant::now() + BACKED_UP;
    loop {
        let console = bench.console()?;
        let answer = console.run("saveosd jobs --json || true", SOON)?;
        let jobs: Value = serde_json::from_str(&answer).unwrap_or_default();
        let done: Vec<Value> = jobs["jobs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|job| job["state"] == "done" && job["work"] == "backup")
            .cloned()
            .collect();
        if done.len() >= times {
            return done.last().cloned().context("a job");
        }
        if Instant::now() > deadline {
            let log = console.run("journalctl -u saveosd --no-pager -n 25 | cut -c1-400; ls -l /dev/sd*", SOON)?;
            let disks = console.run("saveosd disks", SOON)?;
            anyhow::bail!("no backup: {answer}\n{disks}\n{log}");
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// SHA-256 of a file here.
pub(super) fn checksum(path: &Path) -> anyhow::Result<String> {
    let output = Command::new("sha256sum").arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split(' ').next().context("a checksum")?.to_owned())
}
