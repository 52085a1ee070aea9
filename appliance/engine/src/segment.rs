//! A segment: which bytes the pieces of one 256 MiB window of the device hold. FORMAT.md §6.1.
//!
//! The same pieces give the same bytes, so unchanged windows share their segment between snapshots.

use crate::chunk::ChunkId;
use crate::fs::{Extent, LeftOut};
use std::collections::HashMap;

/// Bytes of the device whose pieces one segment holds.
pub const WINDOW: u64 = 256 * 1024 * 1024;

/// Encoded bytes after which a crowded window starts another segment.
pub const SPLIT: usize = 1024 * 1024;

/// Why a piece was cut as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Part of a file, cut at file offsets.
    File = 1,
    /// Structure of a filesystem.
    Meta = 2,
    /// All else.
    Raw = 3,
}

/// Why bytes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Cause {
    /// The source could not be read there.
    Unreadable = 1,
    /// The repository had lost the chunk (repair wrote this).
    Lost = 2,
}

/// A part of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Bytes of a stored chunk.
    Slice {
        /// The chunk.
        chunk: ChunkId,
        /// First byte in it.
        offset: u32,
        /// How many.
        len: u32,
    },
    /// Zeros.
    Zeros(u32),
    /// Missing bytes.
    Hole(Cause, u32),
}

impl Run {
    /// Bytes of the piece it covers.
    pub fn len(&self) -> u32 {
        match *self {
            Run::Slice { len, .. } | Run::Zeros(len) | Run::Hole(_, len) => len,
        }
    }

    /// True for a run that covers nothing; none is ever written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a piece holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Zeros, as many as the piece is long.
    Zeros,
    /// One chunk, exactly as long as the piece.
    Chunk(ChunkId),
    /// Runs that together are as long as the piece.
    Runs {
        /// Keyed hash of the whole piece, holes as zeros.
        piece: ChunkId,
        /// The runs.
        runs: Vec<Run>,
    },
    /// Left out by a rule.
    LeftOut(LeftOut),
    /// Missing as a whole.
    Hole(Cause),
}

impl Content {
    /// The id of the piece's bytes, where they are stored.
    pub fn piece_id(&self) -> Option<ChunkId> {
        match self {
            Content::Chunk(id) | Content::Runs { piece: id, .. } => Some(*id),
            Content::Zeros | Content::LeftOut(_) | Content::Hole(_) => None,
        }
    }

    /// The stored chunks it names, in order, repeats included.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkId> + '_ {
        let (one, runs): (Option<ChunkId>, &[Run]) = match self {
            Content::Chunk(id) => (Some(*id), &[]),
            Content::Runs { runs, .. } => (None, runs),
            Content::Zeros | Content::LeftOut(_) | Content::Hole(_) => (None, &[]),
        };
        one.into_iter().chain(runs.iter().filter_map(|run| match run {
            Run::Slice { chunk, .. } => Some(*chunk),
            Run::Zeros(_) | Run::Hole(..) => None,
        }))
    }

    /// Whether bytes are missing.
    pub fn has_hole(&self) -> bool {
        match self {
            Content::Hole(_) => true,
            Content::Runs { runs, .. } => runs.iter().any(|run| matches!(run, Run::Hole(..))),
            Content::Zeros | Content::Chunk(_) | Content::LeftOut(_) => false,
        }
    }
}

/// A piece in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its class.
    pub class: Class,
    /// Where its bytes lie on the device, in the order of the piece.
    pub extents: Vec<Extent>,
    /// What they are.
    pub content: Content,
}

impl Entry {
    /// Length of the piece.
    pub fn len(&self) -> u64 {
        self.extents.iter().map(|extent| extent.len).sum()
    }

    /// True for a piece without bytes; none is ever written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why bytes are not a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// They end too early or go on too long.
    #[error("the segment is cut short or has bytes behind its end")]
    Length,
    /// A version, class, content or rule this version does not know.
    #[error("the segment holds something this version does not know")]
    Unknown,
    /// Numbers that cannot be: lengths that do not add up, positions past the table, offsets out of the device.
    #[error("the segment contradicts itself")]
    Contradiction,
}

/// Collects entries into the bytes of one segment.
pub struct Builder {
    window: u64,
    ids: HashMap<ChunkId, u64>,
    id_bytes: Vec<u8>,
    entries: Vec<u8>,
    count: u64,
}

impl Builder {
    /// A segment of the window that starts at this device offset.
    pub fn new(window: u64) -> Self {
        Builder { window, ids: HashMap::new(), id_bytes: Vec::new(), entries: Vec::new(), count: 0 }
    }

    /// The window it describes.
    pub fn window(&self) -> u64 {
        self.window
    }

    /// True before the first entry.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far; the caller starts another segment past `SPLIT`.
    pub fn encoded_len(&self) -> usize {
        self.id_bytes.len() + self.entries.len()
    }

