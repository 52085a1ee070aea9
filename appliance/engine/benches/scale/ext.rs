//! An ext4 filesystem of any size that is computed as it is read, not stored: many files in pieces, and one file of a
//! million extents. Sound to the last bit that the survey looks at; the many hold zeros, the one holds noise.

use saveos_engine::read::{ReadAt, past_end};
use std::io;

/// Files in each 128 MiB group.
const FILES: u64 = 192;
/// Extents of each file, in shuffled order so that none joins the next.
const EXTENTS: u64 = 4;
/// Blocks of an extent.
const RUN: u64 = 41;
const BLOCK: u64 = 4096;
const GROUP: u64 = 32_768;
/// Blocks of each group before its inode table: two bitmaps.
const TABLE: u64 = 2;

/// Extents of the giant, each one block, laid backwards so that none joins the next.
pub(crate) const GIANT_EXTENTS: u64 = 1_000_000;
/// Extents of the giant that lie in one group, at its end.
const GIANT_PER_GROUP: u64 = 32_000;
/// Extents in a leaf block, and leaves below an index block.
const ENTRIES: u64 = (BLOCK - 12) / 12;
const LEAVES: u64 = GIANT_EXTENTS.div_ceil(ENTRIES);
/// Groups at the end of the disk that belong to the giant; its tree lies in the first of them.
const GIANT_GROUPS: u64 = 1 + GIANT_EXTENTS.div_ceil(GIANT_PER_GROUP);

/// The filesystem. Group descriptors lie in group 0; no backups (sparse_super2). Every block is allocated.
pub(crate) struct Ext {
    groups: u64,
    giant: bool,
}

impl Ext {
    /// Files in every group of 128 MiB.
    pub(crate) fn of_many_files(groups: u64) -> Ext {
        Ext { groups, giant: false }
    }

    /// One file that is as large as the disk.
    pub(crate) fn of_one_giant() -> Ext {
        Ext { groups: 1 + GIANT_GROUPS, giant: true }
    }

    /// Files that the disk holds.
    pub(crate) fn files(&self) -> u64 {
        if self.giant { 1 } else { self.groups * FILES }
    }

    fn descriptor_blocks(&self) -> u64 {
        (self.groups * 64).div_ceil(BLOCK)
    }

    /// First block of a group's own structures: behind superblock and descriptors in group 0.
    fn base(&self, group: u64) -> u64 {
        group * GROUP + if group == 0 { 1 + self.descriptor_blocks() } else { 0 }
    }

    fn block(&self, number: u64, out: &mut [u8]) {
        out.fill(0);
        match number {
            0 => self.superblock(&mut out[1024..2048]),
            n if n <= self.descriptor_blocks() => {
                for (at, descriptor) in out.chunks_exact_mut(64).enumerate() {
                    self.descriptor((n - 1) * 64 + at as u64, descriptor);
                }
            }
            n => {
                let group = n / GROUP;
                let tree = 0..1 + LEAVES.div_ceil(ENTRIES) + LEAVES;
                if let Some(at) = n.checked_sub(self.tree()).filter(|at| self.giant && tree.contains(at)) {
                    return self.tree_block(at, out);
                }
                match n.checked_sub(self.base(group)) {
                    Some(0) => out.fill(0xff),
                    Some(1) => {
                        out.fill(0xff);
                        out[..FILES as usize / 8].fill(0xff);
                    }
                    Some(at) if at < TABLE + FILES * 256 / BLOCK => {
                        for (slot, inode) in out.chunks_exact_mut(256).enumerate() {
                            self.inode(group, (at - TABLE) * 16 + slot as u64, inode);
                        }
                    }
                    _ if self.giant => noise(n, out),
                    _ => {} // file content: zeros
                }
            }
        }
    }

    fn superblock(&self, out: &mut [u8]) {
        let blocks = self.groups * GROUP;
        put32(out, 0, (self.groups * FILES) as u32);
        put32(out, 4, blocks as u32);
        put32(out, 0x18, 2); // 4 KiB blocks
        put32(out, 0x1c, 2);
        put32(out, 0x20, GROUP as u32);
        put32(out, 0x24, GROUP as u32);
        put32(out, 0x28, FILES as u32);
        out[0x38..0x3a].copy_from_slice(&0xef53u16.to_le_bytes());
        out[0x3a] = 1; // cleanly unmounted
        put32(out, 0x4c, 1); // dynamic revision
        put32(out, 0x54, 11); // first inode that is no special one
        out[0x58..0x5a].copy_from_slice(&256u16.to_le_bytes());
        put32(out, 0x5c, 0x200); // sparse_super2
        put32(out, 0x60, 0x40 | 0x80 | 0x2); // extents, 64bit, filetype
        put32(out, 0x64, 0x2 | 0x8); // large_file, huge_file
        out[0xfe..0x100].copy_from_slice(&64u16.to_le_bytes());
        put32(out, 0x150, (blocks >> 32) as u32);
    }

    fn descriptor(&self, group: u64, out: &mut [u8]) {
        if group >= self.groups {
            return;
        }
        for (low, high, block) in [(0, 0x20, 0), (4, 0x24, 1), (8, 0x28, TABLE)] {
            let block = self.base(group) + block;
            put32(out, low, block as u32);
            put32(out, high, (block >> 32) as u32);
        }
    }

