//! Snapshots of which something is lost, written anew with holes in its place.
//!
//! A hole says as little as it can: what any whole segment names stays what that segment says. What cannot be read just now is
//! not lost, and ends the repair with an error.

use crate::chunk::ChunkId;
use crate::fs::Extent;
use crate::lease::LeaseKind;
use crate::pack::read::ReadBuffers;
use crate::record::{self, RecordKind};
use crate::repository::store::{Packer, Sealer, storing};
use crate::repository::{Repository, RepositoryError, checkpoint};
use crate::seal::Kind;
use crate::segment::{self, Builder, Cause, Class, Content, Entry};
use crate::snapshot::{
    HoleNote, LIST_ROWS, SegmentRef, Snapshot, SnapshotId, State, WriterId, decode_list, encode_list,
};
use std::collections::HashMap;
use std::ops::Range;

/// Holes named in a summary.
const LISTED: usize = 1000;

/// A snapshot written anew.
#[derive(Debug)]
pub struct RepairedSnapshot {
    /// The one that had lost chunks.
    pub original: SnapshotId,
    /// The new one, with holes.
    pub repaired: SnapshotId,
    /// Bytes that are missing in it and were not in the original.
    pub lost_bytes: u64,
}

/// Writes a new snapshot for each one that names lost chunks; what is whole is left alone.
pub fn snapshots(repository: &Repository) -> Result<Vec<RepairedSnapshot>, RepositoryError> {
    // A backup draws its number when it begins: none may run while numbers are drawn here.
    let _writer = repository.lease_beside(LeaseKind::Writer)?;
    let (all, _) = repository.snapshots()?;
    // After the snapshots: what they need is durable before them, maybe later than our index.
    repository.index().catch_up(repository.storage(), repository.keys())?;
    let mut chains = Chains::of(repository, &all)?;
    let mut done = Vec::new();
    for (id, snapshot) in &all {
        let already =
            all.iter().any(|(_, other)| other.parent == Some(*id) && other.tags.iter().any(|tag| tag == "repaired"));
        if !already && let Some(repaired) = repair_one(repository, *id, snapshot, &mut chains)? {
            done.push(repaired);
        }
    }
    Ok(done)
}

/// The last number and record of every writer.
struct Chains(HashMap<WriterId, (u64, Option<SnapshotId>)>);

impl Chains {
    fn of(repository: &Repository, all: &[(SnapshotId, Snapshot)]) -> Result<Chains, RepositoryError> {
        let mut chains = Chains(HashMap::new());
        for (id, snapshot) in all {
            chains.add(snapshot.writer, snapshot.sequence, Some(*id));
        }
        for (_, begun) in checkpoint::list(repository.storage(), repository.keys())?.0 {
            chains.add(begun.writer, begun.sequence, None);
        }
        Ok(chains)
    }

    fn add(&mut self, writer: WriterId, sequence: u64, record: Option<SnapshotId>) {
        let last = self.0.entry(writer).or_insert((0, None));
        if sequence >= last.0 {
            *last = (sequence, record.or(last.1));
        }
    }

    fn last(&self, writer: WriterId) -> (u64, Option<SnapshotId>) {
        self.0.get(&writer).copied().unwrap_or((0, None))
    }
}

