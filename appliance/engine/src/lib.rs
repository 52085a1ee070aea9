//! The backup engine: a disk goes in, a proven snapshot comes out, and it comes back bit for bit.
//!
//! Sync; no network, no clock, no environment: time and randomness that matter are arguments.

pub mod fs;
pub mod le;
pub mod read;
