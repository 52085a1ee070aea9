//! The JSON Schema of every message, generated from the types that read and write it.
//!
//! The files in `schema/` are these bytes; a test compares them, and writes them when asked to
//! (`SAVEOS_WRITE_SCHEMA=1 cargo test -p saveos-protocol --test schema_is_current`).

use crate::message::Message;
use crate::{ack, birth, command, control, enrol, fact, heartbeat, problem, shadow};
use schemars::{JsonSchema, schema_for};

/// The name and the schema of every message, in the order of their names.
pub fn all() -> Vec<(&'static str, schemars::Schema)> {
    let mut all = vec![
        of::<ack::Ack>(),
        of::<birth::Presence>(),
        of::<command::Command>(),
        of::<command::Report>(),
        of::<control::ControlState>(),
        of::<control::Wake>(),
        of::<enrol::Challenge>(),
        of::<enrol::EnrolReply>(),
        of::<enrol::EnrolRequest>(),
        of::<enrol::RenewReply>(),
        of::<enrol::RenewRequest>(),
        of::<fact::Fact>(),
        of::<heartbeat::Heartbeat>(),
        of::<problem::Problem>(),
        of::<shadow::Desired>(),
        of::<shadow::Reported>(),
    ];
    all.sort_by_key(|(name, _)| *name);
    all
}

fn of<M: Message + JsonSchema>() -> (&'static str, schemars::Schema) {
    (M::NAME, schema_for!(M))
}