fn repair_one(
    repository: &Repository,
    id: SnapshotId,
    snapshot: &Snapshot,
    chains: &mut Chains,
) -> Result<Option<RepairedSnapshot>, RepositoryError> {
    let made = storing(repository, None, |packer| {
        let mut mending = Mending::new(packer, snapshot);
        let rows = mending.lists()?;
        for row in rows {
            mending.segment(row)?;
        }
        mending.holes_for_lost_windows()?;
        if mending.changed { mending.finish().map(Some) } else { Ok(None) }
    })?;
    let Some(Mended { lists, segments, lost_bytes, holes }) = made else { return Ok(None) };
    let (last, previous) = chains.last(snapshot.writer);
    let mut repaired = snapshot.clone();
    repaired.sequence = last + 1;
    repaired.previous = previous;
    repaired.parent = Some(id);
    if repaired.state == State::Complete {
        repaired.state = State::Partial;
    }
    if !repaired.tags.iter().any(|tag| tag == "repaired") {
        repaired.tags.push("repaired".to_owned());
    }
    (repaired.segment_lists, repaired.segments) = (lists, segments);
    repaired.summary.hole_bytes += lost_bytes;
    let room = LISTED.saturating_sub(repaired.summary.holes.len());
    repaired.summary.holes.extend(holes.into_iter().take(room));
    let name = record::write(repository.storage(), repository.keys(), RecordKind::Snapshot, &repaired)?;
    let name: SnapshotId = name.parse().expect("a record is named by 64 hex digits");
    chains.add(repaired.writer, repaired.sequence, Some(name));
    Ok(Some(RepairedSnapshot { original: id, repaired: name, lost_bytes }))
}

struct Mended {
    lists: Vec<ChunkId>,
    segments: u64,
    lost_bytes: u64,
    holes: Vec<HoleNote>,
}

/// One snapshot on its way to what is left of it.
struct Mending<'p> {
    packer: &'p Packer<'p>,
    snapshot: &'p Snapshot,
    sealer: Sealer,
    buffers: ReadBuffers,
    plain: Vec<u8>,
    /// Segments as they are or as they were mended, in the order of their windows.
    rows: Vec<SegmentRef>,
    /// The same as they were.
    whole: Vec<SegmentRef>,
    /// Parts of the device whose segments are lost.
    lost: Vec<Range<u64>>,
    changed: bool,
    lost_bytes: u64,
    holes: Vec<HoleNote>,
}

impl<'p> Mending<'p> {
    fn new(packer: &'p Packer<'p>, snapshot: &'p Snapshot) -> Self {
        Mending {
            packer,
            snapshot,
            sealer: Sealer::new(crate::backup::DEFAULT_LEVEL),
            buffers: ReadBuffers::default(),
            plain: Vec::new(),
            rows: Vec::new(),
            whole: Vec::new(),
            lost: Vec::new(),
            changed: false,
            lost_bytes: 0,
            holes: Vec::new(),
        }
    }

