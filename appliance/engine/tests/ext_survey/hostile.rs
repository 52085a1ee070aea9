//! Forged and damaged images: whatever the bytes say, the parser ends, soon, without a panic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use saveos_engine::fs::{FsError, Node, NodeKind, ext};
use saveos_engine::read::ReadAt;

use super::collect::{Collected, Counted};
use super::image::{Image, noise};

/// Numbers that look random; the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// A small image with something of everything that mke2fs can copy.
fn seed_image(mkfs: &str) -> Vec<u8> {
    let source = tempfile::tempdir().expect("a scratch directory");
    let root = source.path();
    std::fs::create_dir_all(root.join("a/b")).expect("directories");
    for n in 0..60 {
        std::fs::write(root.join(format!("a/b/file-{n}")), noise(n, 500 * n as usize)).expect("a file");
    }
    let mut sparse = vec![0u8; 900_000];
    for n in (0..900_000).step_by(12_288) {
        sparse[n..n + 1024].copy_from_slice(&noise(n as u64, 1024));
    }
    std::fs::write(root.join("sparse"), sparse).expect("a file");
    std::os::unix::fs::symlink("x".repeat(200), root.join("link")).expect("a link");
    for n in 0..3 {
        let value = noise(n, 600);
        let path = root.join(format!("a/b/file-{n}"));
        rustix::fs::setxattr(path, "user.saveos", &value, rustix::fs::XattrFlags::empty()).expect("an attribute");
    }
    let image = Image::make_from(4, mkfs, root);
    image.bytes()
}

/// Reads some of everything that can be reached.
fn browse(bytes: &Arc<Vec<u8>>) -> Result<u64, FsError> {
    let tree = ext::browse(Arc::clone(bytes) as Arc<dyn ReadAt>)?;
    let mut names = 0;
    let mut open: Vec<(u32, Node)> = vec![(0, tree.root()?)];
    let mut buf = vec![0; 20_000];
    while let Some((depth, directory)) = open.pop() {
        // Damage in one directory must not hide the others.
        let _ = tree.list(&directory, &mut |entry| {
            names += 1;
            match entry.node.kind {
                NodeKind::Directory if depth < 6 => open.push((depth + 1, entry.node)),
                _ => {
                    let _ = tree.read(&entry.node, 0, &mut buf);
                    let _ = tree.read(&entry.node, entry.node.size / 2, &mut buf);
                }
            }
            names < 2000
        });
        if names >= 2000 {
            break;
        }
    }
    Ok(names)
}

fn mutate(mkfs: &str, seeds: u64, forge: impl Fn(&mut Random, &mut [u8])) {
    let good = seed_image(mkfs);
    let mut slowest = Duration::ZERO;
    let mut doubted = 0;
    for seed in 1..=seeds {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut bytes = good.clone();
        forge(&mut random, &mut bytes);
        let bytes = Arc::new(bytes);
        let start = Instant::now();
        let mut counted = Counted::default();
        let surveyed = ext::survey(&bytes, &mut counted);
        doubted += u64::from(surveyed.is_err() || counted.doubts > 0);
        // A claim or two for each block is more than any sane image needs.
        assert!(counted.calls < 200_000, "seed {seed}: {} calls", counted.calls);
        let _ = browse(&bytes);
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "one image took {slowest:?}");
    assert!(doubted > seeds / 50, "only {doubted} of {seeds} forged images were noticed");
}

/// Structures lie in the first part of these images; data, where damage is legal, behind.
const STRUCTURES: u64 = 100 << 10;

fn flip_bits(random: &mut Random, bytes: &mut [u8]) {
    for _ in 0..1 + random.below(20) {
        let at = random.below(STRUCTURES) as usize;
        bytes[at] ^= 1 << random.below(8);
    }
}

