//! One attribute opened for reading: resident, in runs, sparse or compressed, as a reader on Windows would see it.
//!
//! The run map of one stream is held in memory (bounded), its content never is.

use std::sync::{Arc, Mutex, PoisonError};

use super::attribute::{Attribute, Sizes, Value};
use super::compress;
use super::record::Record;
use super::runs::{Run, RunMap};
use super::volume::Volume;
use super::walk::{Budget, Visitor, visit};
use crate::fs::FsError;

/// Windows uses 16 clusters of at most 4 KiB.
const MAX_UNIT: u64 = 1 << 20;

/// An opened attribute.
#[derive(Debug)]
pub(super) struct Stream {
    content: Content,
    sizes: Sizes,
    storage: Storage,
    /// The unit read last: readers ask for less than a unit at a time.
    last: Mutex<Option<(u64, Arc<[u8]>)>>,
}

#[derive(Debug)]
enum Content {
    Resident(Vec<u8>),
    Mapped(RunMap),
}

/// What is between the clusters and the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    Plain,
    /// LZNT1 in units of 2^n clusters.
    Compressed(u8),
    Encrypted,
}

impl Stream {
    /// Opens an attribute of a base record.
    pub(super) fn open(volume: &Volume<'_>, number: u64, kind: u32, name: &[u8]) -> Result<Self, FsError> {
        let held = volume.held(number)?;
        Self::of(volume, number, &held.record()?, kind, name)?
            .ok_or_else(|| FsError::NotFound(format!("attribute {kind:#x} of MFT record {number}")))
    }

    /// Opens an attribute of a record that was read before; `None` when the file has no such attribute.
    pub(super) fn of(
        volume: &Volume<'_>,
        number: u64,
        record: &Record<'_>,
        kind: u32,
        name: &[u8],
    ) -> Result<Option<Self>, FsError> {
        let mut picker = Picker { kind, name, opening: false, picked: None };
        visit(volume, number, record, &mut Budget::one_file(), &mut picker)?;
        Ok(picker.picked)
    }

    /// Length in bytes, as a reader sees it.
    pub(super) fn size(&self) -> u64 {
        self.sizes.data
    }

    /// Bytes that were ever written.
    pub(super) fn initialized(&self) -> u64 {
        self.sizes.initialized
    }

