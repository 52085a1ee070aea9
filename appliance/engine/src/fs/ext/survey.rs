//! Tells who owns which block, group by group: first what geometry fixes, then what each inode maps.
//!
//! Nothing is remembered from one group to the next, so memory does not grow with the disk or the number of files. What
//! cannot be told for certain is left unclaimed; being allocated, it is then read anyway.

mod bitmap;
mod content;

use std::ops::ControlFlow;

use self::bitmap::{Bitmap, each_used};
use super::ahead::Ahead;
use super::groups::Group;
use super::inode::{BAD_BLOCKS, Inode, Kind, RESIZE};
use super::journal::Replayed;
use super::map::{Budget, Found, Step};
use super::superblock::Superblock;
use super::{Ext, SUPERBLOCK_AT};
use crate::fs::{Extent, FsError, Survey};
use crate::le::u32_at;
use crate::read::ReadAt;

/// One read of an inode table: long enough that a hard disk spends its time reading, not seeking.
const TABLE_STEP: u64 = 1 << 20;
/// Sixteen groups of a flex group keep their 4 KiB bitmaps side by side.
const BITMAP_STEP: u64 = 64 << 10;
/// One doubt already reads the whole partition; these tell a person where to look.
const MAX_DOUBTS: u32 = 64;

/// Tells everything that `fs` shows.
pub(super) fn tell<R: ReadAt>(fs: &Ext<R>, out: &mut dyn Survey) -> Result<(), FsError> {
    let mut survey = Telling {
        fs,
        out,
        doubts: 0,
        budget: fs.budget(),
        descriptors: Ahead::new(&fs.disk, BITMAP_STEP),
        block_bitmaps: Ahead::new(&fs.disk, BITMAP_STEP),
        inode_bitmaps: Ahead::new(&fs.disk, BITMAP_STEP),
        tables: Ahead::new(&fs.disk, TABLE_STEP),
        xattr_blocks: Vec::new(),
    };
    survey.tell()
}

/// Tells what the disk allocates before the replay, where the journal changes it. No owners: whatever only this view
/// allocates is read raw.
pub(super) fn tell_allocated_as_it_lies<R: ReadAt, V>(
    fs: &Ext<R>,
    view: &Replayed<V>,
    out: &mut dyn Survey,
) -> Result<(), FsError> {
    if view.blocks() == 0 {
        return Ok(());
    }
    let geometry_changes = view.changes(SUPERBLOCK_AT);
    for number in 0..fs.sb.groups_on(&fs.disk) {
        // Nothing can be doubted here: half-written bitmaps are what the journal is there to mend.
        let Ok(group) = fs.group(number) else { continue };
        let bitmap_at = fs.sb.bytes(group.block_bitmap, 1).start;
        if !geometry_changes && !view.changes(fs.sb.descriptor_at(number)) && !view.changes(bitmap_at) {
            continue;
        }
        if group.blocks_uninitialised {
            for (first, count) in group.fixed_blocks(&fs.sb) {
                out.allocated(fs.sb.bytes(first, count))?;
            }
        } else if let Ok(bytes) = fs.read_block(group.block_bitmap) {
            each_used(&Bitmap(&bytes), fs.sb.group_len(number), |first, count| {
                out.allocated(fs.sb.bytes(fs.sb.group_start(number) + first, count))
            })?;
        }
    }
    Ok(())
}

impl Superblock {
    /// Groups that start on the disk: more only if the filesystem was cut off.
    fn groups_on(&self, disk: &impl ReadAt) -> u32 {
        let blocks = (disk.len() / self.block_size).saturating_sub(self.first_data_block);
        self.groups.min(u32::try_from(blocks.div_ceil(self.blocks_per_group)).unwrap_or(u32::MAX))
    }
}

struct Telling<'a, R> {
    fs: &'a Ext<R>,
    out: &'a mut dyn Survey,
    doubts: u32,
    budget: Budget,
    descriptors: Ahead<'a, R>,
    block_bitmaps: Ahead<'a, R>,
    inode_bitmaps: Ahead<'a, R>,
    tables: Ahead<'a, R>,
    /// Attribute blocks that inodes of the current group point to.
    xattr_blocks: Vec<u64>,
}

/// What an inode's blocks are.
enum Role {
    Nothing,
    Structure,
    File,
    /// The reserved descriptor blocks and their copies belong to the groups; only one block is the inode's own.
    Resize,
    /// Known to be unreadable, and may lie inside other structures: nobody claims them.
    BadBlocks,
}