    /// Adds a piece.
    pub fn push(&mut self, entry: &Entry) {
        self.entries.push(entry.class as u8);
        put_varint(&mut self.entries, entry.extents.len() as u64);
        let mut previous = self.window;
        for extent in &entry.extents {
            put_zigzag(&mut self.entries, extent.start.wrapping_sub(previous) as i64);
            put_varint(&mut self.entries, extent.len);
            previous = extent.end();
        }
        match &entry.content {
            Content::Zeros => self.entries.push(0),
            Content::Chunk(id) => {
                self.entries.push(1);
                self.put_position(*id);
            }
            Content::Runs { piece, runs } => {
                self.entries.push(2);
                self.entries.extend_from_slice(&piece.0);
                put_varint(&mut self.entries, runs.len() as u64);
                runs.iter().for_each(|run| self.put_run(run));
            }
            Content::LeftOut(rule) => self.entries.extend_from_slice(&[3, *rule as u8]),
            Content::Hole(cause) => self.entries.extend_from_slice(&[4, *cause as u8]),
        }
        self.count += 1;
    }

    fn put_run(&mut self, run: &Run) {
        match *run {
            Run::Slice { chunk, offset, len } => {
                self.entries.push(0);
                self.put_position(chunk);
                put_varint(&mut self.entries, offset.into());
                put_varint(&mut self.entries, len.into());
            }
            Run::Zeros(len) => {
                self.entries.push(1);
                put_varint(&mut self.entries, len.into());
            }
            Run::Hole(cause, len) => {
                self.entries.extend_from_slice(&[2, cause as u8]);
                put_varint(&mut self.entries, len.into());
            }
        }
    }

    fn put_position(&mut self, id: ChunkId) {
        let next = self.ids.len() as u64;
        let position = *self.ids.entry(id).or_insert(next);
        if position == next {
            self.id_bytes.extend_from_slice(&id.0);
        }
        put_varint(&mut self.entries, position);
    }

    /// The segment's bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len() + 32);
        bytes.push(1);
        bytes.extend_from_slice(&self.window.to_le_bytes());
        put_varint(&mut bytes, self.ids.len() as u64);
        bytes.extend_from_slice(&self.id_bytes);
        put_varint(&mut bytes, self.count);
        bytes.extend_from_slice(&self.entries);
        bytes
    }
}

/// Reads a segment. Every count is checked against the bytes that are left before anything is allocated.
pub fn decode(bytes: &[u8]) -> Result<Vec<Entry>, SegmentError> {
    let mut cursor = Cursor { bytes };
    if cursor.u8()? != 1 {
        return Err(SegmentError::Unknown);
    }
    let window = u64::from_le_bytes(cursor.array()?);
    let ids = cursor.count(32)?;
    let ids: Vec<ChunkId> = (0..ids).map(|_| cursor.array().map(ChunkId)).collect::<Result<_, _>>()?;
    let count = cursor.count(4)?;
    let entries = (0..count).map(|_| decode_entry(&mut cursor, &ids, window)).collect::<Result<_, _>>()?;
    if cursor.bytes.is_empty() { Ok(entries) } else { Err(SegmentError::Length) }
}

fn decode_entry(cursor: &mut Cursor<'_>, ids: &[ChunkId], window: u64) -> Result<Entry, SegmentError> {
    let class = match cursor.u8()? {
        1 => Class::File,
        2 => Class::Meta,
        3 => Class::Raw,
        _ => return Err(SegmentError::Unknown),
    };
    let count = cursor.count(2)?;
    let mut previous = window;
    let mut total = 0u64;
    let mut extents = Vec::with_capacity(count);
    for _ in 0..count {
        let delta = cursor.zigzag()?;
        let start = previous.checked_add_signed(delta).ok_or(SegmentError::Contradiction)?;
        let len = cursor.varint()?;
        // No device is larger, and deltas are signed.
        previous =
            start.checked_add(len).filter(|&end| i64::try_from(end).is_ok()).ok_or(SegmentError::Contradiction)?;
        total = total.checked_add(len).ok_or(SegmentError::Contradiction)?;
        extents.push(Extent::new(start, len));
    }
    if extents.is_empty() || extents.iter().any(|extent| extent.len == 0) {
        return Err(SegmentError::Contradiction);
    }
    let content = match cursor.u8()? {
        0 => Content::Zeros,
        1 => Content::Chunk(cursor.position(ids)?),
        2 => decode_runs(cursor, ids, total)?,
        3 => Content::LeftOut(match cursor.u8()? {
            1 => LeftOut::SwapPages,
            2 => LeftOut::Pagefile,
            3 => LeftOut::Swapfile,
            _ => return Err(SegmentError::Unknown),
        }),
        4 => Content::Hole(cursor.cause()?),
        _ => return Err(SegmentError::Unknown),
    };
    // Only pieces that fit in a chunk have bytes of their own; zeros, holes and rules may be as long as they like.
    let has_bytes = matches!(content, Content::Chunk(_) | Content::Runs { .. });
    if has_bytes && total > crate::chunk::DATA_MAX as u64 {
        return Err(SegmentError::Contradiction);
    }
    Ok(Entry { class, extents, content })
}

