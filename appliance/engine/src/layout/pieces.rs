//! Cuts owned extents into pieces and gives them in device order, whatever order the parsers spoke in.
//!
//! FILE: a file cut at file-logical multiples of 256 KiB. META: all structure in one 64 KiB window of the device. RAW: all the
//! rest in one 256 KiB window, so that the slack of a hundred small files is one piece and not a hundred.

use super::claims::{joined, push_joined};
use crate::chunk::{DATA_MAX, META_MAX};
use crate::fs::{Extent, FileId, LeftOut};
use crate::le::array_at;
use crate::segment::Class;
use crate::sort::{Merge, Sorted, Sorter};
use std::io;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

/// Device extents that form one chunk, or one range that a rule leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Why it was cut so.
    pub class: Class,
    /// Which file of which region, for FILE.
    pub file: Option<(u16, FileId)>,
    /// Its bytes, in order.
    pub extents: Vec<Extent>,
    /// Set when a rule leaves it out.
    pub rule: Option<LeftOut>,
}

impl Piece {
    /// Device offset of its first byte: what pieces are ordered by.
    pub fn start(&self) -> u64 {
        self.extents.first().map_or(0, |extent| extent.start)
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.extents.iter().map(|extent| extent.len).sum()
    }

    /// True for a piece of no bytes; none is made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One extent of a FILE piece: start of the piece, number of the piece, position in it, start, length, region, file.
const FRAGMENT: usize = 8 + 8 + 4 + 8 + 4 + 2 + 8;

/// Receives extents on the device.
pub(super) struct Collector {
    scratch: PathBuf,
    files: Sorter<FRAGMENT>,
    meta: Sorter<16>,
    raw: Sorter<16>,
    left_out: Sorter<17>,
    next_piece: u64,
    open: Option<OpenFile>,
}

struct OpenFile {
    region: u16,
    file: FileId,
    /// File-logical number of the piece being filled.
    cut: u64,
    filled: u64,
    extents: Vec<Extent>,
}

impl Collector {
    pub(super) fn new(scratch: &Path) -> Self {
        Collector {
            scratch: scratch.to_owned(),
            files: Sorter::new(scratch),
            meta: Sorter::new(scratch),
            raw: Sorter::new(scratch),
            left_out: Sorter::new(scratch),
            next_piece: 0,
            open: None,
        }
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    pub(super) fn meta(&mut self, extent: Extent) -> io::Result<()> {
        push_joined(&mut self.meta, extent)
    }

    pub(super) fn raw(&mut self, extent: Extent) -> io::Result<()> {
        push_joined(&mut self.raw, extent)
    }

    pub(super) fn left_out(&mut self, rule: LeftOut, extent: Extent) -> io::Result<()> {
        let mut record = [0; 17];
        record[..8].copy_from_slice(&extent.start.to_be_bytes());
        record[8..16].copy_from_slice(&extent.len.to_be_bytes());
        record[16] = rule as u8;
        self.left_out.push(record)
    }

    pub(super) fn file_begin(&mut self, region: u16, file: FileId) -> io::Result<()> {
        self.file_end()?;
        self.open = Some(OpenFile { region, file, cut: 0, filled: 0, extents: Vec::new() });
        Ok(())
    }

    pub(super) fn file_run(&mut self, mut logical: u64, mut extent: Extent) -> io::Result<()> {
        const CUT: u64 = DATA_MAX as u64;
        while extent.len > 0 {
            let Some(open) = &mut self.open else { return self.raw(extent) };
            if logical / CUT != open.cut {
                let cut = logical / CUT;
                self.close_piece()?;
                if let Some(open) = &mut self.open {
                    open.cut = cut;
                }
                continue;
            }
            let len = extent.len.min(CUT - logical % CUT);
            if open.filled + len > CUT {
                // Only a file that contradicts itself has more bytes than its offsets: they go on in a piece of their own.
                self.close_piece()?;
                continue;
            }
            open.filled += len;
            match open.extents.last_mut() {
                Some(last) if last.end() == extent.start => last.len += len,
                _ => open.extents.push(Extent::new(extent.start, len)),
            }
            logical = logical.saturating_add(len);
            extent = Extent::new(extent.start + len, extent.len - len);
        }
        Ok(())
    }

    pub(super) fn file_end(&mut self) -> io::Result<()> {
        self.close_piece()?;
        self.open = None;
        Ok(())
    }

    fn close_piece(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.filled = 0;
        let Some(first) = open.extents.first().copied() else { return Ok(()) };
        let mut record = [0; FRAGMENT];
        record[..8].copy_from_slice(&first.start.to_be_bytes());
        record[8..16].copy_from_slice(&self.next_piece.to_be_bytes());
        record[32..34].copy_from_slice(&open.region.to_be_bytes());
        record[34..].copy_from_slice(&open.file.0.to_be_bytes());
        for (position, extent) in open.extents.drain(..).enumerate() {
            record[16..20].copy_from_slice(&(position as u32).to_be_bytes());
            record[20..28].copy_from_slice(&extent.start.to_be_bytes());
            record[28..32].copy_from_slice(&(extent.len as u32).to_be_bytes());
            self.files.push(record)?;
        }
        self.next_piece += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Pieces> {
        self.file_end()?;
        Ok(Pieces {
            files: self.files.finish()?,
            meta: self.meta.finish()?,
            raw: self.raw.finish()?,
            left_out: self.left_out.finish()?,
        })
    }
}

/// All pieces of a disk.
pub(super) struct Pieces {
    files: Sorted<FRAGMENT>,
    meta: Sorted<16>,
    raw: Sorted<16>,
    left_out: Sorted<17>,
}

impl Pieces {
    pub(super) fn iter(&self) -> PieceIter {
        PieceIter {
            sources: [
                boxed(FilePieces { fragments: self.files.iter().peekable() }),
                boxed(windows(&self.meta, Class::Meta, META_MAX as u64)),
                boxed(windows(&self.raw, Class::Raw, DATA_MAX as u64)),
                boxed(self.left_out.iter().map(|record| Ok(left_out_piece(&record?)))),
            ],
        }
    }
}

type Source = Peekable<Box<dyn Iterator<Item = io::Result<Piece>> + Send>>;

fn boxed(pieces: impl Iterator<Item = io::Result<Piece>> + Send + 'static) -> Source {
    let pieces: Box<dyn Iterator<Item = io::Result<Piece>> + Send> = Box::new(pieces);
    pieces.peekable()
}

/// Pieces in device order.
pub struct PieceIter {
    sources: [Source; 4],
}

impl Iterator for PieceIter {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut first: Option<(u64, usize)> = None;
        for (at, source) in self.sources.iter_mut().enumerate() {
            let start = match source.peek() {
                Some(Ok(piece)) => piece.start(),
                Some(Err(_)) => 0, // errors come out first
                None => continue,
            };
            if first.is_none_or(|(least, _)| start < least) {
                first = Some((start, at));
            }
        }
        self.sources[first?.1].next()
    }
}

struct FilePieces {
    fragments: Peekable<Merge<FRAGMENT>>,
}

impl Iterator for FilePieces {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = match self.fragments.next()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        let region = u16::from_be_bytes([first[32], first[33]]);
        let mut piece = Piece {
            class: Class::File,
            file: Some((region, FileId(number(&first, 34)))),
            extents: vec![fragment_extent(&first)],
            rule: None,
        };
        let same = |record: &[u8; FRAGMENT]| record[..16] == first[..16];
        while let Some(Ok(record)) = self.fragments.next_if(|next| next.as_ref().is_ok_and(same)) {
            piece.extents.push(fragment_extent(&record));
        }
        Some(Ok(piece))
    }
}

fn fragment_extent(record: &[u8; FRAGMENT]) -> Extent {
    let len = u32::from_be_bytes([record[28], record[29], record[30], record[31]]);
    Extent::new(number(record, 20), len.into())
}

fn number(record: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array_at(record, at).expect("records hold whole numbers"))
}

