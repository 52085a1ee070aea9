//! Sealed JSON records: snapshots, checkpoints, dead lists. Each has a key of its own from a random salt, and is named by
//! the hash of its bytes, so a changed or swapped file is noticed before anything in it is believed.

use crate::le::array_at;
use crate::seal::{Keys, NotAuthentic, RepositoryId, open_once, random_bytes, seal_once};
use crate::storage::{Area, Storage, StorageError, get, put};
use serde::{Serialize, de::DeserializeOwned};

const MAGIC: &[u8; 8] = b"SVOSRECD";
const HEADER: usize = 68;

/// Larger than any record can become: a snapshot of 100 TiB names its segments in chunks outside the record.
const LIMIT: u64 = 64 * 1024 * 1024;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// A snapshot.
    Snapshot = 1,
    /// A checkpoint of an unfinished backup.
    Checkpoint = 2,
    /// Packs that nothing needs.
    DeadList = 3,
}

impl RecordKind {
    /// Where such records lie.
    pub fn area(self) -> Area {
        match self {
            RecordKind::Snapshot => Area::Snapshots,
            RecordKind::Checkpoint => Area::Checkpoints,
            RecordKind::DeadList => Area::Dead,
        }
    }
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its bytes do not have the hash that its name says.
    #[error("{area}/{name} is damaged: its bytes do not match its name")]
    Renamed {
        /// Where it lies.
        area: Area,
        /// Its name.
        name: String,
    },
    /// It is no record of this kind and version.
    #[error("{area}/{name} is not a {area} record of version 1")]
    NotARecord {
        /// Where it lies.
        area: Area,
        /// Its name.
        name: String,
    },
    /// It does not open with this repository's key.
    #[error("{area}/{name} {source}")]
    NotAuthentic {
        /// Where it lies.
        area: Area,
        /// Its name.
        name: String,
        /// The refusal.
        #[source]
        source: NotAuthentic,
    },
    /// Its content is not what this version understands.
    #[error("{area}/{name} holds unexpected content")]
    Content {
        /// Where it lies.
        area: Area,
        /// Its name.
        name: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}

impl RecordError {
    /// The record's name.
    pub fn name(&self) -> &str {
        match self {
            RecordError::Storage(StorageError::Full { name, .. } | StorageError::Io { name, .. })
            | RecordError::Renamed { name, .. }
            | RecordError::NotARecord { name, .. }
            | RecordError::NotAuthentic { name, .. }
            | RecordError::Content { name, .. } => name,
        }
    }

    /// Whether the record itself is bad, so that reading it again would not help.
    pub fn is_damage(&self) -> bool {
        match self {
            RecordError::Storage(StorageError::Full { .. }) => false,
            // A bad sector; or no refusal of the system: too long, or cut while it was read.
            RecordError::Storage(StorageError::Io { source, .. }) => {
                source.raw_os_error().is_none_or(|code| code == rustix::io::Errno::IO.raw_os_error())
                    && source.kind() != std::io::ErrorKind::NotFound
            }
            RecordError::Renamed { .. }
            | RecordError::NotARecord { .. }
            | RecordError::NotAuthentic { .. }
            | RecordError::Content { .. } => true,
        }
    }
}

/// Names of all records of a kind. Other names in the folder are somebody else's: a file manager leaves `.DS_Store`.
pub fn names(storage: &dyn Storage, kind: RecordKind) -> Result<Vec<String>, StorageError> {
    let is_ours = |name: &str| name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let objects = storage.list(kind.area())?;
    Ok(objects.into_iter().map(|object| object.name).filter(|name| is_ours(name)).collect())
}

/// Seals a value and makes it durable. Returns its name.
pub fn write<T: Serialize>(
    storage: &dyn Storage,
    keys: &Keys,
    kind: RecordKind,
    value: &T,
) -> Result<String, StorageError> {
    let json = serde_json::to_vec(value).expect("our records have string keys and no failing serializer");
    let bytes = seal(keys, kind, &random_bytes(), &json);
    let name = blake3::hash(&bytes).to_hex().to_string();
    put(storage, kind.area(), &name, &bytes)?;
    Ok(name)
}

/// Reads, checks and opens a record.
pub fn read<T: DeserializeOwned>(
    storage: &dyn Storage,
    keys: &Keys,
    kind: RecordKind,
    name: &str,
) -> Result<T, RecordError> {
    let area = kind.area();
    let bytes = get(storage, area, name, LIMIT)?;
    let name = || name.to_owned();
    if blake3::hash(&bytes).to_hex().as_str() != name() {
        return Err(RecordError::Renamed { area, name: name() });
    }
    let json = open(keys, kind, &bytes).map_err(|refusal| match refusal {
        Refusal::Shape => RecordError::NotARecord { area, name: name() },
        Refusal::Key(source) => RecordError::NotAuthentic { area, name: name(), source },
    })?;
    parse(&json).map_err(|source| RecordError::Content { area, name: name(), source })
}

/// The text is no record of the kind that was asked for.
pub type NotJson = serde_json::Error;

/// Reads the JSON of an opened record. Public for the fuzz target.
pub fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, NotJson> {
    serde_json::from_slice(json)
}

fn seal(keys: &Keys, kind: RecordKind, salt: &[u8; 24], json: &[u8]) -> Vec<u8> {
    let (key, commitment) = keys.record(salt, kind as u8);
    let mut bytes = Vec::with_capacity(HEADER + json.len() + 16);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, kind as u8, 0, 0]);
    bytes.extend_from_slice(salt);
    bytes.extend_from_slice(&commitment);
    let sealed = seal_once(&key, &aad(&bytes, keys.repository()), json);
    bytes.extend_from_slice(&sealed);
    bytes
}

/// Why bytes do not open as a record.
#[derive(Debug)]
pub enum Refusal {
    /// Not a record of this kind and version.
    Shape,
    /// Not sealed with this key.
    Key(NotAuthentic),
}

/// Opens the bytes of a record to its JSON text. Public for the fuzz target.
pub fn open(keys: &Keys, kind: RecordKind, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let header = bytes.get(..HEADER).ok_or(Refusal::Shape)?;
    if !header.starts_with(MAGIC) || header[8..12] != [1, kind as u8, 0, 0] {
        return Err(Refusal::Shape);
    }
    let salt: [u8; 24] = array_at(header, 12).ok_or(Refusal::Shape)?;
    let (key, commitment) = keys.record(&salt, kind as u8);
    if header[36..] != commitment {
        return Err(Refusal::Key(NotAuthentic));
    }
    open_once(&key, &aad(header, keys.repository()), &bytes[HEADER..]).map_err(Refusal::Key)
}

fn aad(header: &[u8], repository: RepositoryId) -> Vec<u8> {
    [header, &repository.0].concat()
}
