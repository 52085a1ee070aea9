//! Visits every attribute of a file, or of every file in the MFT, in the order the attribute lists give.
//!
//! This is the one place that follows lists into other records. Parts of a stream arrive joined: `begin`, its runs in
//! order, `end`. What does not parse is told as a flaw and the visit goes on behind it.

use super::attribute::{ATTRIBUTE_LIST, Attribute, BITMAP, List, ListEntry, Value};
use super::mft::{Held, damaged, find, load_list};
use super::record::{Record, number_of};
use super::runs::Run;
use super::stream::Stream;
use super::volume::{MFT, Volume};
use crate::fs::FsError;

/// Bytes of the MFT per read.
const WINDOW: usize = 1 << 20;
/// Bytes of the MFT's own bitmap per read: half a million records.
const BITS_WINDOW: u64 = 64 << 10;
/// List entries per record that we follow on average: a list never needs as many as this, a malicious MFT would.
const ENTRIES_PER_RECORD: u64 = 64;

/// Who wants to know. Every error but `FsError::Scratch` would be told as a flaw instead.
pub(super) trait Visitor {
    /// A base record in use, before its attributes.
    fn file(&mut self, number: u64, record: &Record<'_>) -> Result<(), FsError> {
        let _ = (number, record);
        Ok(())
    }
    /// Says which attributes are worth reading another record for.
    fn wants(&self, kind: u32, name: &[u8]) -> bool {
        let _ = (kind, name);
        true
    }
    /// An attribute kept in the record.
    fn resident(&mut self, attribute: &Attribute<'_>, value: &[u8]) -> Result<(), FsError>;
    /// A stream in clusters starts.
    fn begin(&mut self, attribute: &Attribute<'_>) -> Result<(), FsError>;
    /// Its next run.
    fn run(&mut self, run: Run) -> Result<(), FsError>;
    /// It is complete.
    fn end(&mut self) -> Result<(), FsError>;
    /// Something does not parse.
    fn flaw(&mut self, flaw: String) -> Result<(), FsError>;
}

/// How many list entries may still be followed.
pub(super) struct Budget(u64);

impl Budget {
    /// Enough for one sane file.
    pub(super) fn one_file() -> Self {
        Self(1 << 20)
    }

    fn whole(records: u64) -> Self {
        Self(records.saturating_mul(ENTRIES_PER_RECORD).saturating_add(1 << 16))
    }

    fn spend(&mut self, list: &[u8]) -> bool {
        let entries = (list.len() / 26) as u64;
        let enough = entries <= self.0;
        self.0 = self.0.saturating_sub(entries);
        enough
    }
}

/// What a walk over the MFT came across.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// Base records in use.
    pub(super) files: u64,
    /// Extension records in use.
    pub(super) extensions: u64,
}

/// Visits every file.
pub(super) fn all(volume: &Volume<'_>, visitor: &mut dyn Visitor) -> Result<Walked, FsError> {
    let mut walk = Walk {
        volume,
        budget: Budget::whole(volume.mft.records()),
        bits: Bits::open(volume),
        walked: Walked::default(),
    };
    if let Err(cause) = &walk.bits.stream {
        visitor.flaw(format!("$MFT: $BITMAP: {cause}"))?;
    }
    let len = volume.geometry.record_len();
    let per_window = (WINDOW / len) as u64;
    let mut window = vec![0; WINDOW];
    let mut number = 0;
    while number < volume.mft.records() {
        let count = per_window.min(volume.mft.records() - number);
        let bytes = window.get_mut(..count as usize * len).unwrap_or_default();
        let whole = volume.mft.read_raw(number, bytes);
        for record in bytes.chunks_exact_mut(len) {
            // Of a window that could not be read, each record is tried by itself.
            let read = if whole.is_ok() { Ok(()) } else { volume.mft.read_raw(number, record) };
            match read {
                Ok(()) => walk.record(number, record, visitor)?,
                Err(cause) => visitor.flaw(in_record(number, cause))?,
            }
            number += 1;
        }
    }
    Ok(walk.walked)
}

struct Walk<'v, 'd> {
    volume: &'v Volume<'d>,
    budget: Budget,
    bits: Bits<'v, 'd>,
    walked: Walked,
}

impl Walk<'_, '_> {
    fn record(&mut self, number: u64, bytes: &mut [u8], visitor: &mut dyn Visitor) -> Result<(), FsError> {
        // `None` when the bitmap cannot tell; then nothing is excused.
        let free = self.bits.get(number) == Some(false);
        let record = match Record::parse(bytes, number) {
            Ok(record) => record,
            Err(_) if free => return Ok(()),
            Err(flaw) => return visitor.flaw(in_record(number, flaw)),
        };
        if !record.in_use {
            return Ok(());
        }
        if free {
            return visitor.flaw(in_record(number, "in use, but free in the MFT's $BITMAP"));
        }
        if record.base != 0 {
            self.walked.extensions += 1;
            return match record.attributes().find_map(Result::err) {
                Some(flaw) => visitor.flaw(in_record(number, flaw)),
                None => Ok(()),
            };
        }
        self.walked.files += 1;
        visitor.file(number, &record)?;
        visit(self.volume, number, &record, &mut self.budget, visitor)
    }
}

/// Visits the attributes of one file.
pub(super) fn visit(
    volume: &Volume<'_>,
    number: u64,
    base: &Record<'_>,
    budget: &mut Budget,
    visitor: &mut dyn Visitor,
) -> Result<(), FsError> {
    let mut visit = Visit { volume, number, visitor, open: None };
    match find(base, |attribute| attribute.kind == ATTRIBUTE_LIST) {
        None => visit.record(base)?,
        Some(list) => {
            visit.feed(&list)?;
            visit.close()?;
            match load_list(&volume.disk, &volume.geometry, &list) {
                Ok(list) if budget.spend(&list) => visit.list(base, &list)?,
                Ok(_) => visit.flaw("attribute lists are longer than they can be")?,
                Err(cause) => visit.flaw(&format!("attribute list: {cause}"))?,
            }
        }
    }
    visit.close()
}

struct Visit<'v, 'd> {
    volume: &'v Volume<'d>,
    number: u64,
    visitor: &'v mut dyn Visitor,
    open: Option<Open>,
}

/// The stream whose parts arrive.
struct Open {
    kind: u32,
    name: Vec<u8>,
    next: u64,
}

impl Visit<'_, '_> {
    fn record(&mut self, base: &Record<'_>) -> Result<(), FsError> {
        for attribute in base.attributes() {
            match attribute {
                Ok(attribute) if self.visitor.wants(attribute.kind, attribute.name) => self.feed(&attribute)?,
                Ok(_) => {}
                Err(flaw) => self.flaw(flaw)?,
            }
        }
        Ok(())
    }

