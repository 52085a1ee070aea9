//! A sorted run: `prefix → (pack, position in its table)` for many chunks, immutable, with its Bloom filter and fences in front.
//!
//! `"SVOSRUN2" ‖ entries u64 ‖ filter words u64 ‖ fences u64 ‖ filter ‖ fences ‖ entries of 24 bytes ‖ digest`
//!
//! A pack's table corrects a run that says too much. Nothing corrects one that says too little: a bit that flips in the filter
//! makes chunks absent. So opening reads it all and compares the digest, at 24 bytes a chunk and the speed of the disk.

use crate::le::{array_at, u32_at, u64_at};
use crate::seal::random_bytes;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8; 8] = b"SVOSRUN2";
const ENTRY_LEN: usize = 24;
const DIGEST_LEN: u64 = 32;
/// Entries between two fences: a block of 4 KiB.
const FENCE_SPAN: u64 = 170;
/// 14 bits a chunk and 9 probes: 0.12 % wrong answers (Bloom 1970: (1 − e^(−kn/m))^k).
const FILTER_BITS: u64 = 14;
const PROBES: u64 = 9;

/// Where a run says a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The pack's number in the catalogue.
    pub pack: u32,
    /// Position in the pack's table when the run was written: a hint.
    pub slot: u32,
}

/// An entry of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunEntry {
    /// First half of the chunk's id.
    pub prefix: [u8; 16],
    /// Where it is.
    pub position: Position,
}

/// An open run.
pub struct Run {
    /// Its file name.
    pub name: String,
    file: File,
    count: u64,
    entries_at: u64,
    filter: Filter,
    fences: Vec<u64>,
}

/// A name no run has had.
pub fn fresh_name() -> String {
    format!("run-{}", crate::chunk::hex(&random_bytes::<8>()))
}

/// Whether a name is one of ours: the catalogue may be forged, and files under these names are removed.
pub fn is_name(name: &str) -> bool {
    name.strip_prefix("run-").is_some_and(|digits| crate::chunk::unhex::<8>(digits).is_some())
}

/// Writes a run of `count` entries that come in order. Synced before it returns.
pub fn write(
    path: &Path,
    name: &str,
    count: u64,
    entries: impl Iterator<Item = io::Result<RunEntry>>,
) -> io::Result<Run> {
    let mut filter = Filter::new(count);
    let mut fences = Vec::with_capacity(count.div_ceil(FENCE_SPAN) as usize);
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    let entries_at = 32 + 8 * (filter.words.len() as u64 + count.div_ceil(FENCE_SPAN));
    let mut out = BufWriter::with_capacity(1 << 20, &file);
    out.seek(SeekFrom::Start(entries_at))?;
    let (mut written, mut hasher) = (0, blake3::Hasher::new());
    for entry in entries {
        let entry = entry?;
        if written % FENCE_SPAN == 0 {
            fences.push(order_key(&entry.prefix));
        }
        filter.insert(&entry.prefix);
        let row = encode(&entry);
        hasher.update(&row);
        out.write_all(&row)?;
        written += 1;
    }
    if written != count {
        return Err(io::Error::other("a run got another number of entries than announced"));
    }
    out.write_all(digest(count, &filter, &fences, &hasher).as_bytes())?;
    out.seek(SeekFrom::Start(0))?;
    out.write_all(MAGIC)?;
    for number in [count, filter.words.len() as u64, fences.len() as u64] {
        out.write_all(&number.to_le_bytes())?;
    }
    for word in filter.words.iter().chain(&fences) {
        out.write_all(&word.to_le_bytes())?;
    }
    out.flush()?;
    drop(out);
    file.sync_data()?;
    Ok(Run { name: name.to_owned(), file, count, entries_at, filter, fences })
}

