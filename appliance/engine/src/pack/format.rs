//! The bytes of a pack's header, table rows and trailer (FORMAT.md §4), and nothing else: no keys, no files.

use crate::chunk::ChunkId;
use crate::le::{array_at, u8_at, u32_at, u64_at};
use crate::seal::{Kind, PackId, Suite};

/// Bytes of the header.
pub const HEADER_LEN: usize = 72;
/// Bytes of a table row.
pub const ROW_LEN: usize = 49;
/// Bytes of a trailer besides its digests.
const TRAILER_FIXED: usize = 60 + 32 + 4 + 8;
/// A pack may grow past its target by one metadata chunk and its table; nothing legal is larger.
pub const MAX_PACK: u64 = 256 * 1024 * 1024;

const HEADER_MAGIC: &[u8; 8] = b"SVOSPACK";
const TRAILER_MAGIC: &[u8; 8] = b"SVOSTRLR";
const END_MAGIC: &[u8; 8] = b"SVOSTEND";

/// What header and trailer both say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The AEAD.
    pub suite: Suite,
    /// Data or metadata.
    pub kind: Kind,
    /// Which epoch's key.
    pub epoch: u32,
    /// The pack's id.
    pub id: PackId,
}

/// Why bytes are not a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Too short, or the magic is missing.
    #[error("not a pack")]
    NotAPack,
    /// Made by a later version.
    #[error("version, suite, kind or parity scheme is not known to this version")]
    Unknown,
    /// Sealed under a key epoch we have no key for.
    #[error("key epoch {0} is not known to this version")]
    Epoch(u32),
    /// Neither trailer is intact: torn off or damaged.
    #[error("both trailers are missing or damaged")]
    NoTrailer,
    /// Lengths do not add up.
    #[error("its lengths contradict each other")]
    Lengths,
}

impl Head {
    fn from_tail(bytes: &[u8], at: usize) -> Result<Head, FormatError> {
        let [version, suite, kind, parity] = array_at(bytes, at).ok_or(FormatError::NotAPack)?;
        let epoch = u32_at(bytes, at + 4).ok_or(FormatError::NotAPack)?;
        let id = PackId(array_at(bytes, at + 8).ok_or(FormatError::NotAPack)?);
        match (version, Suite::from_u8(suite), Kind::from_u8(kind), parity) {
            (1, Some(suite), Some(kind), 0) if epoch == crate::seal::EPOCH => Ok(Head { suite, kind, epoch, id }),
            (1, Some(_), Some(_), 0) => Err(FormatError::Epoch(epoch)),
            _ => Err(FormatError::Unknown),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[1, self.suite as u8, self.kind as u8, 0]);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.id.0);
    }

    /// The header's bytes.
    pub fn header(&self, commitment: &[u8; 32]) -> Vec<u8> {
        let mut out = HEADER_MAGIC.to_vec();
        self.put(&mut out);
        out.extend_from_slice(commitment);
        out
    }

    /// Reads a header: the head and the key commitment.
    pub fn parse_header(bytes: &[u8]) -> Result<(Head, [u8; 32]), FormatError> {
        if !bytes.starts_with(HEADER_MAGIC) {
            return Err(FormatError::NotAPack);
        }
        Ok((Head::from_tail(bytes, 8)?, array_at(bytes, 40).ok_or(FormatError::NotAPack)?))
    }
}

/// Where a chunk lies in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its slot, which is its nonce.
    pub slot: u32,
    /// Offset in the file.
    pub offset: u32,
    /// Length there, tag included.
    pub stored_len: u32,
    /// Plain length.
    pub plain_len: u32,
    /// Codec byte.
    pub codec: u8,
}

impl Row {
    /// Appends the row's bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.chunk.0);
        for number in [self.slot, self.offset, self.stored_len, self.plain_len] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.push(self.codec);
    }

    /// Reads the row at `position` of a table.
    pub fn at(table: &[u8], position: usize) -> Option<Row> {
        let at = position.checked_mul(ROW_LEN)?;
        Some(Row {
            chunk: ChunkId(array_at(table, at)?),
            slot: u32_at(table, at + 32)?,
            offset: u32_at(table, at + 36)?,
            stored_len: u32_at(table, at + 40)?,
            plain_len: u32_at(table, at + 44)?,
            codec: u8_at(table, at + 48)?,
        })
    }
}

/// What the trailer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// The same as in the header.
    pub head: Head,
    /// Length of header and chunks.
    pub body_len: u64,
    /// Length of the sealed table.
    pub table_len: u32,
    /// Rows in the table.
    pub count: u32,
    /// BLAKE3 of each MiB before the trailer.
    pub digests: Vec<[u8; 32]>,
}

