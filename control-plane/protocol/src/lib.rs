//! What an appliance and its control plane say to each other, as types: values in, values out.
//!
//! ```text
//! device ──up/state─▶ birth      dn/des ─▶ shadow::Desired     HTTPS: enrol, problem
//!        ──up/rep───▶ shadow     dn/cmd ─▶ command
//!        ──up/hb────▶ heartbeat  dn/ack ─▶ ack
//!        ──up/ev────▶ fact
//!        ──up/res───▶ command::Report
//! ```
//!
//! Must stay true: only this crate spells a topic or a field; a message of an older release is always read, a field of a
//! newer one is ignored; every size is checked before a byte is parsed. No I/O, no clock, no randomness of its own, no
//! global state: times, random bytes and keys are arguments.

pub mod ack;
pub mod birth;
pub mod canonical;
pub mod command;
pub mod control;
pub mod device_key;
pub mod enrol;
pub mod excerpt;
pub mod fact;
pub mod heartbeat;
pub mod hex;
pub mod id;
pub mod limits;
pub mod message;
pub mod problem;
pub mod reconnect;
pub mod release;
pub mod schema;
pub mod shadow;
pub mod sign;
pub mod text;
pub mod time;
pub mod topic;
pub mod unit;
mod word;

pub use message::{DecodeError, EncodeError, Message, V1, decode, encode};
pub use topic::Topic;