fn left_out_piece(record: &[u8; 17]) -> Piece {
    let rule = match record[16] {
        1 => LeftOut::SwapPages,
        2 => LeftOut::Pagefile,
        _ => LeftOut::Swapfile,
    };
    let extents = vec![Extent::new(number(record, 0), number(record, 8))];
    Piece { class: Class::Raw, file: None, extents, rule: Some(rule) }
}

/// Joins everything of one aligned window into a piece.
fn windows(sorted: &Sorted<16>, class: Class, window: u64) -> impl Iterator<Item = io::Result<Piece>> + use<> {
    let mut extents = joined(sorted);
    let mut rest: Option<Extent> = None;
    std::iter::from_fn(move || {
        let mut piece: Option<Piece> = None;
        loop {
            let extent = match rest.take().map(Ok).or_else(|| extents.next()) {
                Some(Ok(extent)) => extent,
                Some(Err(error)) => return Some(Err(error)),
                None => return piece.map(Ok),
            };
            if piece.as_ref().is_some_and(|piece| piece.start() / window != extent.start / window) {
                rest = Some(extent);
                return piece.map(Ok);
            }
            let end = (extent.start / window + 1).saturating_mul(window).min(extent.end());
            if end < extent.end() {
                rest = Some(Extent::new(end, extent.end() - end));
            }
            let extent = Extent::new(extent.start, end - extent.start);
            let empty = || Piece { class, file: None, extents: Vec::new(), rule: None };
            piece.get_or_insert_with(empty).extents.push(extent);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 1024;

    #[test]
    fn a_file_is_cut_at_its_own_offsets_wherever_it_lies() {
        let mut collector = Collector::new(&std::env::temp_dir());
        collector.file_begin(0, FileId(7)).unwrap();
        collector.file_run(0, Extent::new(9000 * K, 100 * K)).unwrap();
        collector.file_run(100 * K, Extent::new(1000 * K, 300 * K)).unwrap();
        collector.file_run(1024 * K, Extent::new(5000 * K, 10)).unwrap();
        let pieces: Vec<Piece> = collector.finish().unwrap().iter().map(Result::unwrap).collect();
        let extents: Vec<Vec<Extent>> = pieces.into_iter().map(|piece| piece.extents).collect();
        assert_eq!(
            extents,
            vec![
                vec![Extent::new(1156 * K, 144 * K)],
                vec![Extent::new(5000 * K, 10)],
                vec![Extent::new(9000 * K, 100 * K), Extent::new(1000 * K, 156 * K)],
            ]
        );
    }

    #[test]
    fn raw_bytes_of_one_window_are_one_piece() {
        let mut collector = Collector::new(&std::env::temp_dir());
        for at in [700 * K, 10, 300 * K, 200 * K] {
            collector.raw(Extent::new(at, 100 * K)).unwrap();
        }
        let pieces: Vec<Piece> = collector.finish().unwrap().iter().map(Result::unwrap).collect();
        let extents: Vec<Vec<Extent>> = pieces.into_iter().map(|piece| piece.extents).collect();
        assert_eq!(
            extents,
            vec![
                vec![Extent::new(10, 100 * K), Extent::new(200 * K, 56 * K)],
                vec![Extent::new(256 * K, 144 * K)],
                vec![Extent::new(700 * K, 68 * K)],
                vec![Extent::new(768 * K, 32 * K)],
            ]
        );
    }
}
