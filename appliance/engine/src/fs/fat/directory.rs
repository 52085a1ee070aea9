//! Directories of FAT: turns 32-byte entries into files, and decides where a directory ends.

use std::ops::ControlFlow;

use super::boot::Root;
use super::content::Block;
use super::short::{LongName, short};
use super::time;
use super::volume::{Place, Volume};
use crate::fs::{FileId, FsError};
use crate::le::{u8_at, u16_at, u32_at};

pub(super) const ENTRY: usize = 32;
/// No driver makes more than 65536 entries.
pub(super) const MAX_BYTES: u64 = 65536 * ENTRY as u64;

const DELETED: u8 = 0xE5;
const ATTRIBUTE_MASK: u8 = 0x3F;
const ATTRIBUTES_LONG: u8 = 0x0F;
const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;

/// One file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// UTF-16LE; the long name where there is one.
    pub(super) name: Vec<u8>,
    /// UTF-16LE.
    pub(super) short: Vec<u8>,
    pub(super) directory: bool,
    /// Zero for an empty file.
    pub(super) first: u32,
    pub(super) size: u32,
    pub(super) modified: i64,
}

/// A directory to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directory {
    Root,
    /// By its first cluster.
    Sub(u32),
}

/// What a directory consists of.
pub(super) enum Found {
    File(File),
    /// A part could not be read; the rest follows where there is one.
    Flaw(FsError),
}

/// Calls `each` for everything in the first `len` bytes but `.` and `..`, labels and deleted entries.
pub(super) fn each(
    volume: &Volume<'_>,
    root: Root,
    directory: Directory,
    len: u64,
    each: &mut dyn FnMut(Found) -> Result<ControlFlow<()>, FsError>,
) -> Result<(), FsError> {
    let mut long = LongName::default();
    let wide = matches!(root, Root::Chain(_));
    let mut look = |(_, bytes): Block<'_>| -> Result<ControlFlow<()>, FsError> {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(cause) => {
                long.drop_parts();
                return each(Found::Flaw(cause));
            }
        };
        for entry in bytes.chunks_exact(ENTRY) {
            let attributes = u8_at(entry, 11).unwrap_or_default() & ATTRIBUTE_MASK;
            match u8_at(entry, 0) {
                Some(0) | None => return Ok(ControlFlow::Break(())),
                Some(DELETED) => long.drop_parts(),
                _ if attributes == ATTRIBUTES_LONG => long.part(entry),
                _ if attributes & ATTRIBUTE_LABEL != 0 => long.drop_parts(),
                _ if matches!(entry.get(..11), Some(b".          " | b"..         ")) => long.drop_parts(),
                _ => {
                    let long = long.take(entry);
                    let Some(file) = parse(entry, attributes, wide, long) else { continue };
                    if each(Found::File(file))?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    };
    match (directory, root) {
        (Directory::Root, Root::Fixed(extent)) => volume.blocks_of(0, extent, &mut look).map(|_| ()),
        (Directory::Root, Root::Chain(first)) | (Directory::Sub(first), _) => {
            volume.blocks(Place::Chain(first), len, &mut look)
        }
    }
}

impl Directory {
    /// The directory that a node names.
    pub(super) fn of(id: FileId, root: Root) -> Self {
        match (u32::try_from(id.0), root) {
            (Ok(0), Root::Fixed(_)) => Directory::Root,
            (Ok(first), Root::Chain(root)) if first == root => Directory::Root,
            // A cluster that does not exist is refused when it is read.
            (first, _) => Directory::Sub(first.unwrap_or(0)),
        }
    }
}

fn parse(entry: &[u8], attributes: u8, wide: bool, long: Option<Vec<u8>>) -> Option<File> {
    let short = short(entry);
    // Only FAT32 has the upper half; elsewhere others keep their own things there.
    let upper = if wide { u32::from(u16_at(entry, 20)?) << 16 } else { 0 };
    Some(File {
        name: long.unwrap_or_else(|| short.clone()),
        short,
        directory: attributes & ATTRIBUTE_DIRECTORY != 0,
        first: upper | u32::from(u16_at(entry, 26)?),
        size: u32_at(entry, 28)?,
        modified: time::seconds(u16_at(entry, 24)?, u16_at(entry, 22)?),
    })
}
