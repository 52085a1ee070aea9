//! Decoded pieces that wait until no other thread writes.
//!
//! The kernel lets one thread at a time write to a file: a second one spins for its turn while it could decode. So a worker
//! writes when it finds the turn free, and waits for it only when it holds as much as it may.

use super::RestoreError;
use super::target::Target;
use crate::fs::Extent;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that a worker may hold: sixteen pieces of a file.
const MOST: usize = 4 << 20;
/// Pieces that it may hold: each has a buffer that stays as large as its largest piece ever was.
const PIECES: usize = 32;

/// A piece, and where its bytes belong: offsets in the piece, extents of the target.
struct Piece {
    places: Vec<(usize, Extent)>,
    bytes: Vec<u8>,
}

/// What one worker has decoded and not yet written.
pub(super) struct Waiting<'a> {
    target: &'a dyn Target,
    turn: &'a Mutex<()>,
    pieces: Vec<Piece>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
}

impl<'a> Waiting<'a> {
    /// `turn` is shared by all who write to the target.
    pub(super) fn new(target: &'a dyn Target, turn: &'a Mutex<()>) -> Waiting<'a> {
        Waiting { target, turn, pieces: Vec::new(), bytes: 0, spare: Vec::new() }
    }

    /// A buffer to decode into.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a piece, and writes all there are if nobody else is writing or there are too many. Returns bytes written.
    pub(super) fn add(&mut self, places: Vec<(usize, Extent)>, bytes: Vec<u8>) -> Result<u64, RestoreError> {
        self.bytes += bytes.len();
        self.pieces.push(Piece { places, bytes });
        match self.turn.try_lock() {
            Ok(turn) => self.write_holding(turn),
            Err(_) if self.bytes < MOST && self.pieces.len() < PIECES => Ok(0),
            Err(_) => self.write(),
        }
    }

    /// Writes what is left. Returns bytes written.
    pub(super) fn write(&mut self) -> Result<u64, RestoreError> {
        self.write_holding(self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_holding(&mut self, _turn: MutexGuard<'_, ()>) -> Result<u64, RestoreError> {
        let mut written = 0;
        for mut piece in self.pieces.drain(..) {
            for (from, extent) in piece.places {
                let bytes = &piece.bytes[from..from + extent.len as usize];
                let wrap = |source| RestoreError::Write { at: extent.start, len: extent.len, source };
                self.target.write_at(extent.start, bytes).map_err(wrap)?;
                written += extent.len;
            }
            piece.bytes.clear();
            self.spare.push(piece.bytes);
        }
        self.bytes = 0;
        Ok(written)
    }
}
