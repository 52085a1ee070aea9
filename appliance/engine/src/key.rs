//! Key slots: the root key wrapped under a passphrase, 24 recovery words, a device key or an escrow key.
//!
//! A slot is one immutable file. A wrong secret, a damaged file and another repository's file are told apart.

pub mod escrow;
pub mod words;

use crate::chunk::{hex, unhex};
use crate::seal::{NotAuthentic, RepositoryId, RootKey, derive, open_once, random_bytes, seal_once, split};
use crate::storage::{Area, Storage, StorageError, get, put};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotKind {
    /// A passphrase, stretched by Argon2id.
    Passphrase,
    /// 24 recovery words.
    Words,
    /// A key file on the device.
    Device,
    /// An organisation's escrow key.
    Escrow,
}

impl SlotKind {
    /// The word in files and on the screen.
    pub const fn name(self) -> &'static str {
        match self {
            SlotKind::Passphrase => "passphrase",
            SlotKind::Words => "words",
            SlotKind::Device => "device",
            SlotKind::Escrow => "escrow",
        }
    }
}

/// A slot file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slot {
    version: u32,
    slot: String,
    kind: SlotKind,
    label: String,
    salt: String,
    commitment: String,
    wrapped: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_kib: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lanes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    escrow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral: Option<String>,
}

/// A secret a person or device brings.
pub enum Secret {
    /// A passphrase.
    Passphrase(Zeroizing<String>),
    /// The entropy of 24 words.
    Words(Zeroizing<[u8; 32]>),
    /// A device's key file.
    Device(Zeroizing<[u8; 32]>),
    /// An escrow private key.
    Escrow(Zeroizing<[u8; 32]>),
}

impl Secret {
    /// The slots it may open.
    pub fn kind(&self) -> SlotKind {
        match self {
            Secret::Passphrase(_) => SlotKind::Passphrase,
            Secret::Words(_) => SlotKind::Words,
            Secret::Device(_) => SlotKind::Device,
            Secret::Escrow(_) => SlotKind::Escrow,
        }
    }
}

/// Why a key operation failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The slot files could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A slot file is not what FORMAT.md says.
    #[error("key slot {slot} is damaged: {why}")]
    Damaged {
        /// Which one.
        slot: String,
        /// What is wrong with it.
        why: String,
    },
    /// No slot of this kind opens with this secret.
    #[error("wrong {}: it opens none of the repository's key slots", .kind.name())]
    Wrong {
        /// What was tried.
        kind: SlotKind,
    },
    /// There is no slot of this kind at all.
    #[error("the repository has no {} key slot", .kind.name())]
    None {
        /// What was tried.
        kind: SlotKind,
    },
    /// Removing it would leave nobody a way in.
    #[error("slot {slot} is the last one: removing it would lock everybody out for ever")]
    Last {
        /// Which one.
        slot: String,
    },
    /// There is no such slot.
    #[error("no key slot {slot}")]
    NoSuchSlot {
        /// What was asked for.
        slot: String,
    },
    /// The words are not a recovery phrase.
    #[error("not the 24 recovery words: {0}")]
    Words(String),
    /// The escrow key is unusable.
    #[error("not an escrow key: {0}")]
    Escrow(&'static str),
}

/// Argon2id at m = 64 MiB, t = 3, p = 4: the second recommended option of RFC 9106 §4.
const ARGON2: (u32, u32, u32) = (64 * 1024, 3, 4);

/// What a reader accepts from a file before it spends memory and time on it.
const ARGON2_LIMIT: (u32, u32, u32) = (1024 * 1024, 16, 16);

