//! The programs that are compared, each with its defaults: encrypted, compressed, deduplicating.

use crate::shell::has;
use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// What a step cost.
pub(crate) struct Used {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    pub(crate) peak_rss: u64,
    pub(crate) added: u64,
    /// Bytes that had to be compressed and sealed; only saveos tells.
    pub(crate) new: u64,
}

/// A program.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) deduplicates: bool,
    program: String,
    init: &'static [&'static str],
    backup: &'static [&'static str],
    restore: &'static [&'static str],
}

/// `saveos` first, then those on the path. REPO, DISK and OUT are replaced; a restore without OUT writes to standard output.
pub(crate) fn here(saveos: &Path) -> Vec<Peer> {
    let all = [
        Peer {
            name: "saveos",
            deduplicates: true,
            program: saveos.to_string_lossy().into_owned(),
            init: &["init", "REPO"],
            backup: &["backup", "DISK", "--repo", "REPO", "--json"],
            restore: &["restore", "latest", "OUT", "--repo", "REPO"],
        },
        Peer {
            name: "restic",
            deduplicates: true,
            program: "restic".to_owned(),
            init: &["-q", "-r", "REPO", "init"],
            backup: &["-q", "-r", "REPO", "backup", "--force", "DISK"],
            restore: &["-q", "-r", "REPO", "dump", "latest", "DISK"],
        },
        Peer {
            name: "borg",
            deduplicates: true,
            program: "sh".to_owned(),
            init: &["-c", "borg init -e repokey REPO"],
            backup: &["-c", "borg create --compression zstd,3 --files-cache disabled REPO::{now:%s%f} DISK"],
            restore: &["-c", "borg extract --stdout REPO::$(borg list --last 1 --short REPO)"],
        },
        Peer {
            name: "rustic",
            deduplicates: true,
            program: "rustic".to_owned(),
            init: &["-r", "REPO", "init"],
            backup: &["-r", "REPO", "backup", "--force", "DISK"],
            restore: &["-r", "REPO", "dump", "latest:DISK"],
        },
        Peer {
            name: "bupstash",
            deduplicates: true,
            program: "sh".to_owned(),
            init: &["-c", "rm -f REPO.key; bupstash init -r REPO && bupstash new-key -o REPO.key"],
            backup: &["-c", "bupstash put -q -k REPO.key -r REPO --no-stat-caching DISK"],
            restore: &["-c", BUPSTASH_RESTORE],
        },
        Peer {
            name: "partclone",
            deduplicates: false,
            program: "sh".to_owned(),
            init: &["-c", "mkdir REPO"],
            backup: &["-c", PARTCLONE_SAVE],
            restore: &["-c", PARTCLONE_RESTORE],
        },
    ];
    all.into_iter().filter(|peer| peer.name == "saveos" || has(peer.name) || peer.name == "partclone").collect()
}

/// The newest item; `list` prints the oldest first, its id in quotes.
const BUPSTASH_RESTORE: &str = "bupstash get -q -k REPO.key -r REPO \
    id=$(bupstash list -k REPO.key -r REPO | tail -1 | cut -d' ' -f1 | cut -d'\"' -f2)";
/// Everything anew each time, with the tools of the distribution.
const PARTCLONE_SAVE: &str = "partclone.ext4 -c -s DISK -O - -L /dev/null 2>/dev/null | zstd -q -3 -T0 \
    | openssl enc -aes-256-ctr -pbkdf2 -pass env:RESTIC_PASSWORD > REPO/$(ls REPO | wc -l)";
/// The last of the four images.
const PARTCLONE_RESTORE: &str = "openssl enc -d -aes-256-ctr -pbkdf2 -pass env:RESTIC_PASSWORD -in REPO/3 | zstd -q -dc \
    | partclone.restore -s - -o OUT --restore_raw_file -C -L /dev/null 2>/dev/null";

impl Peer {
    pub(crate) fn init(&self, repository: &Path) -> anyhow::Result<()> {
        self.measure(self.init, repository, Path::new(""), Stdio::null()).map(drop)
    }

    pub(crate) fn backup(&self, repository: &Path, disk: &Path) -> anyhow::Result<Used> {
        let before = size_of(repository);
        let used = self.measure(self.backup, repository, disk, Stdio::piped())?;
        Ok(Used { added: size_of(repository).saturating_sub(before), ..used })
    }

    pub(crate) fn restore(&self, repository: &Path, disk: &Path, out: &Path) -> anyhow::Result<Used> {
        let streams = !self.restore.iter().any(|word| word.contains("OUT"));
        let stdout = if streams { std::fs::File::create(out)?.into() } else { Stdio::null() };
        let words: Vec<String> = self.restore.iter().map(|word| word.replace("OUT", &out.to_string_lossy())).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.measure(&words, repository, disk, stdout)
    }

    /// Runs it under GNU time, which sums what its processes used.
    fn measure(&self, words: &[&str], repository: &Path, disk: &Path, stdout: Stdio) -> anyhow::Result<Used> {
        let fill =
            |word: &&str| word.replace("REPO", &repository.to_string_lossy()).replace("DISK", &disk.to_string_lossy());
        let report = repository.with_extension("time");
        let mut command = Command::new("/usr/bin/time");
        command.args(["--quiet", "-f", "%e %U %S %M", "-o"]).arg(&report).arg(&self.program);
        command.args(words.iter().map(fill)).stdin(Stdio::null()).stdout(stdout);
        let output = with_secrets(&mut command).output().with_context(|| format!("could not start {}", self.name))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} {} ended with {}: {}", self.name, words.join(" "), output.status, said.trim());
        }
        let text = std::fs::read_to_string(&report)?;
        let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [seconds, user, system, peak_kib] = figures[..] else { bail!("time wrote {text:?}") };
        let new = new_bytes(&String::from_utf8_lossy(&output.stdout)).unwrap_or(0);
        Ok(Used { seconds, cpu: user + system, peak_rss: peak_kib as u64 * 1024, added: 0, new })
    }
}

/// `bytes_new` of the summary that saveos prints with `--json`.
fn new_bytes(stdout: &str) -> Option<u64> {
    let (_, rest) = stdout.rsplit_once("\"bytes_new\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn with_secrets(command: &mut Command) -> &mut Command {
    for name in ["SAVEOS_PASSPHRASE", "RESTIC_PASSWORD", "BORG_PASSPHRASE", "RUSTIC_PASSWORD"] {
        command.env(name, "benchmark");
    }
    command.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes").env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
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
