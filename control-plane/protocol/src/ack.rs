//! `dn/ack`: how far the control plane has a stream on disk. Only this frees a row of the outbox, never a PUBACK.

use crate::fact::FactNumber;
use crate::id::StreamId;
use crate::message::{Message, V1};
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sent after the commit was synced; retained, so a box that comes back learns it first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ack {
    /// Major version.
    pub v: V1,
    /// Which stream.
    pub stream: StreamId,
    /// Everything up to this number is committed; 0 is nothing.
    pub n: FactNumber,
    /// When this was written. A retained one is old: it says what time it is at least.
    pub ts: Timestamp,
    /// The server is behind (restored from a backup): send again from this number, acknowledged or not. What the box no
    /// longer has is closed by a gap fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub want: Option<FactNumber>,
}

impl Message for Ack {
    const NAME: &'static str = "ack";
    const LIMIT: usize = crate::limits::ACK;
}
