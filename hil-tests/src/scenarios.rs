//! The scenarios: what a box promises, said once for every bench.

mod boot_choice;
mod boot_ready;
mod clock_1970;
mod enrol;
mod ota_bad;
mod ota_good;
mod ota_offered;
mod ota_refused;
mod power_cuts;
mod releases;
mod reset_levels;
mod rings;
mod rotten_slot;
mod unplug_resume;
mod update;
mod usb_backup;

use crate::bench::{Ability, Bench};
use anyhow::{Context, bail};
use std::path::Path;
use std::time::Duration;

/// One promise.
pub(crate) struct Scenario {
    /// As a person names it.
    pub(crate) name: &'static str,
    /// What the bench must be able to do.
    pub(crate) needs: &'static [Ability],
    /// Gives what it measured.
    pub(crate) run: fn(&mut dyn Bench, &Path) -> anyhow::Result<String>,
}

/// All, the quick ones first.
pub(crate) const ALL: &[Scenario] = &[
    Scenario { name: "boot_ready", needs: &[Ability::Shell, Ability::BlockLog], run: boot_ready::run },
    Scenario { name: "boot_choice", needs: &[Ability::SystemDisk], run: boot_choice::run },
    Scenario { name: "enrol", needs: &[Ability::Shell, Ability::Panel], run: enrol::run },
    Scenario { name: "usb_backup", needs: &[Ability::Shell, Ability::Panel], run: usb_backup::usb },
    Scenario { name: "sata_backup", needs: &[Ability::Shell, Ability::Panel], run: usb_backup::sata },
    Scenario { name: "unplug_resume", needs: &[Ability::Shell, Ability::Panel], run: unplug_resume::run },
    Scenario { name: "clock_1970", needs: &[Ability::Shell, Ability::Clock], run: clock_1970::run },
    Scenario { name: "rotten_slot", needs: &[Ability::Shell, Ability::SystemDisk], run: rotten_slot::run },
    Scenario { name: "reset_levels", needs: &[Ability::Shell, Ability::Panel], run: reset_levels::run },
    Scenario { name: "ota_good", needs: &[Ability::Shell], run: ota_good::run },
    Scenario { name: "ota_offered", needs: &[Ability::Shell, Ability::Panel], run: ota_offered::run },
    Scenario { name: "rings", needs: &[Ability::Shell, Ability::Panel, Ability::Neighbours], run: rings::run },
    Scenario { name: "ota_bad", needs: &[Ability::Shell], run: ota_bad::run },
    Scenario { name: "ota_hang", needs: &[Ability::Shell], run: ota_bad::hang },
    Scenario { name: "ota_refused", needs: &[Ability::Shell, Ability::BlockLog], run: ota_refused::run },
    Scenario {
        name: "power_cuts",
        needs: &[Ability::Shell, Ability::SystemDisk, Ability::BlockLog],
        run: power_cuts::run,
    },
];

/// A start must be over by then, on a machine that has other things to do too; what a start takes is printed.
const READY: Duration = Duration::from_secs(90);

/// Waits for a start that works, and in which slot.
fn ready(bench: &mut dyn Bench, slot: &str) -> anyhow::Result<Duration> {
    let console = bench.console()?;
    let at = console.expect("SAVEOS-READY slot=", READY)?;
    console.expect(" ", READY)?;
    let text = console.text();
    let line = text.lines().rev().find(|line| line.contains("SAVEOS-READY")).context("it was said")?;
    if !line.contains(&format!("slot={slot} ")) {
        bail!("the wrong slot: {line}");
    }
    Ok(at)
}
