//! The backup engine: a disk goes in, a proven snapshot comes out, and it comes back bit for bit.
//!
//! Sync; no network, no clock, no environment: time and randomness that matter are arguments.

pub mod chunk;
pub mod fs;
pub mod key;
pub mod le;
pub mod pack;
pub mod read;
pub mod record;
pub mod seal;
pub mod segment;
pub mod storage;