impl Run {
    /// Opens a run, checks every byte of it, and loads filter and fences.
    pub fn open(path: &Path, name: &str) -> io::Result<Run> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut head = [0; 32];
        reader.read_exact(&mut head)?;
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not an index run");
        let number = |at| u64_at(&head, at).ok_or_else(invalid);
        let (count, words, fences) = (number(8)?, number(16)?, number(24)?);
        let entries_at = words.checked_add(fences).and_then(|n| n.checked_mul(8)).and_then(|n| n.checked_add(32));
        let body = count.checked_mul(ENTRY_LEN as u64).and_then(|n| n.checked_add(DIGEST_LEN));
        let expected = body.zip(entries_at).and_then(|(n, at)| n.checked_add(at));
        if !head.starts_with(MAGIC)
            || expected != Some(len)
            || words != Filter::words_for(count)
            || fences != count.div_ceil(FENCE_SPAN)
        {
            return Err(invalid());
        }
        let mut load = |n: u64| -> io::Result<Vec<u64>> {
            let mut word = [0; 8];
            (0..n).map(|_| reader.read_exact(&mut word).map(|()| u64::from_le_bytes(word))).collect()
        };
        let filter = Filter { words: load(words)? };
        let fences = load(fences)?;
        let entries_at = entries_at.ok_or_else(invalid)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(reader.by_ref().take(count * ENTRY_LEN as u64))?;
        let mut stored = [0; DIGEST_LEN as usize];
        reader.read_exact(&mut stored)?;
        // A fuzzer would never get past it; and who forges a run forges its digest, too.
        if !cfg!(fuzzing) && digest(count, &filter, &fences, &hasher) != stored {
            return Err(invalid());
        }
        Ok(Run { name: name.to_owned(), file, count, entries_at, filter, fences })
    }

    /// How many entries.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes it keeps in memory.
    pub fn memory(&self) -> u64 {
        8 * (self.filter.words.len() + self.fences.len()) as u64
    }

    /// False when the chunk is certainly not in this run.
    pub fn may_hold(&self, prefix: &[u8; 16]) -> bool {
        self.count > 0 && self.filter.may_hold(prefix)
    }

    /// Every entry with this prefix. One read, unless equal keys cross a block.
    pub fn find(&self, prefix: &[u8; 16]) -> io::Result<Vec<Position>> {
        let key = order_key(prefix);
        // Equal fences: the prefix may begin in the block before.
        let first = self.fences.partition_point(|&fence| fence < key).saturating_sub(1) as u64;
        let last = self.fences.partition_point(|&fence| fence <= key) as u64;
        let start = first * FENCE_SPAN;
        let end = (last.max(first + 1) * FENCE_SPAN).min(self.count);
        let mut block = vec![0; (end.saturating_sub(start)) as usize * ENTRY_LEN];
        self.file.read_exact_at(&mut block, self.entries_at + start * ENTRY_LEN as u64)?;
        let rows = block.as_chunks::<ENTRY_LEN>().0;
        let from = rows.partition_point(|row| row[..16] < prefix[..]);
        Ok(rows[from..]
            .iter()
            .take_while(|row| row[..16] == prefix[..])
            .filter_map(|row| decode(row))
            .map(|e| e.position)
            .collect())
    }

    /// All entries in order, through a file of its own.
    pub fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<RunEntry>> + use<>> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(self.entries_at))?;
        let mut reader = BufReader::with_capacity(256 * 1024, SharedOffset { file, at: self.entries_at });
        let mut left = self.count;
        Ok(std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let mut row = [0; ENTRY_LEN];
            let read = reader.read_exact(&mut row);
            Some(read.and_then(|()| decode(&row).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))))
        }))
    }
}

/// Reads a cloned file by its own offset: clones share the kernel's.
struct SharedOffset {
    file: File,
    at: u64,
}

impl Read for SharedOffset {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Over what is in memory, not over what was read into it: a bit that flips on the way is noticed, too.
fn digest(count: u64, filter: &Filter, fences: &[u64], entries: &blake3::Hasher) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&count.to_le_bytes());
    for words in filter.words.chunks(4096).chain(fences.chunks(4096)) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    hasher.update(entries.finalize().as_bytes());
    hasher.finalize()
}

fn encode(entry: &RunEntry) -> [u8; ENTRY_LEN] {
    let mut row = [0; ENTRY_LEN];
    row[..16].copy_from_slice(&entry.prefix);
    row[16..20].copy_from_slice(&entry.position.pack.to_le_bytes());
    row[20..].copy_from_slice(&entry.position.slot.to_le_bytes());
    row
}

fn decode(row: &[u8]) -> Option<RunEntry> {
    let position = Position { pack: u32_at(row, 16)?, slot: u32_at(row, 20)? };
    Some(RunEntry { prefix: array_at(row, 0)?, position })
}

