//! A new box and a real control plane: the code on its display is typed, it enrols, takes its policy from there, backs a disk up, and
//! the control plane knows that the customer is protected; it does what is asked of it from afar; after a power cut it comes
//! back as who it was.

use super::{ready, usb_backup};
use crate::bench::{Bench, Bus};
use crate::control_plane::ControlPlane;
use crate::source_disk;
use anyhow::{Context, ensure};
use saveos_hal::lights::Glow;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.img");
    source_disk::make(&source)?;
    let before = usb_backup::checksum(&source)?;
    let mut control = ControlPlane::start(bench)?;
    bench.flash(&images.join("disk.img"))?;
    let joined = join(bench, &mut control, None)?;
    let (path, words) = (joined.path, joined.words);

    bench.plug(Bus::Usb, &source)?;
    let began = Instant::now();
    let disk = control.until("it is protected by a recovery point", |control| {
        let seen = control.ask(&path, None)?;
        let disk = seen["disks"].as_array().into_iter().flatten().find(|disk| !disk["newest_ms"].is_null()).cloned();
        Ok(disk.filter(|_| seen["protected"] == true))
    })?;
    let protected = began.elapsed();
    ensure!(disk["not_protected"] == json!([]), "it counts as protected and is not: {disk}");
    usb_backup::until_shown(bench, "Safe to unplug||", [Glow::On, Glow::Off, Glow::Off])?;

    let began = Instant::now();
    ask(&mut control, &path, &json!({ "type": "start_backup", "args": { "disk": disk["id"] } }))?;
    let asked = began.elapsed();
    ask(&mut control, &path, &json!({ "type": "identify", "args": { "for_s": 60 } }))?;
    usb_backup::until_shown(bench, "Safe to unplug||", [Glow::Fast; 3])?;

    let session = control.ask(&path, None)?["heartbeat"]["sess"].clone();
    bench.power_off()?;
    bench.power_on()?;
    ready(bench, "A")?;
    let points = control.until("it is back, started anew", |control| {
        let seen = control.ask(&path, None)?;
        let points = control.ask(&format!("{path}/recovery-points?limit=500"), None)?;
        let anew = seen["presence"] == "online" && seen["heartbeat"]["sess"] != session;
        Ok(anew.then(|| points["items"].as_array().map_or(0, Vec::len)))
    })?;
    ensure!(points == 2, "{points} recovery points");
    let restored = usb_backup::restored(bench, &words)?;
    ensure!(restored == before, "{restored} came back, not {before}");
    bench.power_off()?;
    ensure!(usb_backup::checksum(&source)? == before, "the customer's disk was changed");
    Ok(format!(
        "enrolled {:.1} s after its code was typed, protected {:.1} s after the disk was plugged in, a backup from afar in \
         {:.1} s; {points} recovery points; the same box after a power cut",
        joined.took.as_secs_f64(),
        protected.as_secs_f64(),
        asked.as_secs_f64()
    ))
}

/// A box that has joined a control plane.
pub(super) struct Joined {
    /// In the API.
    pub(super) path: String,
    pub(super) words: String,
    /// From the moment at which its code was typed.
    pub(super) took: Duration,
}

/// Switches a new box on, and somebody types the code that it shows. A trial of a new system is judged within so many seconds, by the
/// daemon and by its guard.
pub(super) fn join(
    bench: &mut dyn Bench,
    control: &mut ControlPlane,
    trial: Option<(u64, u64)>,
) -> anyhow::Result<Joined> {
    bench.power_on()?;
    ready(bench, "A")?;
    point_to(bench, control, trial)?;
    let words = usb_backup::write_words_down(bench)?;
    let status: Value = bench.console()?.ask("saveosd status --json", SOON)?;
    let path = format!("/api/v1/appliances/{}", status["device"].as_str().context("a device")?);
    let code = shown_code(bench, control)?;
    let began = Instant::now();
    control.claim(&code)?;
    control.until("the box is online with its policy", |control| {
        let seen = control.ask(&path, None).ok();
        Ok(seen.filter(|seen| seen["presence"] == "online" && seen["applied"] == seen["desired"]))
    })?;
    Ok(Joined { path, words, took: began.elapsed() })
}

/// What the installer writes into the image's configuration: which control plane, and whose certificate.
fn point_to(bench: &mut dyn Bench, control: &ControlPlane, trial: Option<(u64, u64)>) -> anyhow::Result<()> {
    let authority = std::fs::read_to_string(control.authority())?;
    let mut settings =
        format!("SAVEOSD_OPTIONS=--server {} --server-authority /config/authority.pem --heartbeat 5", control.url());
    if let Some((daemon, guard)) = trial {
        settings.push_str(&format!(" --trial {daemon}\\nSAVEOS_TRIAL={guard}"));
    }
    let console = bench.console()?;
    // A line at a time: a terminal takes 4096 letters.
    console.run("install -m 0644 /dev/null /config/authority.pem", SOON)?;
    for line in authority.lines() {
        console.run(&format!("echo '{line}' >>/config/authority.pem"), SOON)?;
    }
    console.run(&format!("printf '%b\\n' '{settings}' >/config/saveosd.env; sync"), SOON)?;
    console.run("systemctl restart saveosd", SOON).map(drop)
}

/// Turns the pages until the code is there.
fn shown_code(bench: &mut dyn Bench, control: &ControlPlane) -> anyhow::Result<String> {
    let began = Instant::now();
    loop {
        let seen = bench.panel()?;
        let lines = seen.text.lines();
        if lines.first().is_some_and(|line| line == "Claim this box") {
            ensure!(lines.get(2).is_some_and(|host| control.host().starts_with(host.as_str())), "{lines:?}");
            return lines.get(4).cloned().context("a code");
        }
        ensure!(began.elapsed() < SOON, "never on the panel: a code; {lines:?}");
        bench.press(Duration::from_millis(200))?;
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Asks the box for something, and waits until it has done it.
pub(super) fn ask(control: &mut ControlPlane, path: &str, command: &Value) -> anyhow::Result<()> {
    let path = format!("{path}/commands");
    let id = control.ask(&path, Some(command))?["id"].clone();
    control.until("the command has ended", |control| {
        let commands = control.ask(&path, None)?;
        let own = commands["items"].as_array().into_iter().flatten().find(|command| command["id"] == id).cloned();
        let state = own.map(|own| own["state"].clone()).unwrap_or_default();
        ensure!(!["rejected", "failed", "expired"].map(Value::from).contains(&state["state"]), "{command}: {state}");
        Ok((state["state"] == "succeeded").then_some(()))
    })
}
