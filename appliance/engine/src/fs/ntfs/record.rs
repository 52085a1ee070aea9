//! MFT records and index blocks as they lie on disk: undoes the update sequence that guards them against torn writes.
//!
//! A record whose sectors do not all carry the same sequence number is refused, never half believed.

use super::attribute::Attributes;
use super::boot::FIXUP_STRIDE;
use crate::le::{u16_at, u32_at, u64_at};

/// What is wrong with a structure, in words; whoever knows where it lies adds that.
pub(super) type Flaw = &'static str;

/// The low 48 bits of a reference number the record; the rest is its sequence number.
const RECORD_BITS: u64 = (1 << 48) - 1;

/// The number part of a file reference.
pub(super) fn number_of(reference: u64) -> u64 {
    reference & RECORD_BITS
}

/// Checks the magic and puts back the last two bytes of every sector, in place.
pub(super) fn repair(bytes: &mut [u8], magic: &[u8; 4]) -> Result<(), Flaw> {
    if bytes.get(..4) != Some(magic) {
        return Err(if bytes.get(..4) == Some(b"BAAD") { "marked BAAD" } else { "bad magic" });
    }
    let array = usize::from(u16_at(bytes, 4).ok_or("too short")?);
    let count = usize::from(u16_at(bytes, 6).ok_or("too short")?);
    if count == 0 || bytes.len() != (count - 1) * FIXUP_STRIDE || !array.is_multiple_of(2) {
        return Err("update sequence does not fit");
    }
    // The array must not cover a word that it restores.
    if array < 8 || array + 2 * count > FIXUP_STRIDE - 2 {
        return Err("update sequence out of place");
    }
    let sequence = u16_at(bytes, array).ok_or("too short")?;
    for sector in 1..count {
        let guard = sector * FIXUP_STRIDE - 2;
        if u16_at(bytes, guard) != Some(sequence) {
            return Err("torn: update sequence differs");
        }
        let saved = u16_at(bytes, array + 2 * sector).ok_or("too short")?;
        let place = bytes.get_mut(guard..guard + 2).ok_or("too short")?;
        place.copy_from_slice(&saved.to_le_bytes());
    }
    Ok(())
}

/// A repaired MFT record.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    bytes: &'a [u8],
    /// The flags say that it holds a file (or part of one).
    pub(super) in_use: bool,
    /// The flags say that it is a directory.
    pub(super) directory: bool,
    /// Changes when the record is given to another file.
    pub(super) sequence: u16,
    /// Zero in a base record, else the reference of the base.
    pub(super) base: u64,
    first: usize,
    used: usize,
}

impl<'a> Record<'a> {
    /// Repairs `bytes` and reads the header. `number` is checked where the record carries its own.
    pub(super) fn parse(bytes: &'a mut [u8], number: u64) -> Result<Self, Flaw> {
        repair(bytes, b"FILE")?;
        Self::repaired(bytes, number)
    }

    /// Reads the header of a record that `repair` accepted before.
    pub(super) fn repaired(bytes: &'a [u8], number: u64) -> Result<Self, Flaw> {
        let flags = u16_at(bytes, 22).ok_or("too short")?;
        let in_use = flags & 1 != 0;
        let first = usize::from(u16_at(bytes, 20).ok_or("too short")?);
        let used = u32_at(bytes, 24).ok_or("too short")? as usize;
        if in_use && (used > bytes.len() || first < 42 || first >= used || !first.is_multiple_of(4)) {
            return Err("header does not fit");
        }
        // Since NTFS 3.1 the header is longer and carries the low half of the number.
        let carries_number = u16_at(bytes, 4).is_some_and(|array| array >= 48);
        if in_use && carries_number && u32_at(bytes, 44) != Some(number as u32) {
            return Err("carries another record's number");
        }
        Ok(Self {
            bytes,
            in_use,
            directory: flags & 2 != 0,
            sequence: u16_at(bytes, 16).ok_or("too short")?,
            base: u64_at(bytes, 32).ok_or("too short")?,
            first,
            used,
        })
    }

    /// The attributes, in the order they lie.
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes.get(self.first..self.used).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torn_sector(sector: Option<usize>) -> Vec<u8> {
        let mut bytes = vec![0u8; 1024];
        bytes[..4].copy_from_slice(b"FILE");
        bytes[4] = 48;
        bytes[6] = 3;
        bytes[48..54].copy_from_slice(&[7, 0, 0xAA, 0xBB, 0xCC, 0xDD]);
        bytes[510] = 7;
        bytes[1022] = 7;
        if let Some(sector) = sector {
            bytes[sector * 512 + 510] = 8;
        }
        bytes
    }

    #[test]
    fn guarded_words_come_back() {
        let mut bytes = torn_sector(None);
        repair(&mut bytes, b"FILE").unwrap();
        assert_eq!((&bytes[510..512], &bytes[1022..]), (&[0xAA, 0xBB][..], &[0xCC, 0xDD][..]));
    }

    #[test]
    fn a_torn_record_is_refused() {
        for sector in [0, 1] {
            assert_eq!(repair(&mut torn_sector(Some(sector)), b"FILE"), Err("torn: update sequence differs"));
        }
    }

    #[test]
    fn nonsense_in_the_update_sequence_is_refused() {
        for (at, value) in [(4, 49), (4, 0), (5, 0xFF), (6, 0), (6, 2), (7, 0xFF), (0, b'B')] {
            let mut bytes = torn_sector(None);
            bytes[at] = value;
            assert!(repair(&mut bytes, b"FILE").is_err(), "byte {at} = {value}");
        }
    }
}