impl<R: ReadAt> Telling<'_, R> {
    fn tell(&mut self) -> Result<(), FsError> {
        self.edges()?;
        for number in 0..self.fs.sb.groups_on(&self.fs.disk) {
            self.group(number)?;
        }
        if self.doubts > MAX_DOUBTS {
            self.out.doubt(format!("{} more doubts", self.doubts - MAX_DOUBTS).into());
        }
        Ok(())
    }

    /// What lies outside of the bitmaps: the boot block, and what a larger partition has behind the filesystem.
    fn edges(&mut self) -> Result<(), FsError> {
        let sb = &self.fs.sb;
        if !sb.intact {
            self.doubt("the superblock has a wrong checksum");
        }
        if let Some(why) = sb.unclean {
            self.doubt(why);
        }
        if sb.first_data_block > 0 {
            let boot = sb.bytes(0, sb.first_data_block);
            self.out.allocated(boot)?;
            self.out.meta(boot)?;
        }
        let end = sb.bytes(0, sb.blocks).len;
        let disk = self.fs.disk.len();
        if end > disk {
            self.doubt(format!("the filesystem ends {} bytes behind the partition", end - disk));
        } else if end < disk {
            self.out.allocated(Extent::new(end, disk - end))?;
        }
        match sb.mmp_block {
            Some(block) if sb.holds(block, 1) => self.meta(block, 1)?,
            Some(_) => self.doubt("the multi-mount block is out of range"),
            None => {}
        }
        Ok(())
    }

    fn group(&mut self, number: u32) -> Result<(), FsError> {
        let sb = &self.fs.sb;
        let base = sb.base_blocks(number);
        if base > 0 {
            self.meta(sb.group_start(number), base)?;
        }
        let (at, len) = (sb.descriptor_at(number), sb.descriptor_size);
        // Descriptors before the first meta group are contiguous, others fill one block.
        let until = at - at % sb.block_size + if sb.first_meta_bg.is_some() { sb.block_size } else { BITMAP_STEP };
        let group = match self.descriptors.get(at, len, until) {
            Ok(bytes) => Group::parse(sb, number, bytes),
            Err(source) => Err(FsError::Read { at, source }),
        };
        let group = match group {
            Ok(group) => group,
            Err(cause) => {
                self.doubt(format!("group {number}: {cause}"));
                return Ok(());
            }
        };
        if !group.intact {
            self.doubt(format!("group {number}: the descriptor has a wrong checksum"));
        }
        self.meta(group.block_bitmap, 1)?;
        self.meta(group.inode_bitmap, 1)?;
        self.meta(group.inode_table, sb.inode_table_blocks())?;
        self.allocated(&group)?;
        self.inodes(&group)?;
        self.shared_xattr_blocks()
    }

    fn allocated(&mut self, group: &Group) -> Result<(), FsError> {
        let sb = &self.fs.sb;
        if group.blocks_uninitialised {
            for (first, count) in group.fixed_blocks(sb) {
                self.out.allocated(sb.bytes(first, count))?;
            }
            return Ok(());
        }
        let at = sb.bytes(group.block_bitmap, 1).start;
        let bitmap = match self.block_bitmaps.get(at, sb.block_len(), at + BITMAP_STEP) {
            Ok(bytes) => bytes,
            Err(cause) => {
                self.doubt(format!("group {}: could not read the block bitmap: {cause}", group.number));
                return Ok(());
            }
        };
        let start = sb.group_start(group.number);
        let out = &mut *self.out;
        each_used(&Bitmap(bitmap), sb.group_len(group.number), |first, count| {
            out.allocated(sb.bytes(start + first, count))
        })?;
        if !group.block_bitmap_is_intact(sb, bitmap) {
            self.doubt(format!("group {}: the block bitmap has a wrong checksum", group.number));
        }
        Ok(())
    }

    /// Goes through the inodes in use, one block of the table at a time.
    fn inodes(&mut self, group: &Group) -> Result<(), FsError> {
        let sb = &self.fs.sb;
        if group.inodes_initialised == 0 {
            return Ok(());
        }
        let at = sb.bytes(group.inode_bitmap, 1).start;
        let bitmap = match self.inode_bitmaps.get(at, sb.block_len(), at + BITMAP_STEP) {
            Ok(bytes) => bytes.to_vec(),
            Err(cause) => {
                self.doubt(format!("group {}: could not read the inode bitmap: {cause}", group.number));
                return Ok(());
            }
        };
        if !group.inode_bitmap_is_intact(sb, &bitmap) {
            self.doubt(format!("group {}: the inode bitmap has a wrong checksum", group.number));
        }
        let per_block = (sb.block_size / sb.inode_size as u64) as u32;
        let table = sb.bytes(group.inode_table, 1).start;
        let end = table + u64::from(group.inodes_initialised) * sb.inode_size as u64;
        let end = end.next_multiple_of(sb.block_size);
        for first in (0..group.inodes_initialised).step_by(per_block as usize) {
            let last = (first + per_block).min(group.inodes_initialised);
            let used: Vec<u32> = (first..last).filter(|index| Bitmap(&bitmap).has(*index)).collect();
            if used.is_empty() {
                continue;
            }
            let at = table + u64::from(first) * sb.inode_size as u64;
            let block = match self.tables.get(at, sb.block_len(), end) {
                Ok(bytes) => bytes.to_vec(),
                Err(cause) => {
                    self.doubt(format!("could not read the inodes at byte {at}: {cause}"));
                    continue;
                }
            };
            for index in used {
                let from = (index - first) as usize * sb.inode_size;
                let bytes = block.get(from..from + sb.inode_size).unwrap_or_default();
                self.inode(group.number * sb.inodes_per_group + index + 1, bytes)?;
            }
        }
        Ok(())
    }

    fn inode(&mut self, number: u32, bytes: &[u8]) -> Result<(), FsError> {
        let inode = match Inode::parse(&self.fs.sb, number, bytes) {
            Ok(inode) => inode,
            Err(cause) => {
                self.doubt(cause.to_string());
                return Ok(());
            }
        };
        if inode.is_blank() {
            return Ok(());
        }
        if !inode.intact {
            self.doubt(format!("inode {number}: wrong checksum"));
        }
        match inode.xattr_block {
            0 => {}
            block if self.fs.sb.holds(block, 1) => self.xattr_blocks.push(block),
            block => self.doubt(format!("inode {number}: attribute block {block} is out of range")),
        }
        match self.role(&inode) {
            Role::Nothing => Ok(()),
            Role::Structure => self.structure(&inode),
            Role::File => self.file(&inode, bytes),
            Role::Resize => self.resize_inode(&inode),
            Role::BadBlocks => self.bad_blocks(&inode),
        }
    }

    fn role(&mut self, inode: &Inode) -> Role {
        let sb = &self.fs.sb;
        match (inode.number, inode.kind()) {
            (BAD_BLOCKS, _) => Role::BadBlocks,
            (RESIZE, _) if sb.resize_inode => Role::Resize,
            (number, _) if Some(number) == sb.journal_inode => Role::Structure,
            (number, _) if sb.structure_inodes.contains(&number) => Role::Structure,
            _ if !inode.has_blocks() => Role::Nothing,
            _ if inode.is_xattr_value() => Role::Structure,
            (_, Kind::Directory | Kind::Symlink) => Role::Structure,
            (_, Kind::File) => Role::File,
            (number, _) => {
                self.doubt(format!("inode {number}: mode {:o} means nothing", inode.mode));
                Role::Nothing
            }
        }
    }

    fn structure(&mut self, inode: &Inode) -> Result<(), FsError> {
        self.walk(inode, |telling, found| {
            if let Found::Run(run) = found {
                telling.meta(run.physical, run.len)?;
            }
            Ok(())
        })
    }

    fn bad_blocks(&mut self, inode: &Inode) -> Result<(), FsError> {
        self.walk(inode, |_, _| Ok(()))
    }

    fn resize_inode(&mut self, inode: &Inode) -> Result<(), FsError> {
        // The double indirect block; the blocks it points to are the reserved descriptor blocks.
        const DOUBLE_INDIRECT_AT: usize = 13 * 4;
        match u32_at(&inode.map, DOUBLE_INDIRECT_AT).map(u64::from) {
            None | Some(0) => Ok(()),
            Some(block) if self.fs.sb.holds(block, 1) => self.meta(block, 1),
            Some(_) => {
                self.doubt("the resize inode points outside of the filesystem");
                Ok(())
            }
        }
    }

    /// Claims the attribute blocks all of whose owners lie in this group. Owners in several groups would have to be
    /// remembered to claim a block only once; those rare blocks are read raw instead.
    fn shared_xattr_blocks(&mut self) -> Result<(), FsError> {
        let mut blocks = std::mem::take(&mut self.xattr_blocks);
        blocks.sort_unstable();
        for same in blocks.chunk_by(|a, b| a == b) {
            let Some(&block) = same.first() else { continue };
            match self.fs.xattr_block(block) {
                Ok(header) => {
                    if !header.intact {
                        self.doubt(format!("attribute block {block} has a wrong checksum"));
                    }
                    if header.references as usize == same.len() {
                        self.meta(block, 1)?;
                    }
                }
                Err(cause) => self.doubt(cause.to_string()),
            }
        }
        blocks.clear();
        self.xattr_blocks = blocks;
        Ok(())
    }

    /// Walks a map: its own blocks are structure, what is wrong with it is doubt, `each` gets all of it.
    fn walk(
        &mut self,
        inode: &Inode,
        mut each: impl FnMut(&mut Self, &Found) -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let mut budget = self.budget;
        let walked = self.fs.walk(inode, 0, &mut budget, &mut |found| -> Step {
            match &found {
                Found::Index(block) => self.meta(*block, 1)?,
                Found::Suspect(what) => self.doubt(format!("inode {}: {what}", inode.number)),
                Found::Run(_) => {}
            }
            each(self, &found)?;
            Ok(ControlFlow::Continue(()))
        });
        self.budget = budget;
        match walked {
            Err(cause @ FsError::Scratch(_)) => Err(cause),
            Err(cause) => {
                self.doubt(cause.to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn meta(&mut self, block: u64, count: u64) -> Result<(), FsError> {
        self.out.meta(self.fs.sb.bytes(block, count))
    }

    fn doubt(&mut self, what: impl Into<String>) {
        self.doubts = self.doubts.saturating_add(1);
        if self.doubts <= MAX_DOUBTS {
            self.out.doubt(what.into().into());
        }
    }
}
