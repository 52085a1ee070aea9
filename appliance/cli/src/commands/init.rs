//! `saveos init`: folders, a passphrase slot, recovery words, and `saveos.json` last.

use crate::args::Unlock;
use crate::output::{Exit, Output};
use crate::session;
use anyhow::Context;
use saveos_engine::key::{self, Secret, SlotKind, words};
use saveos_engine::repository;
use std::path::Path;

pub(crate) fn run(path: &Path, unlock: &Unlock, out: &Output) -> anyhow::Result<Exit> {
    let first = match (&unlock.key_file, &unlock.words_file, &unlock.escrow_file) {
        (None, None, None) => {
            Secret::Passphrase(session::new_passphrase(unlock.passphrase_file.as_deref(), "SAVEOS_PASSPHRASE")?)
        }
        _ => session::secret(unlock, "")?,
    };
    let (storage, id, root) = repository::init(path)?;
    match &first {
        Secret::Passphrase(text) => key::add_passphrase(&storage, id, &root, "first", text)?,
        Secret::Device(bytes) => key::add_secret(&storage, id, &root, "first", SlotKind::Device, bytes)?,
        Secret::Words(_) | Secret::Escrow(_) => {
            anyhow::bail!("a new repository begins with a passphrase or a device key; recovery words are made for it")
        }
    };
    let (phrase, entropy) = words::generate();
    key::add_secret(&storage, id, &root, "recovery words", SlotKind::Words, &entropy)?;
    saveos_engine::storage::Storage::reserve(&storage, repository::RESERVE)?;
    repository::seal_init(&storage, id)?;
    let id = saveos_engine::chunk::hex(&id.0);
    let mut text = format!("made the repository {id} in {}\n\n", path.display());
    text += "These 24 words open it without the passphrase. They are shown this once; write them down, keep them elsewhere:\n";
    for (number, row) in phrase.split(' ').collect::<Vec<_>>().chunks(6).enumerate() {
        let row: Vec<String> =
            row.iter().enumerate().map(|(at, word)| format!("{:2} {word:<10}", number * 6 + at + 1)).collect();
        text += &format!("\n  {}", row.join(" ").trim_end());
    }
    let object = serde_json::json!({"type": "init", "repository": id, "words": phrase.as_str()});
    let shown = out.once(&zeroize::Zeroizing::new(text), &object);
    shown.context(
        "the repository was made, but nobody read its recovery words: `saveos key add --words` makes others",
    )?;
    Ok(Exit::Complete)
}
