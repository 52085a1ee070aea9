//! Steps of an update as RAUC does it, without a control plane.

use super::ready;
use crate::bench::Bench;
use anyhow::Context;
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(30);
/// Writing a slot, on a machine that is emulated beside other work.
const INSTALLED: Duration = Duration::from_secs(240);

/// Fetches a bundle to the data partition and installs it into the other slot; gives how long the installation took.
pub(super) fn install(bench: &mut dyn Bench, bundle: &Path) -> anyhow::Result<Duration> {
    let (from, _) = bench.serve(bundle)?;
    let console = bench.console()?;
    // RAUC's slots have names, and there is a network: both come after a start is ready.
    let online = "until [ -e /dev/saveos/root-b ] && ip route | grep -q default; do sleep 0.5; done";
    console.run(online, SOON * 2)?;
    console.run(&format!("busybox wget -q -O /data/update.raucb {from}"), INSTALLED)?;
    let began = Instant::now();
    let installed = console.run("rauc install /data/update.raucb 2>&1", INSTALLED);
    let took = began.elapsed();
    if installed.is_err() {
        let log = console.run("journalctl -u rauc --no-pager | tail -n 30; dmesg | tail -n 10", SOON)?;
        installed.context(log)?;
    }
    console.run("saveos-bootctl set-primary $(saveos-bootctl get-current | tr AB BA)", SOON)?;
    console.run("rm /data/update.raucb; sync", SOON)?;
    Ok(took)
}

/// Restarts, and waits until the given slot is ready; gives how long that took.
pub(super) fn restart_into(bench: &mut dyn Bench, slot: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    bench.console()?.run("systemctl --no-block reboot", SOON)?;
    ready(bench, slot)?;
    Ok(began.elapsed())
}

/// Runs a command that needs the boot state, once its partition has its name.
pub(super) fn boot_state(bench: &mut dyn Bench, command: &str) -> anyhow::Result<String> {
    let console = bench.console()?;
    console.run("until [ -e /dev/saveos/bootstate ]; do sleep 0.2; done", SOON)?;
    console.run(command, SOON)
}

/// The running slot proved itself.
pub(super) fn confirm(bench: &mut dyn Bench) -> anyhow::Result<()> {
    let command = "saveos-bootctl set-state $(saveos-bootctl get-current) good";
    boot_state(bench, command).map(drop)
}
