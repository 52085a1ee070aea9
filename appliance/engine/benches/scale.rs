//! Memory and reads at the sizes that break others: 8 TiB of ext4 with ten million files and 42 million extents, and an index
//! of 30 million chunks. `cargo xtask bench scale`; prints what it counted and fails above the bounds of the design.

use saveos_engine::chunk::ChunkId;
use saveos_engine::index::Index;
use saveos_engine::layout::Layout;
use saveos_engine::pack::build::{OpenPack, PackFile};
use saveos_engine::read::{ReadAt, past_end};
use saveos_engine::seal::{Bound, Keys, Kind, RepositoryId, RootKey, Suite};
use saveos_engine::storage::local::Local;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

const RSS_LIMIT: u64 = 256 << 20;

fn main() {
    // `cargo bench` passes its own flags; a number shrinks everything for a quick look.
    let part: u64 = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1);
    let folder = tempfile::tempdir().expect("a temporary folder");
    survey(65_536 / part, folder.path());
    index(30_000_000 / part as usize, folder.path());
}

/// Peak resident memory of this process in bytes.
fn peak_rss() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn survey(groups: u64, folder: &std::path::Path) {
    let disk = Ext { groups };
    let begun = Instant::now();
    let layout = Layout::survey(&disk, 512, folder).expect("scratch files work");
    let region = &layout.regions[0];
    assert!(region.doubts.is_empty(), "the synthetic disk is sound: {:?}", region.doubts);
    let surveyed = begun.elapsed();
    let (mut pieces, mut extents, mut last) = (0u64, 0u64, 0);
    for piece in layout.pieces() {
        let piece = piece.expect("scratch files work");
        assert!(piece.start() >= last);
        last = piece.start();
        pieces += 1;
        extents += piece.extents.len() as u64;
    }
    println!(
        "layout: {} GiB, {} files, {} pieces with {} extents: survey {:.1} s, all pieces in order {:.1} s, peak RSS {} MiB",
        disk.len() >> 30,
        groups * FILES,
        pieces,
        extents,
        surveyed.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        peak_rss() >> 20
    );
    assert!(peak_rss() <= RSS_LIMIT, "the layout took more than 256 MiB");
}

fn index(chunks: usize, folder: &std::path::Path) {
    let keys = Keys::derive(&RootKey::from_bytes([1; 32]), RepositoryId([2; 16]));
    let root = folder.join("repository");
    let storage = Local::create(&root).expect("an empty folder");
    let (index, _) = Index::open(&folder.join("index"), &storage, &keys).expect("a new index");
    let id = |n: u64| ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes());
    let begun = Instant::now();
    let per_pack = 65_536;
    for first in (0..chunks as u64).step_by(per_pack) {
        let pack = OpenPack::new(&keys, Suite::for_this_cpu(), Kind::Data);
        let mut file = PackFile::create(&storage, &pack).expect("room for the packs");
        for n in first..(first + per_pack as u64).min(chunks as u64) {
            let bound = Bound { slot: pack.draw(1), chunk: id(n), plain_len: 1, codec: 0 };
            let mut sealed = vec![n as u8];
            pack.seal(&bound, &mut sealed);
            file.append(&bound, &sealed).expect("room for the packs");
        }
        let (id, kind, size, ids) = file.finish(&pack).and_then(|done| done.commit()).expect("room for the packs");
        index.insert_pack(id, kind, size, &ids).expect("room for the index");
    }
    index.flush().expect("room for the index");
    let inserted = begun.elapsed();
    let (memory, known) = index.memory();
    let reads = || index.reads.runs.load(Ordering::Relaxed) + index.reads.tables.load(Ordering::Relaxed);
    let count = 1_000_000.min(chunks as u64);
    let before = reads();
    let begun = Instant::now();
    for n in 0..count {
        assert!(index.locate(&storage, &keys, &id(chunks as u64 + n)).expect("a readable index").is_none());
    }
    let absent = reads() - before;
    for n in 0..count {
        assert!(index.locate(&storage, &keys, &id(n)).expect("a readable index").is_some());
    }
    let present = reads() - before - absent;
    println!(
        "index: {known} chunks inserted in {:.0} s; {:.2} bytes of RAM and {:.4} (absent) {:.4} (present) reads a chunk, {:.1} µs a look-up; peak RSS {} MiB",
        inserted.as_secs_f64(),
        memory as f64 / known as f64,
        absent as f64 / count as f64,
        present as f64 / count as f64,
        begun.elapsed().as_secs_f64() * 1e6 / (2 * count) as f64,
        peak_rss() >> 20
    );
    assert!(memory as f64 / known as f64 <= 2.0, "more than 2 bytes of RAM a chunk");
    assert!(
        absent as f64 / count as f64 <= 0.02 && present as f64 / count as f64 <= 0.02,
        "more than 0.02 reads a chunk"
    );
    assert!(peak_rss() <= RSS_LIMIT, "the index took more than 256 MiB");
}

/// Files in each 128 MiB group.
const FILES: u64 = 160;
/// Extents of each file, in shuffled order so that none joins the next.
const EXTENTS: u64 = 4;
/// Blocks of an extent.
const RUN: u64 = 51;
const BLOCK: u64 = 4096;
const GROUP: u64 = 32_768;
/// Blocks at the start of each group: two bitmaps and an inode table of 10 blocks.
const TABLE: u64 = 2;

/// An ext4 filesystem that is computed, not stored. Group descriptors lie in group 0; no backups (sparse_super2).
struct Ext {
    groups: u64,
}

impl Ext {
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
        // Special inodes, and files whose extents would leave the group: unused.
        let number = group * FILES + slot + 1;
        let end = (slot + 1) * EXTENTS * RUN + first_data;
        if number < 12 || end > (group + 1) * GROUP {
            return;
        }
        out[..2].copy_from_slice(&0x81a4u16.to_le_bytes());
        put32(out, 4, (EXTENTS * RUN * BLOCK - 100) as u32);
        out[0x1a..0x1c].copy_from_slice(&1u16.to_le_bytes());
        put32(out, 0x1c, (EXTENTS * RUN * 8) as u32);
        put32(out, 0x20, 0x8_0000); // extents
        let tree = &mut out[0x28..0x64];
        tree[..2].copy_from_slice(&0xf30au16.to_le_bytes());
        tree[2..4].copy_from_slice(&(EXTENTS as u16).to_le_bytes());
        tree[4..6].copy_from_slice(&4u16.to_le_bytes());
        for n in 0..EXTENTS {
            let place = first_data + (slot * EXTENTS + (n + 2) % EXTENTS) * RUN;
            let entry = &mut tree[12 + 12 * n as usize..24 + 12 * n as usize];
            put32(entry, 0, (n * RUN) as u32);
            entry[4..6].copy_from_slice(&(RUN as u16).to_le_bytes());
            entry[6..8].copy_from_slice(&((place >> 32) as u16).to_le_bytes());
            put32(entry, 8, place as u32);
        }
        out[0x80..0x82].copy_from_slice(&32u16.to_le_bytes());
    }
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
