//! Where a repository's files live: named objects in a few areas, written once, never changed.
//!
//! A committed object survives a power cut, or was never there. S3 fits behind the same trait later: it has no rename,
//! so temporary names belong to the local storage alone.

pub mod durable;
pub mod local;
pub mod recorded;

use crate::read::ReadAt;
use std::fmt;
use std::io;

/// A kind of object. Each has a place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// `saveos.json`.
    Root,
    /// Key slots.
    Keys,
    /// Packs, spread over 256 folders by the first byte of their id.
    Packs,
    /// Snapshot records.
    Snapshots,
    /// Checkpoint records.
    Checkpoints,
    /// Dead lists.
    Dead,
}

impl Area {
    /// Every area, in the order `init` makes them.
    pub const ALL: [Area; 6] = [Area::Root, Area::Keys, Area::Packs, Area::Snapshots, Area::Checkpoints, Area::Dead];

    /// The folder's name in the repository.
    pub const fn folder(self) -> &'static str {
        match self {
            Area::Root => "",
            Area::Keys => "keys",
            Area::Packs => "packs",
            Area::Snapshots => "snapshots",
            Area::Checkpoints => "checkpoints",
            Area::Dead => "dead",
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Area::Root) { "repository" } else { self.folder() })
    }
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// File name without folders.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
}

/// What failed, on which object.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The medium has no room.
    #[error("the repository's disk is full: could not {doing} {area}/{name}")]
    Full {
        /// What we were doing.
        doing: &'static str,
        /// Which area.
        area: Area,
        /// Which object.
        name: String,
    },
    /// Any other failure.
    #[error("could not {doing} {area}/{name}")]
    Io {
        /// What we were doing.
        doing: &'static str,
        /// Which area.
        area: Area,
        /// Which object.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl StorageError {
    /// Wraps an I/O error, telling a full disk apart.
    pub fn new(doing: &'static str, area: Area, name: &str, source: io::Error) -> Self {
        let name = name.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full { doing, area, name },
            _ => StorageError::Io { doing, area, name, source },
        }
    }

    /// Which kind of object it was.
    pub fn area(&self) -> Area {
        match self {
            StorageError::Full { area, .. } | StorageError::Io { area, .. } => *area,
        }
    }

    /// True when the object is not there, as opposed to unreadable.
    pub fn is_missing(&self) -> bool {
        matches!(self, StorageError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The objects of one repository.
pub trait Storage: Send + Sync {
    /// All objects of an area, sorted by name.
    fn list(&self, area: Area) -> Result<Vec<Object>, StorageError>;

    /// Opens an object to read.
    fn open(&self, area: Area, name: &str) -> Result<Box<dyn ReadAt>, StorageError>;

    /// Starts a new object. It does not exist until its draft is committed.
    fn create(&self, area: Area, name: &str) -> Result<Box<dyn Draft>, StorageError>;

    /// Removes an object; durable when it returns.
    fn remove(&self, area: Area, name: &str) -> Result<(), StorageError>;

    /// Removes unfinished drafts of dead processes. Only the holder of the writer lease may call it. `alone` is asked after
    /// the drafts were listed, whether no sweeper is at work: then those listed are nobody's.
    fn clear_drafts(&self, alone: &dyn Fn() -> bool) -> Result<(), StorageError>;

    /// Bytes left on the medium, where that is known.
    fn free_bytes(&self) -> Option<u64>;

    /// Gives back the space kept for prune (`release`), or takes it again.
    fn reserve(&self, bytes: u64) -> Result<(), StorageError>;
}

/// An object being written. Dropping it leaves nothing.
pub trait Draft: Send {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError>;

    /// Makes the bytes durable, then the name. After an error the object does not exist and must not be retried
    /// under the same name: the kernel may have dropped the pages an `fsync` failed on.
    fn commit(self: Box<Self>) -> Result<(), StorageError>;
}

/// Writes a small object in one go.
pub fn put(storage: &dyn Storage, area: Area, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
    let mut draft = storage.create(area, name)?;
    draft.append(bytes)?;
    draft.commit()
}

/// Reads a whole object of at most `limit` bytes.
pub fn get(storage: &dyn Storage, area: Area, name: &str, limit: u64) -> Result<Vec<u8>, StorageError> {
    let reader = storage.open(area, name)?;
    let wrap = |source| StorageError::new("read", area, name, source);
    if reader.len() > limit {
        return Err(wrap(io::Error::other(format!("{} bytes where at most {limit} make sense", reader.len()))));
    }
    reader.read_vec(0, reader.len() as usize).map_err(wrap)
}
