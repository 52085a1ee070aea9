//! The box's repository and its way in: a device key beside the data, and the 24 words for the day the box is dead. The words
//! are shown once and two of them are asked back; until then the box says that nobody could open its backups.
//!
//! The words live in memory only until they are confirmed. A box that restarts before that makes others.

use crate::files::{self, FileError};
use crate::identity::random;
use saveos_engine::chunk::{hex, unhex};
use saveos_engine::key::{self, KeyError, Secret, SlotKind, words};
use saveos_engine::lease::LeaseKind;
use saveos_engine::repository::{self, OpenOptions, Repository, RepositoryError};
use saveos_engine::seal::{RepositoryId, RootKey, Suite};
use saveos_engine::snapshot::WriterId;
use saveos_engine::storage::Storage;
use saveos_engine::storage::local::Local;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    /// The key file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Its keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A repository without the key that opens it is not made anew: it may be somebody's only copy.
    #[error(
        "the repository {0} is there and the device's key for it is not: `saveos key recover` and the words open it"
    )]
    NoKey(PathBuf),
    /// Nothing to make a key of.
    #[error("the system gave no random bytes")]
    NoRandom,
}

const KEY_FILE: &str = "repository.key";
const LABEL: &str = "recovery words";
const ESCROW: &str = "escrow of the organisation";

/// The repository and its key.
pub(crate) struct Vault {
    path: PathBuf,
    secret: Zeroizing<[u8; 32]>,
    id: RepositoryId,
    root: RootKey,
}

impl Vault {
    /// Opens it, or makes it at the first start. The key is durable before the repository is.
    pub(crate) fn open(data: &Path, path: &Path) -> Result<Vault, VaultError> {
        let text = files::read_secret(&data.join(KEY_FILE))?;
        let secret = text.as_deref().and_then(|text| unhex::<32>(text.trim())).map(Zeroizing::new);
        let is_there = path.join("saveos.json").exists();
        let secret = match secret {
            Some(secret) => secret,
            None if is_there || text.is_some() => return Err(VaultError::NoKey(path.to_owned())),
            None => {
                let secret = Zeroizing::new(random::<32>().map_err(|_| VaultError::NoRandom)?);
                files::write_secret(data, KEY_FILE, &Zeroizing::new(hex(&*secret) + "\n"))?;
                secret
            }
        };
        if !is_there {
            let (storage, id, root) = begin(path)?;
            key::add_secret(&storage, id, &root, "device", SlotKind::Device, &secret)?;
            storage.reserve(repository::RESERVE).map_err(RepositoryError::from)?;
            repository::seal_init(&storage, id)?;
        }
        let storage = Local::open(path);
        let id = repository::read_config(&storage, path)?;
        let root = key::unlock(&storage, id, &Secret::Device(secret.clone()))?;
        Ok(Vault { path: path.to_owned(), secret, id, root })
    }

