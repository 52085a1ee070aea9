//! An NTFS volume of 8 TiB that is computed as it is read, not stored: many files in fragments, and one file of a million
//! extents whose attribute list has thousands of entries. Sound to the last bit that the survey looks at.

use saveos_engine::read::ReadAt;
use std::io;

const CLUSTER: u64 = 4096;
const CLUSTERS: u64 = 1 << 31;
pub(crate) const RUNS_PER_FILE: u64 = 5;
const FIRST_FILE: u64 = 64;
/// The record of the file in a million fragments, and how many records hold them.
const GIANT: u64 = 32;
const PARTS: u64 = 10_000;
const RUNS_PER_PART: u64 = 100;
/// Extents of that file.
pub(crate) const GIANT_RUNS: u64 = PARTS * RUNS_PER_PART;
const DATA_START: u64 = 1 << 27;

/// The volume. Its bitmap calls every cluster allocated.
pub(crate) struct Ntfs {
    /// Ordinary files, each of `RUNS_PER_FILE` clusters that do not touch; at most 12 million, which end where the giant begins.
    pub(crate) files: u64,
}

impl ReadAt for Ntfs {
    fn len(&self) -> u64 {
        CLUSTERS * CLUSTER + 512
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (mut offset, mut buf) = (offset, buf);
        while !buf.is_empty() {
            let block = self.block(offset / 1024);
            let within = (offset % 1024) as usize;
            let len = buf.len().min(1024 - within);
            buf[..len].copy_from_slice(&block[within..within + len]);
            offset += len as u64;
            buf = &mut buf[len..];
        }
        Ok(())
    }
}

impl Ntfs {
    fn first_part(&self) -> u64 {
        FIRST_FILE + self.files
    }

    fn records(&self) -> u64 {
        self.first_part() + PARTS
    }

    /// First cluster and length of the file table.
    fn mft(&self) -> (u64, u64) {
        (16, self.records().div_ceil(4))
    }

    /// First cluster and length of the giant's attribute list.
    fn list(&self) -> (u64, u64) {
        let (start, len) = self.mft();
        (start + len, (PARTS * 32).div_ceil(CLUSTER))
    }

    /// First cluster and length of the bitmap of clusters, all ones.
    fn bitmap(&self) -> (u64, u64) {
        let (start, len) = self.list();
        (start + len, CLUSTERS / 8 / CLUSTER)
    }

    /// First cluster and length of the bitmap of records, all ones.
    fn records_bitmap(&self) -> (u64, u64) {
        let (start, len) = self.bitmap();
        (start + len, self.records().div_ceil(8 * CLUSTER))
    }

    /// First cluster and length of the journal, all ones: empty.
    fn journal(&self) -> (u64, u64) {
        let (start, len) = self.records_bitmap();
        (start + len, 256)
    }

    /// The KiB with this number.
    fn block(&self, number: u64) -> [u8; 1024] {
        let cluster = number / 4;
        let inside = |(start, len): (u64, u64)| (start..start + len).contains(&cluster);
        let mut block = [0; 1024];
        if number == 0 {
            self.boot(&mut block);
        } else if inside(self.mft()) {
            self.record(number - self.mft().0 * 4, &mut block);
        } else if inside(self.list()) {
            self.list_entries(number - self.list().0 * 4, &mut block);
        } else if [self.bitmap(), self.records_bitmap(), self.journal()].into_iter().any(inside) {
            block.fill(0xFF);
        }
        block
    }

    fn boot(&self, block: &mut [u8]) {
        block[3..11].copy_from_slice(b"NTFS    ");
        block[11..14].copy_from_slice(&[0, 2, 8]);
        block[40..48].copy_from_slice(&(CLUSTERS * 8).to_le_bytes());
        block[48..56].copy_from_slice(&self.mft().0.to_le_bytes());
        block[64] = 0xF6;
    }

