//! Building a pack: workers draw slots and seal, one writer appends. The file streams out while it grows, so memory holds
//! a buffer and the table, never a pack.

use super::format::{Head, Row, Trailer};
use super::{DIGEST_SPAN, TARGET};
use crate::chunk::ChunkId;
use crate::seal::{Bound, Keys, Kind, PackId, PackKeys, Suite};
use crate::storage::{Area, Draft, Storage, StorageError};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A pack that takes chunks. Slots are drawn when a worker seals: gaps are legal, repeats are not.
pub struct OpenPack {
    head: Head,
    keys: PackKeys,
    next_slot: AtomicU32,
    drawn_bytes: AtomicU64,
}

impl OpenPack {
    /// A new pack under a fresh id.
    pub fn new(keys: &Keys, suite: Suite, kind: Kind) -> Self {
        let id = PackId::random();
        OpenPack {
            head: Head { suite, kind, epoch: crate::seal::EPOCH, id },
            keys: keys.pack(id, suite, kind),
            next_slot: AtomicU32::new(0),
            drawn_bytes: AtomicU64::new(0),
        }
    }

    /// Its id.
    pub fn id(&self) -> PackId {
        self.head.id
    }

    /// Data or metadata.
    pub fn kind(&self) -> Kind {
        self.head.kind
    }

    /// Draws a slot for a chunk of about `len` stored bytes.
    pub fn draw(&self, len: usize) -> u32 {
        self.drawn_bytes.fetch_add(len as u64, Ordering::Relaxed);
        self.next_slot.fetch_add(1, Ordering::Relaxed)
    }

    /// How many slots were drawn.
    pub fn drawn(&self) -> u32 {
        self.next_slot.load(Ordering::Acquire)
    }

    /// True when the next chunk belongs in another pack: enough bytes, or a table of 3 MiB.
    pub fn is_full(&self) -> bool {
        self.drawn_bytes.load(Ordering::Relaxed) >= TARGET || self.drawn() >= 65_536
    }

    /// Seals `buf` in place.
    pub fn seal(&self, bound: &Bound, buf: &mut Vec<u8>) {
        self.keys.seal_chunk(bound, buf, 0);
    }

    /// Opens what was just sealed, to prove it before it is committed.
    pub fn open(&self, bound: &Bound, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), crate::seal::NotAuthentic> {
        self.keys.open_chunk(bound, sealed, out)
    }
}

/// A pack that is complete, written, and not yet durable.
pub struct Finished {
    draft: Box<dyn Draft>,
    /// Its id.
    pub id: PackId,
    /// Data or metadata.
    pub kind: Kind,
    /// Length of the file.
    pub size: u64,
    /// The chunks in it, in the order of its table.
    pub chunks: Vec<ChunkId>,
}

impl Finished {
    /// Makes it durable and visible.
    pub fn commit(self) -> Result<(PackId, Kind, u64, Vec<ChunkId>), StorageError> {
        self.draft.commit()?;
        Ok((self.id, self.kind, self.size, self.chunks))
    }
}

/// The file of an open pack. One thread appends.
pub struct PackFile {
    draft: Box<dyn Draft>,
    buffer: Vec<u8>,
    offset: u64,
    rows: Vec<Row>,
    digests: Vec<[u8; 32]>,
    hasher: blake3::Hasher,
    hashed: usize,
}

impl PackFile {
    /// Starts the file: nothing exists under the pack's name until `Finished::commit`.
    pub fn create(storage: &dyn Storage, pack: &OpenPack) -> Result<Self, StorageError> {
        let mut file = PackFile {
            draft: storage.create(Area::Packs, &pack.id().hex())?,
            buffer: Vec::with_capacity(DIGEST_SPAN + DIGEST_SPAN / 2),
            offset: 0,
            rows: Vec::new(),
            digests: Vec::new(),
            hasher: blake3::Hasher::new(),
            hashed: 0,
        };
        file.put(&pack.head.header(pack.keys.commitment()))?;
        Ok(file)
    }

    /// Appends a sealed chunk.
    pub fn append(&mut self, bound: &Bound, sealed: &[u8]) -> Result<(), StorageError> {
        self.rows.push(Row {
            chunk: bound.chunk,
            slot: bound.slot,
            offset: u32::try_from(self.offset).expect("a pack stays far below 4 GiB"),
            stored_len: sealed.len() as u32,
            plain_len: bound.plain_len,
            codec: bound.codec,
        });
        self.put(sealed)
    }

    /// How many chunks it holds.
    pub fn count(&self) -> u32 {
        self.rows.len() as u32
    }

    /// Writes table and trailers. The table is opened again from memory: a flipped bit must not make a pack unreadable.
    pub fn finish(mut self, pack: &OpenPack) -> Result<Finished, StorageError> {
        self.rows.sort_unstable_by_key(|row| row.chunk);
        let mut table = Vec::with_capacity(self.rows.len() * super::format::ROW_LEN + 16);
        self.rows.iter().for_each(|row| row.put(&mut table));
        let count = self.count();
        let sealed = pack.keys.seal_table(count, table.clone());
        if pack.keys.open_table(count, sealed.clone()).as_ref() != Ok(&table) {
            let fault =
                std::io::Error::other("a sealed table did not open again: this machine's memory or CPU is faulty");
            return Err(StorageError::new("prove", Area::Packs, &pack.id().hex(), fault));
        }
        let body_len = self.offset;
        self.put(&sealed)?;
        if self.hashed > 0 {
            self.close_digest();
        }
        let trailer = Trailer {
            head: pack.head,
            body_len,
            table_len: sealed.len() as u32,
            count,
            digests: std::mem::take(&mut self.digests),
        }
        .bytes();
        self.buffer.extend_from_slice(&trailer);
        self.buffer.extend_from_slice(&trailer);
        self.draft.append(&self.buffer)?;
        Ok(Finished {
            draft: self.draft,
            id: pack.id(),
            kind: pack.kind(),
            size: self.offset + 2 * trailer.len() as u64,
            chunks: self.rows.into_iter().map(|row| row.chunk).collect(),
        })
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), StorageError> {
        self.buffer.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(DIGEST_SPAN - self.hashed));
            self.hasher.update(now);
            self.hashed += now.len();
            if self.hashed == DIGEST_SPAN {
                self.close_digest();
            }
            bytes = later;
        }
        if self.buffer.len() >= DIGEST_SPAN {
            self.draft.append(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn close_digest(&mut self) {
        self.digests.push(*self.hasher.finalize().as_bytes());
        self.hasher.reset();
        self.hashed = 0;
    }
}
