//! What the parent snapshot has at the same place: its segments are read one at a time, in step with the pieces.

use crate::layout::pieces::Piece;
use crate::pack::read::ReadBuffers;
use crate::repository::Repository;
use crate::segment::Entry;
use crate::snapshot::SegmentRef;
use std::collections::VecDeque;

/// Walks the parent's entries beside the new pieces; both are in the order of their first byte on the device.
pub(super) struct ParentCursor<'r> {
    repository: &'r Repository,
    segments: VecDeque<SegmentRef>,
    entries: VecDeque<Entry>,
    buffers: ReadBuffers,
}

impl<'r> ParentCursor<'r> {
    pub(super) fn new(repository: &'r Repository, segments: Vec<SegmentRef>) -> Self {
        ParentCursor {
            repository,
            segments: segments.into(),
            entries: VecDeque::new(),
            buffers: ReadBuffers::default(),
        }
    }

    /// The parent's entry that starts where this piece starts and is of its class. Pieces come in order.
    pub(super) fn at_same_place(&mut self, piece: &Piece) -> Option<Entry> {
        let start = piece.start();
        self.skip_to(start);
        let same = |entry: &Entry| start_of(entry) == start;
        let among = self.entries.iter().take_while(|entry| same(entry));
        let at = among.enumerate().find(|(_, entry)| entry.class == piece.class)?.0;
        self.entries.remove(at)
    }

    fn skip_to(&mut self, start: u64) {
        loop {
            while self.entries.front().is_some_and(|entry| start_of(entry) < start) {
                self.entries.pop_front();
            }
            if !self.entries.is_empty() {
                return;
            }
            // A window far behind is not worth reading.
            while self.segments.get(1).is_some_and(|next| next.window + crate::segment::WINDOW <= start) {
                self.segments.pop_front();
            }
            let Some(next) = self.segments.front() else { return };
            if next.window > start {
                return;
            }
            // A damaged parent is no parent: then everything is looked up or stored.
            self.entries = self.repository.read_segment(&next.segment, &mut self.buffers).unwrap_or_default().into();
            self.segments.pop_front();
        }
    }
}

fn start_of(entry: &Entry) -> u64 {
    entry.extents.first().map_or(0, |extent| extent.start)
}
