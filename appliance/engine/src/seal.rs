//! Keys from the root key, and the sealing of bytes with them. A (key, nonce) pair seals one message, ever:
//! every pack and record has a key of its own from a fresh random salt, and slots inside a pack are counted.

use crate::chunk::ChunkId;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that AEAD adds to a message.
pub const TAG_LEN: usize = 16;

/// Names a repository; random, in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepositoryId(pub [u8; 16]);

/// Names a pack; random, used for one pack ever, also when writing it failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub [u8; 24]);

impl PackId {
    /// A fresh id from the kernel.
    pub fn random() -> Self {
        PackId(random_bytes())
    }

    /// The file name.
    pub fn hex(&self) -> String {
        crate::chunk::hex(&self.0)
    }

    /// The id a file name spells.
    pub fn from_hex(text: &str) -> Option<Self> {
        crate::chunk::unhex(text).map(PackId)
    }
}

impl std::fmt::Debug for PackId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackId({})", &self.hex()[..8])
    }
}

/// Random bytes from the kernel.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

/// The secret that opens everything. Leaves memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RootKey([u8; 32]);

impl RootKey {
    /// A new root key.
    pub fn random() -> Self {
        RootKey(random_bytes())
    }

    /// From unwrapped bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        RootKey(bytes)
    }

    /// For wrapping it in a key slot.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What a pack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bytes of the source.
    Data = 1,
    /// Segments and lists of them.
    Metadata = 2,
}

impl Kind {
    /// The kind with this number.
    pub fn from_u8(byte: u8) -> Option<Kind> {
        match byte {
            1 => Some(Kind::Data),
            2 => Some(Kind::Metadata),
            _ => None,
        }
    }
}

/// The AEAD of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Suite {
    /// Where the CPU has AES instructions.
    Aes256Gcm = 1,
    /// Where it has not (Raspberry Pi 4 and older): there AES in software is slow and leaks timing.
    ChaCha20Poly1305 = 2,
}

impl Suite {
    /// The suite with this number.
    pub fn from_u8(byte: u8) -> Option<Suite> {
        match byte {
            1 => Some(Suite::Aes256Gcm),
            2 => Some(Suite::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Suite::Aes256Gcm => "aes-256-gcm",
            Suite::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// The one this CPU is good at.
    pub fn for_this_cpu() -> Suite {
        #[cfg(target_arch = "x86_64")]
        let has_aes = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let has_aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let has_aes = false;
        if has_aes { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 }
    }

    fn key(self, bytes: &[u8; 32]) -> LessSafeKey {
        let algorithm = match self {
            Suite::Aes256Gcm => &AES_256_GCM,
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, bytes).expect("both suites have keys of 32 bytes"))
    }
}

impl std::fmt::Display for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// No suite has this name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no suite has this name; there are aes-256-gcm and chacha20-poly1305")]
pub struct NoSuchSuite;

impl std::str::FromStr for Suite {
    type Err = NoSuchSuite;
    fn from_str(name: &str) -> Result<Self, NoSuchSuite> {
        [Suite::Aes256Gcm, Suite::ChaCha20Poly1305].into_iter().find(|suite| suite.name() == name).ok_or(NoSuchSuite)
    }
}

/// The bytes do not open: damaged, another key, another place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("does not open with this key: damaged, or not what it claims to be")]
pub struct NotAuthentic;

/// The keys of one repository.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    #[zeroize(skip)]
    repository: RepositoryId,
    chunk_id: [u8; 32],
    data: [u8; 32],
    metadata: [u8; 32],
    record: [u8; 32],
}

/// The epoch this version writes. FORMAT.md §2.1 says how it rotates.
pub const EPOCH: u32 = 0;

impl Keys {
    /// Derives them all.
    pub fn derive(root: &RootKey, repository: RepositoryId) -> Self {
        let with_epoch = |info: &[u8]| [info, &EPOCH.to_le_bytes()].concat();
        let derive = |info: &[u8]| derive::<32>(root.expose(), &repository.0, info);
        Keys {
            repository,
            chunk_id: derive(b"saveos/1 chunk id"),
            data: derive(&with_epoch(b"saveos/1 data")),
            metadata: derive(&with_epoch(b"saveos/1 metadata")),
            record: derive(b"saveos/1 record"),
        }
    }

