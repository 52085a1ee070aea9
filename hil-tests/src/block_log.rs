//! What a guest wrote to its disk, in order, with its flushes: the log of QEMU's `blklogwrites`, in the format of Linux's
//! dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst). From it any cut of power can be replayed.

use anyhow::{Context, bail};
use std::io::{BufReader, Read};
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
const SECTOR: usize = 512;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Byte in the disk.
    pub(crate) at: u64,
    /// What was written there; nothing for a flush or a discard.
    pub(crate) bytes: Vec<u8>,
    /// Everything before it is on the medium.
    pub(crate) flush: bool,
}

/// Reads a log.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Entry>> {
    let file = std::fs::File::open(path).with_context(|| format!("could not open {}", path.display()))?;
    parse(BufReader::with_capacity(1 << 20, file)).with_context(|| format!("could not read {}", path.display()))
}

fn parse(mut log: impl Read) -> anyhow::Result<Vec<Entry>> {
    let mut head = sector(&mut log)?;
    let entries = number(&head, 2);
    if number(&head, 0) != MAGIC || number(&head, 1) != 1 || number(&head, 3) & 0xffff_ffff != SECTOR as u64 {
        bail!("this is no log of writes with sectors of {SECTOR} bytes");
    }
    (0..entries)
        .map(|_| {
            head = sector(&mut log)?;
            let [at, count, flags] = [number(&head, 0), number(&head, 1), number(&head, 2)];
            let mut bytes = vec![0; if flags & DISCARD == 0 { usize::try_from(count)? * SECTOR } else { 0 }];
            log.read_exact(&mut bytes)?;
            Ok(Entry { at: at * SECTOR as u64, bytes, flush: flags & FLUSH != 0 })
        })
        .collect()
}

fn sector(log: &mut impl Read) -> anyhow::Result<[u8; SECTOR]> {
    let mut bytes = [0; SECTOR];
    log.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(head: &[u8; SECTOR], index: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[index * 8..index * 8 + 8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: &[(u64, u64, u64)], data: &[u8]) -> Vec<u8> {
        let mut log = Vec::new();
        let mut head = |numbers: [u64; 4], data: &[u8]| {
            let mut bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
            bytes.resize(SECTOR, 0);
            log.extend([&bytes, data].concat());
        };
        head([MAGIC, 1, entries.len() as u64, SECTOR as u64], &[]);
        for (at, count, flags) in entries {
            head([*at, *count, *flags, 0], if *count == 0 || flags & DISCARD != 0 { &[] } else { data });
        }
        log
    }

    #[test]
    fn writes_flushes_and_discards_are_told_apart() {
        let data = [7; 2 * SECTOR];
        let found = parse(&log(&[(3, 2, 0), (0, 0, FLUSH), (8, 64, DISCARD)], &data)[..]).expect("a log");
        assert_eq!(found[0], Entry { at: 3 * 512, bytes: data.to_vec(), flush: false });
        assert_eq!((found[1].flush, found[1].bytes.len(), found[2].bytes.len()), (true, 0, 0));
    }

    #[test]
    fn a_log_that_is_none_or_is_cut_is_refused() {
        let whole = log(&[(3, 2, 0)], &[7; 2 * SECTOR]);
        assert!(parse(&whole[..whole.len() - 1]).is_err());
        assert!(parse(&[0; 4096][..]).is_err());
    }
}
