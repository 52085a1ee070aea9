//! Names: UTF-16 on disk, WTF-8 outside, compared without case the way the volume itself does it.
//!
//! NTFS takes any 16-bit units, so names with lone surrogates exist and must come out and go in unchanged.

use super::attribute::DATA;
use super::stream::Stream;
use super::volume::{UPCASE, Volume};

/// One entry per UTF-16 unit.
const TABLE_BYTES: u64 = 2 << 16;

/// True when UTF-16LE `name` is the ASCII text `text`, exactly.
pub(super) fn is(name: &[u8], text: &str) -> bool {
    name.len() == 2 * text.len() && units(name).eq(text.bytes().map(u16::from))
}

/// The same, ignoring ASCII case.
pub(super) fn is_ignoring_case(name: &[u8], text: &str) -> bool {
    let lower = |unit: u16| u8::try_from(unit).map_or(unit, |byte| byte.to_ascii_lowercase().into());
    name.len() == 2 * text.len()
        && units(name).map(lower).eq(text.bytes().map(|byte| u16::from(byte.to_ascii_lowercase())))
}

/// UTF-16LE as WTF-8: UTF-8, and a lone surrogate as the three bytes of its number.
pub(in crate::fs) fn to_wtf8(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for unit in char::decode_utf16(units(name)) {
        match unit {
            Ok(character) => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                out.extend([0xE0 | (unit >> 12) as u8, 0x80 | (unit >> 6 & 0x3F) as u8, 0x80 | (unit & 0x3F) as u8]);
            }
        }
    }
    out
}

/// WTF-8 back to UTF-16; `None` when it is no such text.
pub(in crate::fs) fn to_utf16(name: &[u8]) -> Option<Vec<u16>> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while !rest.is_empty() {
        let (good, bad) = match std::str::from_utf8(rest) {
            Ok(text) => (text, &[][..]),
            Err(error) => {
                let (good, bad) = rest.split_at_checked(error.valid_up_to())?;
                (std::str::from_utf8(good).ok()?, bad)
            }
        };
        out.extend(good.encode_utf16());
        rest = match bad {
            [] => bad,
            [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, after @ ..] => {
                out.push(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F));
                after
            }
            _ => return None,
        };
    }
    Some(out)
}

/// The units of a name.
pub(in crate::fs) fn units(name: &[u8]) -> impl Iterator<Item = u16> {
    name.chunks_exact(2).filter_map(|unit| Some(u16::from_le_bytes(unit.try_into().ok()?)))
}

/// How the volume turns lower case into upper case.
pub(in crate::fs) struct Upcase(Vec<u8>);

impl Upcase {
    /// Reads `$UpCase`; without it Unicode's own mapping serves.
    pub(super) fn read(volume: &Volume<'_>) -> Self {
        let table = Stream::open(volume, UPCASE, DATA, &[]).and_then(|stream| stream.read_all(volume, TABLE_BYTES));
        // Best effort: a damaged table must not keep anybody from the files.
        Self(table.ok().filter(|table| table.len() as u64 == TABLE_BYTES).unwrap_or_default())
    }

    /// One mapping per UTF-16 unit; units behind the end of the table map as in Unicode.
    pub(in crate::fs) fn of(table: Vec<u8>) -> Self {
        Self(table)
    }

    /// True when both are the same name to Windows.
    pub(in crate::fs) fn same(&self, name: &[u8], wanted: &[u16]) -> bool {
        name.len() == 2 * wanted.len()
            && units(name).zip(wanted).all(|(one, other)| one == *other || self.upper(one) == self.upper(*other))
    }

    fn upper(&self, unit: u16) -> u16 {
        if let Some(upper) = crate::le::u16_at(&self.0, 2 * usize::from(unit)) {
            return upper;
        }
        let mut upper = char::from_u32(unit.into()).into_iter().flat_map(char::to_uppercase);
        match (upper.next(), upper.next()) {
            (Some(single), None) => u16::try_from(u32::from(single)).unwrap_or(unit),
            _ => unit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn le(units: &[u16]) -> Vec<u8> {
        units.iter().flat_map(|unit| unit.to_le_bytes()).collect()
    }

    #[test]
    fn every_name_comes_back() {
        for name in [
            &[0x61, 0xE4, 0x20AC][..],
            &[0xD83D, 0xDE00],
            &[0xD83D],
            &[0xDE00, 0x61],
            &[0xDE00, 0xD83D, 0xD83D, 0xDE00],
            &[],
        ] {
            assert_eq!(to_utf16(&to_wtf8(&le(name))).as_deref(), Some(name));
        }
        assert_eq!(to_wtf8(&le(&[0xD83D, 0xDE00])), "😀".as_bytes());
        assert_eq!(to_utf16(&[b'a', 0xFF]), None);
        assert_eq!(to_utf16(&[0xED]), None);
    }

    #[test]
    fn case_is_ignored_beyond_ascii() {
        let upcase = Upcase(Vec::new());
        assert!(upcase.same(&le(&[0xE4, 0x42]), &[0xC4, 0x62]));
        assert!(!upcase.same(&le(&[0xE4]), &[0x41]));
        assert!(is_ignoring_case(&le(&[0x50, 0x61]), "pA"));
        assert!(!is(&le(&[0x50]), "p"));
    }
}