    /// `None` for what is lost; an error when that cannot be known now.
    fn unless_lost<T>(&self, outcome: Result<T, RepositoryError>) -> Result<Option<T>, RepositoryError> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.packer.repository().is_loss(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The rows of all lists that can be read. A lost list leaves the windows between its neighbours without segments.
    fn lists(&mut self) -> Result<Vec<SegmentRef>, RepositoryError> {
        let mut rows: Vec<SegmentRef> = Vec::new();
        let mut lost_from = None;
        for list in &self.snapshot.segment_lists {
            let read = self.packer.repository().read_chunk(list, &mut self.buffers, &mut self.plain);
            let more = self.unless_lost(read)?.and_then(|()| decode_list(&self.plain));
            let Some(more) = more else {
                // The last window before it may go on in it.
                lost_from = lost_from.or(Some(rows.last().map_or(0, |row| row.window)));
                continue;
            };
            if let (Some(first), Some(from)) = (more.first(), lost_from.take()) {
                self.lose(from..first.window.saturating_add(segment::WINDOW));
            }
            rows.extend(more);
        }
        if let Some(from) = lost_from {
            self.lose(from..u64::MAX);
        }
        Ok(rows)
    }

    fn lose(&mut self, range: Range<u64>) {
        self.changed = true;
        self.lost.push(range.start..range.end.min(self.snapshot.source.size));
    }

    /// Takes a segment over, with holes for the pieces that are lost.
    fn segment(&mut self, row: SegmentRef) -> Result<(), RepositoryError> {
        let read = self.packer.repository().read_segment(&row.segment, &mut self.buffers);
        let Some(mut entries) = self.unless_lost(read)? else {
            self.lose(row.window..row.window.saturating_add(segment::WINDOW));
            return Ok(());
        };
        self.whole.push(row);
        let mut mended = false;
        for entry in &mut entries {
            let read = crate::view::read_piece(self.packer.repository(), entry, &mut self.buffers, &mut self.plain);
            if self.unless_lost(read)?.is_none() {
                entry.content = Content::Hole(Cause::Lost);
                self.note(&entry.extents);
                mended = true;
            }
        }
        if mended {
            return self.store(row.window, &entries);
        }
        self.rows.push(row);
        Ok(())
    }

    fn note(&mut self, extents: &[Extent]) {
        self.changed = true;
        self.lost_bytes += extents.iter().map(|extent| extent.len).sum::<u64>();
        let note = |extent: &Extent| HoleNote { start: extent.start, len: extent.len, cause: Cause::Lost, file: None };
        self.holes.extend(extents.iter().take(LISTED.saturating_sub(self.holes.len())).map(note));
    }

    fn store(&mut self, window: u64, entries: &[Entry]) -> Result<(), RepositoryError> {
        let mut builder = Builder::new(window);
        entries.iter().for_each(|entry| builder.push(entry));
        let bytes = builder.finish();
        let segment = self.packer.repository().keys().chunk_id(&bytes);
        self.packer.store(Kind::Metadata, segment, &bytes, &mut self.sealer)?;
        self.rows.push(SegmentRef { window, segment });
        Ok(())
    }

    /// Everything in the windows of lost segments that no other segment names is lost, as far as anybody knows.
    fn holes_for_lost_windows(&mut self) -> Result<(), RepositoryError> {
        let lost = joined(std::mem::take(&mut self.lost));
        if lost.is_empty() {
            return Ok(());
        }
        let mut named = Vec::new();
        for row in &self.whole {
            for entry in self.packer.repository().read_segment(&row.segment, &mut self.buffers)? {
                let parts = entry.extents.iter().map(|extent| extent.start..extent.end());
                named.extend(
                    parts.filter(|part| lost.iter().any(|range| part.start < range.end && range.start < part.end)),
                );
            }
            // Neighbours mostly touch: joined, they stay few.
            named = joined(named);
        }
        for range in lost {
            let extents = gaps(range, &named);
            let Some(first) = extents.first() else { continue };
            self.note(&extents);
            let window = first.start / segment::WINDOW * segment::WINDOW;
            self.store(window, &[Entry { class: Class::Raw, extents, content: Content::Hole(Cause::Lost) }])?;
        }
        self.rows.sort_by_key(|row| row.window);
        Ok(())
    }

    fn finish(mut self) -> Result<Mended, RepositoryError> {
        let mut lists = Vec::new();
        for part in self.rows.chunks(LIST_ROWS) {
            let bytes = encode_list(part);
            let list = self.packer.repository().keys().chunk_id(&bytes);
            self.packer.store(Kind::Metadata, list, &bytes, &mut self.sealer)?;
            lists.push(list);
        }
        let segments = self.rows.len() as u64;
        Ok(Mended { lists, segments, lost_bytes: self.lost_bytes, holes: self.holes })
    }
}

/// Sorted, and joined where they touch.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match joined.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// The parts of a range that none of these sorted, disjoint ranges covers.
fn gaps(range: Range<u64>, covered: &[Range<u64>]) -> Vec<Extent> {
    let mut gaps = Vec::new();
    let mut at = range.start;
    for part in covered.iter().filter(|part| part.end > range.start && part.start < range.end) {
        if part.start > at {
            gaps.push(Extent::new(at, part.start - at));
        }
        at = at.max(part.end);
    }
    if range.end > at {
        gaps.push(Extent::new(at, range.end - at));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_left_of_a_range() {
        let covered = joined(vec![90..110, 5..15, 20..30, 25..40]);
        assert_eq!(covered, [5..15, 20..40, 90..110]);
        assert_eq!(gaps(10..100, &covered), [Extent::new(15, 5), Extent::new(40, 50)]);
        assert_eq!(gaps(22..38, &covered), []);
        assert_eq!(gaps(50..60, &covered), [Extent::new(50, 10)]);
    }
}
