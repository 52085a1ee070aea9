//! Directories of exFAT: turns sets of 32-byte entries into files, and finds bitmap and upper-case table.
//!
//! A set has a checksum, and one that does not fit is not believed: what it owns then stays without an owner.

use std::ops::ControlFlow;

use crate::fs::fat::content::Block;
use crate::fs::fat::time;
use crate::fs::fat::volume::{Place, Volume};
use crate::fs::{FileId, FsError};
use crate::le::{u8_at, u16_at, u32_at, u64_at};

const ENTRY: usize = 32;
/// The format allows no larger directory.
pub(super) const MAX_BYTES: u64 = 256 << 20;

const BITMAP: u8 = 0x81;
const UPCASE: u8 = 0x82;
const LABEL: u8 = 0x83;
const FILE: u8 = 0x85;
const STREAM: u8 = 0xC0;
const NAME: u8 = 0xC1;
const IN_USE: u8 = 0x80;
const SECONDARY: u8 = 0x40;
/// What a driver may ignore when it does not know it.
const BENIGN: u8 = 0x20;

const ATTRIBUTE_DIRECTORY: u16 = 0x10;
const NO_CHAIN: u8 = 2;
const NAME_UNITS_PER_ENTRY: usize = 15;
/// Set in a `FileId` above the cluster number when the file lies in one piece.
const CONTIGUOUS: u64 = 1 << 32;

/// One thing in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    File(File),
    Bitmap {
        first: u32,
        len: u64,
    },
    Upcase {
        first: u32,
        len: u64,
        checksum: u32,
    },
    /// Something that does not fit together, in words.
    Flaw(String),
}

/// One file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// UTF-16LE.
    pub(super) name: Vec<u8>,
    pub(super) directory: bool,
    /// Zero for an empty file.
    pub(super) first: u32,
    pub(super) contiguous: bool,
    /// Bytes that were written; behind them the file reads as zeros.
    pub(super) valid: u64,
    pub(super) size: u64,
    pub(super) modified: i64,
}

impl File {
    /// Its name to the outside: first cluster, and whether that is all there is to know.
    pub(super) fn id(&self) -> FileId {
        match self.first {
            0 => FileId(0),
            first => FileId(u64::from(first) | if self.contiguous { CONTIGUOUS } else { 0 }),
        }
    }
}

/// The clusters of a file of `size` bytes.
pub(super) fn place(id: FileId, size: u64, cluster: u64) -> Place {
    match id.0 & CONTIGUOUS {
        0 => Place::Chain(id.0 as u32),
        _ => Place::Contiguous(id.0 as u32, size.div_ceil(cluster)),
    }
}

/// Calls `each` for everything in the first `len` bytes of a directory.
pub(super) fn each(
    volume: &Volume<'_>,
    place: Place,
    len: u64,
    each: &mut dyn FnMut(Found) -> Result<ControlFlow<()>, FsError>,
) -> Result<(), FsError> {
    let mut sets = Sets::default();
    let mut found = Vec::new();
    let mut stopped = false;
    volume.blocks(place, len, &mut |(_, bytes): Block<'_>| {
        let mut flow = ControlFlow::Continue(());
        match bytes {
            Ok(bytes) => {
                for entry in bytes.chunks_exact(ENTRY) {
                    flow = sets.feed(entry, &mut found);
                    for one in found.drain(..) {
                        stopped |= each(one)?.is_break();
                    }
                    if stopped || flow.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Err(cause) => {
                sets = Sets::default();
                stopped |= each(Found::Flaw(cause.to_string()))?.is_break();
            }
        }
        Ok(if stopped { ControlFlow::Break(()) } else { flow })
    })?;
    sets.interrupt(&mut found);
    for one in found.drain(..).filter(|_| !stopped) {
        if each(one)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The set whose entries arrive.
#[derive(Default)]
struct Sets {
    open: Vec<u8>,
    /// Entries that are still to come.
    missing: usize,
}

impl Sets {
    fn feed(&mut self, entry: &[u8], found: &mut Vec<Found>) -> ControlFlow<()> {
        let kind = u8_at(entry, 0).unwrap_or_default();
        if kind & IN_USE == 0 || kind & SECONDARY == 0 {
            self.interrupt(found);
        }
        match kind {
            0 => return ControlFlow::Break(()),
            _ if kind & IN_USE == 0 => {}
            FILE => {
                self.open = entry.to_vec();
                self.missing = u8_at(entry, 1).unwrap_or_default().into();
            }
            _ if kind & SECONDARY != 0 => {
                if let Some(missing) = self.missing.checked_sub(1) {
                    self.open.extend_from_slice(entry);
                    self.missing = missing;
                    if missing == 0 {
                        found.push(file(&std::mem::take(&mut self.open)));
                    }
                }
            }
            _ => found.extend(alone(kind, entry)),
        }
        ControlFlow::Continue(())
    }

    /// Something else begins, so an open set stays incomplete.
    fn interrupt(&mut self, found: &mut Vec<Found>) {
        if !std::mem::take(&mut self.open).is_empty() {
            self.missing = 0;
            found.push(Found::Flaw("a set of entries is not complete".into()));
        }
    }
}

/// A primary entry without a set.
fn alone(kind: u8, entry: &[u8]) -> Option<Found> {
    let (first, len) = (u32_at(entry, 20)?, u64_at(entry, 24)?);
    match kind {
        // The second bitmap belongs to a second FAT, and such volumes were refused.
        BITMAP if u8_at(entry, 1)? & 1 == 0 => Some(Found::Bitmap { first, len }),
        UPCASE => Some(Found::Upcase { first, len, checksum: u32_at(entry, 4)? }),
        LABEL => None,
        _ if kind & BENIGN != 0 => None,
        _ => Some(Found::Flaw(format!("an entry of unknown kind {kind:#x}"))),
    }
}

/// A file entry with all that belongs to it.
fn file(set: &[u8]) -> Found {
    parse(set).map_or_else(|why| Found::Flaw(why.into()), Found::File)
}

fn parse(set: &[u8]) -> Result<File, &'static str> {
    let short = "a set of entries is cut off";
    let counted = set.iter().enumerate().filter(|(at, _)| !matches!(at, 2 | 3));
    let sum = counted.fold(0u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)));
    if u16_at(set, 2) != Some(sum) {
        return Err("the checksum of a set of entries does not fit");
    }
    let stream = set.get(ENTRY..2 * ENTRY).ok_or(short)?;
    if u8_at(stream, 0) != Some(STREAM) {
        return Err("a file has no stream");
    }
    let units = usize::from(u8_at(stream, 3).ok_or(short)?);
    let names = set.get(2 * ENTRY..).unwrap_or_default().chunks_exact(ENTRY);
    let mut name = Vec::with_capacity(2 * units);
    for entry in names.take(units.div_ceil(NAME_UNITS_PER_ENTRY)) {
        if u8_at(entry, 0) == Some(NAME) {
            name.extend_from_slice(entry.get(2..).unwrap_or_default());
        }
    }
    if units == 0 || name.len() < 2 * units {
        return Err("a file has no name");
    }
    name.truncate(2 * units);
    let file = File {
        name,
        directory: u16_at(set, 4).ok_or(short)? & ATTRIBUTE_DIRECTORY != 0,
        first: u32_at(stream, 20).ok_or(short)?,
        contiguous: u8_at(stream, 1).ok_or(short)? & NO_CHAIN != 0,
        valid: u64_at(stream, 8).ok_or(short)?,
        size: u64_at(stream, 24).ok_or(short)?,
        modified: modified(set).ok_or(short)?,
    };
    if file.valid > file.size {
        return Err("more bytes of a file are valid than it has");
    }
    if file.first == 0 && file.size > 0 {
        return Err("a file with bytes has no clusters");
    }
    Ok(file)
}

