//! `cargo xtask bench engine`: saveos beside its peers on the same realistic disks, in the same run, as ratios.
//!
//! Every restore is compared with its source, and a wrong one voids the run. Restores go to memory, where programs differ and
//! not disks, and once more to the disk until everything is durable there. Caches are warm, the disks were just written;
//! `--cold` drops them before each step. At the end saveos alone reads a source that gives 150 MB a second.

mod bound;
mod disks;
pub(crate) mod fleet;
mod peers;
mod report;
mod throttled;

use crate::{setup, shell};
use anyhow::{Context, bail};
use disks::Disks;
use peers::{Peer, Used};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is timed, in order; each step works on what the one before left.
pub(crate) const STEPS: [&str; 6] = ["first", "unchanged", "work day", "second disk", "restore", "until synced"];

/// What one program needed for one step, in every run.
pub(crate) type Measured = Vec<[Vec<Used>; STEPS.len()]>;

/// The task.
pub(crate) fn engine(options: &[&str]) -> anyhow::Result<()> {
    let wishes = Wishes::parse(options)?;
    setup::for_bench()?;
    shell::run("cargo", &["build", "--release", "--locked", "-p", "saveos"])?;
    let folder = shell::root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let disks = Disks::make(&folder, wishes.gib)?;
    let saveos = shell::root().join("target/release/saveos");
    let peers: Vec<Peer> = peers::here(&saveos).into_iter().filter(|peer| wishes.wants(peer.name)).collect();
    println!("{}\n", disks.describe());
    let mut measured: Measured = peers.iter().map(|_| Default::default()).collect();
    for run in 1..=wishes.runs {
        for (peer, all) in peers.iter().zip(&mut measured) {
            println!("run {run} of {}: {}", wishes.runs, peer.name);
            for (step, used) in all.iter_mut().zip(run_steps(peer, &disks, &folder, wishes.caches)?) {
                step.push(used);
            }
        }
    }
    report::print(&peers, &measured, &disks, &bound::measure(&disks, &folder)?);
    throttled::run(&saveos, &disks, &folder)
}

/// Fills memory as large as a restored disk and gives it back, before each restore: on a virtual machine the first touch of a page that
/// the host took back is slow, and how many those are would be a matter of who comes after whom.
fn touch_memory(len: u64) -> anyhow::Result<()> {
    let path = in_memory("touched");
    let filled =
        std::fs::File::create(&path).and_then(|mut file| std::io::copy(&mut std::io::repeat(1).take(len), &mut file));
    remove(&path)?;
    Ok(filled.map(drop)?)
}

/// A file in memory.
fn in_memory(name: &str) -> PathBuf {
    Path::new("/dev/shm").join(format!("saveos-bench-{}-{name}", std::process::id()))
}

/// Whether what was just written may be read from memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caches {
    Warm,
    Dropped,
}

struct Wishes {
    gib: u64,
    runs: usize,
    caches: Caches,
    only: Vec<String>,
}

impl Wishes {
    fn parse(options: &[&str]) -> anyhow::Result<Wishes> {
        let mut wishes = Wishes { gib: 6, runs: 3, caches: Caches::Warm, only: Vec::new() };
        let mut words = options.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match *word {
                "--size" => wishes.gib = value()?.parse().context("--size wants GiB")?,
                "--runs" => wishes.runs = value()?.parse().context("--runs wants a number")?,
                "--only" => wishes.only = value()?.split(',').map(str::to_owned).collect(),
                "--cold" => wishes.caches = Caches::Dropped,
                other => bail!("bench engine has no option {other}: --size GIB, --runs N, --only A,B, --cold"),
            }
        }
        Ok(wishes)
    }

    fn wants(&self, peer: &str) -> bool {
        peer == "saveos" || self.only.is_empty() || self.only.iter().any(|name| name == peer)
    }
}

fn run_steps(peer: &Peer, disks: &Disks, folder: &Path, caches: Caches) -> anyhow::Result<[Used; STEPS.len()]> {
    let repository = folder.join("repository");
    remove(&repository)?;
    // All backups go through one path, as a disk that is plugged in again does.
    let (disk, other) = (folder.join("disk.img"), folder.join("other.img"));
    link(&disks.first, &disk)?;
    link(&disks.second, &other)?;
    peer.init(&repository)?;
    let backup = |source: &Path| {
        settle(caches, source)?;
        peer.backup(&repository, source)
    };
    let (first, unchanged) = (backup(&disk)?, backup(&disk)?);
    link(&disks.work_day, &disk)?;
    let (work_day, second) = (backup(&disk)?, backup(&other)?);
    let mut restores = Vec::new();
    for (restored, durable) in [(in_memory("restored.img"), false), (folder.join("restored.img"), true)] {
        remove(&restored)?;
        settle(caches, &repository)?;
        touch_memory(disks.size)?;
        let mut used = peer.restore(&repository, &other, &restored)?;
        if durable {
            let begun = Instant::now();
            std::fs::File::open(&restored)?.sync_all()?;
            used.seconds += begun.elapsed().as_secs_f64();
        }
        // Free space is not restored by those who know what is free: files and structure are compared instead.
        if !disks.same_content(&disks.second, &restored)? {
            bail!("{} restored another disk than it backed up: the run is void", peer.name);
        }
        remove(&restored)?;
        restores.push(used);
    }
    let [restore, until_synced] = restores.try_into().ok().context("two restores")?;
    Ok([first, unchanged, work_day, second, restore, until_synced])
}

/// What the step before left in memory is not paid for, or saved, by the next.
fn settle(caches: Caches, read: &Path) -> anyhow::Result<()> {
    shell::quiet("sync", &[])?;
    match caches {
        Caches::Warm => warm(read),
        Caches::Dropped => shell::quiet("sh", &["-c", "echo 3 > /proc/sys/vm/drop_caches"]),
    }
}

/// Reads all of it: memory that nobody looked at for a minute may have been taken back.
fn warm(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        return std::fs::read_dir(path)?.try_for_each(|entry| warm(&entry?.path()));
    }
    if path.is_file() {
        std::io::copy(&mut std::fs::File::open(path)?, &mut std::io::sink())?;
    }
    Ok(())
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
