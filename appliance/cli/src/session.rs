//! Opens repositories for commands: secrets from a file, the environment or a prompt; who and when we are.

use crate::args::{Repo, Unlock};
use crate::output::Output;
use anyhow::{Context, bail};
use saveos_engine::chunk::unhex;
use saveos_engine::key::{Secret, words};
use saveos_engine::lease::LeaseKind;
use saveos_engine::repository::{OpenOptions, Repository};
use saveos_engine::seal::Suite;
use saveos_engine::snapshot::WriterId;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// Opens the repository that the arguments name.
pub(crate) fn open(repo: &Repo, lease: LeaseKind, out: &Output) -> anyhow::Result<Arc<Repository>> {
    let secret = secret(&repo.unlock, "passphrase: ")?;
    open_with(&repo.repo, &secret, lease, out)
}

/// Opens a repository with this secret.
pub(crate) fn open_with(
    path: &Path,
    secret: &Secret,
    lease: LeaseKind,
    out: &Output,
) -> anyhow::Result<Arc<Repository>> {
    let scratch = std::env::temp_dir();
    let options = OpenOptions { lease, boot: &boot_id(), scratch: &scratch, suite: suite()? };
    let repository =
        Repository::open(path, secret, &options).with_context(|| format!("could not open {}", path.display()))?;
    for error in &repository.refresh.unreadable {
        out.warn(&format!("pack {} cannot be used: {}", error.pack.hex(), error.fault));
    }
    Ok(Arc::new(repository))
}

/// What this CPU is good at, unless `SAVEOS_SUITE` names the other: for a repository that will live on another machine.
fn suite() -> anyhow::Result<Suite> {
    match std::env::var("SAVEOS_SUITE") {
        Ok(name) => name.parse().with_context(|| format!("SAVEOS_SUITE is {name:?}")),
        Err(_) => Ok(Suite::for_this_cpu()),
    }
}

/// Where scratch files go: the repository's own disk has room for them, unless it is read-only.
pub(crate) fn scratch(repo: &Path) -> PathBuf {
    let own = repo.join("tmp");
    match rustix::fs::access(&own, rustix::fs::Access::WRITE_OK) {
        Ok(()) => own,
        Err(_) => std::env::temp_dir(),
    }
}

/// The secret that the arguments, the environment or a person gives.
pub(crate) fn secret(unlock: &Unlock, prompt: &str) -> anyhow::Result<Secret> {
    let hex_key = |path: &Path| -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let text = read_file(path)?;
        let key = unhex(text.trim()).with_context(|| format!("{} does not hold 64 hex digits", path.display()))?;
        Ok(Zeroizing::new(key))
    };
    if let Some(path) = &unlock.key_file {
        return Ok(Secret::Device(hex_key(path)?));
    }
    if let Some(path) = &unlock.escrow_file {
        return Ok(Secret::Escrow(hex_key(path)?));
    }
    if let Some(path) = &unlock.words_file {
        return Ok(Secret::Words(words::parse(&read_file(path)?)?));
    }
    passphrase(unlock.passphrase_file.as_deref(), "SAVEOS_PASSPHRASE", prompt).map(Secret::Passphrase)
}

/// A passphrase from a file, an environment variable, or a prompt.
pub(crate) fn passphrase(file: Option<&Path>, variable: &str, prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    if let Some(path) = file {
        let text = read_file(path)?;
        return Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()));
    }
    if let Ok(text) = std::env::var(variable) {
        return Ok(Zeroizing::new(text));
    }
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        bail!("no passphrase: set {variable}, or use --passphrase-file");
    }
    Ok(Zeroizing::new(rpassword::prompt_password(prompt).context("could not read the passphrase")?))
}

/// A new passphrase, asked for twice at a prompt.
pub(crate) fn new_passphrase(file: Option<&Path>, variable: &str) -> anyhow::Result<Zeroizing<String>> {
    let prompted = file.is_none() && std::env::var_os(variable).is_none();
    let text = passphrase(file, variable, "new passphrase: ")?;
    if prompted && *text != rpassword::prompt_password("the same again: ")? {
        bail!("the two passphrases differ");
    }
    if text.is_empty() {
        bail!("an empty passphrase protects nothing");
    }
    Ok(text)
}

/// Reads a small file with a secret; `-` is standard input.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = match path.to_str() {
        Some("-") => std::io::stdin().take(64 * 1024).read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|file| file.take(64 * 1024).read_to_string(&mut text)),
    };
    read.with_context(|| format!("could not read {}", path.display()))?;
    Ok(text)
}

/// This machine as a writer: the same for every run, another one on every machine.
pub(crate) fn writer(repository: &Repository) -> WriterId {
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_else(|_| "no machine id".to_owned());
    let id = repository.keys().chunk_id(format!("writer {}", machine.trim()).as_bytes());
    WriterId(*id.0.first_chunk().expect("an id has 32 bytes"))
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Names this boot.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}

/// Seconds since this boot.
pub(crate) fn uptime() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}

/// Threads to use.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}