    /// The repository's name.
    pub(crate) fn id(&self) -> RepositoryId {
        self.id
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the repository for a job.
    pub(crate) fn repository(&self, lease: LeaseKind, boot: &str) -> Result<Repository, RepositoryError> {
        let options = OpenOptions { lease, boot, scratch: &self.scratch(), suite: Suite::for_this_cpu() };
        Repository::open(&self.path, &Secret::Device(self.secret.clone()), &options)
    }

    /// Where jobs put their scratch files.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// This box as a writer of it.
    pub(crate) fn writer(&self, device: &str) -> WriterId {
        let digest =
            saveos_engine::seal::Keys::derive(&self.root, self.id).chunk_id(format!("writer {device}").as_bytes());
        WriterId(*digest.0.first_chunk().expect("an id has 32 bytes"))
    }

    /// Lets the holder of this escrow key open it, and of no other. The new slot is there before the old one goes.
    pub(crate) fn seal_to(&self, escrow: Option<&[u8; 32]>) -> Result<(), VaultError> {
        let storage = Local::open(&self.path);
        let (slots, _) = key::list(&storage).map_err(RepositoryError::from)?;
        let ours = || slots.iter().filter(|slot| slot.kind() == SlotKind::Escrow && slot.label() == ESCROW);
        let wanted = escrow.map(|public| hex(public));
        if let Some(public) = escrow
            && !ours().any(|slot| slot.escrow_key() == wanted.as_deref())
        {
            key::add_escrow(&storage, self.id, &self.root, ESCROW, public)?;
        }
        for slot in ours().filter(|slot| slot.escrow_key() != wanted.as_deref()) {
            key::remove(&storage, slot.name())?;
        }
        Ok(())
    }

    /// New words; the slot of older ones goes, so that nothing opens what nobody has.
    pub(crate) fn new_words(&self) -> Result<Words, VaultError> {
        let storage = Local::open(&self.path);
        let (old, _) = key::list(&storage).map_err(RepositoryError::from)?;
        let (phrase, entropy) = words::generate();
        key::add_secret(&storage, self.id, &self.root, LABEL, SlotKind::Words, &entropy)?;
        for slot in old.iter().filter(|slot| slot.kind() == SlotKind::Words && slot.label() == LABEL) {
            key::remove(&storage, slot.name())?;
        }
        let draw = random::<2>().map_err(|_| VaultError::NoRandom)?;
        let first = usize::from(draw[0]) % 24;
        let second = (first + 1 + usize::from(draw[1]) % 23) % 24;
        Ok(Words { phrase, asked: [first.min(second), first.max(second)] })
    }
}

/// An interrupted first start left folders and no `saveos.json`: nothing was ever stored there.
fn begin(path: &Path) -> Result<(Local, RepositoryId, RootKey), VaultError> {
    match repository::init(path) {
        Ok(made) => Ok(made),
        Err(_) if path.is_dir() && !path.join("saveos.json").exists() && is_unused(path) => {
            let aside = path.with_extension("unfinished");
            rustix::fs::rename(path, &aside).map_err(|errno| {
                let source = std::io::Error::from(errno);
                RepositoryError::from(saveos_engine::storage::StorageError::new(
                    "set aside",
                    saveos_engine::storage::Area::Root,
                    &aside.to_string_lossy(),
                    source,
                ))
            })?;
            Ok(repository::init(path)?)
        }
        Err(cause) => Err(cause.into()),
    }
}

fn is_unused(path: &Path) -> bool {
    let empty = |name: &str| std::fs::read_dir(path.join(name)).is_ok_and(|mut entries| entries.next().is_none());
    empty("snapshots") && empty("checkpoints")
}

/// Words that were made and not confirmed yet, and which two are asked back.
pub(crate) struct Words {
    phrase: Zeroizing<String>,
    asked: [usize; 2],
}

impl Words {
    /// All 24, to be shown once.
    pub(crate) fn phrase(&self) -> &str {
        &self.phrase
    }

    /// Which two are asked back, counted from 1.
    pub(crate) fn asked(&self) -> [usize; 2] {
        self.asked.map(|at| at + 1)
    }

    /// Whether these are the two.
    pub(crate) fn are(&self, two: &[String; 2]) -> bool {
        let words: Vec<&str> = self.phrase.split(' ').collect();
        self.asked.iter().zip(two).all(|(at, word)| words.get(*at) == Some(&word.trim().to_lowercase().as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_open_it_without_the_box_and_older_words_do_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("repository");
        let vault = Vault::open(folder.path(), &path).expect("a new vault");
        let (lost, kept) = (vault.new_words().expect("words"), vault.new_words().expect("words"));
        let id = vault.id();
        drop(vault);
        let opens = |words: &Words| {
            let secret = Secret::Words(words::parse(words.phrase()).expect("24 words"));
            key::unlock(&Local::open(&path), id, &secret).is_ok()
        };
        assert!(opens(&kept) && !opens(&lost));
        let spelled: Vec<&str> = kept.phrase().split(' ').collect();
        let two = kept.asked().map(|at| spelled[at - 1].to_uppercase());
        assert!(kept.are(&two) && !kept.are(&["abandon".to_owned(), two[1].clone()]));
        assert_eq!(Vault::open(folder.path(), &path).expect("the same vault").id(), id);
    }

    #[test]
    fn the_escrow_key_opens_it_and_one_that_was_replaced_does_not_any_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("repository");
        let vault = Vault::open(folder.path(), &path).expect("a new vault");
        let (old, new) = (key::escrow::generate(), key::escrow::generate());
        let opens = |private: &Zeroizing<[u8; 32]>| {
            key::unlock(&Local::open(&path), vault.id(), &Secret::Escrow(private.clone())).is_ok()
        };
        vault.seal_to(Some(&old.1)).expect("room");
        assert!(opens(&old.0) && !opens(&new.0));
        for _ in 0..2 {
            vault.seal_to(Some(&new.1)).expect("room");
            assert!(opens(&new.0) && !opens(&old.0));
        }
        let slots = || key::list(&Local::open(&path)).expect("readable").0.len();
        assert_eq!(slots(), 2, "the device and the new escrow key");
        vault.seal_to(None).expect("room");
        assert_eq!(slots(), 1);
    }

    #[test]
    fn a_repository_whose_key_is_gone_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("repository");
        drop(Vault::open(folder.path(), &path).expect("a new vault"));
        std::fs::remove_file(folder.path().join(KEY_FILE)).expect("it was there");
        assert!(matches!(Vault::open(folder.path(), &path), Err(VaultError::NoKey(_))));
    }

    #[test]
    fn a_first_start_that_was_cut_is_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("repository");
        drop(repository::init(&path).expect("folders"));
        Vault::open(folder.path(), &path).expect("a vault");
    }
}