impl Slot {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.slot
    }
    /// What opens it.
    pub fn kind(&self) -> SlotKind {
        self.kind
    }
    /// What a person called it.
    pub fn label(&self) -> &str {
        &self.label
    }
    /// The escrow public key, for escrow slots.
    pub fn escrow_key(&self) -> Option<&str> {
        self.escrow.as_deref()
    }

    fn wrap(
        kind: SlotKind,
        label: &str,
        root: &RootKey,
        repository: RepositoryId,
        salt: [u8; 32],
        secret: &[u8; 32],
    ) -> Slot {
        let slot = hex(&random_bytes::<8>());
        let (key, commitment) = slot_key(kind, secret, &salt);
        let wrapped = seal_once(&key, &slot_aad(repository, kind, &slot), root.expose());
        Slot {
            version: 1,
            kind,
            label: label.to_owned(),
            salt: hex(&salt),
            commitment: hex(&commitment),
            wrapped: hex(&wrapped),
            slot,
            memory_kib: None,
            passes: None,
            lanes: None,
            escrow: None,
            ephemeral: None,
        }
    }

    /// The root key, `None` when the secret is another's.
    fn open(&self, secret: &Secret, repository: RepositoryId) -> Result<Option<RootKey>, KeyError> {
        let salt = self.field::<32>(&self.salt, "salt")?;
        let secret = match secret {
            Secret::Passphrase(text) => Zeroizing::new(stretch(text, &salt, self.argon2()?)),
            Secret::Words(bytes) | Secret::Device(bytes) => bytes.clone(),
            Secret::Escrow(private) => {
                let ephemeral = self.field::<32>(self.ephemeral.as_deref().unwrap_or(""), "ephemeral")?;
                match escrow::open_side(private, &ephemeral)? {
                    Some(secret) => secret,
                    None => return Ok(None),
                }
            }
        };
        let (key, commitment) = slot_key(self.kind, &secret, &salt);
        if self.field::<32>(&self.commitment, "commitment")? != commitment {
            return Ok(None);
        }
        let wrapped = self.field::<48>(&self.wrapped, "wrapped")?;
        let root = open_once(&key, &slot_aad(repository, self.kind, &self.slot), &wrapped)
            .map(Zeroizing::new)
            .map_err(|NotAuthentic| {
                self.damaged("the secret is right, but the wrapped key was changed or is another repository's")
            })?;
        let root: [u8; 32] = root.as_slice().try_into().map_err(|_| self.damaged("wrong length"))?;
        Ok(Some(RootKey::from_bytes(root)))
    }

    fn argon2(&self) -> Result<(u32, u32, u32), KeyError> {
        match (self.memory_kib, self.passes, self.lanes) {
            (Some(m), Some(t), Some(p))
                if m <= ARGON2_LIMIT.0
                    && (1..=ARGON2_LIMIT.1).contains(&t)
                    && (1..=ARGON2_LIMIT.2).contains(&p)
                    && m >= 8 * p =>
            {
                Ok((m, t, p))
            }
            _ => Err(self.damaged("Argon2id parameters out of bounds")),
        }
    }

    fn field<const N: usize>(&self, text: &str, name: &str) -> Result<[u8; N], KeyError> {
        unhex(text).ok_or_else(|| self.damaged(name))
    }

    fn damaged(&self, why: &str) -> KeyError {
        KeyError::Damaged { slot: self.slot.clone(), why: why.to_owned() }
    }

    fn store(&self, storage: &dyn Storage) -> Result<(), StorageError> {
        let json = serde_json::to_vec_pretty(self).expect("a slot has string keys");
        put(storage, Area::Keys, &format!("{}.json", self.slot), &json)
    }

    /// Parses and checks a slot file. Public for the fuzz target.
    pub fn parse(name: &str, json: &[u8]) -> Result<Slot, KeyError> {
        let damaged = |why: String| KeyError::Damaged { slot: name.to_owned(), why };
        let slot: Slot = serde_json::from_slice(json).map_err(|cause| damaged(cause.to_string()))?;
        match () {
            () if slot.version != 1 => Err(damaged(format!("version {} is not known", slot.version))),
            () if slot.slot != name => Err(damaged("it was made under another name".to_owned())),
            () => Ok(slot),
        }
    }
}

/// All slots that parse, and what is wrong with the others.
pub fn list(storage: &dyn Storage) -> Result<(Vec<Slot>, Vec<KeyError>), StorageError> {
    let (mut slots, mut damaged) = (Vec::new(), Vec::new());
    for object in storage.list(Area::Keys)? {
        // Other names are no slots: a file manager leaves `.DS_Store`.
        let Some(name) = object.name.strip_suffix(".json").filter(|name| unhex::<8>(name).is_some()) else { continue };
        match get(storage, Area::Keys, &object.name, 64 * 1024).map(|json| Slot::parse(name, &json)) {
            Ok(Ok(slot)) => slots.push(slot),
            Ok(Err(error)) => damaged.push(error),
            // Another slot may open all the same.
            Err(error) => damaged.push(error.into()),
        }
    }
    Ok((slots, damaged))
}

