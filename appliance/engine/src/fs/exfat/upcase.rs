//! The upper-case table: turns the volume's own file into a mapping for every UTF-16 unit.

use std::ops::ControlFlow;

use crate::fs::FsError;
use crate::fs::fat::volume::{Place, Volume};

/// A table that is not compressed has 65536 entries of two bytes.
const MAX_BYTES: u64 = 2 << 16;
/// In a compressed table: the next entry says how many units map to themselves.
const SKIP: [u8; 2] = [0xFF, 0xFF];

/// Reads the table as it lies.
pub(super) fn read(volume: &Volume<'_>, first: u32, len: u64, checksum: u32) -> Result<Vec<u8>, FsError> {
    let damaged = |why: &str| FsError::Damaged(format!("upper-case table: {why}"));
    if len > MAX_BYTES {
        return Err(damaged("it is longer than can be"));
    }
    let mut table = Vec::new();
    volume.blocks(Place::Chain(first), len, &mut |(_, bytes)| {
        table.extend_from_slice(bytes?);
        Ok(ControlFlow::Continue(()))
    })?;
    let sum = table.iter().fold(0u32, |sum, byte| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
    if table.len() as u64 != len || sum != checksum {
        return Err(damaged("its checksum does not fit"));
    }
    Ok(table)
}

/// One entry per unit, as `Upcase` wants it.
pub(super) fn expand(table: &[u8]) -> Vec<u8> {
    let mut whole: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut entries = table.as_chunks::<2>().0.iter();
    let mut at = 0;
    while let Some(entry) = entries.next() {
        if *entry == SKIP
            && let Some(count) = entries.next()
        {
            at += 2 * usize::from(u16::from_le_bytes(*count));
            continue;
        }
        let Some(place) = whole.get_mut(at..at + 2) else { break };
        place.copy_from_slice(entry);
        at += 2;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_map_to_themselves_are_expanded() {
        let table: Vec<u8> = [0u16, 1, 0xFFFF, 0x5F, 0x41, 0x42].iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let whole = expand(&table);
        assert_eq!(whole.len(), 131_072);
        let unit = |at: usize| u16::from_le_bytes([whole[2 * at], whole[2 * at + 1]]);
        assert_eq!((unit(0x60), unit(0x61), unit(0x62), unit(0x63)), (0x60, 0x41, 0x42, 0x63));
    }
}