    fn inode(&self, group: u64, slot: u64, out: &mut [u8]) {
        let first_data = self.base(group) + TABLE + FILES * 256 / BLOCK;
        if self.giant {
            if group == 1 && slot == 0 {
                self.giant(out);
            }
            return;
        }
        // Special inodes, and files whose extents would leave the group: unused.
        let number = group * FILES + slot + 1;
        let end = (slot + 1) * EXTENTS * RUN + first_data;
        if number < 12 || end > (group + 1) * GROUP {
            return;
        }
        file(EXTENTS * RUN * BLOCK - 100, EXTENTS * RUN * 8, out);
        let tree = &mut out[0x28..0x64];
        tree_header(EXTENTS, 4, 0, tree);
        for n in 0..EXTENTS {
            let place = first_data + (slot * EXTENTS + (n + 2) % EXTENTS) * RUN;
            extent_entry(n * RUN, RUN, place, &mut tree[12 + 12 * n as usize..][..12]);
        }
    }

    fn giant(&self, out: &mut [u8]) {
        file(GIANT_EXTENTS * BLOCK, (GIANT_EXTENTS + 1 + LEAVES.div_ceil(ENTRIES) + LEAVES) * 8, out);
        let root = &mut out[0x28..0x64];
        tree_header(1, 4, 3, root);
        index_entry(0, self.tree(), &mut root[12..24]);
    }

    /// First block of the giant's tree: one block of indices, the indices below it, the leaves.
    fn tree(&self) -> u64 {
        self.base(1) + TABLE + FILES * 256 / BLOCK
    }

    fn tree_block(&self, at: u64, out: &mut [u8]) {
        let (upper, first) = (LEAVES.div_ceil(ENTRIES), self.tree());
        let under = |n: u64, all: u64| ENTRIES.min(all - n * ENTRIES);
        match at {
            0 => {
                tree_header(upper, ENTRIES, 2, out);
                for n in 0..upper {
                    index_entry(n * ENTRIES * ENTRIES, first + 1 + n, &mut out[12 + 12 * n as usize..][..12]);
                }
            }
            _ if at <= upper => {
                let block = at - 1;
                tree_header(under(block, LEAVES), ENTRIES, 1, out);
                for n in 0..under(block, LEAVES) {
                    let leaf = block * ENTRIES + n;
                    index_entry(leaf * ENTRIES, first + 1 + upper + leaf, &mut out[12 + 12 * n as usize..][..12]);
                }
            }
            _ => {
                let leaf = at - 1 - upper;
                tree_header(under(leaf, GIANT_EXTENTS), ENTRIES, 0, out);
                for n in 0..under(leaf, GIANT_EXTENTS) {
                    let extent = leaf * ENTRIES + n;
                    let group = 2 + extent / GIANT_PER_GROUP;
                    let place = (group + 1) * GROUP - 1 - extent % GIANT_PER_GROUP;
                    extent_entry(extent, 1, place, &mut out[12 + 12 * n as usize..][..12]);
                }
            }
        }
    }
}

/// What no compressor shrinks, and no two blocks share.
fn noise(block: u64, out: &mut [u8]) {
    let mut state = block;
    for word in out.chunks_exact_mut(8) {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
}

/// A regular file with an extent tree.
fn file(bytes: u64, sectors: u64, out: &mut [u8]) {
    out[..2].copy_from_slice(&0x81a4u16.to_le_bytes());
    put32(out, 4, bytes as u32);
    put32(out, 0x6c, (bytes >> 32) as u32);
    out[0x1a..0x1c].copy_from_slice(&1u16.to_le_bytes());
    put32(out, 0x1c, sectors as u32);
    put32(out, 0x20, 0x8_0000); // extents
    out[0x80..0x82].copy_from_slice(&32u16.to_le_bytes());
}

fn tree_header(entries: u64, most: u64, depth: u16, out: &mut [u8]) {
    for (at, value) in [(0, 0xf30a), (2, entries as u16), (4, most as u16), (6, depth)] {
        out[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
}

fn index_entry(logical: u64, block: u64, out: &mut [u8]) {
    put32(out, 0, logical as u32);
    put32(out, 4, block as u32);
    out[8..10].copy_from_slice(&((block >> 32) as u16).to_le_bytes());
}

fn extent_entry(logical: u64, blocks: u64, place: u64, out: &mut [u8]) {
    put32(out, 0, logical as u32);
    out[4..6].copy_from_slice(&(blocks as u16).to_le_bytes());
    out[6..8].copy_from_slice(&((place >> 32) as u16).to_le_bytes());
    put32(out, 8, place as u32);
}

fn put32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

impl ReadAt for Ext {
    fn len(&self) -> u64 {
        self.groups * GROUP * BLOCK
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset + buf.len() as u64 > self.len() {
            return Err(past_end());
        }
        let mut block = vec![0; BLOCK as usize];
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let within = (at % BLOCK) as usize;
            let take = (BLOCK as usize - within).min(buf.len() - done);
            self.block(at / BLOCK, &mut block);
            buf[done..done + take].copy_from_slice(&block[within..within + take]);
            done += take;
        }
        Ok(())
    }
}
