//! A folder of disk images stands in for the sockets of a box: a file that appears was plugged in, one that goes was unplugged.
//!
//! A file that is still being copied into the folder is no disk yet: it counts when it was the same at two looks.

use super::{Change, Said, identify};
use saveos_protocol::fact::Bus;
use saveos_protocol::text::Mark;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file as a look saw it: inode, bytes, time of change in nanoseconds.
type Look = (u64, u64, i128);

/// The folder and what was there at the last look.
pub(crate) struct Folder {
    path: PathBuf,
    seen: BTreeMap<PathBuf, Look>,
    here: BTreeMap<PathBuf, u64>,
    /// Told to be no disks; asked again when they change.
    refused: BTreeMap<PathBuf, Look>,
}

impl Folder {
    /// Nothing is there before the first look.
    pub(crate) fn new(path: &Path) -> Folder {
        Folder { path: path.to_owned(), seen: BTreeMap::new(), here: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// What was refused is asked again.
    pub(crate) fn forget_refusals(&mut self) {
        self.refused.clear();
    }

    /// Looks. A folder that cannot be read holds no disk.
    pub(crate) fn look(&mut self) -> Change {
        let now = looks(&self.path);
        let mut change = Change::default();
        // Another file under the same name is another disk; one that somebody writes to is the same.
        self.here.retain(|path, inode| {
            let stays = now.get(path).is_some_and(|look| look.0 == *inode);
            if !stays {
                change.went.push(path.clone());
            }
            stays
        });
        self.refused.retain(|path, look| now.get(path) == Some(look));
        for (path, look) in &now {
            let asked = self.here.contains_key(path) || self.refused.contains_key(path);
            if !asked && self.seen.get(path) == Some(look) {
                match identify(path, said(path)) {
                    Ok(found) => {
                        self.here.insert(path.clone(), look.0);
                        change.came.push(found);
                    }
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "not a disk");
                        self.refused.insert(path.clone(), *look);
                    }
                }
            }
        }
        self.seen = now;
        change
    }
}

fn looks(folder: &Path) -> BTreeMap<PathBuf, Look> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    let look = |entry: std::fs::DirEntry| {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // Follows links: a link to a block device stands for that disk.
        let metadata = std::fs::metadata(entry.path()).ok().filter(|metadata| !metadata.is_dir() && !hidden)?;
        let changed = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Some((entry.path(), (metadata.ino(), metadata.len(), changed)))
    };
    entries.flatten().filter_map(look).collect()
}

/// A file says nothing of itself: its name is its serial number.
fn said(path: &Path) -> Said {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Said { serial: Mark::cut(&name), model: Mark::cut("disk image"), bus: Bus::Image }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, name: &str, len: u64) {
        std::fs::File::create(folder.join(name)).and_then(|file| file.set_len(len)).expect("room");
    }

    #[test]
    fn a_file_is_a_disk_when_it_has_come_to_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut watched = Folder::new(folder.path());
        assert_eq!(watched.look(), Change::default());
        put(folder.path(), "nas.img", 1 << 20);
        assert_eq!(watched.look(), Change::default());
        put(folder.path(), "nas.img", 2 << 20);
        assert_eq!(watched.look(), Change::default());
        let change = watched.look();
        assert_eq!((change.came.len(), change.came[0].size), (1, 2 << 20));
        assert_eq!(watched.look(), Change::default());
        std::fs::remove_file(folder.path().join("nas.img")).expect("it was there");
        assert_eq!(watched.look().went, [folder.path().join("nas.img")]);
    }

    #[test]
    fn what_is_no_disk_is_told_once_and_asked_again_when_it_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut watched = Folder::new(folder.path());
        put(folder.path(), "empty.img", 0);
        for _ in 0..4 {
            assert_eq!(watched.look(), Change::default());
        }
        assert_eq!(watched.refused.len(), 1);
        put(folder.path(), "empty.img", 1 << 20);
        watched.look();
        assert_eq!((watched.look().came.len(), watched.refused.len()), (1, 0));
    }
}
