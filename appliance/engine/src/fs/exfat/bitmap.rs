//! The allocation bitmap, one bit per cluster: turns it into runs of used clusters, block by block.
//!
//! What the bitmap does not tell (unreadable, too short) is told as unknown, never as free.

use std::ops::ControlFlow;

use crate::fs::FsError;
use crate::fs::fat::table::FIRST_CLUSTER;
use crate::fs::fat::volume::{Place, Volume};
use crate::fs::ntfs::bitmap::scan;

/// Calls `each` with first cluster and count of all clusters that are not free, and why where that is not known.
pub(super) fn each(
    volume: &Volume<'_>,
    (first, len): (u32, u64),
    each: &mut dyn FnMut(u32, u64, Option<FsError>) -> Result<(), FsError>,
) -> Result<(), FsError> {
    let clusters = u64::from(volume.heap.clusters);
    let mut tell = |start: u64, count: u64, cause| each(start as u32 + FIRST_CLUSTER, count, cause);
    let mut open = None;
    let mut known = 0;
    let mut broken = FsError::Damaged("it does not cover the volume".into());
    volume.blocks(Place::Chain(first), len.min(clusters.div_ceil(8)), &mut |(at, bytes)| {
        match bytes {
            Ok(bytes) => {
                // A block before this one could not be read.
                if known < 8 * at {
                    close(&mut open, known, &mut tell)?;
                    tell(known, 8 * at - known, Some(FsError::Damaged("a part could not be read".into())))?;
                }
                let count = (8 * bytes.len() as u64).min(clusters.saturating_sub(8 * at));
                scan(bytes, 8 * at, count, &mut open, &mut |start, len| tell(start, len, None))?;
                known = 8 * at + count;
            }
            Err(cause) => broken = cause,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    close(&mut open, known, &mut tell)?;
    if known < clusters { tell(known, clusters - known, Some(broken)) } else { Ok(()) }
}

/// Ends the run that is still open at cluster `end`.
fn close(
    open: &mut Option<u64>,
    end: u64,
    tell: &mut dyn FnMut(u64, u64, Option<FsError>) -> Result<(), FsError>,
) -> Result<(), FsError> {
    open.take().map_or(Ok(()), |start| tell(start, end - start, None))
}
