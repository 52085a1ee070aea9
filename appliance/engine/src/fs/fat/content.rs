//! Reads what clusters hold: a file at any offset, a directory or table block by block.

use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use super::volume::{Place, Volume};
use crate::fs::{Extent, FsError};

/// Entries are 32 bytes and clusters a power of two, so no entry lies in two blocks.
const BLOCK: u64 = 64 << 10;

/// What a reader of blocks gets: where it lies in the whole, and its bytes, or why there are none.
pub(in crate::fs) type Block<'b> = (u64, Result<&'b [u8], FsError>);

/// Tells whether to go on. An error ends the reading and is passed on.
pub(in crate::fs) type Each<'e> = dyn FnMut(Block<'_>) -> Result<ControlFlow<()>, FsError> + 'e;

impl Volume<'_> {
    /// Reads the first `len` bytes of some clusters. A chain that breaks is told as the last block.
    pub(in crate::fs) fn blocks(&self, place: Place, len: u64, each: &mut Each<'_>) -> Result<(), FsError> {
        let mut walk = self.walk(place);
        let mut at = 0u64;
        while at < len {
            let cluster = match walk.next() {
                Ok(Some(cluster)) => cluster,
                Ok(None) => break,
                Err(cause) => return each((at, Err(cause))).map(|_| ()),
            };
            let mut extent = self.heap.extent(cluster, 1);
            extent.len = extent.len.min(len - at);
            if self.blocks_of(at, extent, each)?.is_break() {
                break;
            }
            at += extent.len;
        }
        Ok(())
    }

    /// Reads an extent, the `at`-th byte of a whole. A block that cannot be read is told, and the next one is read.
    pub(in crate::fs) fn blocks_of(
        &self,
        at: u64,
        extent: Extent,
        each: &mut Each<'_>,
    ) -> Result<ControlFlow<()>, FsError> {
        let mut done = 0;
        let mut buf = vec![0; extent.len.min(BLOCK) as usize];
        while done < extent.len {
            let len = (extent.len - done).min(BLOCK);
            let bytes = buf.get_mut(..len as usize).unwrap_or_default();
            let read = self.read(extent.start.saturating_add(done), bytes);
            if each((at + done, read.map(|()| &*bytes)))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            done += len;
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Where the last reader stopped, so that reading on does not follow the chain from its start.
#[derive(Default)]
pub(in crate::fs) struct Cursor(Mutex<Option<Stop>>);

#[derive(Clone, Copy)]
struct Stop {
    first: u32,
    index: u64,
    cluster: u32,
}

impl Cursor {
    /// Fills `buf` from `offset`, which lies inside the file; the file is long enough for all of it.
    pub(in crate::fs) fn read(
        &self,
        volume: &Volume<'_>,
        place: Place,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), FsError> {
        let size = volume.heap.cluster;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let cluster = self.seek(volume, place, at / size)?;
            let inside = at % size;
            let len = (size - inside).min(rest.len() as u64);
            let (part, after) = rest.split_at_mut(len as usize);
            volume.read(volume.heap.extent(cluster, 1).start.saturating_add(inside), part)?;
            rest = after;
            at = at.saturating_add(len);
        }
        Ok(())
    }

    /// The cluster that is `index` clusters into the file.
    fn seek(&self, volume: &Volume<'_>, place: Place, index: u64) -> Result<u32, FsError> {
        let short = || FsError::Damaged("the file has fewer clusters than its size needs".into());
        let first = match place {
            Place::Chain(first) => first,
            Place::Contiguous(first, _) => {
                let cluster = u32::try_from(index).ok().and_then(|index| first.checked_add(index));
                return cluster.filter(|cluster| volume.heap.holds(*cluster)).ok_or_else(short);
            }
        };
        if index >= u64::from(volume.heap.clusters) {
            return Err(short());
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = last.filter(|stop| stop.first == first && stop.index <= index);
        let from = from.unwrap_or(Stop { first, index: 0, cluster: first });
        let mut walk = volume.walk(Place::Chain(from.cluster));
        let mut cluster = from.cluster;
        for _ in from.index..=index {
            cluster = walk.next()?.ok_or_else(short)?;
        }
        *last = Some(Stop { first, index, cluster });
        Ok(cluster)
    }
}
