//! Reads the source's structure a second time. A difference means somebody wrote while we read: no moment of the disk looked
//! like the snapshot, so it is `Torn` and never a recovery point.

use super::assemble::Assembled;
use super::{BackupError, Counters, Flow, Run, batch, piece};
use crate::segment::Class;

/// How many META pieces differ from what the snapshot holds.
pub(super) fn read_metadata_again(run: &Run<'_>, assembled: &Assembled) -> Result<u64, BackupError> {
    let keys = run.packer.repository().keys();
    let mut expected = assembled.metadata.iter();
    let mut due = expected.next().transpose().map_err(BackupError::Scratch)?;
    let mut bytes = Vec::new();
    let mut torn = 0;
    for (count, found) in run.layout.pieces().enumerate() {
        let found = found.map_err(BackupError::Scratch)?;
        let Some(record) = due else { break };
        // Pieces that were unreadable have no record.
        if found.class != Class::Meta || record[..8] != found.start().to_be_bytes() {
            continue;
        }
        bytes.clear();
        for extent in &found.extents {
            Counters::add(&run.counters.read, extent.len);
            if batch::read_exact(&**run.source, *extent, &mut bytes).is_err() {
                if run.source.is_gone() {
                    return Err(BackupError::Gone { at: extent.start });
                }
                // It could be read a moment ago: a sector that fades is no writer. The snapshot has its bytes.
                bytes.clear();
                break;
            }
        }
        let id = if piece::is_zero(&bytes) { [0; 32] } else { keys.chunk_id(&bytes).0 };
        if !bytes.is_empty() && record[8..] != id {
            torn += 1;
        }
        due = expected.next().transpose().map_err(BackupError::Scratch)?;
        if count % 256 == 0 && (run.observe)(run.progress()) == Flow::Stop {
            return Err(BackupError::Stopped);
        }
    }
    Ok(torn)
}
