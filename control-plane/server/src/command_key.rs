//! The command key: what boxes obey when an order can destroy. Its public half is pinned by every box; its private half lies
//! here wrapped by a passphrase that the server never keeps, so a stolen server forgets nobody's backups.

use crate::clock;
use crate::files::{self, FileError};
use crate::password::{hex, stretch, unhex};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::signature::Ed25519KeyPair;
use saveos_protocol::hex::CommandKey;
use saveos_protocol::sign;
use serde::{Deserialize, Serialize};
use std::path::Path;
use zeroize::Zeroizing;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is there and damaged, or not there.
    #[error("the command key's file is missing or damaged: restore it from a backup, every box obeys no other")]
    Damaged,
    /// Another passphrase.
    #[error("this is not the passphrase of the command key")]
    WrongPassphrase,
}

const FILE: &str = "command.key";
/// It is opened a few times a year: 256 MiB and four passes make a guess cost a second.
const MEMORY_KIB: u32 = 256 * 1024;
const PASSES: u32 = 4;
const CONTEXT: &[u8] = b"saveos/v1 command key";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    memory_kib: u32,
    passes: u32,
    salt: String,
    nonce: String,
    sealed: String,
}

/// Makes one, wrapped by the passphrase; its public half.
pub(crate) fn make(data: &Path, passphrase: &str) -> Result<CommandKey, KeyError> {
    let seed = Zeroizing::new(clock::random::<32>());
    let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| KeyError::Damaged)?;
    let (salt, nonce) = (clock::random::<16>(), clock::random::<12>());
    let mut sealed = seed.to_vec();
    let key = wrapping_key(passphrase, &salt, MEMORY_KIB, PASSES)?;
    let nonce_once = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce_once, Aad::from(CONTEXT), &mut sealed).map_err(|_| KeyError::Damaged)?;
    let (memory_kib, passes) = (MEMORY_KIB, PASSES);
    let wrapped = Wrapped { memory_kib, passes, salt: hex(&salt), nonce: hex(&nonce), sealed: hex(&sealed) };
    let text = serde_json::to_string_pretty(&wrapped).map_err(|_| KeyError::Damaged)?;
    files::write(&data.join(FILE), &text)?;
    Ok(sign::public_half(&pair))
}

/// Opens it. Only the process that signs one order does, and ends.
pub(crate) fn open(data: &Path, passphrase: &str) -> Result<Ed25519KeyPair, KeyError> {
    let text = files::read(&data.join(FILE))?.ok_or(KeyError::Damaged)?;
    let wrapped: Wrapped = serde_json::from_str(&text).map_err(|_| KeyError::Damaged)?;
    let bytes = |text: &str| unhex(text).ok_or(KeyError::Damaged);
    let (salt, nonce) = (bytes(&wrapped.salt)?, bytes(&wrapped.nonce)?);
    // A damaged file must not take the machine's memory.
    if wrapped.memory_kib > 4 * MEMORY_KIB || wrapped.passes > 64 {
        return Err(KeyError::Damaged);
    }
    let mut sealed = Zeroizing::new(bytes(&wrapped.sealed)?);
    let key = wrapping_key(passphrase, &salt, wrapped.memory_kib, wrapped.passes)?;
    let nonce = Nonce::try_assume_unique_for_key(&nonce).map_err(|_| KeyError::Damaged)?;
    let seed = key.open_in_place(nonce, Aad::from(CONTEXT), &mut sealed).map_err(|_| KeyError::WrongPassphrase)?;
    Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Damaged)
}

fn wrapping_key(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Result<LessSafeKey, KeyError> {
    let key = stretch(passphrase, salt, memory_kib, passes).ok_or(KeyError::Damaged)?;
    UnboundKey::new(&AES_256_GCM, &*key).map(LessSafeKey::new).map_err(|_| KeyError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_passphrase_opens_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let public = make(folder.path(), "correct horse").expect("a key");
        assert_eq!(sign::public_half(&open(folder.path(), "correct horse").expect("the key")), public);
        assert!(matches!(open(folder.path(), "wrong horse"), Err(KeyError::WrongPassphrase)));
        files::write(&folder.path().join(FILE), "{}").expect("room");
        assert!(matches!(open(folder.path(), "correct horse"), Err(KeyError::Damaged)));
    }
}