    /// The runs; nothing for a resident stream.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        let map = match &self.content {
            Content::Resident(_) => None,
            Content::Mapped(map) => Some(map),
        };
        map.into_iter().flat_map(RunMap::iter)
    }

    /// Reads from `offset`; returns how many bytes, 0 at the end.
    pub(super) fn read(&self, volume: &Volume<'_>, offset: u64, buf: &mut [u8]) -> Result<usize, FsError> {
        let left = self.sizes.data.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let buf = buf.get_mut(..len).unwrap_or_default();
        let written = self.sizes.initialized.saturating_sub(offset);
        let written = usize::try_from(written).unwrap_or(usize::MAX).min(len);
        let (stored, unwritten) = buf.split_at_mut(written);
        unwritten.fill(0);
        match (&self.content, self.storage) {
            (Content::Resident(value), _) => {
                let at = usize::try_from(offset).unwrap_or(usize::MAX);
                let value = value.get(at..at.saturating_add(stored.len())).ok_or_else(shorter)?;
                stored.copy_from_slice(value);
            }
            (_, Storage::Encrypted) => return Err(FsError::Unsupported("an encrypted file".into())),
            (Content::Mapped(map), Storage::Plain) => map.read(&volume.disk, &volume.geometry, offset, stored)?,
            (Content::Mapped(map), Storage::Compressed(shift)) => {
                self.read_units(volume, map, shift, offset, stored)?;
            }
        }
        Ok(len)
    }

    /// The whole content, when it is no longer than `max`.
    pub(super) fn read_all(&self, volume: &Volume<'_>, max: u64) -> Result<Vec<u8>, FsError> {
        if self.sizes.data > max {
            return Err(FsError::Damaged("a stream is longer than it can be".into()));
        }
        let mut bytes = vec![0; self.sizes.data as usize];
        self.read(volume, 0, &mut bytes)?;
        Ok(bytes)
    }

    fn read_units(
        &self,
        volume: &Volume<'_>,
        map: &RunMap,
        shift: u8,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), FsError> {
        let clusters = 1u64.checked_shl(shift.into()).unwrap_or(u64::MAX);
        let unit = clusters.saturating_mul(volume.geometry.cluster);
        if unit > MAX_UNIT {
            return Err(FsError::Unsupported("a compression unit above 1 MiB".into()));
        }
        let mut offset = offset;
        let mut buf = buf;
        while !buf.is_empty() {
            let bytes = self.unit(volume, map, offset / unit, clusters)?;
            let bytes = bytes.get((offset % unit) as usize..).unwrap_or_default();
            let len = bytes.len().min(buf.len());
            let (now, later) = buf.split_at_mut(len);
            now.copy_from_slice(bytes.get(..len).unwrap_or_default());
            offset = offset.saturating_add(len as u64);
            buf = later;
        }
        Ok(())
    }

    /// A unit is a hole, stored as it is (no hole in it), or compressed (a hole at its end).
    fn unit(&self, volume: &Volume<'_>, map: &RunMap, index: u64, clusters: u64) -> Result<Arc<[u8]>, FsError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = last.as_ref().filter(|(cached, _)| *cached == index) {
            return Ok(Arc::clone(bytes));
        }
        let first = index.saturating_mul(clusters);
        let mut stored = 0;
        while stored < clusters {
            match map.at(first.saturating_add(stored)) {
                Some(run) if run.lcn().is_some() => stored += run.len.min(clusters - stored),
                _ => break,
            }
        }
        let cluster = volume.geometry.cluster;
        let mut bytes = vec![0; (stored * cluster) as usize];
        map.read(&volume.disk, &volume.geometry, first.saturating_mul(cluster), &mut bytes)?;
        if stored < clusters {
            let mut plain = vec![0; (clusters * cluster) as usize];
            compress::expand(&bytes, &mut plain).map_err(|flaw| FsError::Damaged(flaw.into()))?;
            bytes = plain;
        }
        let bytes: Arc<[u8]> = bytes.into();
        *last = Some((index, Arc::clone(&bytes)));
        Ok(bytes)
    }
}

fn shorter() -> FsError {
    FsError::Damaged("a stream is shorter than its size".into())
}

/// Collects one attribute. A flaw in it is an error: half a stream is not readable.
struct Picker<'a> {
    kind: u32,
    name: &'a [u8],
    opening: bool,
    picked: Option<Stream>,
}

impl Picker<'_> {
    fn pick(&mut self, attribute: &Attribute<'_>, content: Content, sizes: Sizes) {
        self.opening = self.picked.is_none() && self.wants(attribute.kind, attribute.name);
        if self.opening {
            let storage = match () {
                () if attribute.is_encrypted() => Storage::Encrypted,
                () if attribute.is_compressed() && sizes.unit != 0 => Storage::Compressed(sizes.unit),
                () => Storage::Plain,
            };
            self.picked = Some(Stream { content, sizes, storage, last: Mutex::new(None) });
        }
    }
}

impl Visitor for Picker<'_> {
    fn wants(&self, kind: u32, name: &[u8]) -> bool {
        (kind, name) == (self.kind, self.name)
    }

    fn resident(&mut self, attribute: &Attribute<'_>, value: &[u8]) -> Result<(), FsError> {
        let len = value.len() as u64;
        let sizes = Sizes { data: len, initialized: len, unit: 0 };
        self.pick(attribute, Content::Resident(value.to_vec()), sizes);
        Ok(())
    }

    fn begin(&mut self, attribute: &Attribute<'_>) -> Result<(), FsError> {
        if let Value::Mapped(mapping) = attribute.value {
            self.pick(attribute, Content::Mapped(RunMap::default()), mapping.sizes);
        }
        Ok(())
    }

    fn run(&mut self, run: Run) -> Result<(), FsError> {
        match self.picked.as_mut().filter(|_| self.opening) {
            Some(Stream { content: Content::Mapped(map), .. }) => {
                map.push(run).map_err(|flaw| FsError::Damaged(flaw.into()))
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), FsError> {
        self.opening = false;
        Ok(())
    }

    fn flaw(&mut self, flaw: String) -> Result<(), FsError> {
        Err(FsError::Damaged(flaw))
    }
}
