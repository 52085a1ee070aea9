//! A chunk: up to 256 KiB of plain bytes named by their keyed hash, compressed where that pays.
//!
//! Compression is the slowest step of a first backup, so bytes that do not compress are found early and stored as they are.

use std::fmt;
use std::str::FromStr;
use zstd::zstd_safe::CParameter;

/// Largest data chunk: a file is cut at multiples of this. Measured: 256 KiB dedupes big files as well as 4 KiB does,
/// with 1/60 of the index.
pub const DATA_MAX: usize = 256 * 1024;

/// Largest metadata chunk (a segment or a list of segments).
pub const METADATA_MAX: usize = 4 * 1024 * 1024;

/// Metadata of a disk is cut at multiples of this: small, since it changes everywhere a little.
pub const META_MAX: usize = 64 * 1024;

/// Names a chunk: keyed BLAKE3 of its plain bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 32]);

/// How a chunk's bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Stored = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// Why a chunk's stored bytes do not give its plain bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChunkError {
    /// A codec this version does not know.
    #[error("unknown codec {0}")]
    UnknownCodec(u8),
    /// The frame is damaged, or larger than the table says.
    #[error("does not decompress to {expected} bytes")]
    Decompress {
        /// The length the pack's table names.
        expected: usize,
    },
    /// The plain bytes have another id.
    #[error("content does not match its id")]
    Mismatch,
}

impl Codec {
    /// The codec with this number.
    pub fn from_u8(byte: u8) -> Result<Codec, ChunkError> {
        match byte {
            0 => Ok(Codec::Stored),
            1 => Ok(Codec::Zstd),
            other => Err(ChunkError::UnknownCodec(other)),
        }
    }
}

impl ChunkId {
    /// The id as lower-case hex.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The first 16 bytes: what the index keeps.
    pub fn prefix(&self) -> [u8; 16] {
        *self.0.first_chunk().expect("an id has 32 bytes")
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({})", &self.hex()[..8])
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl FromStr for ChunkId {
    type Err = NotHex;
    fn from_str(text: &str) -> Result<Self, NotHex> {
        unhex(text).map(ChunkId).ok_or(NotHex)
    }
}

/// The text is not hex digits of the right length.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not hex digits of the right length")]
pub struct NotHex;

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

/// The bytes of exactly `2 * N` lower- or upper-case hex digits.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let high = (digits[0] as char).to_digit(16)?;
        let low = (digits[1] as char).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(bytes)
}

/// Compresses chunks; one for each worker, since zstd's tables are worth keeping warm.
pub struct Compressor {
    full: zstd::bulk::Compressor<'static>,
    probe: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
}

/// Level 1 with a hash table that still fits a core's second cache (256 KiB), and matches from 5 bytes. On the benchmark's
/// disk in pieces of 256 KiB: 6.5 % smaller than plain level 1 at 0.9 of its speed; level 2 is slower by a third and larger.
const FAST_HASH_LOG: u32 = 16;
/// See above.
const FAST_MIN_MATCH: u32 = 5;

/// Bytes sampled at the front and in the middle before a large chunk is compressed as a whole.
const SAMPLE: usize = 8 * 1024;

impl Compressor {
    /// A compressor at this zstd level.
    pub fn new(level: i32) -> Self {
        let make = |level| zstd::bulk::Compressor::new(level).expect("zstd has memory for its tables");
        let mut full = make(level);
        // The table names the plain length and the AEAD guards the bytes: neither needs a second copy in the frame.
        full.include_checksum(false).expect("a known parameter");
        if level == 1 {
            full.set_parameter(CParameter::HashLog(FAST_HASH_LOG)).expect("a legal size");
            full.set_parameter(CParameter::MinMatch(FAST_MIN_MATCH)).expect("a legal length");
        }
        Self { full, probe: make(-3), scratch: Vec::new() }
    }

    /// Appends the stored form of `plain` to `out` and says how it is stored.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Codec {
        if plain.len() < 32 || self.looks_incompressible(plain) {
            out.extend_from_slice(plain);
            return Codec::Stored;
        }
        let start = out.len();
        // One sixteenth must be won, or reading it back costs more than it saves.
        let worth = plain.len() - plain.len() / 16;
        self.scratch.resize(worth.max(64), 0);
        match self.full.compress_to_buffer(plain, self.scratch.as_mut_slice()) {
            Ok(len) if len <= worth => {
                out.extend_from_slice(&self.scratch[..len]);
                Codec::Zstd
            }
            _ => {
                out.truncate(start);
                out.extend_from_slice(plain);
                Codec::Stored
            }
        }
    }

