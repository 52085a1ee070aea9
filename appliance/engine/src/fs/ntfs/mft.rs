//! The master file table: finds its own runs, which the table itself describes, and reads records out of it.
//!
//! Only what record 0 (or, when that is damaged, its mirror) leads to in order is used: a part of the table must be
//! found in the parts known before it, so no cycle is possible.

use std::sync::{Arc, Mutex, PoisonError};

use super::attribute::{ATTRIBUTE_LIST, Attribute, DATA, List, Sizes, Value};
use super::boot::Geometry;
use super::record::{Flaw, Record, number_of};
use super::runs::RunMap;
use crate::fs::FsError;
use crate::read::ReadAt;

/// Windows stops at 256 KiB; more only makes damage expensive.
const MAX_LIST: u64 = 4 << 20;

/// Records near each other are asked for together: one read serves most entries of a directory.
const CACHE_BYTES: u64 = 32 << 10;

/// The table of records.
pub(super) struct Mft<'d> {
    disk: Arc<dyn ReadAt + 'd>,
    geometry: Geometry,
    map: RunMap,
    records: u64,
    cache: Mutex<Option<(u64, Vec<u8>)>>,
}

/// One record, repaired and owned.
pub(super) struct Held {
    bytes: Vec<u8>,
    number: u64,
}

impl Held {
    /// The record; it was checked when it was read, so this fails only if that check changes.
    pub(super) fn record(&self) -> Result<Record<'_>, FsError> {
        Record::repaired(&self.bytes, self.number).map_err(|flaw| damaged(self.number, flaw))
    }
}

impl<'d> Mft<'d> {
    /// Finds the table. What does not fit on the way is pushed to `doubts`.
    pub(super) fn open(
        disk: Arc<dyn ReadAt + 'd>,
        geometry: Geometry,
        doubts: &mut Vec<String>,
    ) -> Result<Self, FsError> {
        let mut mft = Self { disk, geometry, map: RunMap::default(), records: 0, cache: Mutex::new(None) };
        let first = mft.first_record(geometry.mft).or_else(|cause| {
            doubts.push(format!("$MFT: {cause}; its mirror is used"));
            mft.first_record(geometry.mirror)
        })?;
        if let Err(cause) = mft.find_parts(&first) {
            doubts.push(format!("$MFT: {cause}"));
        }
        if mft.records == 0 {
            return Err(FsError::Unusable("NTFS: the MFT has no records".into()));
        }
        Ok(mft)
    }

    /// How many records there are, in use or not.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Reads one record, repaired.
    pub(super) fn held(&self, number: u64) -> Result<Held, FsError> {
        if number >= self.records {
            return Err(damaged(number, "is not in the MFT"));
        }
        let mut bytes = self.cached(number)?;
        Record::parse(&mut bytes, number).map_err(|flaw| damaged(number, flaw))?;
        Ok(Held { bytes, number })
    }

    /// Fills `buf` with the records from `number` on, as they lie on disk.
    pub(super) fn read_raw(&self, number: u64, buf: &mut [u8]) -> Result<(), FsError> {
        self.map.read(&self.disk, &self.geometry, number.saturating_mul(self.geometry.record), buf)
    }

    fn cached(&self, number: u64) -> Result<Vec<u8>, FsError> {
        let per_block = (CACHE_BYTES / self.geometry.record).max(1);
        let block = number / per_block;
        let within = ((number % per_block) * self.geometry.record) as usize;
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.as_ref().is_none_or(|(cached, _)| *cached != block) {
            let count = per_block.min(self.records.saturating_sub(block * per_block));
            let mut bytes = vec![0; (count * self.geometry.record) as usize];
            // One bad sector must not hide its neighbours: without the block, the record is read alone.
            *cache = self.read_raw(block * per_block, &mut bytes).ok().map(|()| (block, bytes));
        }
        if let Some(bytes) =
            cache.as_ref().and_then(|(_, bytes)| bytes.get(within..within + self.geometry.record_len()))
        {
            return Ok(bytes.to_vec());
        }
        let mut bytes = vec![0; self.geometry.record_len()];
        self.read_raw(number, &mut bytes)?;
        Ok(bytes)
    }

