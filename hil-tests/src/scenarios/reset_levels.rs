//! Three levels of a reset, each asked for with the button and each with a power cut in its middle: settings; the owner, with the
//! backups kept; everything. A press of almost ten seconds does nothing.

use super::{ready, usb_backup};
use crate::bench::{Bench, Bus};
use crate::source_disk;
use anyhow::{Context, ensure};
use saveos_hal::lights::Glow;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
/// The button is looked at while a slow box does other things.
const YES: Duration = Duration::from_millis(2500);

/// What a box is after a reset, and what it has.
struct Kept {
    device: String,
    machine: String,
    settings: bool,
    packs: u64,
}

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.img");
    source_disk::make(&source)?;
    let before = usb_backup::checksum(&source)?;
    bench.flash(&images.join("disk.img"))?;
    bench.power_on()?;
    ready(bench, "A")?;
    usb_backup::eager(bench)?;
    usb_backup::write_words_down(bench)?;
    bench.plug(Bus::Usb, &source)?;
    usb_backup::done(bench, 1)?;
    usb_backup::until_shown(bench, "Safe to unplug||", [Glow::On, Glow::Off, Glow::Off])?;
    let first = kept(bench)?;
    ensure!(first.settings && first.packs > 0, "there is nothing to lose");

    bench.press(Duration::from_millis(9500))?;
    std::thread::sleep(Duration::from_secs(12));
    usb_backup::until_shown(bench, "Safe to unplug||", [Glow::On, Glow::Off, Glow::Off])?;

    reset(bench, 12, "Reset the settings?", 1)?;
    let settings = kept(bench)?;
    ensure!(!settings.settings, "the settings are still there");
    ensure!((&settings.device, &settings.machine) == (&first.device, &first.machine), "it calls itself otherwise");
    ensure!(settings.packs >= first.packs, "backups are gone: {} bytes of {}", settings.packs, first.packs);

    usb_backup::eager(bench)?;
    reset(bench, 22, "FORGET THE OWNER?", 2)?;
    let owner = kept(bench)?;
    ensure!(!owner.settings, "the settings are still there");
    ensure!(owner.device != first.device && owner.machine != first.machine, "it is known by its old name");
    ensure!(owner.packs >= first.packs, "backups are gone: {} bytes of {}", owner.packs, first.packs);
    // Whoever has the box now gets words of their own.
    let words = usb_backup::write_words_down(bench)?;
    let restored = usb_backup::restored(bench, &words)?;
    ensure!(restored == before, "{restored} came back, not {before}");

    reset(bench, 32, "ERASE EVERYTHING?", 3)?;
    let everything = kept(bench)?;
    ensure!(!everything.settings && everything.packs == 0, "{} bytes are still stored", everything.packs);
    ensure!(everything.device != owner.device && everything.machine != owner.machine, "it is known by its old name");
    let opened = usb_backup::restored(bench, &words);
    ensure!(!opened.is_ok_and(|restored| restored == before), "the old words still open something");
    // It is a box like any other.
    usb_backup::eager(bench)?;
    let words = usb_backup::write_words_down(bench)?;
    bench.plug(Bus::Usb, &source)?;
    usb_backup::done(bench, 1)?;
    let restored = usb_backup::restored(bench, &words)?;
    ensure!(restored == before, "{restored} came back, not {before}");
    bench.power_off()?;
    Ok("9.5 s did nothing; settings, owner and everything were erased, each over a cut of power, and nothing else"
        .to_owned())
}

/// Holds the button, says yes, cuts the power as soon as the erasing begins, and lets it be done again.
fn reset(bench: &mut dyn Bench, seconds: u64, question: &str, level: u8) -> anyhow::Result<()> {
    let held = Duration::from_secs(seconds);
    bench.press(held)?;
    let began = Instant::now();
    loop {
        let seen = bench.panel()?;
        if seen.text.lines().first().is_some_and(|line| line == question) {
            break;
        }
        ensure!(began.elapsed() < held + SOON, "never on the panel: {question}; {seen:?}");
    }
    bench.press(YES)?;
    bench.console()?.expect(&format!("SAVEOS-WIPE level {level} begins"), SOON + SOON)?;
    bench.power_off()?;
    bench.power_on()?;
    bench.console()?.expect(&format!("SAVEOS-WIPE level {level} is done"), SOON + SOON)?;
    ready(bench, "A")?;
    // And not once more.
    let status =
        bench.console()?.run("udevadm wait --timeout=30 /dev/saveos/bootstate; saveos-bootctl status", SOON)?;
    ensure!(!status.contains("erase"), "the next start would erase again: {status}");
    Ok(())
}

fn kept(bench: &mut dyn Bench) -> anyhow::Result<Kept> {
    let console = bench.console()?;
    let status: Value = console.ask("until saveosd status --json 2>/dev/null; do sleep 1; done", SOON)?;
    let packs = console.run("du -sb /data/saveos/repository/packs 2>/dev/null | cut -f1", SOON)?;
    let files = console.run("find /data/saveos/repository/packs -type f | wc -l", SOON)?;
    Ok(Kept {
        device: status["device"].as_str().context("a device")?.to_owned(),
        machine: console.run("cat /etc/machine-id", SOON)?,
        settings: console.run("ls /config", SOON)?.contains("policy.json"),
        packs: if files.trim() == "0" { 0 } else { packs.trim().parse().context("du")? },
    })
}