/// Merges sorted entries into one sorted sequence. Repeats stay: a chunk may lie in a dead pack and in a living one.
pub fn merge<I>(runs: Vec<I>) -> impl Iterator<Item = io::Result<RunEntry>>
where
    I: Iterator<Item = io::Result<RunEntry>>,
{
    let mut runs = runs;
    let mut heap = BinaryHeap::new();
    let mut failed = None;
    for (at, run) in runs.iter_mut().enumerate() {
        match run.next() {
            Some(Ok(entry)) => heap.push(Reverse((entry, at))),
            Some(Err(error)) => failed = Some(error),
            None => {}
        }
    }
    std::iter::from_fn(move || {
        if let Some(error) = failed.take() {
            return Some(Err(error));
        }
        let Reverse((entry, at)) = heap.pop()?;
        match runs[at].next() {
            Some(Ok(next)) => heap.push(Reverse((next, at))),
            Some(Err(error)) => failed = Some(error),
            None => {}
        }
        Some(Ok(entry))
    })
}

fn order_key(prefix: &[u8; 16]) -> u64 {
    u64::from_be_bytes(*prefix.first_chunk().expect("a prefix has 16 bytes"))
}

/// A Bloom filter over prefixes, which are uniform already: they are keyed hashes.
struct Filter {
    words: Vec<u64>,
}

impl Filter {
    fn words_for(count: u64) -> u64 {
        count.saturating_mul(FILTER_BITS).div_ceil(64).max(1)
    }

    fn new(count: u64) -> Self {
        Filter { words: vec![0; Self::words_for(count) as usize] }
    }

    /// Kirsch and Mitzenmacher 2006: two halves of the hash stand in for nine hash functions.
    fn bits(&self, prefix: &[u8; 16]) -> impl Iterator<Item = (usize, u64)> + use<> {
        let first = u64_at(prefix, 0).unwrap_or(0);
        let second = u64_at(prefix, 8).unwrap_or(0) | 1;
        let bits = self.words.len() as u128 * 64;
        (0..PROBES).map(move |probe| {
            let hash = first.wrapping_add(probe.wrapping_mul(second));
            let bit = ((u128::from(hash) * bits) >> 64) as u64;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    fn insert(&mut self, prefix: &[u8; 16]) {
        for (word, bit) in self.bits(prefix) {
            self.words[word] |= bit;
        }
    }

    fn may_hold(&self, prefix: &[u8; 16]) -> bool {
        self.bits(prefix).all(|(word, bit)| self.words[word] & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> RunEntry {
        let hash = blake3::hash(&n.to_le_bytes());
        RunEntry { prefix: *hash.as_bytes().first_chunk().unwrap(), position: Position { pack: n as u32, slot: 7 } }
    }

    fn run(folder: &Path, name: &str, numbers: std::ops::Range<u64>) -> Run {
        let mut entries: Vec<RunEntry> = numbers.map(entry).collect();
        entries.sort();
        write(&folder.join(name), name, entries.len() as u64, entries.into_iter().map(Ok)).unwrap()
    }

    #[test]
    fn every_entry_is_found_and_few_others_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), "a", 0..10_000);
        let run = Run::open(&folder.path().join("a"), "a").unwrap();
        for n in 0..10_000 {
            assert!(run.may_hold(&entry(n).prefix));
            assert_eq!(run.find(&entry(n).prefix).unwrap(), vec![entry(n).position]);
        }
        let wrong = (10_000..110_000).filter(|&n| run.may_hold(&entry(n).prefix)).count();
        assert!(wrong < 300, "{wrong} of 100,000 absent chunks would be looked for");
        assert!(run.find(&entry(10_001).prefix).unwrap().is_empty());
    }

    #[test]
    fn merging_keeps_repeats() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (run(folder.path(), "a", 0..500), run(folder.path(), "b", 400..900));
        let merged: Vec<RunEntry> =
            merge(vec![a.entries().unwrap(), b.entries().unwrap()]).collect::<Result<_, _>>().unwrap();
        assert!(merged.is_sorted() && merged.len() == 1000);
    }

    #[test]
    fn a_run_with_any_bit_flipped_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), "a", 0..50);
        let path = folder.path().join("a");
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            File::create(&path).unwrap().write_all(&flipped).unwrap();
            assert!(Run::open(&path, "a").is_err(), "a bit at {at}");
        }
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        assert!(Run::open(&path, "a").is_ok());
    }

    #[test]
    fn a_run_that_is_cut_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), "a", 0..500);
        let path = folder.path().join("a");
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        assert!(Run::open(&path, "a").is_err());
    }
}
