//! The control plane's own backup: the database as it was at one moment, and the keys that no database holds.
//!
//! A backup is a folder that can be run after `restore`. It holds the authority's key: whoever has it can sign boxes. What is
//! missing in it, boxes tell again when they are asked (`want`); what is newer than it and not told by boxes is gone.
//!
//! `-` is standard output or input: the same folder as a tar archive, for what encrypts it on the way
//! (`saveos-server backup --to - | age --recipient …`). Nothing is believed of an archive but the names that a backup has.

use crate::config::{Config, ConfigError};
use crate::files::{self, FileError};
use crate::store::{self, Database, DatabaseError, Store, StoreError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    Look(#[from] io::Error),
    /// The stream of an archive.
    #[error("the archive could not be {0}")]
    Archive(&'static str, #[source] io::Error),
    /// Not what a backup is.
    #[error("the archive is no backup of a control plane: {0}")]
    Foreign(String),
}

/// Small files with what must not be lost. The config comes after them: a folder without one is no data folder.
const KEYS: [&str; 3] = ["authority.key", "authority.pem", "command.key"];

const CONFIG: &str = "config.json";
/// Larger than any of the small files.
const LARGEST: u64 = 1 << 20;
/// Instead of a folder.
const STREAM: &str = "-";

/// Makes a backup in a new folder or on standard output, also while the server runs.
pub(crate) async fn make(data: &Path, to: &Path) -> Result<(), BackupError> {
    if to != Path::new(STREAM) {
        return make_folder(data, to).await;
    }
    // For its owner alone, and gone in the end.
    let staged = tempfile::tempdir()?;
    let folder = staged.path().join("backup");
    make_folder(data, &folder).await?;
    pack(&folder, &mut io::stdout().lock()).map_err(|error| BackupError::Archive("written", error))
}

/// Makes a data folder of a backup, which may come on standard input: with the database in it, or in the one that the environment
/// names. So an installation also comes from the one engine to the other.
pub(crate) async fn restore(from: &Path, data: &Path) -> Result<(), BackupError> {
    if from != Path::new(STREAM) {
        return restore_folder(from, data).await;
    }
    let staged = tempfile::tempdir()?;
    unpack(io::stdin().lock(), staged.path())?;
    restore_folder(staged.path(), data).await
}

async fn make_folder(data: &Path, to: &Path) -> Result<(), BackupError> {
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

async fn restore_folder(from: &Path, data: &Path) -> Result<(), BackupError> {
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

/// The config last: an archive that was cut off has none.
fn names() -> impl Iterator<Item = &'static str> {
    [store::FILE].into_iter().chain(KEYS).chain([CONFIG])
}

fn pack(folder: &Path, out: &mut dyn Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    for name in names() {
        let mut file = std::fs::File::open(folder.join(name))?;
        let mut head = tar::Header::new_gnu();
        head.set_size(file.metadata()?.len());
        head.set_mode(0o600);
        archive.append_data(&mut head, name, &mut file)?;
    }
    archive.into_inner()?.flush()
}

fn unpack(archive: impl Read, folder: &Path) -> Result<(), BackupError> {
    let broken = |error| BackupError::Archive("read", error);
    let mut archive = tar::Archive::new(archive);
    let mut last = String::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let found = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        let name = names().find(|name| *name == found).filter(|_| entry.header().entry_type().is_file());
        let name = name.ok_or_else(|| BackupError::Foreign(format!("it holds `{}`", found.escape_default())))?;
        if name != store::FILE && entry.size() > LARGEST {
            return Err(BackupError::Foreign(format!("its {name} is too long")));
        }
        // One that is there comes a second time.
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join(name))?;
        io::copy(&mut entry, &mut file).map_err(broken)?;
        last = found;
    }
    if last == CONFIG { Ok(()) } else { Err(BackupError::Foreign("it does not end as one".to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind, bytes) in entries {
            let mut head = tar::Header::new_gnu();
            head.set_entry_type(*kind);
            head.set_size(bytes.len() as u64);
            // By hand: the library would not write a path that leads out.
            head.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            head.set_cksum();
            archive.append(&head, *bytes).expect("memory");
        }
        archive.into_inner().expect("memory")
    }

    #[test]
    fn an_archive_that_is_no_backup_is_refused_and_writes_nothing_beside_it() {
        use tar::EntryType as Kind;
        let file = Kind::Regular;
        let long = vec![b' '; 1 + LARGEST as usize];
        let refused: [(&str, Vec<u8>); 7] = [
            ("does not end", Vec::new()),
            ("does not end", archive(&[(store::FILE, file, b"x"), ("authority.key", file, b"x")])),
            ("../evil", archive(&[("../evil", file, b"x"), (CONFIG, file, b"{}")])),
            ("/etc/evil", archive(&[("/etc/evil", file, b"x"), (CONFIG, file, b"{}")])),
            (CONFIG, archive(&[(CONFIG, Kind::Symlink, b"")])),
            ("too long", archive(&[(CONFIG, file, &long)])),
            ("could not look", archive(&[(CONFIG, file, b"{}"), (CONFIG, file, b"{}")])),
        ];
        for (why, bytes) in refused {
            let (around, name) = (tempfile::tempdir().expect("a folder"), "inside");
            std::fs::create_dir(around.path().join(name)).expect("room");
            let error = unpack(bytes.as_slice(), &around.path().join(name)).expect_err(why).to_string();
            assert!(error.contains(why), "{why}: {error}");
            assert_eq!(std::fs::read_dir(around.path()).expect("a folder").count(), 1, "{why}");
        }
        let mut noise = archive(&[(CONFIG, file, b"{}")]);
        noise.iter_mut().step_by(3).for_each(|byte| *byte ^= 0x5a);
        let folder = tempfile::tempdir().expect("a folder");
        assert!(unpack(noise.as_slice(), folder.path()).is_err());
    }
}
