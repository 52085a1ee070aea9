//! A slot that proved itself and rots later: one bit in its root, and the box starts the other slot and stays there. Both rotten: it
//! says so and waits for help.

use super::{ready, update};
use crate::bench::Bench;
use crate::disk::{flip, partition};
use anyhow::ensure;
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let disk = images.join("disk.img");
    bench.flash(&disk)?;
    bench.power_on()?;
    ready(bench, "A")?;
    update::install(bench, &images.join("good.raucb"))?;
    update::restart_into(bench, "B")?;
    update::confirm(bench)?;
    bench.power_off()?;

    // In the middle of what is surely used.
    flip(bench.system_disk()?, partition(&disk, "root-b")?.start + (5 << 20))?;
    bench.power_on()?;
    bench.console()?.expect("slot B is bad", SOON)?;
    let other = ready(bench, "A")?;
    let status = update::boot_state(bench, "saveos-bootctl status")?;
    ensure!(status.contains("B      bad"), "{status}");
    bench.power_off()?;

    // The kernel of the other one: its hash is U-Boot's to check.
    flip(bench.system_disk()?, partition(&disk, "kernel-a")?.start + (9 << 20))?;
    bench.power_on()?;
    let rescue = bench.console()?.expect("SAVEOS-RESCUE code=R1", SOON * 2)?;
    let (other, rescue) = (other.as_secs_f64(), rescue.as_secs_f64());
    Ok(format!("one bit in B: A is ready after {other:.1} s; one in A as well: a rescue after {rescue:.1} s"))
}