impl Trailer {
    /// The trailer's bytes, once.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = TRAILER_MAGIC.to_vec();
        self.head.put(&mut out);
        out.extend_from_slice(&self.body_len.to_le_bytes());
        out.extend_from_slice(&self.table_len.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&(self.digests.len() as u32).to_le_bytes());
        out.extend(self.digests.iter().flatten());
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        out.extend_from_slice(&((out.len() + 12) as u32).to_le_bytes());
        out.extend_from_slice(END_MAGIC);
        out
    }

    /// How many bytes at the end of a file of this length may hold both trailers.
    pub fn search_len(file_len: u64) -> u64 {
        let digests = file_len.div_ceil(super::DIGEST_SPAN as u64).min(MAX_PACK / super::DIGEST_SPAN as u64 + 1);
        (2 * (TRAILER_FIXED as u64 + 32 * digests)).min(file_len)
    }

    /// Finds an intact trailer in the last bytes of a file of `file_len` bytes.
    pub fn find(tail: &[u8], file_len: u64) -> Result<Trailer, FormatError> {
        if file_len > MAX_PACK {
            return Err(FormatError::Lengths);
        }
        let mut end = tail.len();
        let mut problem = FormatError::NoTrailer;
        // Two candidates are legal; more magics are somebody's ciphertext by chance or malice.
        for _ in 0..8 {
            let Some(at) = tail[..end].windows(8).rposition(|window| window == END_MAGIC) else { break };
            match Trailer::ending_at(tail, at + 8, file_len) {
                Ok(trailer) => return Ok(trailer),
                Err(FormatError::NoTrailer) => {}
                Err(other) => problem = other,
            }
            end = at + 7;
        }
        Err(problem)
    }

    fn ending_at(tail: &[u8], end: usize, file_len: u64) -> Result<Trailer, FormatError> {
        let missing = FormatError::NoTrailer;
        let len = u32_at(tail, end.checked_sub(12).ok_or(missing)?).ok_or(missing)? as usize;
        let start = end.checked_sub(len).ok_or(missing)?;
        let bytes = tail.get(start..end).filter(|bytes| bytes.len() >= TRAILER_FIXED).ok_or(missing)?;
        let hashed = &bytes[..len - 44];
        if blake3::hash(hashed).as_bytes() != &bytes[len - 44..len - 12] || !hashed.starts_with(TRAILER_MAGIC) {
            return Err(missing);
        }
        let head = Head::from_tail(hashed, 8)?;
        let lengths = FormatError::Lengths;
        let body_len = u64_at(hashed, 40).ok_or(lengths)?;
        let table_len = u32_at(hashed, 48).ok_or(lengths)?;
        let count = u32_at(hashed, 52).ok_or(lengths)?;
        let digest_count = u32_at(hashed, 56).ok_or(lengths)?;
        let covered = body_len.checked_add(u64::from(table_len)).ok_or(lengths)?;
        let digests: Vec<[u8; 32]> = hashed[60..].as_chunks().0.to_vec();
        let consistent = covered <= file_len
            && body_len >= HEADER_LEN as u64
            && u64::from(table_len) == u64::from(count) * ROW_LEN as u64 + crate::seal::TAG_LEN as u64
            && digests.len() as u64 == u64::from(digest_count)
            && digests.len() as u64 == covered.div_ceil(super::DIGEST_SPAN as u64)
            && hashed.len() == 60 + 32 * digests.len();
        if consistent { Ok(Trailer { head, body_len, table_len, count, digests }) } else { Err(lengths) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer() -> Trailer {
        let head = Head { suite: Suite::Aes256Gcm, kind: Kind::Data, epoch: 0, id: PackId([7; 24]) };
        Trailer { head, body_len: 100, table_len: 16 + 49, count: 1, digests: vec![[1; 32]] }
    }

    fn file() -> Vec<u8> {
        [vec![0; 165], trailer().bytes(), trailer().bytes()].concat()
    }

    #[test]
    fn either_copy_is_enough() {
        let intact = file();
        let len = intact.len() as u64;
        assert_eq!(Trailer::find(&intact, len), Ok(trailer()));
        let mut last_damaged = intact.clone();
        last_damaged[len as usize - 60] ^= 1;
        assert_eq!(Trailer::find(&last_damaged, len), Ok(trailer()));
        let torn = &intact[..intact.len() - 20];
        assert_eq!(Trailer::find(torn, torn.len() as u64), Ok(trailer()));
    }

    #[test]
    fn a_trailer_whose_lengths_lie_is_refused() {
        let lying = Trailer { count: 2, ..trailer() };
        let bytes = [vec![0; 165], lying.bytes()].concat();
        assert_eq!(Trailer::find(&bytes, bytes.len() as u64), Err(FormatError::Lengths));
        assert_eq!(Trailer::find(&[], 0), Err(FormatError::NoTrailer));
    }

    #[test]
    fn a_row_round_trips() {
        let row = Row { chunk: ChunkId([3; 32]), slot: 1, offset: 72, stored_len: 20, plain_len: 4, codec: 0 };
        let mut table = Vec::new();
        row.put(&mut table);
        assert_eq!((table.len(), Row::at(&table, 0), Row::at(&table, 1)), (ROW_LEN, Some(row), None));
    }
}
