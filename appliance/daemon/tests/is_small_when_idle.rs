//! Promise: the daemon waits in at most 30 MiB, connected to its control plane.

mod support;

use std::time::{Duration, Instant};
use support::control_plane::ControlPlane;
use support::{Appliance, EAGER, disk};

/// KiB that are resident, of a field of `/proc/ID/status` (proc(5)).
fn resident(id: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_daemon_with_nothing_to_do_takes_thirty_mebibytes_at_most() {
    let Some(control) = ControlPlane::new() else { return };
    let mut appliance = Appliance::new(Some(EAGER));
    appliance.start();
    control.enrol(&appliance);
    appliance.until("a session", |appliance| appliance.log().contains("the uplink is up").then_some(()));
    let since = Instant::now();
    appliance.until("it is idle", |_| (since.elapsed() > Duration::from_secs(3)).then_some(()));
    let fresh = resident(appliance.id(), "VmRSS");
    println!("idle: {fresh} KiB");
    assert!(fresh <= 30 << 10, "{fresh} KiB");

    // What a job took it gives back.
    appliance.plug("nas.img", &disk(5, 48));
    appliance.until("a backup", |appliance| appliance.jobs("done").pop());
    let (after, most) = (resident(appliance.id(), "VmRSS"), resident(appliance.id(), "VmHWM"));
    println!("after a backup: {after} KiB, at most {most} KiB");
    assert!(most > after || most <= 30 << 10, "the measure does not move");
    assert!(most <= 256 << 10, "{most} KiB");
}
