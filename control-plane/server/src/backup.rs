//! The control plane's own backup: the database as it was at one moment, and the keys that no database holds.
//!
//! A backup is a folder that can be run after `restore`. It holds the authority's key: whoever has it can sign boxes. What is
//! missing in it, boxes tell again when they are asked (`want`); what is newer than it and not told by boxes is gone.

use crate::config::{Config, ConfigError};
use crate::files::{self, FileError};
use crate::store::{Database, DatabaseError, Store, StoreError};
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
    /// Where the database is.
    #[error(transparent)]
    Where(#[from] DatabaseError),
    /// What had to be looked at.
    #[error("could not look into the folder")]
    Look(#[from] std::io::Error),
}

/// Small files with what must not be lost. The config comes after them: a folder without one is no data folder.
const KEYS: [&str; 3] = ["authority.key", "authority.pem", "command.key"];

/// Makes a backup in a new folder, also while the server runs.
pub(crate) async fn make(data: &Path, to: &Path) -> Result<(), BackupError> {
    let config = Config::read(data)?;
    let database = config.database()?;
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    files::make_folder(to)?;
    Store::copy_out(data, database.as_ref(), to).await?;
    copy_keys(data, to)?;
    Ok(config.write(to)?)
}

/// Makes a data folder of a backup: with the database in it, or in the one that the environment names. So an installation also
/// comes from the one engine to the other.
pub(crate) async fn restore(from: &Path, data: &Path) -> Result<(), BackupError> {
    let mut config = Config::read(from)?;
    let database = Database::of_environment()?;
    config.lives_in(database.as_ref());
    if data.exists() && data.read_dir()?.next().is_some() {
        return Err(BackupError::Exists(data.to_owned()));
    }
    files::make_folder(data)?;
    Store::copy_in(from, data, database.as_ref()).await?;
    copy_keys(from, data)?;
    Ok(config.write(data)?)
}

fn copy_keys(from: &Path, to: &Path) -> Result<(), BackupError> {
    for name in KEYS {
        let text = files::read(&from.join(name))?.ok_or_else(|| BackupError::Missing(from.join(name)))?;
        files::write(&to.join(name), &text)?;
    }
    Ok(())
}
