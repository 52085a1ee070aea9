//! Packs: about 64 MiB of sealed chunks in one immutable file, with a sealed table of what lies where and a trailer that
//! can be checked without a key. FORMAT.md §4.

pub mod build;
pub mod format;
pub mod read;

/// Size at which a pack is closed. 16,384 files a TiB, and half a second of `fdatasync`s a GiB.
pub const TARGET: u64 = 64 * 1024 * 1024;

/// Trailers carry one digest for each MiB.
pub const DIGEST_SPAN: usize = 1024 * 1024;
