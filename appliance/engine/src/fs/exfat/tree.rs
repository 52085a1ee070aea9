//! The files of an exFAT volume, as `files ls` and `files cp` see them.
//!
//! A file is named by its first cluster and whether it lies in one piece, so that little has to be remembered between a
//! listing and a reading: only how much of it was written, where that is less than its size.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use super::boot::Geometry;
use super::directory::{self, File, Found};
use super::{upcase, volume};
use crate::fs::fat::content::Cursor;
use crate::fs::fat::volume::Volume;
use crate::fs::ntfs::names::{self, Upcase};
use crate::fs::{Entry, FileId, FsError, Node, NodeKind, Tree};
use crate::read::ReadAt;

/// Files that were not written to their end are rare: downloads that were stopped. More of them are listed, not copied.
const MAX_UNWRITTEN: usize = 1 << 20;

/// An opened volume.
pub(super) struct ExfatTree {
    volume: Volume<'static>,
    root: u32,
    upcase: Upcase,
    cursor: Cursor,
    /// How many bytes of a file were written, where that is not all of them.
    unwritten: Mutex<HashMap<FileId, u64>>,
}

impl ExfatTree {
    pub(super) fn open(disk: Arc<dyn ReadAt>) -> Result<Self, FsError> {
        let geometry = Geometry::read(&disk)?;
        let volume = volume::open(disk, &geometry);
        // Best effort: a damaged table must not keep anybody from the files.
        let table = volume::system(&volume, geometry.root).ok().and_then(|system| system.upcase);
        let table = table.and_then(|(first, len, checksum)| upcase::read(&volume, first, len, checksum).ok());
        let upcase = Upcase::of(table.map(|table| upcase::expand(&table)).unwrap_or_default());
        Ok(Self { volume, root: geometry.root, upcase, cursor: Cursor::default(), unwritten: Mutex::default() })
    }

    fn each(&self, node: &Node, each: &mut dyn FnMut(File) -> bool) -> Result<(), FsError> {
        if node.kind != NodeKind::Directory {
            return Err(FsError::NotFound(format!("cluster {} is no directory", node.id.0)));
        }
        let place = directory::place(node.id, node.size, self.volume.heap.cluster);
        let mut flaw = None;
        directory::each(&self.volume, place, directory::MAX_BYTES, &mut |found| match found {
            // What is behind it can still be listed.
            Found::Flaw(why) => {
                flaw.get_or_insert(why);
                Ok(ControlFlow::Continue(()))
            }
            Found::Bitmap { .. } | Found::Upcase { .. } => Ok(ControlFlow::Continue(())),
            Found::File(file) => Ok(if each(file) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }),
        })?;
        flaw.map_or(Ok(()), |why| Err(FsError::Damaged(why)))
    }

    fn node(&self, file: &File) -> Node {
        let mut node = Node {
            id: file.id(),
            kind: if file.directory { NodeKind::Directory } else { NodeKind::File },
            size: file.size,
            modified: file.modified,
            mode: None,
        };
        if !file.directory && file.first != 0 && file.valid < file.size {
            let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
            if unwritten.len() < MAX_UNWRITTEN || unwritten.contains_key(&node.id) {
                unwritten.insert(node.id, file.valid);
            } else {
                node.kind = NodeKind::Other;
            }
        }
        node
    }
}

impl Tree for ExfatTree {
    fn root(&self) -> Result<Node, FsError> {
        Ok(Node { id: FileId(self.root.into()), kind: NodeKind::Directory, size: 0, modified: 0, mode: None })
    }

    fn list(&self, directory: &Node, each: &mut dyn FnMut(Entry) -> bool) -> Result<(), FsError> {
        self.each(directory, &mut |file| each(Entry { name: names::to_wtf8(&file.name), node: self.node(&file) }))
    }

    fn read(&self, node: &Node, offset: u64, buf: &mut [u8]) -> Result<usize, FsError> {
        let len = node.size.saturating_sub(offset).min(buf.len() as u64);
        let unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let valid = unwritten.get(&node.id).copied().unwrap_or(node.size);
        drop(unwritten);
        let wanted = buf.get_mut(..len as usize).unwrap_or_default();
        let written = valid.saturating_sub(offset).min(len) as usize;
        let (written, zeros) = wanted.split_at_mut(written);
        zeros.fill(0);
        let place = directory::place(node.id, node.size, self.volume.heap.cluster);
        self.cursor.read(&self.volume, place, offset, written)?;
        Ok(len as usize)
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>, FsError> {
        let Some(wanted) = names::to_utf16(name) else { return Ok(None) };
        let mut found = None;
        let listed = self.each(directory, &mut |file| {
            if self.upcase.same(&file.name, &wanted) {
                found = Some(self.node(&file));
            }
            found.is_none()
        });
        if found.is_none() {
            listed?;
        }
        Ok(found)
    }
}