    /// Record 0 at a known place, with an unnamed data stream to start from.
    fn first_record(&mut self, lcn: u64) -> Result<Held, FsError> {
        if lcn >= self.geometry.clusters {
            return Err(FsError::Unusable("NTFS: the MFT mirror lies outside the volume".into()));
        }
        let at = lcn * self.geometry.cluster;
        let mut bytes = vec![0; self.geometry.record_len()];
        self.disk.read_at(at, &mut bytes).map_err(|source| FsError::Read { at, source })?;
        let record = Record::parse(&mut bytes, 0).map_err(|flaw| damaged(0, flaw))?;
        if !record.in_use {
            return Err(damaged(0, "is not in use"));
        }
        let mut map = RunMap::default();
        let data = find(&record, |attribute| attribute.kind == DATA && attribute.name.is_empty())
            .ok_or_else(|| damaged(0, "has no data"))?;
        let Value::Mapped(mapping) = data.value else { return Err(damaged(0, "holds its own table")) };
        map.extend(mapping.runs(self.geometry.clusters)).map_err(|flaw| damaged(0, flaw))?;
        self.map = map;
        self.count(mapping.sizes);
        Ok(Held { bytes, number: 0 })
    }

    /// Follows record 0's attribute list to the other parts of the table.
    fn find_parts(&mut self, first: &Held) -> Result<(), FsError> {
        let record = first.record()?;
        let sizes = match find(&record, |attribute| attribute.kind == DATA && attribute.name.is_empty()) {
            Some(Attribute { value: Value::Mapped(mapping), .. }) => mapping.sizes,
            _ => Sizes::default(),
        };
        if let Some(list) = find(&record, |attribute| attribute.kind == ATTRIBUTE_LIST) {
            let list = load_list(&self.disk, &self.geometry, &list)?;
            for entry in List::new(&list) {
                let entry = entry.map_err(|flaw| damaged(0, flaw))?;
                if entry.kind != DATA || !entry.name.is_empty() || entry.lowest == 0 {
                    continue;
                }
                let number = number_of(entry.reference);
                let held = self.held(number)?;
                let part = held.record()?;
                let part = find(&part, |attribute| attribute.kind == DATA && attribute.instance == entry.instance)
                    .ok_or_else(|| damaged(number, "does not hold its part of the MFT"))?;
                let Value::Mapped(mapping) = part.value else {
                    return Err(damaged(number, "holds a resident part of the MFT"));
                };
                self.map.extend(mapping.runs(self.geometry.clusters)).map_err(|flaw| damaged(number, flaw))?;
                self.count(sizes);
            }
        }
        if self.map.end().saturating_mul(self.geometry.cluster) < sizes.data {
            return Err(FsError::Damaged("parts of the table are missing".into()));
        }
        Ok(())
    }

    /// Records behind the initialized length were never written.
    fn count(&mut self, sizes: Sizes) {
        let mapped = self.map.end().saturating_mul(self.geometry.cluster);
        self.records = sizes.data.min(sizes.initialized).min(mapped) / self.geometry.record;
        // A block cached before may end where the table ended then.
        *self.cache.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The content of an attribute list, which is mapped by its base record alone.
pub(super) fn load_list(disk: &dyn ReadAt, geometry: &Geometry, list: &Attribute<'_>) -> Result<Vec<u8>, FsError> {
    match list.value {
        Value::Resident(value) => Ok(value.to_vec()),
        Value::Mapped(mapping) => {
            if mapping.sizes.data > MAX_LIST {
                return Err(FsError::Damaged("the attribute list is too long".into()));
            }
            let mut map = RunMap::default();
            map.extend(mapping.runs(geometry.clusters)).map_err(|flaw| FsError::Damaged(flaw.into()))?;
            let mut bytes = vec![0; mapping.sizes.data as usize];
            map.read(disk, geometry, 0, &mut bytes)?;
            Ok(bytes)
        }
    }
}

/// The first attribute that fits, among those that parse.
pub(super) fn find<'a>(record: &Record<'a>, fits: impl Fn(&Attribute<'a>) -> bool) -> Option<Attribute<'a>> {
    record.attributes().map_while(Result::ok).find(fits)
}

/// A flaw, with the record it is in.
pub(super) fn damaged(number: u64, flaw: Flaw) -> FsError {
    FsError::Damaged(format!("MFT record {number}: {flaw}"))
}
