//! Small files that must survive the power: written beside their name, synced, renamed, and the folder synced. Secrets are
//! readable by their owner alone from the first byte.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} {path}")]
pub(crate) struct FileError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Larger than any file of ours.
const LIMIT: u64 = 64 * 1024;

/// The text of a file; `None` when there is none.
pub(crate) fn read_secret(path: &Path) -> Result<Option<Zeroizing<String>>, FileError> {
    let mut text = Zeroizing::new(String::new());
    match File::open(path).and_then(|file| file.take(LIMIT).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError { doing: "read", path: path.to_owned(), source }),
    }
}

/// Writes a file; the old one is there until the new one is.
pub(crate) fn write_secret(folder: &Path, name: &str, text: &str) -> Result<(), FileError> {
    let (path, draft) = (folder.join(name), folder.join(format!(".{name}.new")));
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // The last of the four steps of the engine's `storage::durable`, for a file that is no object of a repository.
        rustix::fs::rename(&draft, &path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|source| FileError { doing: "write", path: path.clone(), source })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Any file, for tests that need one.
    pub(crate) fn put(path: &Path, bytes: &[u8]) {
        File::create(path).and_then(|mut file| file.write_all(bytes)).expect("room");
    }

    /// A program; what to call it.
    pub(crate) fn script(path: &Path, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        put(path, text.as_bytes());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        path.display().to_string()
    }
}
