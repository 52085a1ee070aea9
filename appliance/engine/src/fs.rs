//! Filesystems, read without mounting: who owns which bytes (`Survey`), and which files there are (`Tree`).
//!
//! A parser here is given hostile bytes. It never panics, never loops without bound, never holds the whole
//! filesystem in memory, and says *doubt* whenever what it reads does not fit together: doubt makes the layout read more.

pub mod exfat;
pub mod ext;
pub mod fat;
pub mod ntfs;

use std::io;

/// A run of bytes, relative to the start of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Extent {
    /// An extent of `len` bytes at `start`.
    pub const fn new(start: u64, len: u64) -> Self {
        Self { start, len }
    }

    /// First byte after the extent; saturates, so that hostile values compare as out of range.
    pub const fn end(self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// Names a file inside one filesystem: inode number, MFT record number, or first cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// Bytes that a rule leaves out of the snapshot. They are named in the summary and restored as zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum LeftOut {
    /// Pages of a Linux swap partition or swap file, behind its header page.
    SwapPages = 1,
    /// Windows `pagefile.sys`, behind its first 4 KiB.
    Pagefile = 2,
    /// Windows `swapfile.sys`, behind its first 4 KiB.
    Swapfile = 3,
}

/// Something that could not be parsed or trusted, in words for the summary: `inode 12: extent tree loops`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt(pub String);

impl<S: Into<String>> From<S> for Doubt {
    fn from(text: S) -> Self {
        Doubt(text.into())
    }
}

/// Why a filesystem could not be surveyed or browsed at all.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The superblock or boot sector is not this filesystem's, or is damaged beyond use.
    #[error("not a usable filesystem: {0}")]
    Unusable(String),
    /// A feature we do not know and must not guess about.
    #[error("unsupported feature: {0}")]
    Unsupported(String),
    /// One structure is damaged; what was told before still holds.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The bytes could not be read.
    #[error("could not read the filesystem at byte {at}")]
    Read {
        /// Offset in the partition.
        at: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// The scratch file of the survey failed.
    #[error("could not write the layout's scratch file")]
    Scratch(#[source] io::Error),
    /// The path or node does not exist.
    #[error("no such file: {0}")]
    NotFound(String),
}

/// Where a parser tells what it found, in any order, streaming. All extents are in bytes, relative to the partition.
///
/// The receiver sorts, cuts and checks: that claims lie inside the partition, do not overlap, and are allocated.
/// What is allocated and not claimed becomes RAW. A parser may therefore leave a structure unclaimed when unsure.
/// Every method fails only with the scratch file (`FsError::Scratch`); pass that on with `?`.
pub trait Survey {
    /// Bytes the filesystem says are in use (bitmap, FAT), and fixed areas outside the bitmap. May overlap, any order.
    fn allocated(&mut self, extent: Extent) -> Result<(), FsError>;

    /// Filesystem structures: superblocks, bitmaps, inode tables, directories, extent blocks, journals, the MFT, FATs.
    fn meta(&mut self, extent: Extent) -> Result<(), FsError>;

    /// Bytes that belong to someone but have no cut of their own: slack, unwritten extents, bytes past valid length.
    fn raw(&mut self, extent: Extent) -> Result<(), FsError>;

    /// Bytes a rule leaves out.
    fn left_out(&mut self, rule: LeftOut, extent: Extent) -> Result<(), FsError>;

    /// Starts the content of one file (or one stream of it). Runs follow, then `file_end`.
    fn file_begin(&mut self, file: FileId) -> Result<(), FsError>;

    /// The next run of the open file. `logical` is the file offset and never goes back; the run ends at end of file at
    /// the latest: the rest of the last block goes to `raw`. Sparse parts are simply skipped.
    fn file_run(&mut self, logical: u64, extent: Extent) -> Result<(), FsError>;

    /// Ends the open file.
    fn file_end(&mut self) -> Result<(), FsError>;

    /// Says that something does not fit together. The whole rest of the partition is then read as RAW.
    fn doubt(&mut self, doubt: Doubt);

    /// Something a person should know that is no doubt: `journal replayed: 12 transactions`.
    fn note(&mut self, text: String);
}

/// What a directory entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its target is its content.
    Symlink,
    /// A device, socket, FIFO, or reparse point: listed, never copied.
    Other,
}

/// One file, as `files ls` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id, the same as in the survey.
    pub id: FileId,
    /// File, directory, link.
    pub kind: NodeKind,
    /// Length in bytes.
    pub size: u64,
    /// Last modification, seconds since 1970 (UTC; FAT's local time is taken as UTC).
    pub modified: i64,
    /// Permission bits where the filesystem has them.
    pub mode: Option<u32>,
}

/// One name in a directory. Names are bytes: UTF-8 where the filesystem says Unicode (unpaired surrogates as WTF-8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without separators.
    pub name: Vec<u8>,
    /// What it names.
    pub node: Node,
}

/// The files of a filesystem, read without mounting.
pub trait Tree: Send + Sync {
    /// The root directory.
    fn root(&self) -> Result<Node, FsError>;

    /// Calls `each` for every entry but `.` and `..`; stops when it returns false. Bounded even when the directory loops.
    fn list(&self, directory: &Node, each: &mut dyn FnMut(Entry) -> bool) -> Result<(), FsError>;

    /// Reads file content (or a link's target) from `offset`; returns how many bytes, 0 at the end.
    fn read(&self, node: &Node, offset: u64, buf: &mut [u8]) -> Result<usize, FsError>;

    /// Looks one name up. Filesystems that ignore case override it.
    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>, FsError> {
        let mut found = None;
        self.list(directory, &mut |entry| {
            if entry.name == name {
                found = Some(entry.node);
                return false;
            }
            true
        })?;
        Ok(found)
    }
}
