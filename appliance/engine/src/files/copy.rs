//! Copies files out of a filesystem into a folder, and never anywhere else: names are checked, and everything is created
//! new. A link is made where it is met and never followed, since nothing is ever created through a name that exists.

use super::entries;
use crate::fs::{FsError, Node, NodeKind, Tree};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Depth of directories copied; a tree that loops ends here with an error.
const MAX_DEPTH: usize = 128;
/// Bytes copied at a time.
const BUFFER: usize = 1024 * 1024;

/// Why copying failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Reading the filesystem.
    #[error("could not read {path}")]
    Read {
        /// Path in the snapshot.
        path: String,
        /// What the parser said.
        #[source]
        source: FsError,
    },
    /// Writing to the destination.
    #[error("could not write {path}")]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A name that would leave the destination.
    #[error("refused the name {name:?}: it would leave the destination")]
    Name {
        /// The name.
        name: String,
    },
    /// Directories within directories without end.
    #[error("{path}: more than {MAX_DEPTH} directories deep")]
    Depth {
        /// Where we gave up.
        path: String,
    },
    /// It is no file.
    #[error("{path} is a device, socket or FIFO: not copied")]
    Special {
        /// Which one.
        path: String,
    },
}

/// What was copied and what was not.
#[derive(Debug, Default)]
pub struct Copied {
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// What failed or was refused; the rest was copied all the same.
    pub failed: Vec<CopyError>,
}

/// Copies a file or a whole directory to `destination`, which must not exist yet or be a directory that gets `name` inside.
pub fn copy(tree: &dyn Tree, node: &Node, name: &[u8], destination: &Path) -> Result<Copied, CopyError> {
    let target = if destination.is_dir() { destination.join(checked(name)?) } else { destination.to_owned() };
    let mut copied = Copied::default();
    let shown = String::from_utf8_lossy(name).into_owned();
    copy_node(tree, node, &shown, &target, 0, &mut copied)?;
    Ok(copied)
}

/// Streams one file.
pub fn stream(tree: &dyn Tree, node: &Node, path: &str, out: &mut dyn Write) -> Result<u64, CopyError> {
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while at < node.size {
        let want = (node.size - at).min(BUFFER as u64) as usize;
        let read = tree
            .read(node, at, &mut buffer[..want])
            .map_err(|source| CopyError::Read { path: path.to_owned(), source })?;
        if read == 0 {
            break;
        }
        out.write_all(&buffer[..read]).map_err(|source| CopyError::Write { path: PathBuf::from(path), source })?;
        at += read as u64;
    }
    Ok(at)
}

fn copy_node(
    tree: &dyn Tree,
    node: &Node,
    shown: &str,
    target: &Path,
    depth: usize,
    copied: &mut Copied,
) -> Result<(), CopyError> {
    let write = |source| CopyError::Write { path: target.to_owned(), source };
    match node.kind {
        NodeKind::File => {
            let mut file = File::options().write(true).create_new(true).open(target).map_err(write)?;
            copied.bytes += stream(tree, node, shown, &mut file)?;
            copied.files += 1;
            set_time(&file, node);
        }
        NodeKind::Directory if depth >= MAX_DEPTH => return Err(CopyError::Depth { path: shown.to_owned() }),
        NodeKind::Directory => {
            std::fs::create_dir(target).map_err(write)?;
            copied.directories += 1;
            let list = entries(tree, node);
            copied.failed.extend(list.damage.map(|source| CopyError::Read { path: shown.to_owned(), source }));
            for entry in list.entries {
                let shown = format!("{shown}/{}", String::from_utf8_lossy(&entry.name));
                let done = checked(&entry.name)
                    .and_then(|name| copy_node(tree, &entry.node, &shown, &target.join(name), depth + 1, copied));
                copied.failed.extend(done.err());
            }
        }
        NodeKind::Symlink => {
            let mut content = vec![0; node.size.min(64 * 1024) as usize];
            let read = tree
                .read(node, 0, &mut content)
                .map_err(|source| CopyError::Read { path: shown.to_owned(), source })?;
            content.truncate(read);
            // Made, never followed: `create_new` refuses to write through it.
            std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&content), target).map_err(write)?;
            copied.links += 1;
        }
        NodeKind::Other => return Err(CopyError::Special { path: shown.to_owned() }),
    }
    Ok(())
}

/// A name that stays in its directory.
fn checked(name: &[u8]) -> Result<&Path, CopyError> {
    let bad = name.is_empty() || name == b"." || name == b".." || name.iter().any(|&byte| byte == b'/' || byte == 0);
    if bad {
        return Err(CopyError::Name { name: String::from_utf8_lossy(name).into_owned() });
    }
    Ok(Path::new(std::ffi::OsStr::from_bytes(name)))
}

fn set_time(file: &File, node: &Node) {
    if let Ok(seconds) = u64::try_from(node.modified) {
        let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
        if let Some(time) = time {
            let _ = file.set_modified(time); // best effort: the bytes are what matters
        }
    }
}
