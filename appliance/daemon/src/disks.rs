//! Which disks are there: those in the sockets of a box, or the images of a folder that stands in for them. They are known by what
//! they say of themselves, their partition table and the first bytes of their file systems; their data is not read for that.

mod folder;
mod rows;
mod sockets;
mod uevents;

pub(crate) use rows::{Known, Row, all, forget_places, leave, leave_absent, register};

use folder::Folder;
use saveos_engine::layout::{self, partition};
use saveos_engine::read::{ReadAt, Window};
use saveos_engine::source::{DiskSource, Source, SourceError};
use saveos_protocol::fact::{Bus, DiskIdentity, Partition};
use saveos_protocol::text::{Mark, Text};
use saveos_protocol::unit::{Bytes, Count};
use sockets::Sockets;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A disk that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where.
    pub(crate) path: PathBuf,
    /// What it says of itself.
    pub(crate) identity: DiskIdentity,
    /// How it is connected.
    pub(crate) bus: Bus,
    /// Bytes.
    pub(crate) size: u64,
    /// In order.
    pub(crate) partitions: Vec<Partition>,
}

/// What a look found changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Plugged in.
    pub(crate) came: Vec<Found>,
    /// Unplugged.
    pub(crate) went: Vec<PathBuf>,
}

/// Where to look.
pub(crate) enum Watch {
    Folder(Folder),
    Sockets(Box<Sockets>),
}

impl Watch {
    /// At a folder; without one, at the sockets of this machine, except for the disks that hold what is in `own`.
    pub(crate) fn new(folder: Option<&Path>, own: &[&Path]) -> Watch {
        match folder {
            Some(folder) => Watch::Folder(Folder::new(folder)),
            None => Watch::Sockets(Box::new(Sockets::new(Path::new("/sys"), Path::new("/dev"), own))),
        }
    }

    /// Looks; `anew` also at what was found to be no disk, and without waiting for a word of the kernel.
    pub(crate) fn look(&mut self, anew: bool) -> Change {
        match self {
            Watch::Folder(folder) => {
                if anew {
                    folder.forget_refusals();
                }
                folder.look()
            }
            Watch::Sockets(sockets) => sockets.look(anew),
        }
    }
}

/// What its connection says of a disk.
struct Said {
    serial: Option<Mark>,
    model: Option<Mark>,
    bus: Bus,
}

/// Reads the partition table and how the file systems begin.
fn identify(path: &Path, said: Said) -> Result<Found, SourceError> {
    let source = Arc::new(DiskSource::open(path)?);
    let table = partition::read(&*source, source.sector_size());
    let kind = |start, len| layout::identify::identify(&Window::new(Arc::clone(&source), start, len));
    let known = |partition: &partition::Partition| Partition {
        number: Count::from(partition.number.unwrap_or(0)),
        start_bytes: Some(Bytes::saturating(partition.start)),
        size_bytes: Bytes::saturating(partition.len),
        filesystem: Mark::cut(kind(partition.start, partition.len).name()).unwrap_or_else(raw),
        label: Some(Text::cut(&partition.name)).filter(|label| !label.is_empty()),
    };
    let partitions = table.partitions.iter().map(known).collect();
    let Said { serial, model, bus } = said;
    let identity = DiskIdentity { serial, model, table: Mark::cut(&table.identity), filesystem: None };
    Ok(Found { path: path.to_owned(), identity, bus, size: source.len(), partitions })
}

fn raw() -> Mark {
    "raw".parse().expect("a mark")
}
