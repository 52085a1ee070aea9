//! Reading a pack back: trailer, then the table under its own key, then single chunks. Every length is bounded before it is used.

use super::format::{FormatError, HEADER_LEN, Head, Row, Trailer};
use super::{DIGEST_SPAN, format::ROW_LEN};
use crate::chunk::{ChunkError, ChunkId, Codec, DATA_MAX, Decompressor, METADATA_MAX};
use crate::read::ReadAt;
use crate::seal::{Bound, Keys, Kind, NotAuthentic, PackId, PackKeys, TAG_LEN};
use crate::storage::{Area, Storage, StorageError};
use std::io;

/// What is wrong with a pack, and which.
#[derive(Debug, thiserror::Error)]
#[error("pack {}", .pack.hex())]
pub struct PackError {
    /// The pack.
    pub pack: PackId,
    /// The fault.
    #[source]
    pub fault: PackFault,
}

/// What is wrong with a pack.
#[derive(Debug, thiserror::Error)]
pub enum PackFault {
    /// The file could not be opened or read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Reading failed.
    #[error("could not read {len} bytes at {at}")]
    Read {
        /// Offset in the file.
        at: u64,
        /// Bytes wanted.
        len: usize,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its shape is wrong.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It lies under another pack's name.
    #[error("holds pack {} instead", .0.hex())]
    Swapped(PackId),
    /// Its header was not made with this repository's key.
    #[error("belongs to another repository, or its header is damaged")]
    Foreign,
    /// Its table does not open.
    #[error("the table {0}")]
    Table(NotAuthentic),
    /// A chunk does not open.
    #[error("chunk {chunk} {source}")]
    Chunk {
        /// Which one.
        chunk: ChunkId,
        /// The refusal.
        #[source]
        source: NotAuthentic,
    },
    /// A chunk opens and holds something else.
    #[error("chunk {chunk} {source}")]
    Content {
        /// Which one.
        chunk: ChunkId,
        /// What is wrong.
        #[source]
        source: ChunkError,
    },
    /// It can be read by one trailer, and the other is not what it should be.
    #[error("one of its two trailers is damaged, or something lies behind them")]
    Trailers,
    /// A MiB of the file differs from its digest.
    #[error("bytes {at}.. differ from their digest")]
    Digest {
        /// Where.
        at: u64,
    },
}

/// What a fault says about the pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// There is no such file.
    Gone,
    /// Its bytes are not what they should be.
    Damaged,
    /// The medium cannot read it: a bad sector, or a loose cable.
    Unreadable,
    /// The system refused, which says nothing about the pack: too many open files, no permission, no memory.
    Refused,
}

impl PackFault {
    /// What it says about the pack.
    pub fn nature(&self) -> Nature {
        let source = match self {
            PackFault::Storage(StorageError::Io { source, .. }) | PackFault::Read { source, .. } => source,
            PackFault::Storage(StorageError::Full { .. }) => return Nature::Refused,
            PackFault::Format(_)
            | PackFault::Swapped(_)
            | PackFault::Foreign
            | PackFault::Table(_)
            | PackFault::Chunk { .. }
            | PackFault::Content { .. }
            | PackFault::Trailers
            | PackFault::Digest { .. } => return Nature::Damaged,
        };
        match source.kind() {
            io::ErrorKind::NotFound => Nature::Gone,
            io::ErrorKind::UnexpectedEof => Nature::Damaged,
            _ if source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Nature::Unreadable,
            _ => Nature::Refused,
        }
    }
}

/// An opened pack: its table is in memory, its chunks are read when asked for.
pub struct PackReader {
    id: PackId,
    file: Box<dyn ReadAt>,
    keys: PackKeys,
    trailer: Trailer,
    table: Vec<u8>,
}

/// Buffers one thread reads chunks with.
#[derive(Default)]
pub struct ReadBuffers {
    sealed: Vec<u8>,
    opened: Vec<u8>,
    decompressor: Decompressor,
}

