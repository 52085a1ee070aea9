//! `cargo xtask bench engine`: saveos beside its peers on the same realistic disks, in the same run, as ratios.
//!
//! Every restore is compared with its source, and a wrong one voids the run. Caches are warm: the disks were just written.

mod disks;
mod peers;

use crate::{setup, shell};
use anyhow::{Context, bail};
use disks::Disks;
use peers::{Peer, Used};
use std::collections::BTreeMap;
use std::path::Path;

/// What is timed, in order; each step works on what the one before left.
const STEPS: [&str; 5] = ["first", "unchanged", "work day", "second disk", "restore"];
/// At most so much of the fastest peer's time.
const TIME_GOALS: [f64; 5] = [0.30, 0.10, 0.10, 0.15, 0.35];
/// The same when only restic and borg are here.
const TIME_GOALS_RESTIC: [f64; 5] = [0.18, 0.10, 0.10, 0.11, 0.32];

/// The task.
pub(crate) fn engine(options: &[&str]) -> anyhow::Result<()> {
    let option = |name: &str, default: u64| -> anyhow::Result<u64> {
        match options.iter().position(|word| *word == name) {
            Some(at) => options.get(at + 1).context("an option wants a number")?.parse().context("not a number"),
            None => Ok(default),
        }
    };
    let (gib, runs) = (option("--size", 6)?, option("--runs", 3)?);
    setup::for_bench()?;
    shell::run("cargo", &["build", "--release", "--locked", "-p", "saveos"])?;
    let folder = shell::root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let disks = Disks::make(&folder, gib)?;
    println!(
        "disk: {} MiB, {} MiB allocated; work day changes {} MiB of blocks\n",
        disks.size >> 20,
        disks.allocated >> 20,
        disks.changed >> 20
    );
    let peers = peers::here(&shell::root().join("target/release/saveos"));
    let mut measured: BTreeMap<(usize, usize), Vec<Used>> = BTreeMap::new();
    for run in 0..runs {
        for (number, peer) in peers.iter().enumerate() {
            println!("run {} of {runs}: {}", run + 1, peer.name);
            for (step, used) in run_steps(peer, &disks, &folder)?.into_iter().enumerate() {
                measured.entry((number, step)).or_default().push(used);
            }
        }
    }
    let bound = peers::bound(&disks)?;
    report(&peers, &measured, &disks, &bound);
    Ok(())
}

fn run_steps(peer: &Peer, disks: &Disks, folder: &Path) -> anyhow::Result<Vec<Used>> {
    let repository = folder.join("repository");
    remove(&repository)?;
    // All backups go through one path, as a disk that is plugged in again does.
    let disk = folder.join("disk.img");
    let other = folder.join("other.img");
    let restored = folder.join("restored.img");
    link(&disks.first, &disk)?;
    link(&disks.second, &other)?;
    peer.init(&repository)?;
    let mut used = vec![peer.backup(&repository, &disk)?, peer.backup(&repository, &disk)?];
    link(&disks.work_day, &disk)?;
    used.push(peer.backup(&repository, &disk)?);
    used.push(peer.backup(&repository, &other)?);
    remove(&restored)?;
    let restore = peer.restore(&repository, &other, &restored)?;
    // Free space is not restored by those who know what is free: files and structure are compared instead.
    if !disks.same_content(&disks.second, &restored)? {
        bail!("{} restored another disk than it backed up: the run is void", peer.name);
    }
    used.push(restore);
    remove(&restored)?;
    Ok(used)
}

fn link(from: &Path, to: &Path) -> anyhow::Result<()> {
    remove(to)?;
    Ok(std::fs::hard_link(from, to)?)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => Ok(other?),
    }
}

fn median(used: &[Used], of: impl Fn(&Used) -> f64) -> f64 {
    let mut values: Vec<f64> = used.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn report(peers: &[Peer], measured: &BTreeMap<(usize, usize), Vec<Used>>, disks: &Disks, bound: &peers::Bound) {
    println!("\n{:<10} {:>12} {:>9} {:>9} {:>9} {:>11}", "", "step", "seconds", "cpu s", "RSS MiB", "added MiB");
    let seconds =
        |peer: usize, step: usize| measured.get(&(peer, step)).map_or(f64::NAN, |used| median(used, |u| u.seconds));
    let added = |peer: usize, step: usize| {
        measured.get(&(peer, step)).map_or(f64::NAN, |used| median(used, |u| u.added as f64 / 1048576.0))
    };
    for (number, peer) in peers.iter().enumerate() {
        for (step, name) in STEPS.iter().enumerate() {
            let Some(used) = measured.get(&(number, step)) else { continue };
            println!(
                "{:<10} {name:>12} {:>9.2} {:>9.2} {:>9.0} {:>11.1}",
                peer.name,
                median(used, |u| u.seconds),
                median(used, |u| u.cpu),
                median(used, |u| u.peak_rss as f64 / 1048576.0),
                median(used, |u| u.added as f64 / 1048576.0),
            );
        }
    }
    let only_restic = !peers.iter().any(|peer| matches!(peer.name, "rustic" | "bupstash"));
    let goals = if only_restic { TIME_GOALS_RESTIC } else { TIME_GOALS };
    // With few peers here the goals are against restic alone.
    let judged: Vec<usize> = (1..peers.len()).filter(|&at| !only_restic || peers[at].name == "restic").collect();
    let names: Vec<&str> = judged.iter().map(|&at| peers[at].name).collect();
    println!("\nratio of saveos to the fastest of {} (goal):", names.join(", "));
    for (step, name) in STEPS.iter().enumerate() {
        let best = judged.iter().map(|&peer| seconds(peer, step)).fold(f64::INFINITY, f64::min);
        println!("  {name:<12} {:.3}  (≤ {:.2})", seconds(0, step) / best, goals[step]);
    }
    let best_second = (1..peers.len()).map(|peer| added(peer, 3)).fold(f64::INFINITY, f64::min);
    println!("\nsize:");
    println!(
        "  first        {:.3} × zstd -3 of the allocated bytes  (≤ 1.06)",
        added(0, 0) * 1048576.0 / bound.zstd3_bytes as f64
    );
    println!("  work day     {:.3} × the changed blocks  (≤ 1.2)", added(0, 2) * 1048576.0 / disks.changed as f64);
    println!("  second disk  {:.3} × the best peer's  (≤ 0.25)", added(0, 3) / best_second);
    println!(
        "\nbound on these cores: zstd -1 of all allocated bytes {:.1} s, BLAKE3 of them {:.2} s",
        bound.zstd_seconds, bound.hash_seconds
    );
}
