//! Small files that must survive the power: written beside their name, synced, renamed, and the folder synced. All of them
//! are readable by their owner alone: among them are keys.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
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

/// Larger than any file of ours: a revocation list of 10,000 certificates.
const LIMIT: u64 = 1 << 20;

/// A folder for its owner alone; one that is there stays.
pub(crate) fn make_folder(path: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| FileError { doing: "make", path: path.to_owned(), source })
}

/// The folder is this process's until the file that is returned is closed, however it ends.
pub(crate) fn lock(folder: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// The text of a file; `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<String>>, FileError> {
    let mut text = Zeroizing::new(String::new());
    match File::open(path).and_then(|file| file.take(LIMIT).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError { doing: "read", path: path.to_owned(), source }),
    }
}

/// Writes a file; the old one is there until the new one is.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), FileError> {
    let draft = path.with_extension("new");
    let folder = path.parent().unwrap_or(Path::new("."));
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        rustix::fs::rename(&draft, path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|source| FileError { doing: "write", path: path.to_owned(), source })
}
