//! The boot script and `saveos-bootctl` follow the same rules: for every order, every count of tries, every trial and damaged copies,
//! U-Boot starts the slot that the rules name, and writes down what they say.

use crate::bench::Bench;
use crate::disk::{BootStateIn, partition};
use anyhow::{Context, ensure};
use saveos_bootctl::{BootState, COPY_SIZE, Copy, OFFSETS, Slot, Store};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let disk = images.join("disk.img");
    let at = partition(&disk, "bootstate")?.start;
    bench.flash(&disk)?;
    let mut choices = 0;
    let mut counted = 0;
    for state in states() {
        for damaged in [None, Some(0), Some(1)] {
            // One copy is damaged now and then, each in turn: every start costs a second.
            if damaged.is_some_and(|copy| choices % 5 != copy + 1) {
                continue;
            }
            let image = open(bench)?;
            Store::on(BootStateIn { image: &image, at }).save(state)?;
            if let Some(copy) = damaged {
                image.write_all_at(b"damage", at + OFFSETS[copy] + 9)?;
            }
            counted += usize::from(check(bench, state, at)?);
            choices += 1;
        }
    }
    // An older copy beside a newer one, in either place, with numbers that are not decimal; then two damaged ones.
    for newer in [0, 1] {
        let [old, new] = [BootState::default(), BootState { first: Slot::B, ..BootState::default() }];
        let image = open(bench)?;
        image.write_all_at(&Copy { sequence: 0x9f, state: old }.encode(), at + OFFSETS[1 - newer])?;
        image.write_all_at(&Copy { sequence: 0x100, state: new }.encode(), at + OFFSETS[newer])?;
        check(bench, new, at)?;
    }
    let image = open(bench)?;
    for offset in OFFSETS {
        image.write_all_at(&vec![0xff; COPY_SIZE], at + offset)?;
    }
    bench.power_on()?;
    bench.console()?.expect("SAVEOS-BOOT slot=A \r", SOON).context("with two damaged copies")?;
    Ok(format!("{} states, as the rules say; {counted} of them counted a try", choices + 3))
}

fn states() -> impl Iterator<Item = BootState> {
    let counts = [0, 1, 3];
    let lefts = counts.into_iter().flat_map(move |a| counts.into_iter().map(move |b| [a, b]));
    let trials = [None, Some(Slot::A), Some(Slot::B)];
    lefts.flat_map(move |left| {
        [Slot::A, Slot::B].into_iter().flat_map(move |first| {
            let of = move |trial| BootState { first, left, trial, confirmed: first, ..BootState::default() };
            trials.into_iter().map(of)
        })
    })
}

fn open(bench: &mut dyn Bench) -> anyhow::Result<File> {
    Ok(OpenOptions::new().read(true).write(true).open(bench.system_disk()?)?)
}

/// Starts, and compares with the rules; whether a try was counted.
fn check(bench: &mut dyn Bench, state: BootState, at: u64) -> anyhow::Result<bool> {
    let rules = state.boots();
    let rescue = if rules.rescue { "saveos.rescue=1" } else { "" };
    let line = format!("SAVEOS-BOOT slot={} {rescue}\r", rules.slot);
    bench.power_on()?;
    let console = bench.console()?;
    console.expect(&line, SOON).with_context(|| format!("{state:?} starts {rules:?}"))?;
    bench.power_off()?;
    let image = open(bench)?;
    let found = Store::on(BootStateIn { image: &image, at }).load()?;
    ensure!(found == rules.writes.unwrap_or(state), "{state:?} became {found:?}, not {:?}", rules.writes);
    Ok(rules.writes.is_some())
}
