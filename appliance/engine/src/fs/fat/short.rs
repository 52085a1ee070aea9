//! Names of FAT: eight characters and three in an old code page, or a long name in the entries before.
//!
//! Short names are read in code page 437, which is Linux's default too; where Windows wrote another one, a long name
//! stands beside it.

use crate::le::{array_at, u8_at};

/// Code page 437 from 0x80 on.
const UPPER_HALF: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
/// Windows NT keeps a short name that is all lower case without a long one, by these bits.
const LOWER_BASE: u8 = 8;
const LOWER_EXTENSION: u8 = 16;
/// A long name has up to 20 parts of 13 units.
const MAX_PARTS: u8 = 20;
const PART_BYTES: usize = 26;
const LAST_PART: u8 = 0x40;

/// The short name of an entry as UTF-16LE.
pub(super) fn short(entry: &[u8]) -> Vec<u8> {
    let case = u8_at(entry, 12).unwrap_or_default();
    let mut text = String::new();
    part(&mut text, entry.get(..8).unwrap_or_default(), case & LOWER_BASE != 0);
    let base = text.len();
    text.push('.');
    part(&mut text, entry.get(8..11).unwrap_or_default(), case & LOWER_EXTENSION != 0);
    if text.len() == base + 1 {
        text.truncate(base);
    }
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn part(text: &mut String, padded: &[u8], lower: bool) {
    let len = padded.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    for (index, byte) in padded.iter().take(len).enumerate() {
        // A name that begins with the mark of deleted entries is stored with 5 instead.
        let byte = if index == 0 && *byte == 5 { 0xE5 } else { *byte };
        let character = match byte.checked_sub(0x80) {
            Some(upper) => UPPER_HALF.chars().nth(upper.into()).unwrap_or(char::REPLACEMENT_CHARACTER),
            None => char::from(byte),
        };
        match lower {
            true => text.extend(character.to_lowercase()),
            false => text.push(character),
        }
    }
}

/// Collects the parts of a long name, which come last part first.
#[derive(Default)]
pub(super) struct LongName {
    /// UTF-16LE; parts that come later stand before.
    units: Vec<u8>,
    checksum: u8,
    /// Parts that are still to come.
    missing: u8,
}

impl LongName {
    /// Takes one part; a part out of order drops the name.
    pub(super) fn part(&mut self, entry: &[u8]) {
        let number = u8_at(entry, 0).unwrap_or_default();
        let checksum = u8_at(entry, 13).unwrap_or_default();
        if number & LAST_PART != 0 {
            *self = Self { units: Vec::new(), checksum, missing: number & !LAST_PART };
            if self.missing > MAX_PARTS {
                self.missing = 0;
            }
        }
        if self.missing == 0 || self.missing != number & !LAST_PART || self.checksum != checksum {
            return self.drop_parts();
        }
        self.missing -= 1;
        let mut part = Vec::with_capacity(PART_BYTES);
        for range in [1..11, 14..26, 28..32] {
            part.extend_from_slice(entry.get(range).unwrap_or_default());
        }
        self.units.splice(..0, part);
    }

    /// The name that belongs to this short entry, as UTF-16LE. Leaves nothing for the next one.
    pub(super) fn take(&mut self, entry: &[u8]) -> Option<Vec<u8>> {
        let name = std::mem::take(self);
        let short: [u8; 11] = array_at(entry, 0)?;
        let checksum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if name.missing != 0 || name.checksum != checksum {
            return None;
        }
        let mut units = name.units;
        let end = units.chunks_exact(2).position(|unit| unit == [0, 0]);
        units.truncate(end.map_or(units.len(), |end| 2 * end));
        Some(units).filter(|units| !units.is_empty())
    }

    /// Forgets what was collected.
    pub(super) fn drop_parts(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(utf16: &[u8]) -> String {
        String::from_utf8(crate::fs::ntfs::names::to_wtf8(utf16)).unwrap()
    }

    fn entry(name: &[u8; 11], case: u8) -> Vec<u8> {
        let mut entry = vec![0; 32];
        entry[..11].copy_from_slice(name);
        entry[12] = case;
        entry
    }

    fn part(number: u8, checksum: u8, units: &str) -> Vec<u8> {
        let mut units: Vec<u16> = units.encode_utf16().collect();
        if units.len() < 13 {
            units.push(0);
            units.resize(13, 0xFFFF);
        }
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let mut entry = vec![0; 32];
        entry[0] = number;
        entry[11] = 15;
        entry[13] = checksum;
        entry[1..11].copy_from_slice(&bytes[..10]);
        entry[14..26].copy_from_slice(&bytes[10..22]);
        entry[28..32].copy_from_slice(&bytes[22..]);
        entry
    }

    #[test]
    fn short_names_are_read_as_dos_and_windows_wrote_them() {
        assert_eq!(UPPER_HALF.chars().count(), 128);
        assert_eq!(text(&short(&entry(b"README  TXT", 0))), "README.TXT");
        assert_eq!(text(&short(&entry(b"README  TXT", 8))), "readme.TXT");
        assert_eq!(text(&short(&entry(b"MAKEFILE   ", 8 | 16))), "makefile");
        assert_eq!(text(&short(&entry(b"\x05A B\x8E   C  ", 0))), "σA BÄ.C");
    }

    #[test]
    fn long_names_need_all_parts_and_the_checksum() {
        let short = entry(b"ALONGN~1TXT", 0);
        let sum = short[..11].iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let read = |parts: &[Vec<u8>]| {
            let mut name = LongName::default();
            parts.iter().for_each(|entry| name.part(entry));
            name.take(&short).map(|name| text(&name))
        };
        let (tail, head) = (part(0x42, sum, "name.txt"), part(1, sum, "a long, long "));
        assert_eq!(read(&[tail.clone(), head.clone()]).as_deref(), Some("a long, long name.txt"));
        assert_eq!(read(&[part(0x41, sum, "exactly13char")]).as_deref(), Some("exactly13char"));
        assert_eq!(read(&[head.clone(), tail.clone()]), None);
        assert_eq!(read(std::slice::from_ref(&tail)), None);
        assert_eq!(read(&[part(0x42, sum ^ 1, "name.txt"), head.clone()]), None);
        assert_eq!(read(&[part(0x41, sum ^ 1, "orphan")]), None);
        assert_eq!(read(&[part(0x40, sum, "none"), head]), None);
        assert_eq!(read(&[]), None);
    }
}