    /// The repository they belong to.
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// The id of these plain bytes.
    pub fn chunk_id(&self, plain: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.chunk_id, plain).as_bytes())
    }

    /// A hasher that gives chunk ids, for bytes that come in parts.
    pub fn chunk_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.chunk_id)
    }

    /// The keys of one pack.
    pub fn pack(&self, id: PackId, suite: Suite, kind: Kind) -> PackKeys {
        let ikm = match kind {
            Kind::Data => &self.data,
            Kind::Metadata => &self.metadata,
        };
        let info = |what: &[u8]| [what, &[suite as u8, kind as u8]].concat();
        let mut okm = derive::<64>(ikm, &id.0, &info(b"saveos/1 pack"));
        let mut table = derive::<32>(ikm, &id.0, &info(b"saveos/1 table"));
        let (key, commitment) = split(&okm);
        let keys =
            PackKeys { repository: self.repository, id, body: suite.key(&key), table: suite.key(&table), commitment };
        okm.zeroize();
        table.zeroize();
        keys
    }

    /// Key and commitment of one record.
    pub(crate) fn record(&self, salt: &[u8; 24], kind: u8) -> ([u8; 32], [u8; 32]) {
        split(&derive::<64>(&self.record, salt, &[b"saveos/1 record".as_slice(), &[kind]].concat()))
    }
}

/// What is bound to a sealed chunk besides its bytes.
#[derive(Clone, Copy)]
pub struct Bound {
    /// Slot in the pack; also the nonce.
    pub slot: u32,
    /// The chunk's id.
    pub chunk: ChunkId,
    /// Plain length.
    pub plain_len: u32,
    /// Codec byte.
    pub codec: u8,
}

/// The keys of one pack.
pub struct PackKeys {
    repository: RepositoryId,
    id: PackId,
    body: LessSafeKey,
    table: LessSafeKey,
    commitment: [u8; 32],
}

impl PackKeys {
    /// The bytes that prove the header was made with this key.
    pub fn commitment(&self) -> &[u8; 32] {
        &self.commitment
    }

    /// Seals `buf[start..]` in place and appends the tag. The caller draws each slot once.
    pub fn seal_chunk(&self, bound: &Bound, buf: &mut Vec<u8>, start: usize) {
        let tag = self
            .body
            .seal_in_place_separate_tag(slot_nonce(bound.slot), Aad::from(self.chunk_aad(bound)), &mut buf[start..])
            .expect("a chunk is far below the AEAD's limit");
        buf.extend_from_slice(tag.as_ref());
    }

    /// Opens `sealed` into `out`, which is set to the right length.
    pub fn open_chunk(&self, bound: &Bound, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), NotAuthentic> {
        let Some(len) = sealed.len().checked_sub(TAG_LEN) else { return Err(NotAuthentic) };
        let (cipher, tag) = sealed.split_at(len);
        out.resize(len, 0);
        self.body
            .open_separate_gather(slot_nonce(bound.slot), Aad::from(self.chunk_aad(bound)), cipher, tag, out)
            .map_err(|_| NotAuthentic)
    }

    /// Seals the table of slots.
    pub fn seal_table(&self, count: u32, mut table: Vec<u8>) -> Vec<u8> {
        self.table
            .seal_in_place_append_tag(slot_nonce(0), Aad::from(self.table_aad(count)), &mut table)
            .expect("a table is far below the AEAD's limit");
        table
    }

    /// Opens the table of slots.
    pub fn open_table(&self, count: u32, mut sealed: Vec<u8>) -> Result<Vec<u8>, NotAuthentic> {
        let plain = self
            .table
            .open_in_place(slot_nonce(0), Aad::from(self.table_aad(count)), &mut sealed)
            .map_err(|_| NotAuthentic)?
            .len();
        sealed.truncate(plain);
        Ok(sealed)
    }

    fn chunk_aad(&self, bound: &Bound) -> [u8; 81] {
        let mut aad = [0; 81];
        aad[..16].copy_from_slice(&self.repository.0);
        aad[16..40].copy_from_slice(&self.id.0);
        aad[40..44].copy_from_slice(&bound.slot.to_le_bytes());
        aad[44..76].copy_from_slice(&bound.chunk.0);
        aad[76..80].copy_from_slice(&bound.plain_len.to_le_bytes());
        aad[80] = bound.codec;
        aad
    }

