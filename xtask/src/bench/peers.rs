//! The programs that are compared, each with its defaults: encrypted, compressed, deduplicating.

use super::disks::Disks;
use crate::shell::has;
use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a step cost.
pub(crate) struct Used {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    pub(crate) peak_rss: u64,
    pub(crate) added: u64,
}

/// A program.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    program: String,
    init: &'static [&'static str],
    backup: &'static [&'static str],
    restore: &'static [&'static str],
}

/// `saveos` first, then those on the path. REPO, DISK and OUT are replaced.
pub(crate) fn here(saveos: &Path) -> Vec<Peer> {
    let all = [
        Peer {
            name: "saveos",
            program: saveos.to_string_lossy().into_owned(),
            init: &["init", "REPO"],
            backup: &["backup", "DISK", "--repo", "REPO"],
            restore: &["restore", "latest", "OUT", "--repo", "REPO"],
        },
        Peer {
            name: "restic",
            program: "restic".to_owned(),
            init: &["-q", "-r", "REPO", "init"],
            backup: &["-q", "-r", "REPO", "backup", "--force", "DISK"],
            restore: &["-q", "-r", "REPO", "dump", "latest", "DISK"],
        },
        Peer {
            name: "borg",
            program: "borg".to_owned(),
            init: &["init", "-e", "repokey", "REPO"],
            backup: &["create", "--files-cache", "disabled", "REPO::{now:%s%f}", "DISK"],
            restore: &["extract", "--stdout", "REPO::LATEST"],
        },
        Peer {
            name: "rustic",
            program: "rustic".to_owned(),
            init: &["-r", "REPO", "init"],
            backup: &["-r", "REPO", "backup", "--force", "DISK"],
            restore: &["-r", "REPO", "dump", "latest:DISK"],
        },
        Peer {
            name: "bupstash",
            program: "bupstash".to_owned(),
            init: &["init", "-r", "REPO"],
            backup: &["put", "-q", "-r", "REPO", "DISK"],
            restore: &["get", "-r", "REPO", "id=LATEST"],
        },
    ];
    // bupstash keeps its key outside of the repository: it joins when a key is set up for it.
    let ready = |peer: &Peer| match peer.name {
        "saveos" => true,
        "bupstash" => has("bupstash") && std::env::var_os("BUPSTASH_KEY").is_some(),
        name => has(name),
    };
    all.into_iter().filter(ready).collect()
}

impl Peer {
    pub(crate) fn init(&self, repository: &Path) -> anyhow::Result<()> {
        self.measure(self.init, repository, Path::new(""), Stdio::null()).map(drop)
    }

    pub(crate) fn backup(&self, repository: &Path, disk: &Path) -> anyhow::Result<Used> {
        let before = size_of(repository);
        let used = self.measure(self.backup, repository, disk, Stdio::null())?;
        Ok(Used { added: size_of(repository).saturating_sub(before), ..used })
    }

    pub(crate) fn restore(&self, repository: &Path, disk: &Path, out: &Path) -> anyhow::Result<Used> {
        let streams = !self.restore.contains(&"OUT");
        let stdout = if streams { std::fs::File::create(out)?.into() } else { Stdio::null() };
        let latest = if self.name == "borg" { self.borg_latest(repository)? } else { String::new() };
        let words: Vec<String> = self
            .restore
            .iter()
            .map(|word| word.replace("LATEST", &latest).replace("OUT", &out.to_string_lossy()))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.measure(&words, repository, disk, stdout)
    }

    fn borg_latest(&self, repository: &Path) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(["list", "--last", "1", "--short"]).arg(repository);
        let output = with_secrets(&mut command).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn measure(&self, words: &[&str], repository: &Path, disk: &Path, stdout: Stdio) -> anyhow::Result<Used> {
        let fill =
            |word: &&str| word.replace("REPO", &repository.to_string_lossy()).replace("DISK", &disk.to_string_lossy());
        let mut command = Command::new(&self.program);
        command.args(words.iter().map(fill)).stdin(Stdio::null()).stdout(stdout);
        let begun = Instant::now();
        let mut child = with_secrets(&mut command).spawn().with_context(|| format!("could not start {}", self.name))?;
        let (mut peak_rss, mut cpu) = (0, 0.0);
        let status = loop {
            peak_rss = peak_rss.max(high_water(child.id()));
            cpu = f64::max(cpu, cpu_seconds(child.id()));
            match child.try_wait()? {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let seconds = begun.elapsed().as_secs_f64();
        if !status.success() {
            bail!("{} {} ended with {status}", self.name, words.join(" "));
        }
        Ok(Used { seconds, cpu, peak_rss, added: 0 })
    }
}

fn with_secrets(command: &mut Command) -> &mut Command {
    for name in ["SAVEOS_PASSPHRASE", "RESTIC_PASSWORD", "BORG_PASSPHRASE", "RUSTIC_PASSWORD"] {
        command.env(name, "benchmark");
    }
    command.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes").env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
}

/// Peak resident memory in bytes, as the kernel has it; 0 when the process has ended.
fn high_water(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// User and system time so far, in the kernel's 100 Hz ticks.
fn cpu_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let tick = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (tick(11) + tick(12)) / 100.0
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .filter(|entry| entry.file_name() != "reserve" && entry.file_name() != "index")
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// What nobody can beat on these cores.
pub(crate) struct Bound {
    pub(crate) zstd3_bytes: u64,
    pub(crate) zstd_seconds: f64,
    pub(crate) hash_seconds: f64,
}

/// `zstd` over the allocated bytes, which partclone gives, and BLAKE3 over as many.
pub(crate) fn bound(disks: &Disks) -> anyhow::Result<Bound> {
    let disk = disks.first.to_string_lossy().into_owned();
    let pipe = |level: &str| -> anyhow::Result<(u64, f64)> {
        let begun = Instant::now();
        let script =
            format!("partclone.ext4 -c -s '{disk}' -O - -L /dev/null 2>/dev/null | zstd -q {level} -T2 -c | wc -c");
        let output = Command::new("sh").args(["-c", &script]).output()?;
        let bytes = String::from_utf8_lossy(&output.stdout).trim().parse().context("partclone | zstd gave no size")?;
        Ok((bytes, begun.elapsed().as_secs_f64()))
    };
    let (zstd3_bytes, _) = pipe("-3")?;
    let (_, zstd_seconds) = pipe("-1")?;
    // Keyed BLAKE3 hashes 4 GB/s a core where it has AVX2 or AVX-512.
    let hash_seconds = disks.allocated as f64 / 8e9;
    Ok(Bound { zstd3_bytes, zstd_seconds, hash_seconds })
}
