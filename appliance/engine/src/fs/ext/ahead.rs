//! Reads a structure piece by piece, but from the disk in large steps: a hard disk pays per request, not per byte.
//!
//! After a failed large read the same stretch is read in the small steps asked for, so that a bad sector costs only
//! the piece it lies in.

use std::io;

use crate::read::ReadAt;

/// One forward-going reader with a buffer of `step` bytes.
pub(super) struct Ahead<'a, R> {
    disk: &'a R,
    step: u64,
    start: u64,
    bytes: Vec<u8>,
    careful_until: u64,
}

impl<'a, R: ReadAt> Ahead<'a, R> {
    pub(super) fn new(disk: &'a R, step: u64) -> Self {
        Self { disk, step, start: 0, bytes: Vec::new(), careful_until: 0 }
    }

    /// `len` bytes at `at`; may read on, but not to `until` or past it.
    pub(super) fn get(&mut self, at: u64, len: usize, until: u64) -> io::Result<&[u8]> {
        if !self.covers(at, len) {
            self.fill(at, len, until.min(self.disk.len()))?;
        }
        let from = (at - self.start) as usize;
        Ok(self.bytes.get(from..from + len).expect("the buffer was just filled for this range"))
    }

    fn covers(&self, at: u64, len: usize) -> bool {
        at >= self.start && at - self.start + len as u64 <= self.bytes.len() as u64
    }

    fn fill(&mut self, at: u64, len: usize, until: u64) -> io::Result<()> {
        let wanted = until.saturating_sub(at).min(self.step).max(len as u64);
        self.bytes.clear();
        if wanted > len as u64 && at >= self.careful_until {
            match self.load(at, wanted as usize) {
                Ok(()) => return Ok(()),
                Err(_) => self.careful_until = at.saturating_add(wanted),
            }
        }
        self.load(at, len)
    }

    fn load(&mut self, at: u64, len: usize) -> io::Result<()> {
        self.start = at;
        self.bytes.resize(len, 0);
        self.disk.read_at(at, &mut self.bytes).inspect_err(|_| self.bytes.clear())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 64 KiB whose byte 5000 cannot be read.
    struct Scratched;

    impl ReadAt for Scratched {
        fn len(&self) -> u64 {
            65536
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            let range = offset..offset + buf.len() as u64;
            if range.contains(&5000) {
                return Err(io::Error::other("bad sector"));
            }
            buf.fill(7);
            Ok(())
        }
    }

    #[test]
    fn a_bad_sector_costs_only_its_own_piece() {
        let mut ahead = Ahead::new(&Scratched, 16384);
        let good = (0..16).filter(|n| ahead.get(n * 4096, 4096, 65536).is_ok()).count();
        assert_eq!(good, 15);
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        let disk = vec![1u8; 10_000];
        let mut ahead = Ahead::new(&disk, 1 << 20);
        assert_eq!(ahead.get(8192, 1808, u64::MAX).map(<[u8]>::len).ok(), Some(1808));
        assert!(ahead.get(8192, 4096, u64::MAX).is_err());
    }
}