/// Finds the slot this secret opens.
pub fn unlock(storage: &dyn Storage, repository: RepositoryId, secret: &Secret) -> Result<RootKey, KeyError> {
    let (slots, mut damaged) = list(storage)?;
    let mut tried = 0;
    for slot in slots.iter().filter(|slot| slot.kind == secret.kind()) {
        tried += 1;
        match slot.open(secret, repository) {
            Ok(Some(root)) => return Ok(root),
            Ok(None) => {}
            Err(error) => damaged.push(error),
        }
    }
    match damaged.pop() {
        Some(error) => Err(error),
        None if tried == 0 => Err(KeyError::None { kind: secret.kind() }),
        None => Err(KeyError::Wrong { kind: secret.kind() }),
    }
}

/// Adds a slot for a passphrase. Returns its name.
pub fn add_passphrase(
    storage: &dyn Storage,
    repository: RepositoryId,
    root: &RootKey,
    label: &str,
    passphrase: &str,
) -> Result<String, KeyError> {
    let salt = random_bytes();
    let secret = Zeroizing::new(stretch(passphrase, &salt, ARGON2));
    let (m, t, p) = ARGON2;
    let slot = Slot {
        memory_kib: Some(m),
        passes: Some(t),
        lanes: Some(p),
        ..Slot::wrap(SlotKind::Passphrase, label, root, repository, salt, &secret)
    };
    slot.store(storage)?;
    Ok(slot.slot)
}

/// Adds a slot for fresh recovery words, or for a device's key bytes.
pub fn add_secret(
    storage: &dyn Storage,
    repository: RepositoryId,
    root: &RootKey,
    label: &str,
    kind: SlotKind,
    secret: &[u8; 32],
) -> Result<String, KeyError> {
    debug_assert!(matches!(kind, SlotKind::Words | SlotKind::Device));
    let slot = Slot::wrap(kind, label, root, repository, random_bytes(), secret);
    slot.store(storage)?;
    Ok(slot.slot)
}

/// Adds a slot that only the holder of the escrow private key opens.
pub fn add_escrow(
    storage: &dyn Storage,
    repository: RepositoryId,
    root: &RootKey,
    label: &str,
    public: &[u8; 32],
) -> Result<String, KeyError> {
    let (ephemeral, secret) = escrow::seal_side(public)?;
    let slot = Slot {
        escrow: Some(hex(public)),
        ephemeral: Some(hex(&ephemeral)),
        ..Slot::wrap(SlotKind::Escrow, label, root, repository, random_bytes(), &secret)
    };
    slot.store(storage)?;
    Ok(slot.slot)
}

/// Removes a slot, never the last.
pub fn remove(storage: &dyn Storage, name: &str) -> Result<(), KeyError> {
    let (slots, _) = list(storage)?;
    if !slots.iter().any(|slot| slot.slot == name) {
        return Err(KeyError::NoSuchSlot { slot: name.to_owned() });
    }
    if slots.len() == 1 {
        return Err(KeyError::Last { slot: name.to_owned() });
    }
    Ok(storage.remove(Area::Keys, &format!("{name}.json"))?)
}

fn slot_key(kind: SlotKind, secret: &[u8; 32], salt: &[u8; 32]) -> ([u8; 32], [u8; 32]) {
    split(&derive::<64>(secret, salt, format!("saveos/1 slot{}", kind.name()).as_bytes()))
}

fn slot_aad(repository: RepositoryId, kind: SlotKind, slot: &str) -> Vec<u8> {
    [&repository.0[..], kind.name().as_bytes(), slot.as_bytes()].concat()
}

