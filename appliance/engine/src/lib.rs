//! The backup engine: a disk goes in, a proven snapshot comes out, and it comes back bit for bit.
//!
//! Sync; no network, no clock, no environment: time and randomness that matter are arguments.

pub mod backup;
pub mod chunk;
pub mod files;
pub mod fs;
pub mod index;
pub mod key;
pub mod layout;
pub mod le;
pub mod lease;
pub mod pack;
pub mod prune;
pub mod read;
pub mod record;
pub mod repair;
pub mod repository;
pub mod rescue_map;
pub mod restore;
pub mod retention;
pub mod seal;
pub mod segment;
pub mod snapshot;
pub mod sort;
pub mod source;
pub mod storage;
pub(crate) mod system;
pub mod verify;
pub mod view;
