//! A volume of 8 TiB with a million files and one file in a million fragments is surveyed in bounded memory.
//!
//! No such disk is at hand, so its records are made up as they are read. Alone in its file: it measures the process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop at once")]

use std::io;

use saveos_engine::fs::{Doubt, Extent, FileId, FsError, LeftOut, Survey, ntfs};
use saveos_engine::read::ReadAt;

const CLUSTER: u64 = 4096;
const CLUSTERS: u64 = 1 << 31;
const FILES: u64 = 1_000_000;
const RUNS_PER_FILE: u64 = 5;
const FIRST_FILE: u64 = 64;
/// The file in a million fragments, and the records that hold them.
const GIANT: u64 = 32;
const PARTS: u64 = 10_000;
const RUNS_PER_PART: u64 = 100;
const FIRST_PART: u64 = FIRST_FILE + FILES;
const RECORDS: u64 = FIRST_PART + PARTS;

/// First cluster and length of what the filesystem keeps for itself.
const MFT: (u64, u64) = (16, RECORDS.div_ceil(4));
const LIST: (u64, u64) = (MFT.0 + MFT.1, (PARTS * 32).div_ceil(CLUSTER));
const ONES: (u64, u64) = (LIST.0 + LIST.1, CLUSTERS / 8 / CLUSTER);
const DATA_START: u64 = 1 << 27;

const MEMORY_LIMIT_KIB: u64 = 64 << 10;

struct Endless;

impl ReadAt for Endless {
    fn len(&self) -> u64 {
        CLUSTERS * CLUSTER + 512
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let mut offset = offset;
        let mut buf = buf;
        while !buf.is_empty() {
            let block = block(offset / 1024);
            let within = (offset % 1024) as usize;
            let len = buf.len().min(1024 - within);
            buf[..len].copy_from_slice(&block[within..within + len]);
            offset += len as u64;
            buf = &mut buf[len..];
        }
        Ok(())
    }
}

/// The KiB with this number.
fn block(number: u64) -> [u8; 1024] {
    let cluster = number / 4;
    let inside = |(start, len): (u64, u64)| (start..start + len).contains(&cluster);
    let mut block = [0; 1024];
    if number == 0 {
        boot(&mut block);
    } else if inside(MFT) {
        record(number - MFT.0 * 4, &mut block);
    } else if inside(LIST) {
        list(number - LIST.0 * 4, &mut block);
    } else if inside(ONES) {
        block.fill(0xFF);
    }
    block
}

fn boot(block: &mut [u8]) {
    block[3..11].copy_from_slice(b"NTFS    ");
    block[11..14].copy_from_slice(&[0, 2, 8]);
    block[40..48].copy_from_slice(&(CLUSTERS * 8).to_le_bytes());
    block[48..56].copy_from_slice(&MFT.0.to_le_bytes());
    block[64] = 0xF6;
}

fn list(number: u64, block: &mut [u8]) {
    for (entry, part) in block.chunks_mut(32).zip(number * 32..PARTS) {
        entry[..8].copy_from_slice(&[0x80, 0, 0, 0, 32, 0, 0, 26]);
        entry[8..16].copy_from_slice(&(part * RUNS_PER_PART).to_le_bytes());
        entry[16..24].copy_from_slice(&(FIRST_PART + part).to_le_bytes());
    }
}

fn record(number: u64, block: &mut [u8]) {
    if number >= RECORDS {
        return;
    }
    let mut attributes = Vec::new();
    let mut base = 0;
    match number {
        0 => {
            attributes.extend(mapped(0x80, "", 0, RECORDS * 1024, &[MFT]));
            attributes.extend(mapped(0xB0, "", 0, RECORDS.div_ceil(8), &[ONES]));
        }
        2 => attributes.extend(mapped(0x80, "", 0, 1 << 20, &[(ONES.0, 256)])),
        3 => attributes.extend(resident(0x70, &[0, 0, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0])),
        6 => attributes.extend(mapped(0x80, "", 0, CLUSTERS / 8, &[ONES])),
        8 => attributes.extend(mapped(0x80, "$Bad", 0, 0, &[])),
        GIANT => attributes.extend(mapped(0x20, "", 0, PARTS * 32, &[LIST])),
        FIRST_FILE..FIRST_PART => {
            let runs: Vec<_> = (0..RUNS_PER_FILE).map(|run| (DATA_START + number * 10 + 2 * run, 1)).collect();
            attributes.extend(mapped(0x80, "", 0, RUNS_PER_FILE * CLUSTER, &runs));
        }
        FIRST_PART.. => {
            base = GIANT;
            let first = (number - FIRST_PART) * RUNS_PER_PART;
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

#[derive(Default)]
struct Counted {
    files: u64,
    runs: u64,
    longest: u64,
    open: u64,
    doubts: Vec<String>,
}

impl Survey for Counted {
    fn allocated(&mut self, _: Extent) -> Result<(), FsError> {
        Ok(())
    }
    fn meta(&mut self, _: Extent) -> Result<(), FsError> {
        Ok(())
    }
    fn raw(&mut self, _: Extent) -> Result<(), FsError> {
        Ok(())
    }
    fn left_out(&mut self, _: LeftOut, _: Extent) -> Result<(), FsError> {
        Ok(())
    }
    fn file_begin(&mut self, _: FileId) -> Result<(), FsError> {
        self.files += 1;
        self.open = 0;
        Ok(())
    }
    fn file_run(&mut self, _: u64, _: Extent) -> Result<(), FsError> {
        self.runs += 1;
        self.open += 1;
        Ok(())
    }
    fn file_end(&mut self) -> Result<(), FsError> {
        self.longest = self.longest.max(self.open);
        Ok(())
    }
    fn doubt(&mut self, doubt: Doubt) {
        self.doubts.push(doubt.0);
    }
    fn note(&mut self, _: String) {}
}

/// The most memory this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn millions_of_extents_fit_in_little_memory() {
    let mut counted = Counted::default();
    ntfs::survey(&Endless, &mut counted).unwrap();
    assert_eq!(counted.doubts, Vec::<String>::new());
    assert_eq!(counted.files, FILES + 1);
    assert_eq!(counted.longest, PARTS * RUNS_PER_PART);
    assert_eq!(counted.runs, FILES * RUNS_PER_FILE + PARTS * RUNS_PER_PART);
    let peak = peak_kib();
    assert!(peak < MEMORY_LIMIT_KIB, "{peak} KiB at the peak");
    eprintln!("peak {peak} KiB");
}
