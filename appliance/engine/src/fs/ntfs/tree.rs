//! The files of a volume, as `files ls` and `files cp` see them.
//!
//! Sizes and kinds come from a file's own record, not from the copy in its directory, which Windows lets go stale. The
//! filesystem's own files are not listed, but can be looked up by name. `name:stream` looks up a named stream.

use std::sync::{Arc, Mutex, PoisonError};

use super::attribute::{Attribute, DATA, REPARSE_POINT, STANDARD_INFORMATION, Value};
use super::mft::find;
use super::names::{self, Upcase};
use super::record::Record;
use super::runs::Run;
use super::stream::Stream;
use super::volume::{FIRST_USER, ROOT, Volume};
use super::walk::{Budget, Visitor, visit};
use super::{index, reparse};
use crate::fs::{Entry, FileId, FsError, Node, NodeKind, Tree};
use crate::le::{u32_at, u64_at};
use crate::read::ReadAt;

/// The bits of a `FileId` above the record number count the named stream, from one; zero is the file itself.
const STREAM_SHIFT: u32 = 48;
/// More named streams than that cannot be told apart in an id.
const MAX_STREAMS: usize = 0xFFFF;
/// The largest reparse point Windows takes.
const MAX_REPARSE: u64 = 16 << 10;
/// From 1601, where Windows counts from, to 1970.
const EPOCH_SECONDS: i64 = 11_644_473_600;
const TICKS_PER_SECOND: u64 = 10_000_000;

/// An opened volume.
pub(super) struct NtfsTree {
    volume: Volume<'static>,
    upcase: Upcase,
    /// The file read last, so that reading on does not map it again.
    last: Mutex<Option<(FileId, Arc<Stream>)>>,
}

impl NtfsTree {
    pub(super) fn open(disk: Arc<dyn ReadAt>) -> Result<Self, FsError> {
        let volume = Volume::open(disk)?;
        let upcase = Upcase::read(&volume);
        Ok(Self { volume, upcase, last: Mutex::new(None) })
    }

    fn node(&self, number: u64) -> Result<Node, FsError> {
        let held = self.volume.held(number)?;
        let record = held.record()?;
        if !record.in_use || record.base != 0 {
            return Err(FsError::NotFound(format!("MFT record {number} holds no file")));
        }
        let (modified, attributes) = standard_information(&record);
        let link = self.stream(number, &record, REPARSE_POINT, &[])?;
        let link = link.map(|value| value.read_all(&self.volume, MAX_REPARSE)).transpose()?;
        let kind = match &link {
            Some(value) => reparse::kind(value, record.directory, attributes),
            None if record.directory => NodeKind::Directory,
            None => NodeKind::File,
        };
        let size = match (kind, link) {
            (NodeKind::Symlink, Some(value)) => reparse::target(&value).map_or(0, |target| target.len() as u64),
            (NodeKind::File | NodeKind::Other, _) => self.data_size(number, &record)?,
            _ => 0,
        };
        Ok(Node { id: FileId(number), kind, size, modified, mode: None })
    }

    /// Without mapping the file: its first part tells, and lies in the base record of nearly every file.
    fn data_size(&self, number: u64, record: &Record<'_>) -> Result<u64, FsError> {
        let first = find(record, |attribute| attribute.kind == DATA && attribute.name.is_empty());
        Ok(match first.map(|first| first.value) {
            Some(Value::Resident(value)) => value.len() as u64,
            Some(Value::Mapped(mapping)) if mapping.lowest == 0 => mapping.sizes.data,
            _ => self.stream(number, record, DATA, &[])?.map_or(0, |stream| stream.size()),
        })
    }

    fn stream(&self, number: u64, record: &Record<'_>, kind: u32, name: &[u8]) -> Result<Option<Stream>, FsError> {
        Stream::of(&self.volume, number, record, kind, name)
    }

    /// Names of the named data streams, in the order they lie.
    fn stream_names(&self, number: u64, record: &Record<'_>) -> Result<Vec<Vec<u8>>, FsError> {
        let mut names = StreamNames(Vec::new());
        visit(&self.volume, number, record, &mut Budget::one_file(), &mut names)?;
        Ok(names.0)
    }

    /// What a reader of the node reads.
    fn content(&self, id: FileId) -> Result<Stream, FsError> {
        let number = super::record::number_of(id.0);
        let held = self.volume.held(number)?;
        let record = held.record()?;
        let name = match (id.0 >> STREAM_SHIFT) as usize {
            0 => Vec::new(),
            ordinal => {
                let mut names = self.stream_names(number, &record)?;
                if ordinal > names.len() {
                    return Err(FsError::NotFound(format!("stream {ordinal} of MFT record {number}")));
                }
                names.swap_remove(ordinal - 1)
            }
        };
        self.stream(number, &record, DATA, &name)?
            .ok_or_else(|| FsError::NotFound(format!("data of MFT record {number}")))
    }

    /// The record that `name` names in a directory; the exact spelling wins over another case.
    fn number_of(&self, directory: &Node, name: &[u16]) -> Result<Option<u64>, FsError> {
        let number = directory_number(directory)?;
        let held = self.volume.held(number)?;
        let mut found = None;
        let listed = index::each(&self.volume, number, &held.record()?, &mut |entry| {
            if !self.upcase.same(entry.file.name, name) {
                return Ok(true);
            }
            let exact = names::units(entry.file.name).eq(name.iter().copied());
            if exact || found.is_none() {
                found = Some(entry.number);
            }
            Ok(!exact)
        });
        if found.is_none() {
            listed?;
        }
        Ok(found)
    }

