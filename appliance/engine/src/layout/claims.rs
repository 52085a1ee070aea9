//! Holds what a parser claims against what the filesystem has allocated, and fills the rest with RAW.
//!
//! A byte owned twice, owned but free, or out of range is doubt, and doubt reads the whole rest of the partition. The cuts
//! of files that parsed are kept either way: they only decide where chunks begin.

use super::pieces::Collector;
use crate::fs::{Doubt, Extent, FileId, FsError, LeftOut, Survey};
use crate::sort::{Sorted, Sorter};
use std::io;

/// Bytes by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClassBytes {
    /// File contents.
    pub file: u64,
    /// Filesystem structure.
    pub meta: u64,
    /// Everything else that is stored.
    pub raw: u64,
    /// Left out by a rule.
    pub left_out: u64,
    /// Free: not read.
    pub free: u64,
}

/// The outcome for one partition.
pub(super) struct Settled {
    pub(super) doubts: Vec<String>,
    pub(super) more_doubts: u64,
    pub(super) notes: Vec<String>,
    pub(super) bytes: ClassBytes,
}

/// Doubts and notes that are listed; a hostile disk has millions.
const LISTED: usize = 16;

/// Receives one filesystem's survey. Offsets come relative to the partition and leave as device offsets.
pub(super) struct Claims<'a> {
    base: u64,
    len: u64,
    region: u16,
    pieces: &'a mut Collector,
    owned: Sorter<16>,
    allocated: Sorter<16>,
    bytes: ClassBytes,
    doubts: Vec<String>,
    more_doubts: u64,
    notes: Vec<String>,
}

impl<'a> Claims<'a> {
    pub(super) fn new(base: u64, len: u64, region: u16, pieces: &'a mut Collector) -> Self {
        let owned = Sorter::new(pieces.scratch());
        let allocated = Sorter::new(pieces.scratch());
        Claims {
            base,
            len,
            region,
            pieces,
            owned,
            allocated,
            bytes: ClassBytes::default(),
            doubts: Vec::new(),
            more_doubts: 0,
            notes: Vec::new(),
        }
    }

    /// The whole partition is read; the cuts told so far stay.
    pub(super) fn everything(&mut self, why: &str) {
        self.doubt(Doubt(why.to_owned()));
    }

    /// Checks all claims and fills what is allocated (or, in doubt, everything) and unclaimed with RAW.
    pub(super) fn settle(mut self) -> io::Result<Settled> {
        self.pieces.file_end()?;
        let scratch = self.pieces.scratch().to_owned();
        let owned = std::mem::replace(&mut self.owned, Sorter::new(&scratch)).finish()?;
        let allocated = std::mem::replace(&mut self.allocated, Sorter::new(&scratch)).finish()?;
        if let Some(at) = first_overlap(&owned)? {
            self.doubt(Doubt(format!("byte {at} of the partition is owned twice")));
        }
        if let Some(at) = first_outside(&owned, &allocated)? {
            self.doubt(Doubt(format!("byte {at} of the partition is owned but marked free")));
        }
        let in_doubt = !self.doubts.is_empty();
        let whole = [encode(Extent::new(0, self.len))];
        let wanted = if in_doubt { Sorted::Memory(whole.to_vec().into()) } else { allocated };
        let mut fill = Vec::new();
        each_difference(&wanted, &owned, |extent| {
            fill.push(extent);
            if fill.len() >= 1024 { self.fill(&mut fill) } else { Ok(()) }
        })?;
        self.fill(&mut fill)?;
        let used = self.bytes.file + self.bytes.meta + self.bytes.raw + self.bytes.left_out;
        self.bytes.free = self.len.saturating_sub(used);
        Ok(Settled { doubts: self.doubts, more_doubts: self.more_doubts, notes: self.notes, bytes: self.bytes })
    }

    fn fill(&mut self, extents: &mut Vec<Extent>) -> io::Result<()> {
        for extent in extents.drain(..) {
            self.bytes.raw += extent.len;
            self.pieces.raw(Extent::new(self.base + extent.start, extent.len))?;
        }
        Ok(())
    }

    /// The part of the extent inside the partition; anything outside is doubt.
    fn inside(&mut self, extent: Extent) -> Option<Extent> {
        if extent.end() > self.len {
            self.doubt(Doubt(format!("bytes {}..{} lie outside of the partition", extent.start, extent.end())));
        }
        let start = extent.start.min(self.len);
        let extent = Extent::new(start, extent.end().min(self.len) - start);
        (extent.len > 0).then_some(extent)
    }

    /// Notes an owner and gives the extent on the device.
    fn own(&mut self, extent: Extent) -> Result<Option<Extent>, FsError> {
        let Some(extent) = self.inside(extent) else { return Ok(None) };
        push_joined(&mut self.owned, extent).map_err(FsError::Scratch)?;
        Ok(Some(Extent::new(self.base + extent.start, extent.len)))
    }
}