impl PackReader {
    /// Opens a pack and its table.
    pub fn open(storage: &dyn Storage, keys: &Keys, id: PackId) -> Result<PackReader, PackError> {
        Self::try_open(storage, keys, id).map_err(|fault| PackError { pack: id, fault })
    }

    fn try_open(storage: &dyn Storage, keys: &Keys, id: PackId) -> Result<PackReader, PackFault> {
        let file = storage.open(Area::Packs, &id.hex())?;
        let trailer = read_trailer(&*file)?;
        if trailer.head.id != id {
            return Err(PackFault::Swapped(trailer.head.id));
        }
        let pack_keys = keys.pack(id, trailer.head.suite, trailer.head.kind);
        if let Err(fault) = check_header(&*file, &trailer, pack_keys.commitment())
            && digest_differs(&*file, &trailer, 0)? == Differs::No
        {
            return Err(fault); // it is as it was written, by somebody with other keys
        }
        // A header that is damaged says nothing that the trailer does not say, but for the commitment; and what the wrong keys
        // open is no table of ours, nor a chunk by its id.
        let sealed = read(&*file, trailer.body_len, trailer.table_len as usize)?;
        let table = pack_keys.open_table(trailer.count, sealed).map_err(PackFault::Table)?;
        Ok(PackReader { id, file, keys: pack_keys, trailer, table })
    }

    /// Its id.
    pub fn id(&self) -> PackId {
        self.id
    }

    /// Data or metadata.
    pub fn kind(&self) -> Kind {
        self.trailer.head.kind
    }

    /// Length of the file.
    pub fn size(&self) -> u64 {
        self.file.len()
    }

    /// How many chunks it holds.
    pub fn count(&self) -> usize {
        self.table.len() / ROW_LEN
    }

    /// The row at a position of the table.
    pub fn row(&self, position: usize) -> Option<Row> {
        Row::at(&self.table, position)
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        (0..self.count()).filter_map(|position| self.row(position))
    }

    /// Where the table has this chunk.
    pub fn find(&self, chunk: &ChunkId) -> Option<usize> {
        let ids = self.table.as_chunks::<ROW_LEN>().0;
        ids.binary_search_by(|row| row[..32].cmp(&chunk.0)).ok()
    }

    /// Reads, opens and proves a chunk.
    pub fn read_chunk<'b>(
        &self,
        keys: &Keys,
        row: &Row,
        buffers: &'b mut ReadBuffers,
        plain: &'b mut Vec<u8>,
    ) -> Result<(), PackError> {
        self.try_read(keys, row, buffers, plain).map_err(|fault| PackError { pack: self.id, fault })
    }

    fn try_read(
        &self,
        keys: &Keys,
        row: &Row,
        buffers: &mut ReadBuffers,
        plain: &mut Vec<u8>,
    ) -> Result<(), PackFault> {
        let chunk = row.chunk;
        let content = |source| PackFault::Content { chunk, source };
        self.open_stored(row, buffers)?;
        let codec = Codec::from_u8(row.codec).map_err(content)?;
        plain.resize(row.plain_len as usize, 0);
        buffers.decompressor.decompress(codec, &buffers.opened, plain).map_err(content)?;
        if keys.chunk_id(plain) != chunk {
            return Err(content(ChunkError::Mismatch));
        }
        Ok(())
    }

    /// Reads and opens a chunk without decompressing it, to move it into another pack.
    pub fn read_stored<'b>(&self, row: &Row, buffers: &'b mut ReadBuffers) -> Result<&'b [u8], PackError> {
        self.open_stored(row, buffers).map_err(|fault| PackError { pack: self.id, fault })?;
        Ok(&buffers.opened)
    }

    fn open_stored(&self, row: &Row, buffers: &mut ReadBuffers) -> Result<(), PackFault> {
        let limit = match self.kind() {
            Kind::Data => DATA_MAX,
            Kind::Metadata => METADATA_MAX,
        };
        // The table is authentic, so these hold unless a bug wrote it; they still bound what we allocate.
        let stored = row.stored_len as usize;
        if row.plain_len as usize > limit || stored > limit + TAG_LEN {
            return Err(FormatError::Lengths.into());
        }
        buffers.sealed.resize(stored, 0);
        self.file.read_at(row.offset.into(), &mut buffers.sealed).map_err(|source| PackFault::Read {
            at: row.offset.into(),
            len: stored,
            source,
        })?;
        let bound = Bound { slot: row.slot, chunk: row.chunk, plain_len: row.plain_len, codec: row.codec };
        self.keys
            .open_chunk(&bound, &buffers.sealed, &mut buffers.opened)
            .map_err(|source| PackFault::Chunk { chunk: row.chunk, source })
    }
}

