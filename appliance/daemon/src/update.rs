//! Firmware: from the release that the control plane offers to one that proved itself here, or back to the one before.
//!
//! | part | what it does |
//! |---|---|
//! | [`journal`] | what is remembered of an update: written before anything is done about it |
//! | [`advance`] | the state machine: from journal, box and time to the next thing to do; no clock, no disk, no network |
//! | [`metadata`] | what a release is, by its signed metadata (The Update Framework) |
//! | [`download`] | the bundle, range by range |
//! | [`go`] | whether the offer still stands, asked at the last moment |
//! | [`slots`] | what only root may: install, arm, keep, abandon, by one order in a file |
//! | [`gate`] | whether a new system does what the old one did |
//! | [`agent`] | all of it at work, beside the daemon's loop |

pub(crate) mod advance;
pub(crate) mod agent;
pub(crate) mod download;
#[cfg(test)]
#[path = "../tests/support/folder_server.rs"]
mod folder_server;
pub(crate) mod gate;
pub(crate) mod go;
pub(crate) mod journal;
pub(crate) mod metadata;
pub(crate) mod slots;
#[cfg(test)]
mod world;