    fn named_stream(&self, file: Node, name: &[u16]) -> Result<Option<Node>, FsError> {
        let held = self.volume.held(file.id.0)?;
        let record = held.record()?;
        let names = self.stream_names(file.id.0, &record)?;
        let Some(ordinal) = names.iter().position(|stream| self.upcase.same(stream, name)) else { return Ok(None) };
        let id = FileId(file.id.0 | (ordinal as u64 + 1) << STREAM_SHIFT);
        Ok(Some(Node { id, kind: NodeKind::File, size: self.content(id)?.size(), ..file }))
    }
}

impl Tree for NtfsTree {
    fn root(&self) -> Result<Node, FsError> {
        self.node(ROOT)
    }

    fn list(&self, directory: &Node, each: &mut dyn FnMut(Entry) -> bool) -> Result<(), FsError> {
        let number = directory_number(directory)?;
        let held = self.volume.held(number)?;
        index::each(&self.volume, number, &held.record()?, &mut |entry| {
            if entry.file.alias || entry.number < FIRST_USER {
                return Ok(true);
            }
            // A name without a sound file is still worth showing.
            let node = self.node(entry.number).unwrap_or(Node {
                id: FileId(entry.number),
                kind: NodeKind::Other,
                size: 0,
                modified: 0,
                mode: None,
            });
            Ok(each(Entry { name: names::to_wtf8(entry.file.name), node }))
        })
    }

    fn read(&self, node: &Node, offset: u64, buf: &mut [u8]) -> Result<usize, FsError> {
        match node.kind {
            NodeKind::Symlink => self.read_link(node, offset, buf),
            NodeKind::File => {
                let stream = self.opened(node.id)?;
                stream.read(&self.volume, offset, buf)
            }
            _ => Err(FsError::Unsupported("reading what is not a file".into())),
        }
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>, FsError> {
        let Some(name) = names::to_utf16(name) else { return Ok(None) };
        if let Some(number) = self.number_of(directory, &name)? {
            return self.node(number).map(Some);
        }
        let mut halves = name.splitn(2, |unit| *unit == u16::from(b':'));
        let (Some(file), Some(stream)) = (halves.next(), halves.next()) else { return Ok(None) };
        match self.number_of(directory, file)? {
            Some(number) => self.named_stream(self.node(number)?, stream),
            None => Ok(None),
        }
    }
}

impl NtfsTree {
    fn opened(&self, id: FileId) -> Result<Arc<Stream>, FsError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, stream)) = last.as_ref().filter(|(cached, _)| *cached == id) {
            return Ok(Arc::clone(stream));
        }
        let stream = Arc::new(self.content(id)?);
        *last = Some((id, Arc::clone(&stream)));
        Ok(stream)
    }

    fn read_link(&self, node: &Node, offset: u64, buf: &mut [u8]) -> Result<usize, FsError> {
        let value = Stream::open(&self.volume, node.id.0, REPARSE_POINT, &[])?.read_all(&self.volume, MAX_REPARSE)?;
        let target = reparse::target(&value).unwrap_or_default();
        let rest = usize::try_from(offset).ok().and_then(|at| target.get(at..)).unwrap_or_default();
        buf.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Ok(rest.len().min(buf.len()))
    }
}

fn directory_number(node: &Node) -> Result<u64, FsError> {
    match node.kind {
        NodeKind::Directory => Ok(node.id.0),
        _ => Err(FsError::NotFound(format!("MFT record {} is no directory", node.id.0))),
    }
}

/// Modification time in seconds since 1970, and the file attributes.
fn standard_information(record: &Record<'_>) -> (i64, u32) {
    let found = find(record, |attribute| attribute.kind == STANDARD_INFORMATION);
    let Some(Value::Resident(value)) = found.map(|attribute| attribute.value) else { return (0, 0) };
    let seconds = u64_at(value, 8).map_or(0, |ticks| (ticks / TICKS_PER_SECOND) as i64 - EPOCH_SECONDS);
    (seconds, u32_at(value, 32).unwrap_or(0))
}

/// Collects the names of data streams.
struct StreamNames(Vec<Vec<u8>>);

impl StreamNames {
    fn add(&mut self, attribute: &Attribute<'_>) {
        if attribute.kind == DATA && !attribute.name.is_empty() && self.0.len() < MAX_STREAMS {
            self.0.push(attribute.name.to_vec());
        }
    }
}

impl Visitor for StreamNames {
    fn wants(&self, kind: u32, name: &[u8]) -> bool {
        kind == DATA && !name.is_empty()
    }

    fn resident(&mut self, attribute: &Attribute<'_>, _: &[u8]) -> Result<(), FsError> {
        self.add(attribute);
        Ok(())
    }

    fn begin(&mut self, attribute: &Attribute<'_>) -> Result<(), FsError> {
        self.add(attribute);
        Ok(())
    }

    fn run(&mut self, _: Run) -> Result<(), FsError> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), FsError> {
        Ok(())
    }

    fn flaw(&mut self, flaw: String) -> Result<(), FsError> {
        Err(FsError::Damaged(flaw))
    }
}