impl Survey for Claims<'_> {
    fn allocated(&mut self, extent: Extent) -> Result<(), FsError> {
        // A bitmap that runs past the partition shows itself by claims out there; its tail alone harms nobody.
        let start = extent.start.min(self.len);
        let extent = Extent::new(start, extent.end().min(self.len) - start);
        if extent.len == 0 {
            return Ok(());
        }
        push_joined(&mut self.allocated, extent).map_err(FsError::Scratch)
    }

    fn meta(&mut self, extent: Extent) -> Result<(), FsError> {
        let Some(extent) = self.own(extent)? else { return Ok(()) };
        self.bytes.meta += extent.len;
        self.pieces.meta(extent).map_err(FsError::Scratch)
    }

    fn raw(&mut self, extent: Extent) -> Result<(), FsError> {
        let Some(extent) = self.own(extent)? else { return Ok(()) };
        self.bytes.raw += extent.len;
        self.pieces.raw(extent).map_err(FsError::Scratch)
    }

    fn left_out(&mut self, rule: LeftOut, extent: Extent) -> Result<(), FsError> {
        let Some(extent) = self.own(extent)? else { return Ok(()) };
        self.bytes.left_out += extent.len;
        self.pieces.left_out(rule, extent).map_err(FsError::Scratch)
    }

    fn file_begin(&mut self, file: FileId) -> Result<(), FsError> {
        self.pieces.file_begin(self.region, file).map_err(FsError::Scratch)
    }

    fn file_run(&mut self, logical: u64, extent: Extent) -> Result<(), FsError> {
        let Some(extent) = self.own(extent)? else { return Ok(()) };
        self.bytes.file += extent.len;
        self.pieces.file_run(logical, extent).map_err(FsError::Scratch)
    }

    fn file_end(&mut self) -> Result<(), FsError> {
        self.pieces.file_end().map_err(FsError::Scratch)
    }

    fn doubt(&mut self, doubt: Doubt) {
        if self.doubts.len() < LISTED {
            self.doubts.push(doubt.0);
        } else {
            self.more_doubts += 1;
        }
    }

    fn note(&mut self, text: String) {
        if self.notes.len() < LISTED {
            self.notes.push(text);
        }
    }
}

fn encode(extent: Extent) -> [u8; 16] {
    (u128::from(extent.start) << 64 | u128::from(extent.len)).to_be_bytes()
}

fn decode(record: [u8; 16]) -> Extent {
    let number = u128::from_be_bytes(record);
    Extent::new((number >> 64) as u64, number as u64)
}

/// Adds an extent, joined with the one before when they touch: most runs of most files do.
pub(super) fn push_joined(sorter: &mut Sorter<16>, extent: Extent) -> io::Result<()> {
    if let Some(last) = sorter.last_mut() {
        let before = decode(*last);
        if before.end() == extent.start {
            *last = encode(Extent::new(before.start, before.len + extent.len));
            return Ok(());
        }
    }
    sorter.push(encode(extent))
}

/// Sorted extents, those that touch or overlap joined.
pub(super) fn joined(sorted: &Sorted<16>) -> impl Iterator<Item = io::Result<Extent>> + use<> {
    let mut records = sorted.iter();
    let mut current: Option<Extent> = None;
    std::iter::from_fn(move || {
        loop {
            let next = match records.next() {
                Some(Ok(record)) => decode(record),
                Some(Err(error)) => return Some(Err(error)),
                None => return current.take().map(Ok),
            };
            match &mut current {
                Some(extent) if next.start <= extent.end() => extent.len = extent.len.max(next.end() - extent.start),
                _ => {
                    if let Some(done) = current.replace(next) {
                        return Some(Ok(done));
                    }
                }
            }
        }
    })
}

fn first_overlap(sorted: &Sorted<16>) -> io::Result<Option<u64>> {
    let mut end = 0;
    for record in sorted.iter() {
        let extent = decode(record?);
        if extent.start < end {
            return Ok(Some(extent.start));
        }
        end = extent.end();
    }
    Ok(None)
}

fn first_outside(inner: &Sorted<16>, outer: &Sorted<16>) -> io::Result<Option<u64>> {
    let mut first = None;
    each_difference(inner, outer, |extent| {
        first.get_or_insert(extent.start);
        Ok(())
    })?;
    Ok(first)
}

/// Calls `each` for every extent that is in `from` and not in `minus`, in order.
fn each_difference(
    from: &Sorted<16>,
    minus: &Sorted<16>,
    mut each: impl FnMut(Extent) -> io::Result<()>,
) -> io::Result<()> {
    let mut holes = joined(minus).peekable();
    for extent in joined(from) {
        let extent = extent?;
        let mut at = extent.start;
        while at < extent.end() {
            let hole = match holes.peek() {
                Some(Ok(hole)) if hole.end() <= at => {
                    holes.next();
                    continue;
                }
                Some(Ok(hole)) if hole.start < extent.end() => *hole,
                Some(Err(_)) => match holes.next() {
                    Some(Err(error)) => return Err(error),
                    _ => continue,
                },
                _ => Extent::new(extent.end(), 0),
            };
            if hole.start > at {
                each(Extent::new(at, hole.start - at))?;
            }
            at = hole.end().max(at);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(extents: &[(u64, u64)]) -> Sorted<16> {
        let mut sorter = Sorter::new(&std::env::temp_dir());
        extents.iter().for_each(|&(start, len)| push_joined(&mut sorter, Extent::new(start, len)).unwrap());
        sorter.finish().unwrap()
    }

    fn bytes(extents: &[(u64, u64)]) -> std::collections::BTreeSet<u64> {
        extents.iter().flat_map(|&(start, len)| start..start + len).collect()
    }

    proptest! {
        #[test]
        fn the_difference_is_exact(
            from in prop::collection::vec((0u64..200, 1u64..20), 0..12),
            minus in prop::collection::vec((0u64..200, 1u64..20), 0..12),
        ) {
            let mut found = Vec::new();
            each_difference(&sorted(&from), &sorted(&minus), |e| { found.push((e.start, e.len)); Ok(()) }).unwrap();
            let expected: std::collections::BTreeSet<u64> = bytes(&from).difference(&bytes(&minus)).copied().collect();
            prop_assert_eq!(found.iter().map(|(_, len)| len).sum::<u64>() as usize, expected.len());
            prop_assert_eq!(bytes(&found), expected);
        }
    }
}
