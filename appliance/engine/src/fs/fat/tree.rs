//! The files of a FAT volume, as `files ls` and `files cp` see them.
//!
//! A file is named by its first cluster, so that nothing has to be remembered between a listing and a reading.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::boot::{Geometry, Root};
use super::content::Cursor;
use super::directory::{self, Directory, File, Found};
use super::survey;
use super::volume::{Place, Volume};
use crate::fs::ntfs::names::{self, Upcase};
use crate::fs::{Entry, FileId, FsError, Node, NodeKind, Tree};
use crate::read::ReadAt;

/// An opened volume.
pub(super) struct FatTree {
    volume: Volume<'static>,
    root: Root,
    upcase: Upcase,
    cursor: Cursor,
}

impl FatTree {
    pub(super) fn open(disk: Arc<dyn ReadAt>) -> Result<Self, FsError> {
        let geometry = Geometry::read(&disk)?;
        let volume = survey::open(disk, &geometry);
        Ok(Self { volume, root: geometry.root, upcase: Upcase::of(Vec::new()), cursor: Cursor::default() })
    }

    fn each(&self, directory: &Node, each: &mut dyn FnMut(File) -> bool) -> Result<(), FsError> {
        if directory.kind != NodeKind::Directory {
            return Err(FsError::NotFound(format!("cluster {} is no directory", directory.id.0)));
        }
        let at = Directory::of(directory.id, self.root);
        let mut flaw = None;
        directory::each(&self.volume, self.root, at, directory::MAX_BYTES, &mut |found| match found {
            // What is behind it can still be listed.
            Found::Flaw(cause) => {
                flaw.get_or_insert(cause);
                Ok(ControlFlow::Continue(()))
            }
            // A directory without clusters would be taken for the root.
            Found::File(file) if file.directory && file.first == 0 => Ok(ControlFlow::Continue(())),
            Found::File(file) => Ok(if each(file) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }),
        })?;
        flaw.map_or(Ok(()), Err)
    }
}

impl Tree for FatTree {
    fn root(&self) -> Result<Node, FsError> {
        let first = match self.root {
            Root::Fixed(_) => 0,
            Root::Chain(first) => first,
        };
        Ok(Node { id: FileId(first.into()), kind: NodeKind::Directory, size: 0, modified: 0, mode: None })
    }

    fn list(&self, directory: &Node, each: &mut dyn FnMut(Entry) -> bool) -> Result<(), FsError> {
        self.each(directory, &mut |file| each(Entry { name: names::to_wtf8(&file.name), node: node(&file) }))
    }

    fn read(&self, node: &Node, offset: u64, buf: &mut [u8]) -> Result<usize, FsError> {
        let len = node.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let first = u32::try_from(node.id.0).unwrap_or(0);
        self.cursor.read(&self.volume, Place::Chain(first), offset, buf.get_mut(..len).unwrap_or_default())?;
        Ok(len)
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>, FsError> {
        let Some(wanted) = names::to_utf16(name) else { return Ok(None) };
        let mut found = None;
        let listed = self.each(directory, &mut |file| {
            // Windows finds a file by its short name too, and never makes one that is another's long name.
            if self.upcase.same(&file.name, &wanted) || self.upcase.same(&file.short, &wanted) {
                found = Some(node(&file));
            }
            found.is_none()
        });
        if found.is_none() {
            listed?;
        }
        Ok(found)
    }
}

fn node(file: &File) -> Node {
    let (kind, size) = match file.directory {
        true => (NodeKind::Directory, 0),
        false => (NodeKind::File, file.size.into()),
    };
    Node { id: FileId(file.first.into()), kind, size, modified: file.modified, mode: None }
}
