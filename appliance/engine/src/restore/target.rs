//! What a restore writes to: a new sparse file, an existing file, or a disk. Refuses what would destroy the machine it runs
//! on, whatever the caller insists on.

mod busy;

use crate::system::{Number, System};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes that can be written at any offset, from several threads.
pub trait Target: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;
    /// True when there is nothing to write to.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether there may be bytes other than zero: then pieces are compared before they are written.
    fn holds_data(&self) -> bool;
    /// Reads what is there.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
    /// Writes.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes everything durable.
    fn sync(&self) -> io::Result<()>;
}

/// Whether existing data may be overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// No.
    Refuse,
    /// Yes: the person said so.
    Allow,
}

/// Why a target is refused.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It exists, and nobody said that it may be overwritten.
    #[error("{what} exists and may hold data; --force overwrites it")]
    Exists {
        /// Path, and model and serial of a disk.
        what: String,
    },
    /// It is in use.
    #[error("refused, even with --force: {what} {why}")]
    Protected {
        /// Path, and model and serial of a disk.
        what: String,
        /// `holds the running system`.
        why: String,
    },
    /// It is neither a file nor a disk.
    #[error("{path} is {what}; a target is a disk, a file or -")]
    NotATarget {
        /// Which one.
        path: PathBuf,
        /// `a directory`.
        what: &'static str,
    },
    /// The system refused.
    #[error("could not open the target {path}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// A file or disk to restore to.
pub struct FileTarget {
    file: File,
    folder: Option<File>,
    len: u64,
    holds_data: bool,
}

impl FileTarget {
    /// Opens the target. `need` is the length a new file gets; `repository` is the folder that must survive.
    pub fn open(path: &Path, need: u64, repository: &Path, overwrite: Overwrite) -> Result<FileTarget, TargetError> {
        let io = |source| TargetError::Io { path: path.to_owned(), source };
        let system = System::running();
        let metadata = match std::fs::metadata(path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
                busy::refuse_repository(path, folder_of(path), repository)?;
                return Self::create(path, need).map_err(io);
            }
            other => other.map_err(io)?,
        };
        let kind = metadata.file_type();
        let (what, file) = match () {
            () if kind.is_block_device() => {
                let number = Number::of(metadata.rdev());
                busy::refuse_disk(&system, path, &number, busy::device_of(&system, repository).as_ref())?;
                (system.describe(path, &number), busy::claim(&system, path, &number)?)
            }
            () if kind.is_file() => {
                busy::refuse_file(&system, path, &metadata, repository)?;
                (path.display().to_string(), File::options().read(true).write(true).open(path).map_err(io)?)
            }
            () => {
                let what = if kind.is_dir() { "a directory" } else { "neither" };
                return Err(TargetError::NotATarget { path: path.to_owned(), what });
            }
        };
        if overwrite == Overwrite::Refuse {
            return Err(TargetError::Exists { what });
        }
        let mut len = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).map_err(io::Error::from).map_err(io)?;
        if kind.is_file() && len != need {
            // A longer file would keep a stale tail, with a second backup partition table in it.
            file.set_len(need).map_err(io)?;
            len = need;
        }
        Ok(FileTarget { file, folder: None, len, holds_data: true })
    }

    fn create(path: &Path, need: u64) -> io::Result<FileTarget> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(need)?;
        Ok(FileTarget { file, folder: Some(File::open(folder_of(path))?), len: need, holds_data: false })
    }

    /// An unnamed sparse file, for checks.
    pub fn unnamed(scratch: &Path, len: u64) -> io::Result<FileTarget> {
        let file = crate::sort::unnamed_file(scratch)?;
        file.set_len(len)?;
        Ok(FileTarget { file, folder: None, len, holds_data: false })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Target for FileTarget {
    fn len(&self) -> u64 {
        self.len
    }
    fn holds_data(&self) -> bool {
        self.holds_data
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()?;
        self.folder.as_ref().map_or(Ok(()), File::sync_all)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
