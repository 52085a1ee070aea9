//! Files of a filesystem, found by path or by id, without mounting. Serves `files ls|cp` and the names of damaged files.

pub mod copy;

use crate::fs::{self, Entry, FileId, FsError, Node, NodeKind, Tree};
use crate::layout::identify::Filesystem;
use crate::read::ReadAt;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Directories visited when looking for names: a loop or a hostile tree ends here.
const MAX_DIRECTORIES: usize = 1_000_000;
/// Depth of directories.
const MAX_DEPTH: usize = 256;

/// Opens the files of a filesystem.
pub fn browse(disk: Arc<dyn ReadAt>, filesystem: Filesystem) -> Result<Box<dyn Tree>, FsError> {
    match filesystem {
        Filesystem::Ext => fs::ext::browse(disk),
        Filesystem::Ntfs => fs::ntfs::browse(disk),
        Filesystem::Fat => fs::fat::browse(disk),
        Filesystem::Exfat => fs::exfat::browse(disk),
        other => {
            Err(FsError::Unsupported(format!("files inside {other} cannot be listed; restore the partition instead")))
        }
    }
}

/// Finds what a path names. `/` separates; empty parts and `.` are skipped; `..` is refused.
pub fn find(tree: &dyn Tree, path: &[u8]) -> Result<Node, FsError> {
    let mut node = tree.root()?;
    for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        let missing = || FsError::NotFound(String::from_utf8_lossy(path).into_owned());
        if part == b".." || node.kind != NodeKind::Directory {
            return Err(missing());
        }
        node = tree.lookup(&node, part)?.ok_or_else(missing)?;
    }
    Ok(node)
}

/// What could be read of a directory.
pub struct Listing {
    /// Entries, sorted by name.
    pub entries: Vec<Entry>,
    /// Why there may be more.
    pub damage: Option<FsError>,
}

/// The entries of a directory. Damage hides only what is damaged.
pub fn entries(tree: &dyn Tree, directory: &Node) -> Listing {
    let mut entries = Vec::new();
    let told = tree.list(directory, &mut |entry| {
        entries.push(entry);
        true
    });
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Listing { entries, damage: told.err() }
}

/// Paths of these files. Walks the whole tree; stops when all are found.
pub fn names_of(
    disk: Arc<dyn ReadAt>,
    filesystem: Filesystem,
    wanted: &[FileId],
) -> Result<HashMap<FileId, String>, FsError> {
    let tree = browse(disk, filesystem)?;
    let mut missing: HashSet<FileId> = wanted.iter().copied().collect();
    let mut names = HashMap::new();
    let mut seen = HashSet::new();
    let root = tree.root()?;
    let mut todo = vec![(root, String::new(), 0)];
    while let Some((directory, path, depth)) = todo.pop() {
        if missing.is_empty() || seen.len() > MAX_DIRECTORIES || depth > MAX_DEPTH || !seen.insert(directory.id) {
            continue;
        }
        // A directory that cannot be read hides names, no more.
        let _ = tree.list(&directory, &mut |entry| {
            let path = format!("{path}/{}", String::from_utf8_lossy(&entry.name));
            if missing.remove(&entry.node.id) {
                names.insert(entry.node.id, path.clone());
            }
            if entry.node.kind == NodeKind::Directory {
                todo.push((entry.node, path, depth + 1));
            }
            !missing.is_empty()
        });
    }
    Ok(names)
}