fn stretch(passphrase: &str, salt: &[u8; 32], (memory, passes, lanes): (u32, u32, u32)) -> [u8; 32] {
    let params = argon2::Params::new(memory, passes, lanes, Some(32)).expect("the parameters were bounded");
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    // On all cores: the first touch of so much memory takes as long as half a pass over it.
    let blocks = (0..argon2.params().block_count()).into_par_iter().map(|_| argon2::Block::default());
    let memory: Vec<argon2::Block> = blocks.collect();
    let mut secret = [0; 32];
    argon2
        .hash_password_into_with_memory(passphrase.as_bytes(), salt, &mut secret, memory)
        .expect("salt and output have legal lengths");
    secret
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::recorded::{Recorded, RecordedStorage, Sabotage};

    const REPOSITORY: RepositoryId = RepositoryId([5; 16]);

    fn medium() -> (RecordedStorage, RootKey) {
        (Recorded::storage(Sabotage::None), RootKey::random())
    }

    fn passphrase(text: &str) -> Secret {
        Secret::Passphrase(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn every_kind_of_slot_gives_the_same_root_key() {
        let (storage, root) = medium();
        let (words, entropy) = words::generate();
        let (private, public) = escrow::generate();
        add_passphrase(&storage, REPOSITORY, &root, "me", "horse").unwrap();
        add_secret(&storage, REPOSITORY, &root, "safe", SlotKind::Words, &entropy).unwrap();
        add_secret(&storage, REPOSITORY, &root, "box", SlotKind::Device, &[8; 32]).unwrap();
        add_escrow(&storage, REPOSITORY, &root, "firm", &public).unwrap();
        for secret in [
            passphrase("horse"),
            Secret::Words(words::parse(&words).unwrap()),
            Secret::Device(Zeroizing::new([8; 32])),
            Secret::Escrow(private),
        ] {
            assert_eq!(unlock(&storage, REPOSITORY, &secret).unwrap().expose(), root.expose());
        }
    }

    #[test]
    fn a_wrong_passphrase_is_told_from_a_damaged_slot() {
        let (storage, root) = medium();
        let name = add_passphrase(&storage, REPOSITORY, &root, "", "horse").unwrap();
        assert!(matches!(unlock(&storage, REPOSITORY, &passphrase("cow")), Err(KeyError::Wrong { .. })));

        let path = format!("keys/{name}.json");
        let mut json: Slot = serde_json::from_slice(&storage.steps().files()[&path]).unwrap();
        json.wrapped.replace_range(..2, if json.wrapped.starts_with("00") { "01" } else { "00" });
        storage.steps().tamper(&path, serde_json::to_vec(&json).unwrap());
        assert!(matches!(unlock(&storage, REPOSITORY, &passphrase("horse")), Err(KeyError::Damaged { .. })));
    }

    #[test]
    fn a_slot_of_another_repository_does_not_open() {
        let (storage, root) = medium();
        add_secret(&storage, REPOSITORY, &root, "", SlotKind::Device, &[8; 32]).unwrap();
        let secret = Secret::Device(Zeroizing::new([8; 32]));
        let result = unlock(&storage, RepositoryId([6; 16]), &secret);
        assert!(matches!(result, Err(KeyError::Damaged { .. })));
    }

    #[test]
    fn greedy_argon2_parameters_are_refused_before_they_cost_anything() {
        let (storage, root) = medium();
        let name = add_passphrase(&storage, REPOSITORY, &root, "", "horse").unwrap();
        let path = format!("keys/{name}.json");
        let mut json: Slot = serde_json::from_slice(&storage.steps().files()[&path]).unwrap();
        json.memory_kib = Some(u32::MAX);
        storage.steps().tamper(&path, serde_json::to_vec(&json).unwrap());
        assert!(matches!(unlock(&storage, REPOSITORY, &passphrase("horse")), Err(KeyError::Damaged { .. })));
    }

    #[test]
    fn the_last_slot_stays() {
        let (storage, root) = medium();
        let one = add_secret(&storage, REPOSITORY, &root, "", SlotKind::Device, &[8; 32]).unwrap();
        assert!(matches!(remove(&storage, &one), Err(KeyError::Last { .. })));
        let two = add_secret(&storage, REPOSITORY, &root, "", SlotKind::Device, &[9; 32]).unwrap();
        remove(&storage, &one).unwrap();
        assert!(matches!(remove(&storage, &one), Err(KeyError::NoSuchSlot { .. })));
        assert!(matches!(remove(&storage, &two), Err(KeyError::Last { .. })));
    }
}
