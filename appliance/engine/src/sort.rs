//! Sorts more records than memory holds: full buffers go to an unnamed scratch file as sorted runs, reading merges them.
//!
//! Records are fixed bytes that compare as they should sort, so numbers in them are big-endian.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of records a sorter keeps before it writes a run.
const BUFFER: usize = 8 * 1024 * 1024;
/// Bytes read ahead of each run while merging: 250 runs (2 GB of records) take 16 MB.
const READ_AHEAD: usize = 64 * 1024;

/// Collects records in any order.
pub struct Sorter<const N: usize> {
    scratch: PathBuf,
    buffer: Vec<[u8; N]>,
    file: Option<File>,
    runs: Vec<(u64, u64)>,
}

impl<const N: usize> Sorter<N> {
    /// A sorter that spills to an unnamed file in `scratch`.
    pub fn new(scratch: &Path) -> Self {
        Sorter { scratch: scratch.to_owned(), buffer: Vec::new(), file: None, runs: Vec::new() }
    }

    /// Adds a record.
    pub fn push(&mut self, record: [u8; N]) -> io::Result<()> {
        if self.buffer.len() >= BUFFER / N {
            self.spill()?;
        }
        self.buffer.push(record);
        Ok(())
    }

    /// The record pushed last, when it may still be changed: claims of one file come in order and are joined here.
    pub fn last_mut(&mut self) -> Option<&mut [u8; N]> {
        self.buffer.last_mut()
    }

    fn spill(&mut self) -> io::Result<()> {
        self.buffer.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(unnamed_file(&self.scratch)?),
        };
        let start = self.runs.last().map_or(0, |(_, end)| *end);
        file.write_all(self.buffer.as_flattened())?;
        self.runs.push((start, start + (self.buffer.len() * N) as u64));
        self.buffer.clear();
        Ok(())
    }

    /// All records, ready to be read in order any number of times.
    pub fn finish(mut self) -> io::Result<Sorted<N>> {
        if self.runs.is_empty() {
            self.buffer.sort_unstable();
            self.buffer.shrink_to_fit();
            return Ok(Sorted::Memory(self.buffer.into()));
        }
        self.spill()?;
        let file = self.file.expect("a run was spilled");
        Ok(Sorted::Spilled(Arc::new(file), self.runs.into()))
    }
}

/// A file without a name: gone with its last handle, whatever happens to the process.
pub(crate) fn unnamed_file(folder: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = (rustix::fs::OFlags::TMPFILE).bits() as i32;
    match File::options().read(true).write(true).mode(0o600).custom_flags(flags).open(folder) {
        Ok(file) => Ok(file),
        // Not every filesystem has O_TMPFILE.
        Err(_) => {
            let path = folder.join(format!(".scratch-{}", crate::chunk::hex(&crate::seal::random_bytes::<8>())));
            let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
    }
}

/// Sorted records.
#[derive(Clone)]
pub enum Sorted<const N: usize> {
    /// Few enough for memory.
    Memory(Arc<[[u8; N]]>),
    /// Runs in the scratch file.
    Spilled(Arc<File>, Arc<[(u64, u64)]>),
}

impl<const N: usize> Sorted<N> {
    /// The records in order.
    pub fn iter(&self) -> Merge<N> {
        match self {
            Sorted::Memory(records) => {
                Merge { source: Source::Memory(Arc::clone(records), 0), heap: BinaryHeap::new(), failed: None }
            }
            Sorted::Spilled(file, runs) => {
                let mut merge = Merge {
                    source: Source::Runs(
                        runs.iter().map(|&(at, end)| RunReader::new(Arc::clone(file), at, end)).collect(),
                    ),
                    heap: BinaryHeap::with_capacity(runs.len()),
                    failed: None,
                };
                (0..runs.len()).for_each(|run| merge.refill(run));
                merge
            }
        }
    }
}

/// Reads sorted records.
pub struct Merge<const N: usize> {
    source: Source<N>,
    heap: BinaryHeap<Reverse<([u8; N], usize)>>,
    failed: Option<io::Error>,
}

enum Source<const N: usize> {
    Memory(Arc<[[u8; N]]>, usize),
    Runs(Vec<RunReader<N>>),
}

impl<const N: usize> Merge<N> {
    fn refill(&mut self, run: usize) {
        let Source::Runs(runs) = &mut self.source else { return };
        match runs[run].next() {
            Ok(Some(record)) => self.heap.push(Reverse((record, run))),
            Ok(None) => {}
            Err(error) => self.failed = Some(error),
        }
    }
}

impl<const N: usize> Iterator for Merge<N> {
    type Item = io::Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Source::Memory(records, at) = &mut self.source {
            let record = records.get(*at)?;
            *at += 1;
            return Some(Ok(*record));
        }
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let Reverse((record, run)) = self.heap.pop()?;
        self.refill(run);
        Some(Ok(record))
    }
}

struct RunReader<const N: usize> {
    file: Arc<File>,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl<const N: usize> RunReader<N> {
    fn new(file: Arc<File>, at: u64, end: u64) -> Self {
        RunReader { file, at, end, buffer: Vec::new(), used: 0 }
    }

    fn next(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.used == self.buffer.len() {
            let len = (READ_AHEAD / N * N).min((self.end - self.at) as usize);
            if len == 0 {
                self.buffer = Vec::new();
                return Ok(None);
            }
            self.buffer.resize(len, 0);
            self.file.read_exact_at(&mut self.buffer, self.at)?;
            self.at += len as u64;
            self.used = 0;
        }
        let record = self.buffer[self.used..].first_chunk().copied();
        self.used += N;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_in_memory_comes_back_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for count in [0u64, 10, 3_000_000] {
            let mut sorter = Sorter::<8>::new(folder.path());
            for n in 0..count {
                sorter.push(n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()).unwrap();
            }
            let sorted = sorter.finish().unwrap();
            for _ in 0..2 {
                let mut previous = None;
                let mut seen = 0;
                for record in sorted.iter() {
                    let record = Some(record.unwrap());
                    assert!(previous <= record);
                    previous = record;
                    seen += 1;
                }
                assert_eq!(seen, count);
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