/// Words that are wrong in the ways that hurt: huge, negative, zero, and other block numbers.
fn forge_words(random: &mut Random, bytes: &mut [u8]) {
    let values = [0, 1, 2, u32::MAX, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF, 4096, 40, 100, 0xF30A_0004];
    for _ in 0..1 + random.below(40) {
        let at = random.below(STRUCTURES) as usize & !3;
        let value = match random.below(3) {
            0 => random.below(5000) as u32,
            1 => random.next() as u32,
            _ => values[random.below(values.len() as u64) as usize],
        };
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// Forges fields of the superblock and the first descriptors only: geometry is where work explodes.
fn forge_geometry(random: &mut Random, bytes: &mut [u8]) {
    for _ in 0..1 + random.below(3) {
        let at = (1024 + random.below(1024 + 64) as usize) & !1;
        let value = if random.below(2) == 0 { random.next() as u16 } else { 1 << random.below(16) };
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
}

/// Copies one structure over another: self-references, loops, shared maps.
fn shuffle_blocks(random: &mut Random, bytes: &mut [u8]) {
    for _ in 0..1 + random.below(4) {
        let (from, to) = (random.below(STRUCTURES) as usize & !63, random.below(STRUCTURES) as usize & !63);
        bytes.copy_within(from..from + 64 * (1 + random.below(16) as usize), to);
    }
}

#[test]
fn flipped_bits_never_panic() {
    mutate("-t ext4 -b 1024 -O ^metadata_csum,^has_journal -N 128", 500, flip_bits);
    mutate("-t ext2 -b 1024 -N 128", 500, flip_bits);
}

#[test]
fn forged_words_never_panic() {
    mutate("-t ext4 -b 1024 -O ^metadata_csum,^has_journal,inline_data -N 128", 600, forge_words);
    mutate("-t ext2 -b 1024 -N 128", 600, forge_words);
    mutate("-t ext4 -b 4096 -O metadata_csum,^has_journal -N 128", 300, forge_words);
}

#[test]
fn forged_geometry_never_panics() {
    mutate("-t ext4 -b 1024 -O ^metadata_csum,^has_journal,meta_bg,^resize_inode -N 128", 600, forge_geometry);
    mutate("-t ext4 -b 1024 -O ^metadata_csum -J size=1 -N 128", 600, forge_geometry);
}

#[test]
fn shuffled_structures_never_panic() {
    mutate("-t ext4 -b 1024 -O ^metadata_csum,^has_journal -N 128", 600, shuffle_blocks);
    mutate("-t ext3 -b 1024 -J size=1 -N 128", 600, shuffle_blocks);
}

/// An image one KiB of which cannot be read.
struct Scratched<'a> {
    bytes: &'a Vec<u8>,
    bad: u64,
}

impl ReadAt for Scratched<'_> {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        if offset < self.bad + 1024 && self.bad < offset + buf.len() as u64 {
            return Err(std::io::Error::other("bad sector"));
        }
        self.bytes.read_at(offset, buf)
    }
}

#[test]
fn an_unreadable_structure_is_doubt_and_the_rest_is_told() {
    let bytes = seed_image("-t ext4 -b 1024 -N 128 -J size=1");
    let mut whole = Collected::default();
    ext::survey(&bytes, &mut whole).expect("a readable filesystem");
    let files = whole.files.len();
    let (mut doubted, mut costly) = (0, 0);
    for bad in (2..STRUCTURES / 1024).map(|n| n * 1024) {
        let mut told = Collected::default();
        ext::survey(&Scratched { bytes: &bytes, bad }, &mut told).expect("the superblock is readable");
        assert!(!told.doubts.is_empty() || told.files == whole.files, "byte {bad}: lost files without a doubt");
        doubted += usize::from(!told.doubts.is_empty());
        costly += usize::from(told.files.len() + 8 < files);
    }
    assert!(doubted > 5, "{doubted}");
    // The one descriptor block and the one inode bitmap hold everything together; any other block costs a few files.
    assert!(costly <= 2, "{costly}");
}

/// A log is forged onto a clean image: a journal whose every record lies.
#[test]
fn forged_journals_never_panic() {
    mutate("-t ext3 -b 1024 -J size=1 -N 128", 800, |random, bytes| {
        let magic = 0xC03B_3998u32.to_be_bytes();
        let Some(journal) = bytes.chunks(1024).position(|block| block.starts_with(&magic)) else {
            panic!("the image has a journal");
        };
        let journal = journal * 1024;
        bytes[1024 + 0x60] |= 4;
        bytes[journal + 0x18..journal + 0x20].copy_from_slice(&[0, 0, 0, 7, 0, 0, 0, 1]);
        let features = random.below(0x40) as u8;
        bytes[journal + 0x2B] = features & if random.below(2) == 0 { 0x27 } else { 0x3F };
        for n in 1..200 {
            let kind = [1u8, 2, 5][random.below(3) as usize];
            let at = journal + n * 1024;
            let record = [&magic[..], &[0, 0, 0, kind, 0, 0, 0, 7 + (n / 8) as u8]].concat();
            bytes[at..at + 12].copy_from_slice(&record);
            for word in bytes[at + 12..at + 1024].chunks_exact_mut(8) {
                let flags = [0u32, 1, 2, 3, 8, 10][random.below(6) as usize];
                word[..4].copy_from_slice(&(random.below(4200) as u32).to_be_bytes());
                word[4..].copy_from_slice(&flags.to_be_bytes());
            }
        }
    });
}