    fn list_entries(&self, number: u64, block: &mut [u8]) {
        for (entry, part) in block.chunks_mut(32).zip(number * 32..PARTS) {
            entry[..8].copy_from_slice(&[0x80, 0, 0, 0, 32, 0, 0, 26]);
            entry[8..16].copy_from_slice(&(part * RUNS_PER_PART).to_le_bytes());
            entry[16..24].copy_from_slice(&(self.first_part() + part).to_le_bytes());
        }
    }

    fn record(&self, number: u64, block: &mut [u8]) {
        if number >= self.records() {
            return;
        }
        let mut attributes = Vec::new();
        let mut base = 0;
        match number {
            0 => {
                attributes.extend(mapped(0x80, "", 0, self.records() * 1024, &[self.mft()]));
                attributes.extend(mapped(0xB0, "", 0, self.records().div_ceil(8), &[self.records_bitmap()]));
            }
            2 => attributes.extend(mapped(0x80, "", 0, 1 << 20, &[self.journal()])),
            3 => attributes.extend(resident(0x70, &[0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0])),
            6 => attributes.extend(mapped(0x80, "", 0, CLUSTERS / 8, &[self.bitmap()])),
            8 => attributes.extend(mapped(0x80, "$Bad", 0, 0, &[])),
            GIANT => attributes.extend(mapped(0x20, "", 0, PARTS * 32, &[self.list()])),
            FIRST_FILE.. if number < self.first_part() => {
                let runs: Vec<_> = (0..RUNS_PER_FILE).map(|run| (DATA_START + number * 10 + 2 * run, 1)).collect();
                attributes.extend(mapped(0x80, "", 0, RUNS_PER_FILE * CLUSTER, &runs));
            }
            FIRST_FILE.. => {
                base = GIANT;
                let first = (number - self.first_part()) * RUNS_PER_PART;
                let runs: Vec<_> = (first..first + RUNS_PER_PART).map(|run| (DATA_START * 2 + 2 * run, 1)).collect();
                attributes.extend(mapped(0x80, "", first, PARTS * RUNS_PER_PART * CLUSTER, &runs));
            }
            _ => {}
        }
        attributes.extend([0xFF; 8]);
        block[..8].copy_from_slice(b"FILE\x30\0\x03\0");
        block[20..24].copy_from_slice(&[56, 0, 1, 0]);
        block[24..28].copy_from_slice(&(56 + attributes.len() as u32).to_le_bytes());
        block[32..40].copy_from_slice(&base.to_le_bytes());
        block[44..48].copy_from_slice(&(number as u32).to_le_bytes());
        block[56..56 + attributes.len()].copy_from_slice(&attributes);
        let guarded = [block[510], block[511], block[1022], block[1023]];
        block[48..54].copy_from_slice(&[1, 0, guarded[0], guarded[1], guarded[2], guarded[3]]);
        for guard in [510, 1022] {
            block[guard..guard + 2].copy_from_slice(&[1, 0]);
        }
    }
}

fn resident(kind: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[16..20].copy_from_slice(&(value.len() as u32).to_le_bytes());
    bytes[20] = 24;
    bytes.extend(value);
    padded(bytes)
}

fn mapped(kind: u32, name: &str, lowest: u64, size: u64, runs: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..12].copy_from_slice(&[1, name.len() as u8, 64, 0]);
    bytes[16..24].copy_from_slice(&lowest.to_le_bytes());
    let highest = runs.iter().fold(lowest, |end, (_, len)| end + len).wrapping_sub(1);
    bytes[24..32].copy_from_slice(&highest.to_le_bytes());
    bytes[48..56].copy_from_slice(&size.to_le_bytes());
    bytes[56..64].copy_from_slice(&size.to_le_bytes());
    bytes.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
    bytes[32] = bytes.len() as u8;
    let mut last = 0;
    for (start, len) in runs {
        match (start - last, *len) {
            (step @ 0..128, len @ 0..128) => bytes.extend([0x11, len as u8, step as u8]),
            (step, len) => {
                bytes.push(0x84);
                bytes.extend((len as u32).to_le_bytes());
                bytes.extend(step.to_le_bytes());
            }
        }
        last = *start;
    }
    bytes.push(0);
    padded(bytes)
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let len = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes
}