    /// Two samples that the fastest setting cannot shrink, and whose bytes are spread evenly.
    fn looks_incompressible(&mut self, plain: &[u8]) -> bool {
        if plain.len() < 4 * SAMPLE {
            return false;
        }
        let middle = plain.len() / 2;
        [0, middle].iter().all(|&at| {
            let sample = &plain[at..at + SAMPLE];
            if !bytes_are_spread(sample) {
                return false;
            }
            self.scratch.resize(SAMPLE, 0);
            // It fits only when it shrinks.
            let target = &mut self.scratch[..SAMPLE - SAMPLE / 32];
            self.probe.compress_to_buffer(sample, target).is_err()
        })
    }
}

/// True when no byte value is much more frequent than in random data: chi-squared over 256 values below 400, where random
/// bytes give 255 ± 23.
fn bytes_are_spread(sample: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    for &byte in sample {
        counts[byte as usize] += 1;
    }
    let expected = sample.len() as f64 / 256.0;
    let chi: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    chi < 400.0
}

/// Restores plain bytes; one for each thread.
pub struct Decompressor(zstd::bulk::Decompressor<'static>);

impl Default for Decompressor {
    fn default() -> Self {
        Self(zstd::bulk::Decompressor::new().expect("zstd has memory for its tables"))
    }
}

impl Decompressor {
    /// Fills `plain`, whose length the pack's table named, from the stored bytes. A bomb has no effect: the buffer does not grow.
    pub fn decompress(&mut self, codec: Codec, stored: &[u8], plain: &mut [u8]) -> Result<(), ChunkError> {
        let expected = plain.len();
        match codec {
            Codec::Stored if stored.len() == expected => plain.copy_from_slice(stored),
            Codec::Zstd if self.0.decompress_to_buffer(stored, plain).is_ok_and(|len| len == expected) => {}
            _ => return Err(ChunkError::Decompress { expected }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut reader = blake3::Hasher::new().finalize_xof();
        let mut bytes = vec![0; len];
        reader.fill(&mut bytes);
        bytes
    }

    fn round_trip(plain: &[u8]) -> (Codec, usize) {
        let mut stored = vec![7];
        let codec = Compressor::new(1).compress(plain, &mut stored);
        let mut back = vec![0; plain.len()];
        Decompressor::default().decompress(codec, &stored[1..], &mut back).unwrap();
        assert_eq!(back, plain);
        (codec, stored.len() - 1)
    }

    #[test]
    fn text_shrinks_and_comes_back() {
        let (codec, len) = round_trip("nothing but the same words ".repeat(5000).as_bytes());
        assert!(codec == Codec::Zstd && len < 1000);
    }

    #[test]
    fn noise_is_stored_as_it_is() {
        for len in [0, 1, 31, 4096, DATA_MAX] {
            assert_eq!(round_trip(&noise(len)), (Codec::Stored, len));
        }
    }

    #[test]
    fn text_behind_noise_is_still_compressed() {
        let mut plain = noise(DATA_MAX / 4);
        plain.resize(DATA_MAX, b'a');
        assert_eq!(round_trip(&plain).0, Codec::Zstd);
    }

    #[test]
    fn a_bomb_fills_no_more_than_the_named_length() {
        let mut stored = Vec::new();
        let codec = Compressor::new(1).compress(&vec![0; 1 << 20], &mut stored);
        let result = Decompressor::default().decompress(codec, &stored, &mut vec![0; 4096]);
        assert_eq!(result, Err(ChunkError::Decompress { expected: 4096 }));
    }

    #[test]
    fn hex_round_trips_and_refuses_other_text() {
        assert_eq!(unhex::<2>(&hex(&[0x0f, 0xa0])), Some([0x0f, 0xa0]));
        assert_eq!((unhex::<2>("0g00"), unhex::<2>("000"), unhex::<2>("é00")), (None, None, None));
    }
}
