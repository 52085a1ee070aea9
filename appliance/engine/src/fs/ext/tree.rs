//! Files by name: directories are listed block by block, content is read run by run, holes are zeros.

use std::ops::ControlFlow;

use super::ahead::Ahead;
use super::directory::{self, Name};
use super::inode::{Inode, Kind, ROOT};
use super::map::Found;
use super::xattr::inline_content;
use super::{Ext, groups::Group};
use crate::fs::{Entry, FileId, FsError, Node, NodeKind, Tree};
use crate::read::ReadAt;

/// An inline directory starts with its parent's inode instead of `.` and `..`.
const INLINE_PARENT: usize = 4;
/// Inodes are read in steps of this size while a directory is listed: neighbours in a directory are neighbours there.
const INODE_STEP: u64 = 64 << 10;

impl<R: ReadAt> Tree for Ext<R> {
    fn root(&self) -> Result<Node, FsError> {
        Ok(self.inode(ROOT)?.0.node())
    }

    fn list(&self, directory: &Node, each: &mut dyn FnMut(Entry) -> bool) -> Result<(), FsError> {
        let mut nodes = Nodes { fs: self, ahead: Ahead::new(&self.disk, INODE_STEP), group: None };
        self.names(directory, &mut |name| each(Entry { name: name.bytes.to_vec(), node: nodes.node(name.inode) }))
    }

    /// Reads one inode, where the listing would read all of the directory's.
    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>, FsError> {
        let mut found = None;
        let told = self.names(directory, &mut |entry| {
            found = (entry.bytes == name).then_some(entry.inode);
            found.is_none()
        });
        // Damage elsewhere in the directory matters only when the name may have been there.
        match found {
            Some(inode) => Ok(Some(self.inode(inode)?.0.node())),
            None => told.map(|()| None),
        }
    }

    fn read(&self, node: &Node, offset: u64, buf: &mut [u8]) -> Result<usize, FsError> {
        let (inode, bytes) = self.inode_of(node)?;
        match inode.kind() {
            Kind::File | Kind::Symlink => self.read_content(&inode, &bytes, offset, buf),
            _ => Err(FsError::NotFound(format!("inode {} has no content", inode.number))),
        }
    }
}

impl<R: ReadAt> Ext<R> {
    fn inode_of(&self, node: &Node) -> Result<(Inode, Vec<u8>), FsError> {
        let number = u32::try_from(node.id.0).map_err(|_| FsError::NotFound(format!("inode {}", node.id.0)))?;
        self.inode(number)
    }

