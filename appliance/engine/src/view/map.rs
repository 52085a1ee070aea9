//! Where every byte of a snapshot's disk is described: extents sorted by device offset, in a scratch file when there are many.

use crate::pack::read::ReadBuffers;
use crate::repository::{Repository, RepositoryError};
use crate::segment::Content;
use crate::snapshot::SegmentRef;
use crate::sort::Sorter;
use crate::storage::{Area, StorageError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Start, length, segment, entry, offset in the piece.
const RECORD: usize = 8 + 8 + 4 + 4 + 8;
/// Records between two fences: 4 KiB.
const SPAN: usize = 128;

/// An extent of an entry on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Device offset.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Position in the snapshot's list of segments.
    pub segment: u32,
    /// Position in the segment.
    pub entry: u32,
    /// Where in the piece the extent's bytes begin.
    pub piece_offset: u64,
}

impl Placed {
    fn encode(&self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[..8].copy_from_slice(&self.start.to_be_bytes());
        record[8..16].copy_from_slice(&self.len.to_be_bytes());
        record[16..20].copy_from_slice(&self.segment.to_be_bytes());
        record[20..24].copy_from_slice(&self.entry.to_be_bytes());
        record[24..].copy_from_slice(&self.piece_offset.to_be_bytes());
        record
    }

    fn decode(record: &[u8; RECORD]) -> Placed {
        let long = |at: usize| u64::from_be_bytes(*record[at..].first_chunk().expect("a record is whole"));
        let short = |at: usize| u32::from_be_bytes(*record[at..].first_chunk().expect("a record is whole"));
        Placed { start: long(0), len: long(8), segment: short(16), entry: short(20), piece_offset: long(24) }
    }
}

/// All extents of a snapshot, disjoint.
pub struct ExtentMap {
    file: std::fs::File,
    count: usize,
    fences: Vec<u64>,
}

impl ExtentMap {
    /// Reads all segments. Where extents of two entries overlap, both hold the same bytes and the first one stays. Holes and
    /// left-out ranges are not in the map: they read as zeros, like everything else that is nowhere, and hide no bytes.
    pub fn build(repository: &Repository, rows: &[SegmentRef], scratch: &Path) -> Result<ExtentMap, RepositoryError> {
        let scratch_error = |source| StorageError::new("map", Area::Root, "scratch", source);
        let mut sorter = Sorter::<RECORD>::new(scratch);
        let mut buffers = ReadBuffers::default();
        for (segment, row) in rows.iter().enumerate() {
            for (entry, described) in repository.read_segment(&row.segment, &mut buffers)?.iter().enumerate() {
                if matches!(described.content, Content::Hole(_) | Content::LeftOut(_)) {
                    continue;
                }
                let mut piece_offset = 0;
                for extent in &described.extents {
                    let placed = Placed {
                        start: extent.start,
                        len: extent.len,
                        segment: segment as u32,
                        entry: entry as u32,
                        piece_offset,
                    };
                    sorter.push(placed.encode()).map_err(scratch_error)?;
                    piece_offset += extent.len;
                }
            }
        }
        Ok(Self::write(sorter, scratch).map_err(scratch_error)?)
    }

    fn write(sorter: Sorter<RECORD>, scratch: &Path) -> io::Result<ExtentMap> {
        let file = crate::sort::unnamed_file(scratch)?;
        let mut out = BufWriter::with_capacity(1 << 20, &file);
        let (mut count, mut fences, mut covered) = (0, Vec::new(), 0);
        for record in sorter.finish()?.iter() {
            let mut placed = Placed::decode(&record?);
            let skip = u64::saturating_sub(covered, placed.start).min(placed.len);
            placed = Placed {
                start: placed.start + skip,
                len: placed.len - skip,
                piece_offset: placed.piece_offset + skip,
                ..placed
            };
            if placed.len == 0 {
                continue;
            }
            covered = placed.start.saturating_add(placed.len);
            if count % SPAN == 0 {
                fences.push(placed.start);
            }
            out.write_all(&placed.encode())?;
            count += 1;
        }
        out.flush()?;
        drop(out);
        Ok(ExtentMap { file, count, fences })
    }

    /// Extents that share bytes with `start..end`, in order.
    pub fn overlapping(&self, start: u64, end: u64) -> io::Result<Vec<Placed>> {
        let first = self.fences.partition_point(|&fence| fence <= start).saturating_sub(1);
        let last = self.fences.partition_point(|&fence| fence < end);
        let (from, to) = (first * SPAN, (last * SPAN).min(self.count));
        if from >= to {
            return Ok(Vec::new());
        }
        let mut records = vec![0; (to - from) * RECORD];
        self.file.read_exact_at(&mut records, (from * RECORD) as u64)?;
        let placed = records.as_chunks().0.iter().map(Placed::decode);
        Ok(placed.filter(|placed| placed.start < end && placed.start + placed.len > start).collect())
    }
}