/// Local time, and how far it was from UTC in quarters of an hour where the driver knew.
fn modified(set: &[u8]) -> Option<i64> {
    let local = time::seconds(u16_at(set, 14)?, u16_at(set, 12)?);
    let zone = u8_at(set, 23)?;
    // Seven bits with a sign, below a bit that says they count.
    let quarters = i64::from((zone << 1).cast_signed() >> 1);
    Some(if zone & 0x80 != 0 { local - quarters * 900 } else { local })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Vec<u8> {
        let units: Vec<u16> = name.encode_utf16().collect();
        let mut set = vec![0u8; ENTRY * (2 + units.len().div_ceil(15))];
        set[0] = FILE;
        set[1] = (set.len() / ENTRY - 1) as u8;
        set[12..16].copy_from_slice(&(((46 << 9 | 2 << 5 | 3) << 16) | (12 << 11) as u32).to_le_bytes());
        set[23] = 0x80 | 0x7C;
        set[32] = STREAM;
        set[33] = 3;
        set[35] = units.len() as u8;
        set[40] = 100;
        set[52] = 9;
        set[56] = 200;
        for (entry, units) in set[64..].chunks_exact_mut(ENTRY).zip(units.chunks(15)) {
            entry[0] = NAME;
            for (at, unit) in units.iter().enumerate() {
                entry[2 + 2 * at..4 + 2 * at].copy_from_slice(&unit.to_le_bytes());
            }
        }
        seal(&mut set);
        set
    }

    fn seal(set: &mut [u8]) {
        let counted = set.iter().enumerate().filter(|(at, _)| !matches!(at, 2 | 3));
        let sum = counted.fold(0u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)));
        set[2..4].copy_from_slice(&sum.to_le_bytes());
    }

    fn found(entries: &[u8]) -> Vec<Found> {
        let (mut sets, mut found) = (Sets::default(), Vec::new());
        for entry in entries.chunks_exact(ENTRY) {
            if sets.feed(entry, &mut found).is_break() {
                break;
            }
        }
        sets.interrupt(&mut found);
        found
    }

    #[test]
    fn a_set_becomes_a_file() {
        let found = found(&set("a name of more than fifteen units"));
        let [Found::File(file)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((file.valid, file.size, file.first, file.contiguous), (100, 200, 9, true));
        // 2026-02-03 12:00, one hour east of the prime meridian less two: -4 quarters.
        assert_eq!(file.modified, 1_770_120_000 + 3600);
        assert_eq!(file.name.len(), 66);
        assert_eq!(file.id(), FileId(9 | 1 << 32));
        assert_eq!(place(file.id(), 200, 64), Place::Contiguous(9, 4));
    }

    #[test]
    fn sets_that_do_not_fit_are_flaws() {
        let good = set("name");
        let mut summed = good.clone();
        summed[70] ^= 1;
        assert!(matches!(found(&summed)[..], [Found::Flaw(_)]));
        assert!(matches!(found(&[&good[..64], &good[..]].concat())[..], [Found::Flaw(_), Found::File(_)]));
        assert!(matches!(found(&[&good[..64], &[0; 32][..]].concat())[..], [Found::Flaw(_)]));
        let mut valid = good.clone();
        valid[40] = 201;
        seal(&mut valid);
        assert!(matches!(found(&valid)[..], [Found::Flaw(_)]));
        assert_eq!(found(&good[32..]), []);
        assert!(matches!(found(&[0x9F; 32])[..], [Found::Flaw(_)]));
        assert_eq!(found(&[0xA0; 32]), []);
    }
}