    fn names(&self, directory: &Node, each: &mut dyn FnMut(Name<'_>) -> bool) -> Result<(), FsError> {
        let (inode, bytes) = self.inode_of(directory)?;
        match inode.kind() {
            Kind::Directory if inode.has_inline_data() => self.list_inline(&inode, &bytes, each),
            Kind::Directory => self.list_blocks(&inode, each),
            _ => Err(FsError::NotFound(format!("inode {} is no directory", inode.number))),
        }
    }

    /// Every block is listed even when one before it is damaged; the first damage is the result.
    fn list_blocks(&self, inode: &Inode, each: &mut dyn FnMut(Name<'_>) -> bool) -> Result<(), FsError> {
        let mut damage = None;
        let end = inode.size.div_ceil(self.sb.block_size);
        // A forged map may name the same blocks again and again.
        let mut left = self.sb.blocks;
        self.walk(inode, 0, &mut self.budget(), &mut |found| {
            match found {
                Found::Index(_) => {}
                Found::Suspect(what) => note_damage(&mut damage, inode, &what),
                Found::Run(run) => {
                    let len = run.len.min(end.saturating_sub(run.logical));
                    left = left.checked_sub(len).ok_or_else(|| {
                        FsError::Damaged(format!("directory {}: larger than the filesystem", inode.number))
                    })?;
                    for block in run.physical..run.physical + len {
                        let listed = match self.read_block(block) {
                            Ok(bytes) => directory::each_name(self.sb.filetype, &bytes, each).map_err(String::from),
                            Err(cause) => Err(cause.to_string()),
                        };
                        match listed {
                            Ok(true) => {}
                            Ok(false) => return Ok(ControlFlow::Break(())),
                            Err(what) => note_damage(&mut damage, inode, &what),
                        }
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        damage.map_or(Ok(()), Err)
    }

    fn list_inline(&self, inode: &Inode, bytes: &[u8], each: &mut dyn FnMut(Name<'_>) -> bool) -> Result<(), FsError> {
        let (map, rest) = inline_content(inode, bytes);
        let mut damage = None;
        for part in [map.get(INLINE_PARENT..).unwrap_or_default(), &rest] {
            match directory::each_name(self.sb.filetype, part, each) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(what) => note_damage(&mut damage, inode, what),
            }
        }
        damage.map_or(Ok(()), Err)
    }

    /// Reads the content of a file or the target of a link.
    pub(super) fn read_content(
        &self,
        inode: &Inode,
        bytes: &[u8],
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, FsError> {
        let len = inode.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let Some(buf) = buf.get_mut(..len).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        buf.fill(0);
        if inode.is_short_symlink() {
            copy_from(&inode.map, offset, buf);
        } else if inode.has_inline_data() {
            let (mut content, rest) = inline_content(inode, bytes);
            content.extend(rest);
            copy_from(&content, offset, buf);
        } else {
            self.read_runs(inode, offset, buf)?;
        }
        Ok(len)
    }

    /// Fills what is mapped and written; the caller zeroed the rest.
    fn read_runs(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<(), FsError> {
        let end = offset + buf.len() as u64;
        self.walk(inode, offset / self.sb.block_size, &mut self.budget(), &mut |found| {
            match found {
                Found::Index(_) => {}
                // A wrong checksum or a lost branch: zeros in place of content would be a lie.
                Found::Suspect(what) => return Err(FsError::Damaged(format!("inode {}: {what}", inode.number))),
                Found::Run(run) => {
                    let start = run.logical * self.sb.block_size;
                    let device = self.sb.bytes(run.physical, run.len);
                    if start >= end {
                        return Ok(ControlFlow::Break(()));
                    }
                    let (from, to) = (start.max(offset), (start + device.len).min(end));
                    if run.written && from < to {
                        let at = device.start + (from - start);
                        let range = (from - offset) as usize..(to - offset) as usize;
                        let part = buf.get_mut(range).expect("the run was cut to the buffer");
                        self.disk.read_at(at, part).map_err(|source| FsError::Read { at, source })?;
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// Looks inodes up for a listing, with the last group and the last stretch of inode table at hand.
struct Nodes<'a, R> {
    fs: &'a Ext<R>,
    ahead: Ahead<'a, R>,
    group: Option<Group>,
}

impl<R: ReadAt> Nodes<'_, R> {
    /// A name whose inode cannot be read is still a name.
    fn node(&mut self, number: u32) -> Node {
        self.inode(number).map_or_else(
            |_| Node { id: FileId(u64::from(number)), kind: NodeKind::Other, size: 0, modified: 0, mode: None },
            |inode| inode.node(),
        )
    }

    fn inode(&mut self, number: u32) -> Result<Inode, FsError> {
        let sb = &self.fs.sb;
        let index = number.wrapping_sub(1);
        if index >= sb.inodes {
            return Err(FsError::NotFound(format!("inode {number}")));
        }
        let home = index / sb.inodes_per_group;
        let group = match self.group.take() {
            Some(group) if group.number == home => group,
            _ => self.fs.group(home)?,
        };
        let table = sb.bytes(group.inode_table, sb.inode_table_blocks());
        self.group = Some(group);
        // Aligned steps, so that the inodes before this one are at hand, too.
        let place = u64::from(index % sb.inodes_per_group) * sb.inode_size as u64;
        let step = table.start + place / INODE_STEP * INODE_STEP;
        let within = (place % INODE_STEP) as usize;
        let len = (table.end() - step).min(INODE_STEP) as usize;
        let bytes = self.ahead.get(step, len, table.end());
        let bytes = match &bytes {
            Ok(bytes) => bytes.get(within..within + sb.inode_size).unwrap_or_default(),
            Err(_) => return self.fs.inode(number).map(|(inode, _)| inode),
        };
        Inode::parse(sb, number, bytes)
    }
}

fn note_damage(damage: &mut Option<FsError>, inode: &Inode, what: &str) {
    damage.get_or_insert_with(|| FsError::Damaged(format!("directory {}: {what}", inode.number)));
}

fn copy_from(content: &[u8], offset: u64, buf: &mut [u8]) {
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    buf.iter_mut().zip(content.iter().skip(from)).for_each(|(byte, content)| *byte = *content);
}
