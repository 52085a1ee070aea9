//! The control plane's own backup: the database as it was at one moment, and the keys that no database holds.
//!
//! A backup is a folder that can be run after `restore`. It holds the authority's key: whoever has it can sign boxes. What is
//! missing in it, boxes tell again when they are asked (`want`); what is newer than it and not told by boxes is gone.

use crate::config::{Config, ConfigError};
use crate::files::{self, FileError};
use crate::store::{Store, StoreError};
use std::path::{Path, PathBuf};

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    /// Where it should go, there is something.
    #[error("{0} is there already; nothing was changed")]
    Exists(PathBuf),
    /// A part of it is missing.
    #[error("{0} is missing")]
    Missing(PathBuf),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database's copy.
    #[error("could not copy the database")]
    Copy(#[from] std::io::Error),
}

/// Small files with what must not be lost. The config is last: a folder without one is no data folder.
const FILES: [&str; 4] = ["authority.key", "authority.pem", "command.key", "config.json"];

/// Makes a backup in a new folder, also while the server runs.
pub(crate) fn make(data: &Path, to: &Path) -> Result<(), BackupError> {
    Config::read(data)?;
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    files::make_folder(to)?;
    Store::copy(data, to)?;
    copy_files(data, to)
}

/// Makes a data folder of a backup.
pub(crate) fn restore(from: &Path, data: &Path) -> Result<(), BackupError> {
    Config::read(from)?;
    if data.exists() && data.read_dir()?.next().is_some() {
        return Err(BackupError::Exists(data.to_owned()));
    }
    files::make_folder(data)?;
    Store::copy(from, data)?;
    // The copy is opened before the folder becomes a data folder: a damaged one is told now.
    drop(Store::open(data)?);
    copy_files(from, data)
}

fn copy_files(from: &Path, to: &Path) -> Result<(), BackupError> {
    for name in FILES {
        let text = files::read(&from.join(name))?.ok_or_else(|| BackupError::Missing(from.join(name)))?;
        files::write(&to.join(name), &text)?;
    }
    Ok(())
}