    fn list(&mut self, base: &Record<'_>, list: &[u8]) -> Result<(), FsError> {
        let mut last: Option<(u64, Held)> = None;
        for entry in List::new(list) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(flaw) => return self.flaw(flaw),
            };
            if entry.kind == ATTRIBUTE_LIST || !self.visitor.wants(entry.kind, entry.name) {
                continue;
            }
            if number_of(entry.reference) == self.number {
                self.entry(base, &entry)?;
                continue;
            }
            if last.as_ref().is_none_or(|(reference, _)| *reference != entry.reference) {
                last = match self.extension(entry.reference) {
                    Ok(held) => Some((entry.reference, held)),
                    Err(cause) => {
                        self.flaw(&format!("attribute list: {cause}"))?;
                        continue;
                    }
                };
            }
            if let Some((_, held)) = &last {
                self.entry(&held.record()?, &entry)?;
            }
        }
        Ok(())
    }

    /// An extension record must be in use and name this file as its base.
    fn extension(&self, reference: u64) -> Result<Held, FsError> {
        let number = number_of(reference);
        let held = self.volume.held(number)?;
        let record = held.record()?;
        let sequence = (reference >> 48) as u16;
        if !record.in_use || number_of(record.base) != self.number || record.base == 0 {
            return Err(damaged(number, "is not an extension of this file"));
        }
        if sequence != 0 && sequence != record.sequence {
            return Err(damaged(number, "was given to another file"));
        }
        Ok(held)
    }

    fn entry(&mut self, record: &Record<'_>, entry: &ListEntry<'_>) -> Result<(), FsError> {
        let named = find(record, |attribute| {
            (attribute.kind, attribute.instance, attribute.name) == (entry.kind, entry.instance, entry.name)
        });
        match named {
            Some(Attribute { value: Value::Mapped(mapping), .. }) if mapping.lowest != entry.lowest => {
                self.flaw("an attribute list entry and its attribute start at different clusters")
            }
            Some(attribute) => self.feed(&attribute),
            None => self.flaw("an attribute list entry has no attribute"),
        }
    }

    fn feed(&mut self, attribute: &Attribute<'_>) -> Result<(), FsError> {
        let mapping = match attribute.value {
            Value::Resident(value) => {
                self.close()?;
                return self.visitor.resident(attribute, value);
            }
            Value::Mapped(mapping) => mapping,
        };
        if mapping.lowest == 0 {
            self.close()?;
            self.visitor.begin(attribute)?;
            self.open = Some(Open { kind: attribute.kind, name: attribute.name.to_vec(), next: 0 });
        }
        let next = match &self.open {
            Some(open) if (open.kind, &open.name[..]) == (attribute.kind, attribute.name) => open.next,
            _ => return self.flaw("a stream has no first part"),
        };
        if mapping.lowest < next {
            return self.flaw("parts of a stream overlap");
        }
        if mapping.lowest > next {
            self.flaw("a part of a stream is missing")?;
        }
        let mut runs = mapping.runs(self.volume.geometry.clusters);
        let mut sound = true;
        for run in runs.by_ref() {
            match run {
                Ok(run) => self.visitor.run(run)?,
                Err(flaw) => {
                    sound = false;
                    self.flaw(flaw)?;
                }
            }
        }
        if sound && !mapping.ends_at(runs.end()) {
            self.flaw("runs do not add up to their attribute")?;
        }
        if let Some(open) = &mut self.open {
            open.next = runs.end();
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), FsError> {
        if self.open.take().is_some() { self.visitor.end() } else { Ok(()) }
    }

    fn flaw(&mut self, flaw: &str) -> Result<(), FsError> {
        self.visitor.flaw(in_record(self.number, flaw))
    }
}

