//! Attributes of an MFT record, and the list that says in which records a crowded file keeps the rest of them.
//!
//! Borrowed slices only: every length is checked against the bytes that are there before it is believed.

use super::record::Flaw;
use super::runs::Decoder;
use crate::le::{u8_at, u16_at, u32_at, u64_at};

pub(super) const STANDARD_INFORMATION: u32 = 0x10;
pub(super) const ATTRIBUTE_LIST: u32 = 0x20;
pub(super) const FILE_NAME: u32 = 0x30;
pub(super) const VOLUME_INFORMATION: u32 = 0x70;
pub(super) const DATA: u32 = 0x80;
pub(super) const INDEX_ROOT: u32 = 0x90;
pub(super) const INDEX_ALLOCATION: u32 = 0xA0;
pub(super) const BITMAP: u32 = 0xB0;
pub(super) const REPARSE_POINT: u32 = 0xC0;
const END: u32 = 0xFFFF_FFFF;

const COMPRESSED: u16 = 0x0001;
const ENCRYPTED: u16 = 0x4000;

/// One attribute, or one part of an attribute whose runs are spread over several records.
#[derive(Clone, Copy)]
pub(super) struct Attribute<'a> {
    /// What it is: `DATA`, `FILE_NAME`, …
    pub(super) kind: u32,
    /// UTF-16LE, empty for the unnamed stream.
    pub(super) name: &'a [u8],
    /// Unique in its record; attribute lists refer to it.
    pub(super) instance: u16,
    flags: u16,
    /// Where the value is.
    pub(super) value: Value<'a>,
}

/// Where an attribute keeps its value.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// In the record itself.
    Resident(&'a [u8]),
    /// In clusters.
    Mapped(Mapping<'a>),
}

/// The clusters of an attribute (or part of one).
#[derive(Clone, Copy)]
pub(super) struct Mapping<'a> {
    /// First cluster of the stream that this part maps.
    pub(super) lowest: u64,
    /// Last one; all ones when nothing is mapped.
    highest: u64,
    pairs: &'a [u8],
    /// Sizes are told by the part that starts at zero only.
    pub(super) sizes: Sizes,
}

/// Lengths of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Bytes a reader sees.
    pub(super) data: u64,
    /// Bytes ever written; behind them a reader sees zeros, whatever the disk holds.
    pub(super) initialized: u64,
    /// Clusters per compression unit, as a power of two; zero when not compressed.
    pub(super) unit: u8,
}

impl<'a> Attribute<'a> {
    /// Stored as compression units.
    pub(super) fn is_compressed(&self) -> bool {
        self.flags & COMPRESSED != 0
    }

    /// Stored encrypted by EFS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.flags & ENCRYPTED != 0
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let name_at = usize::from(u16_at(bytes, 10)?);
        let name_len = 2 * usize::from(u8_at(bytes, 9)?);
        let name = if name_len == 0 { &[][..] } else { bytes.get(name_at..name_at.checked_add(name_len)?)? };
        let value = match u8_at(bytes, 8)? {
            0 => {
                let at = usize::from(u16_at(bytes, 20)?);
                let len = u32_at(bytes, 16)? as usize;
                // An empty value may point just past the attribute, or nowhere.
                Value::Resident(if len == 0 { &[] } else { bytes.get(at..at.checked_add(len)?)? })
            }
            1 => Value::Mapped(Mapping {
                lowest: u64_at(bytes, 16)?,
                highest: u64_at(bytes, 24)?,
                pairs: bytes.get(usize::from(u16_at(bytes, 32)?)..)?,
                sizes: Sizes { data: u64_at(bytes, 48)?, initialized: u64_at(bytes, 56)?, unit: u8_at(bytes, 34)? },
            }),
            _ => return None,
        };
        Some(Self { kind: u32_at(bytes, 0)?, name, instance: u16_at(bytes, 14)?, flags: u16_at(bytes, 12)?, value })
    }
}

impl<'a> Mapping<'a> {
    /// The runs, for a volume of `clusters` clusters.
    pub(super) fn runs(&self, clusters: u64) -> Decoder<'a> {
        Decoder::new(self.pairs, self.lowest, clusters)
    }

    /// True when runs that ended before cluster `end` of the stream are all of them. Some formatters leave the field
    /// zero, so zero proves nothing.
    pub(super) fn ends_at(&self, end: u64) -> bool {
        self.highest == 0 || self.highest.wrapping_add(1) == end
    }
}

/// Walks the attributes of a record. Ends after the first flaw, as nothing behind it can be found.
pub(super) struct Attributes<'a> {
    rest: &'a [u8],
    done: bool,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, done: false }
    }

    fn step(&mut self) -> Result<Option<Attribute<'a>>, Flaw> {
        let kind = u32_at(self.rest, 0).ok_or("attributes have no end")?;
        if kind == END {
            return Ok(None);
        }
        let len = u32_at(self.rest, 4).ok_or("attributes have no end")? as usize;
        if len < 24 || !len.is_multiple_of(8) {
            return Err("an attribute has an impossible length");
        }
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or("an attribute leaves its record")?;
        self.rest = rest;
        Attribute::parse(bytes).map(Some).ok_or("an attribute does not parse")
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let step = self.step().transpose();
        self.done = !matches!(step, Some(Ok(_)));
        step
    }
}

/// One line of an attribute list: which record holds which attribute, or which part of it.
#[derive(Clone, Copy)]
pub(super) struct ListEntry<'a> {
    pub(super) kind: u32,
    pub(super) name: &'a [u8],
    /// First cluster of the stream that the part maps.
    pub(super) lowest: u64,
    /// Record that holds it, with sequence number.
    pub(super) reference: u64,
    pub(super) instance: u16,
}

/// Walks an attribute list; ends after the first flaw.
pub(super) struct List<'a> {
    rest: &'a [u8],
}

impl<'a> List<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn step(&mut self) -> Option<ListEntry<'a>> {
        let bytes = std::mem::take(&mut self.rest);
        let len = usize::from(u16_at(bytes, 4)?);
        if len < 26 {
            return None;
        }
        let (entry, rest) = bytes.split_at_checked(len)?;
        let name_at = usize::from(u8_at(entry, 7)?);
        let name_len = 2 * usize::from(u8_at(entry, 6)?);
        let name = if name_len == 0 { &[][..] } else { entry.get(name_at..name_at.checked_add(name_len)?)? };
        self.rest = rest;
        Some(ListEntry {
            kind: u32_at(entry, 0)?,
            name,
            lowest: u64_at(entry, 8)?,
            reference: u64_at(entry, 16)?,
            instance: u16_at(entry, 24)?,
        })
    }
}

impl<'a> Iterator for List<'a> {
    type Item = Result<ListEntry<'a>, Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        // A type of zero is padding behind the last entry.
        if self.rest.is_empty() || u32_at(self.rest, 0) == Some(0) {
            return None;
        }
        Some(self.step().ok_or("an attribute list entry does not parse"))
    }
}

/// The value of a `FILE_NAME` attribute, which is also the key of a directory entry.
#[derive(Clone, Copy)]
pub(super) struct FileName<'a> {
    /// Record number of the directory.
    pub(super) parent: u64,
    /// True for the 8.3 alias of a file that also has a long name.
    pub(super) alias: bool,
    /// UTF-16LE.
    pub(super) name: &'a [u8],
}

impl<'a> FileName<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let len = 2 * usize::from(u8_at(value, 64)?);
        Some(Self {
            parent: super::record::number_of(u64_at(value, 0)?),
            alias: u8_at(value, 65)? == 2,
            name: value.get(66..66usize.checked_add(len)?)?,
        })
    }
}