    fn table_aad(&self, count: u32) -> [u8; 44] {
        let mut aad = [0; 44];
        aad[..16].copy_from_slice(&self.repository.0);
        aad[16..40].copy_from_slice(&self.id.0);
        aad[40..].copy_from_slice(&count.to_le_bytes());
        aad
    }
}

fn slot_nonce(slot: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&slot.to_le_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// HKDF-SHA256.
pub(crate) fn derive<const N: usize>(ikm: &[u8], salt: &[u8], info: &[u8]) -> [u8; N] {
    let mut okm = [0; N];
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, &mut okm).expect("HKDF gives up to 8160 bytes");
    okm
}

/// The first and the second half of derived bytes: key and commitment.
pub(crate) fn split(okm: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (key, commitment) = okm.split_at(32);
    (key.try_into().expect("32 of 64 bytes"), commitment.try_into().expect("32 of 64 bytes"))
}

/// Seals one small message under a key that is used for nothing else (records, key slots), by the second AES implementation.
pub(crate) fn seal_once(key: &[u8; 32], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    aes_gcm::Aes256Gcm::new(key.into())
        .encrypt(&[0; 12].into(), Payload { msg: plain, aad })
        .expect("a record is far below the AEAD's limit")
}

/// Opens what `seal_once` sealed.
pub(crate) fn open_once(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
    aes_gcm::Aes256Gcm::new(key.into()).decrypt(&[0; 12].into(), Payload { msg: sealed, aad }).map_err(|_| NotAuthentic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::derive(&RootKey::from_bytes([1; 32]), RepositoryId([2; 16]))
    }

    fn bound() -> Bound {
        Bound { slot: 7, chunk: ChunkId([9; 32]), plain_len: 5, codec: 0 }
    }

    #[test]
    fn a_chunk_opens_only_where_it_was_sealed() {
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            let pack = keys().pack(PackId([3; 24]), suite, Kind::Data);
            let mut sealed = b"..hello".to_vec();
            pack.seal_chunk(&bound(), &mut sealed, 2);
            let mut out = Vec::new();
            pack.open_chunk(&bound(), &sealed[2..], &mut out).unwrap();
            assert_eq!(out, b"hello");

            let elsewhere = Bound { slot: 8, ..bound() };
            assert_eq!(pack.open_chunk(&elsewhere, &sealed[2..], &mut out), Err(NotAuthentic));
            let other_pack = keys().pack(PackId([4; 24]), suite, Kind::Data);
            assert_eq!(other_pack.open_chunk(&bound(), &sealed[2..], &mut out), Err(NotAuthentic));
            assert_eq!(pack.open_chunk(&bound(), b"short", &mut out), Err(NotAuthentic));
        }
    }

    #[test]
    fn both_aes_implementations_agree() {
        let pack = keys().pack(PackId([3; 24]), Suite::Aes256Gcm, Kind::Data);
        let bound = Bound { slot: 0, ..bound() };
        let mut sealed = b"hello".to_vec();
        pack.seal_chunk(&bound, &mut sealed, 0);
        let (key, _) = split(&derive::<64>(&keys().data, &[3; 24], b"saveos/1 pack\x01\x01"));
        assert_eq!(open_once(&key, &pack.chunk_aad(&bound), &sealed).unwrap(), b"hello");
    }

    #[test]
    fn names_of_suites_round_trip() {
        for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
            assert_eq!(suite.to_string().parse(), Ok(suite));
            assert_eq!(Suite::from_u8(suite as u8), Some(suite));
        }
        assert_eq!("".parse::<Suite>(), Err(NoSuchSuite));
    }

    #[test]
    fn commitments_differ_between_kinds_and_suites() {
        let id = PackId([3; 24]);
        let one = keys().pack(id, Suite::Aes256Gcm, Kind::Data);
        let two = keys().pack(id, Suite::Aes256Gcm, Kind::Metadata);
        let three = keys().pack(id, Suite::ChaCha20Poly1305, Kind::Data);
        assert!(one.commitment != two.commitment && one.commitment != three.commitment);
    }
}