/// Finds and reads the trailer of a pack file.
fn read_trailer(file: &dyn ReadAt) -> Result<Trailer, PackFault> {
    let len = Trailer::search_len(file.len());
    let tail = read(file, file.len() - len, len as usize)?;
    Ok(Trailer::find(&tail, file.len())?)
}

/// Compares every MiB of a pack with its digest, and its trailers with each other: a scrub that needs no key.
pub fn scrub(storage: &dyn Storage, id: PackId) -> Result<u64, PackError> {
    let wrap = |fault| PackError { pack: id, fault };
    let file = storage.open(Area::Packs, &id.hex()).map_err(|cause| wrap(cause.into()))?;
    let trailer = read_trailer(&*file).map_err(wrap)?;
    if trailer.head.id != id {
        return Err(wrap(PackFault::Swapped(trailer.head.id)));
    }
    let covered = trailer.body_len + u64::from(trailer.table_len);
    let mut buffer = vec![0; DIGEST_SPAN];
    for position in 0..trailer.digests.len() {
        if digest_differs_in(&*file, &trailer, position, &mut buffer).map_err(wrap)? == Differs::Yes {
            return Err(wrap(PackFault::Digest { at: (position * DIGEST_SPAN) as u64 }));
        }
    }
    let trailers = trailer.bytes().repeat(2);
    if file.len() != covered + trailers.len() as u64 || read(&*file, covered, trailers.len()).map_err(wrap)? != trailers
    {
        return Err(wrap(PackFault::Trailers));
    }
    Ok(file.len())
}

/// Whether bytes are what their digest says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Differs {
    Yes,
    No,
}

fn digest_differs(file: &dyn ReadAt, trailer: &Trailer, position: usize) -> Result<Differs, PackFault> {
    digest_differs_in(file, trailer, position, &mut vec![0; DIGEST_SPAN])
}

fn digest_differs_in(
    file: &dyn ReadAt,
    trailer: &Trailer,
    position: usize,
    buffer: &mut [u8],
) -> Result<Differs, PackFault> {
    let at = (position * DIGEST_SPAN) as u64;
    let covered = trailer.body_len + u64::from(trailer.table_len);
    let len = (covered - at).min(DIGEST_SPAN as u64) as usize;
    file.read_at(at, &mut buffer[..len]).map_err(|source| PackFault::Read { at, len, source })?;
    let same = trailer.digests.get(position).is_some_and(|digest| blake3::hash(&buffer[..len]).as_bytes() == digest);
    Ok(if same { Differs::No } else { Differs::Yes })
}

fn check_header(file: &dyn ReadAt, trailer: &Trailer, expected: &[u8; 32]) -> Result<(), PackFault> {
    let (head, commitment) = Head::parse_header(&read(file, 0, HEADER_LEN)?)?;
    if head == trailer.head && &commitment == expected { Ok(()) } else { Err(PackFault::Foreign) }
}

fn read(file: &dyn ReadAt, at: u64, len: usize) -> Result<Vec<u8>, PackFault> {
    if at.checked_add(len as u64).is_none_or(|end| end > file.len()) {
        return Err(FormatError::NotAPack.into());
    }
    file.read_vec(at, len).map_err(|source| PackFault::Read { at, len, source })
}
