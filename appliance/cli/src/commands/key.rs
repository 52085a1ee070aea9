//! `saveos key`: who can open a repository.

use crate::args::{Escrow, Key, Repo};
use crate::output::{Exit, Output, printable};
use crate::session;
use anyhow::{Context, bail};
use saveos_engine::chunk::{hex, unhex};
use saveos_engine::key::{self, SlotKind, escrow, words};
use saveos_engine::lease::{self, Lease, LeaseKind};
use saveos_engine::repository;
use saveos_engine::seal::{RepositoryId, RootKey, random_bytes};
use saveos_engine::storage::local::Local;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

pub(crate) fn run(command: Key, out: &Output) -> anyhow::Result<Exit> {
    match command {
        Key::List { repo } => list(&repo, out),
        Key::Add { repo, label, words, device, escrow, new_passphrase_file } => {
            let vault = Vault::open(&repo)?;
            let (storage, id, root) = vault.parts();
            let slot = if words {
                let (phrase, entropy) = words::generate();
                let slot = key::add_secret(storage, id, root, &label, SlotKind::Words, &entropy)?;
                let text = Zeroizing::new(format!("new recovery words, shown this once:\n\n  {}\n", phrase.as_str()));
                out.once(&text, &serde_json::json!({"type": "words", "words": phrase.as_str()}))?;
                slot
            } else if let Some(file) = device {
                let secret = random_bytes();
                write_secret(&file, &secret)?;
                key::add_secret(storage, id, root, &label, SlotKind::Device, &secret)?
            } else if let Some(public) = escrow {
                key::add_escrow(storage, id, root, &label, &public_key(&public)?)?
            } else {
                let text = session::new_passphrase(new_passphrase_file.as_deref(), "SAVEOS_NEW_PASSPHRASE")?;
                key::add_passphrase(storage, id, root, &label, &text)?
            };
            out.line(&format!("added key slot {slot}"))?;
            out.object(&serde_json::json!({"type": "added", "slot": slot}))?;
            Ok(Exit::Complete)
        }
        Key::Remove { slot, repo } => {
            let vault = Vault::open(&repo)?;
            key::remove(vault.parts().0, &slot)?;
            out.line(&format!("removed key slot {slot}. Old copies of the repository can still be opened with it."))?;
            out.object(&serde_json::json!({"type": "removed", "slot": slot}))?;
            Ok(Exit::Complete)
        }
        Key::Recover { repo, new_passphrase_file } => {
            if repo.unlock.words_file.is_none() && repo.unlock.escrow_file.is_none() && repo.unlock.key_file.is_none() {
                bail!("recover with --words-file (- for standard input), --escrow-file or --key-file");
            }
            let vault = Vault::open(&repo)?;
            let (storage, id, root) = vault.parts();
            let text = session::new_passphrase(new_passphrase_file.as_deref(), "SAVEOS_NEW_PASSPHRASE")?;
            let slot = key::add_passphrase(storage, id, root, "recovered", &text)?;
            out.line(&format!("the new passphrase opens the repository (key slot {slot})"))?;
            out.object(&serde_json::json!({"type": "added", "slot": slot}))?;
            Ok(Exit::Complete)
        }
        Key::Escrow(Escrow::New { private }) => {
            let (secret, public) = escrow::generate();
            write_secret(&private, &secret)?;
            show_escrow(&public, out)
        }
        Key::Escrow(Escrow::Show { private }) => {
            let text = session::read_file(&private)?;
            let secret =
                unhex(text.trim()).with_context(|| format!("{} does not hold 64 hex digits", private.display()))?;
            show_escrow(&escrow::public_of(&secret)?, out)
        }
    }
}

/// The repository as far as keys need it. No index: keys must be manageable when everything else is broken.
struct Vault {
    storage: Local,
    id: RepositoryId,
    root: RootKey,
    _lease: Lease,
}

impl Vault {
    fn open(repo: &Repo) -> anyhow::Result<Vault> {
        let storage = Local::open(&repo.repo);
        let id = repository::read_config(&storage, &repo.repo)?;
        let lease = lease::take(&repo.repo.join("locks"), LeaseKind::Sweeper, &session::boot_id())?;
        let secret = session::secret(&repo.unlock, "passphrase: ")?;
        let root = key::unlock(&storage, id, &secret)?;
        Ok(Vault { storage, id, root, _lease: lease })
    }

    fn parts(&self) -> (&Local, RepositoryId, &RootKey) {
        (&self.storage, self.id, &self.root)
    }
}

fn list(repo: &Repo, out: &Output) -> anyhow::Result<Exit> {
    let storage = Local::open(&repo.repo);
    repository::read_config(&storage, &repo.repo)?;
    let (slots, damaged) = key::list(&storage)?;
    for slot in &slots {
        let escrow = slot.escrow_key().and_then(unhex).map(|key| escrow::fingerprint(&key)).unwrap_or_default();
        out.line(&format!(
            "{}  {:<10}  {} {escrow}",
            slot.name(),
            slot.kind().name(),
            printable(slot.label().as_bytes())
        ))?;
        out.object(&serde_json::json!({
            "type": "slot", "slot": slot.name(), "kind": slot.kind().name(), "label": slot.label(), "escrow": slot.escrow_key(),
        }))?;
    }
    for error in &damaged {
        out.warn(&error.to_string());
    }
    Ok(if damaged.is_empty() { Exit::Complete } else { Exit::Partial })
}

fn public_key(text: &str) -> anyhow::Result<[u8; 32]> {
    if let Some(key) = unhex(text) {
        return Ok(key);
    }
    let file = session::read_file(Path::new(text))?;
    unhex(file.trim()).with_context(|| format!("{text} is neither 64 hex digits nor a file with them"))
}

fn show_escrow(public: &[u8; 32], out: &Output) -> anyhow::Result<Exit> {
    let fingerprint = escrow::fingerprint(public);
    out.line(&format!("public key   {}\nfingerprint  {fingerprint}", hex(public)))?;
    out.object(&serde_json::json!({"type": "escrow", "public": hex(public), "fingerprint": fingerprint}))?;
    Ok(Exit::Complete)
}

/// Writes 64 hex digits to a new file that only its owner reads.
fn write_secret(path: &Path, secret: &[u8; 32]) -> anyhow::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("could not make the key file {}", path.display()))?;
    file.write_all(format!("{}\n", hex(secret)).as_bytes())?;
    Ok(file.sync_all()?)
}