fn decode_runs(cursor: &mut Cursor<'_>, ids: &[ChunkId], total: u64) -> Result<Content, SegmentError> {
    let piece = ChunkId(cursor.array()?);
    let count = cursor.count(2)?;
    let mut runs = Vec::with_capacity(count);
    let mut covered = 0u64;
    for _ in 0..count {
        let run = match cursor.u8()? {
            0 => Run::Slice { chunk: cursor.position(ids)?, offset: cursor.varint32()?, len: cursor.varint32()? },
            1 => Run::Zeros(cursor.varint32()?),
            2 => Run::Hole(cursor.cause()?, cursor.varint32()?),
            _ => return Err(SegmentError::Unknown),
        };
        covered += u64::from(run.len());
        runs.push(run);
    }
    if covered == total { Ok(Content::Runs { piece, runs }) } else { Err(SegmentError::Contradiction) }
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl Cursor<'_> {
    fn u8(&mut self) -> Result<u8, SegmentError> {
        let (first, rest) = self.bytes.split_first().ok_or(SegmentError::Length)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SegmentError> {
        let (first, rest) = self.bytes.split_first_chunk().ok_or(SegmentError::Length)?;
        self.bytes = rest;
        Ok(*first)
    }

    fn varint(&mut self) -> Result<u64, SegmentError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(SegmentError::Contradiction)
    }

    fn varint32(&mut self) -> Result<u32, SegmentError> {
        u32::try_from(self.varint()?).map_err(|_| SegmentError::Contradiction)
    }

    fn zigzag(&mut self) -> Result<i64, SegmentError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A count of things that take at least `each` bytes.
    fn count(&mut self, each: usize) -> Result<usize, SegmentError> {
        let count = self.varint()?;
        if count > (self.bytes.len() / each) as u64 {
            return Err(SegmentError::Length);
        }
        Ok(count as usize)
    }

    fn position(&mut self, ids: &[ChunkId]) -> Result<ChunkId, SegmentError> {
        let position = self.varint()?;
        usize::try_from(position).ok().and_then(|at| ids.get(at)).copied().ok_or(SegmentError::Contradiction)
    }

    fn cause(&mut self) -> Result<Cause, SegmentError> {
        match self.u8()? {
            1 => Ok(Cause::Unreadable),
            2 => Ok(Cause::Lost),
            _ => Err(SegmentError::Unknown),
        }
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        let id = any::<[u8; 32]>().prop_map(ChunkId);
        let class = prop_oneof![Just(Class::File), Just(Class::Meta), Just(Class::Raw)];
        let extents = prop::collection::vec((0u64..1 << 50, 1u64..2000), 1..5);
        (class, extents, id, 0..5).prop_map(|(class, extents, id, kind)| {
            let extents: Vec<Extent> = extents.into_iter().map(|(start, len)| Extent::new(start, len)).collect();
            let total = extents.iter().map(|extent| extent.len).sum::<u64>() as u32;
            let content = match kind {
                0 => Content::Zeros,
                1 => Content::Chunk(id),
                2 if total > 2 => Content::Runs {
                    piece: id,
                    runs: vec![
                        Run::Slice { chunk: id, offset: 7, len: total - 2 },
                        Run::Zeros(1),
                        Run::Hole(Cause::Unreadable, 1),
                    ],
                },
                3 => Content::LeftOut(LeftOut::Pagefile),
                _ => Content::Hole(Cause::Lost),
            };
            Entry { class, extents, content }
        })
    }

    proptest! {
        #[test]
        fn entries_round_trip(entries in prop::collection::vec(any_entry(), 0..20), window in 0u64..1 << 50) {
            let mut builder = Builder::new(window);
            entries.iter().for_each(|entry| builder.push(entry));
            prop_assert_eq!(decode(&builder.finish()), Ok(entries));
        }

        #[test]
        fn any_bytes_are_refused_or_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(first) = bytes.first_mut() { *first = 1 }
            let _ = decode(&bytes); // only the absence of a panic counts
        }
    }

    #[test]
    fn extents_no_device_has_are_refused() {
        let mut builder = Builder::new(0);
        let extents = vec![Extent::new(1 << 62, 1), Extent::new((1 << 63) + 5, 1)];
        builder.push(&Entry { class: Class::Raw, extents, content: Content::Zeros });
        assert_eq!(decode(&builder.finish()), Err(SegmentError::Contradiction));
    }

    #[test]
    fn huge_counts_cost_nothing() {
        let mut bytes = vec![1; 9];
        put_varint(&mut bytes, u64::MAX >> 1);
        assert_eq!(decode(&bytes), Err(SegmentError::Length));
    }
}
