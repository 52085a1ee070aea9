//! Disks in memory that fail the way real ones do: bad sectors, unplugged half way, written to while they are read.

use saveos_engine::read::ReadAt;
use saveos_engine::snapshot::SourceKind;
use saveos_engine::source::Source;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const SECTOR: u64 = 512;

/// A disk in memory.
pub(crate) struct Disk {
    bytes: Arc<Vec<u8>>,
    bad: Vec<Range<u64>>,
    /// Reads that succeed before it is unplugged.
    unplugged_after: u64,
    /// Reads after which it holds other bytes.
    changes: Option<(u64, Arc<Vec<u8>>)>,
    reads: AtomicU64,
}

impl Disk {
    pub(crate) fn healthy(bytes: &Arc<Vec<u8>>) -> Arc<Disk> {
        Arc::new(Self::plain(bytes))
    }

    /// Every read that touches one of these ranges fails with EIO.
    pub(crate) fn with_bad_sectors(bytes: &Arc<Vec<u8>>, bad: &[Range<u64>]) -> Arc<Disk> {
        Arc::new(Disk { bad: bad.to_vec(), ..Self::plain(bytes) })
    }

    /// The first `reads` reads succeed, then the device is gone.
    pub(crate) fn unplugged_after(bytes: &Arc<Vec<u8>>, reads: u64) -> Arc<Disk> {
        Arc::new(Disk { unplugged_after: reads, ..Self::plain(bytes) })
    }

    /// After `reads` reads somebody has written: it holds `later` from then on.
    pub(crate) fn changing_after(bytes: &Arc<Vec<u8>>, reads: u64, later: &Arc<Vec<u8>>) -> Arc<Disk> {
        Arc::new(Disk { changes: Some((reads, Arc::clone(later))), ..Self::plain(bytes) })
    }

    fn plain(bytes: &Arc<Vec<u8>>) -> Disk {
        Disk {
            bytes: Arc::clone(bytes),
            bad: Vec::new(),
            unplugged_after: u64::MAX,
            changes: None,
            reads: AtomicU64::new(0),
        }
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }
}

impl ReadAt for Disk {
    fn len(&self) -> u64 {
        ReadAt::len(&*self.bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let before = self.reads.fetch_add(1, Ordering::SeqCst);
        if before >= self.unplugged_after {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::NODEV.raw_os_error()));
        }
        let end = offset + buf.len() as u64;
        if self.bad.iter().any(|bad| bad.start < end && offset < bad.end) {
            buf.fill(0xee); // what a controller left in the buffer must not be taken for data
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        match &self.changes {
            Some((reads, later)) if before >= *reads => later.read_at(offset, buf),
            _ => self.bytes.read_at(offset, buf),
        }
    }
}

impl Source for Disk {
    fn kind(&self) -> SourceKind {
        SourceKind::Disk
    }

    fn sector_size(&self) -> u32 {
        SECTOR as u32
    }

    fn is_gone(&self) -> bool {
        self.reads() > self.unplugged_after
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// An image of `mebibytes`: a quarter each of noise, text and noise again, and zeros.
pub(crate) fn image(seed: u64, mebibytes: usize) -> Arc<Vec<u8>> {
    let quarter = mebibytes << 18;
    let text: Vec<u8> = format!("line {seed} of a text that shrinks well\n").into_bytes();
    let mut bytes = noise(seed, quarter);
    bytes.extend(text.iter().cycle().take(quarter));
    bytes.extend(noise(seed + 1_000_000, quarter));
    bytes.resize(4 * quarter, 0);
    Arc::new(bytes)
}

/// The same disk after some days: `count` places of a few KiB were rewritten.
pub(crate) fn changed(bytes: &Arc<Vec<u8>>, seed: u64, count: usize) -> Arc<Vec<u8>> {
    let mut later = bytes.to_vec();
    for number in 0..count {
        let draw = noise(seed * 1000 + number as u64, 16);
        let at = u64::from_le_bytes(*draw.first_chunk().expect("16 bytes")) as usize % (later.len() - 16 * 1024);
        let len = 512 + usize::from(draw[8]) * 48;
        later[at..at + len].copy_from_slice(&noise(seed * 7919 + number as u64, len));
    }
    Arc::new(later)
}
