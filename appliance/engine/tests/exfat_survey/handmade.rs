//! A tiny exFAT volume made by hand, for what no tool makes: valid lengths, contradictions, damage.

use saveos_engine::fs::Extent;

pub(crate) const SECTOR: usize = 512;
/// Boot regions take 24 sectors, the FAT one, and the heap begins here.
const HEAP: usize = 32;
const FAT: usize = 24;
pub(crate) const CLUSTERS: u32 = 40;
const ROOT: u32 = 4;

/// One sector per cluster; cluster 2 is the bitmap, 3 the upper-case table, 4 the root directory.
pub(crate) struct Tiny(pub(crate) Vec<u8>);

/// What an entry set says of its clusters.
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) first: u32,
    pub(crate) contiguous: bool,
    pub(crate) valid: u64,
    pub(crate) size: u64,
}

impl Tiny {
    pub(crate) fn new() -> Self {
        let mut tiny = Self(vec![0; (HEAP + CLUSTERS as usize) * SECTOR + 100]);
        let boot = &mut tiny.0;
        boot[..11].copy_from_slice(b"\xEB\x76\x90EXFAT   ");
        boot[72..80].copy_from_slice(&(HEAP as u64 + u64::from(CLUSTERS)).to_le_bytes());
        for (at, field) in [(80, FAT as u32), (84, 1), (88, HEAP as u32), (92, CLUSTERS), (96, ROOT)] {
            boot[at..at + 4].copy_from_slice(&field.to_le_bytes());
        }
        boot[108..111].copy_from_slice(&[9, 0, 1]);
        boot[510..512].copy_from_slice(&[0x55, 0xAA]);
        tiny.seal_boot();
        for cluster in 2..5 {
            tiny.chain(&[cluster]);
            tiny.allocate(cluster);
        }
        let table = tiny.at(3);
        tiny.0[table..table + 4].copy_from_slice(&[0xFF, 0xFF, 0x61, 0]);
        for letter in 0..26 {
            tiny.0[table + 4 + 2 * letter] = b'A' + letter as u8;
        }
        let sum = tiny.0[table..table + 56].iter().fold(0u32, |sum, byte| sum.rotate_right(1) + u32::from(*byte));
        let root = tiny.at(ROOT);
        for (at, kind, first, len) in [(root, 0x81u8, 2u32, 5u64), (root + 32, 0x82, 3, 56)] {
            tiny.0[at] = kind;
            tiny.0[at + 20..at + 24].copy_from_slice(&first.to_le_bytes());
            tiny.0[at + 24..at + 32].copy_from_slice(&len.to_le_bytes());
        }
        tiny.0[root + 36..root + 40].copy_from_slice(&sum.to_le_bytes());
        tiny
    }

    /// Makes the checksum of both boot regions fit.
    pub(crate) fn seal_boot(&mut self) {
        let counted = self.0[..11 * SECTOR].iter().enumerate().filter(|(at, _)| !matches!(at, 106 | 107 | 112));
        let sum = counted.fold(0u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
        self.0[11 * SECTOR..12 * SECTOR].copy_from_slice(&sum.to_le_bytes().repeat(SECTOR / 4));
        self.0.copy_within(..12 * SECTOR, 12 * SECTOR);
    }

    /// Byte offset of a cluster.
    pub(crate) fn at(&self, cluster: u32) -> usize {
        (HEAP + cluster as usize - 2) * SECTOR
    }

    pub(crate) fn extent(&self, cluster: u32, len: u64) -> Extent {
        Extent::new(self.at(cluster) as u64, len)
    }

    pub(crate) fn link(&mut self, cluster: u32, next: u32) {
        let at = FAT * SECTOR + cluster as usize * 4;
        self.0[at..at + 4].copy_from_slice(&next.to_le_bytes());
    }

    pub(crate) fn chain(&mut self, clusters: &[u32]) {
        for pair in clusters.windows(2) {
            self.link(pair[0], pair[1]);
        }
        self.link(*clusters.last().unwrap(), u32::MAX);
    }

    pub(crate) fn allocate(&mut self, cluster: u32) {
        let at = self.at(2) + (cluster as usize - 2) / 8;
        self.0[at] |= 1 << ((cluster - 2) % 8);
    }

    /// Puts a set of three entries into a directory of one cluster. Slots 0 and 1 of the root are taken.
    pub(crate) fn entry(&mut self, directory: u32, slot: usize, name: &str, attributes: u16, stream: Stream) {
        let mut set = [0u8; 96];
        set[..2].copy_from_slice(&[0x85, 2]);
        set[4..6].copy_from_slice(&attributes.to_le_bytes());
        set[32..34].copy_from_slice(&[0xC0, if stream.contiguous { 3 } else { 1 }]);
        set[35] = name.len() as u8;
        set[40..48].copy_from_slice(&stream.valid.to_le_bytes());
        set[52..56].copy_from_slice(&stream.first.to_le_bytes());
        set[56..64].copy_from_slice(&stream.size.to_le_bytes());
        set[64] = 0xC1;
        for (at, byte) in name.bytes().enumerate() {
            set[66 + 2 * at] = byte;
        }
        let counted = set.iter().enumerate().filter(|(at, _)| !matches!(at, 2 | 3));
        let sum = counted.fold(0u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)));
        set[2..4].copy_from_slice(&sum.to_le_bytes());
        let at = self.at(directory) + slot * 32;
        self.0[at..at + 96].copy_from_slice(&set);
    }

    /// A chained file, one in one piece that was not written to its end, and a directory with a file.
    pub(crate) fn sane() -> Self {
        let mut tiny = Self::new();
        tiny.chain(&[5, 9, 10]);
        tiny.chain(&[11]);
        tiny.chain(&[12]);
        for cluster in 5..=12 {
            tiny.allocate(cluster);
            let at = tiny.at(cluster);
            tiny.0[at..at + SECTOR].fill(cluster as u8);
        }
        let at = tiny.at(11);
        tiny.0[at..at + SECTOR].fill(0);
        tiny.entry(ROOT, 2, "file.bin", 0x20, Stream { first: 5, contiguous: false, valid: 1200, size: 1200 });
        tiny.entry(ROOT, 5, "short.bin", 0x20, Stream { first: 6, contiguous: true, valid: 600, size: 1300 });
        tiny.entry(ROOT, 8, "Sub", 0x10, Stream { first: 11, contiguous: true, valid: 512, size: 512 });
        tiny.entry(11, 0, "inner", 0x20, Stream { first: 12, contiguous: true, valid: 1, size: 1 });
        tiny
    }
}