fn in_record(number: u64, what: impl std::fmt::Display) -> String {
    format!("MFT record {number}: {what}")
}

/// The MFT's own bitmap, which tells a free record that was never written from a damaged one.
struct Bits<'v, 'd> {
    volume: &'v Volume<'d>,
    stream: Result<Stream, FsError>,
    start: u64,
    window: Vec<u8>,
}

impl<'v, 'd> Bits<'v, 'd> {
    fn open(volume: &'v Volume<'d>) -> Self {
        let stream = Stream::open(volume, MFT, BITMAP, &[]);
        Self { volume, stream, start: 0, window: Vec::new() }
    }

    /// `None` when the bit is not there or cannot be read.
    fn get(&mut self, number: u64) -> Option<bool> {
        let stream = self.stream.as_ref().ok()?;
        let byte = number / 8;
        let start = byte - byte % BITS_WINDOW;
        if self.window.is_empty() || start != self.start {
            let len = stream.size().checked_sub(start)?.min(BITS_WINDOW);
            self.window = vec![0; len as usize];
            self.start = start;
            if stream.read(self.volume, start, &mut self.window).is_err() {
                self.window.clear();
            }
        }
        let bits = self.window.get((byte - start) as usize)?;
        Some(bits & (1 << (number % 8)) != 0)
    }
}
