//! `up/hb`: alive, how full, how warm, how far. Losing one costs nothing; none for long is what tells.

use crate::birth::SessionNumber;
use crate::fact::Work;
use crate::id::JobId;
use crate::message::{Message, V1};
use crate::shadow::DesiredVersion;
use crate::time::Timestamp;
use crate::unit::{Bytes, Celsius, Count, Millis, Percent, Seconds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One beat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// Major version.
    pub v: V1,
    /// The session it belongs to.
    pub sess: SessionNumber,
    /// Counts beats in this session.
    pub seq: Count,
    /// By the box's clock.
    pub ts: Timestamp,
    /// Since boot: shows a clock that jumps.
    #[serde(rename = "uptime_ms")]
    pub uptime: Millis,
    /// Facts that wait for an acknowledgement.
    pub queued: Count,
    /// The desired document that is in force.
    pub desired: DesiredVersion,
    /// How full the fullest store is.
    #[serde(rename = "store_used_percent", default, skip_serializing_if = "Option::is_none")]
    pub store_used: Option<Percent>,
    /// How busy the processor was since the beat before; of all its cores together.
    #[serde(rename = "busy_percent", default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<Percent>,
    /// Memory that nothing could give back at once.
    #[serde(rename = "memory_used_percent", default, skip_serializing_if = "Option::is_none")]
    pub memory_used: Option<Percent>,
    /// The board's temperature.
    #[serde(rename = "board_c", default, skip_serializing_if = "Option::is_none")]
    pub board: Option<Celsius>,
    /// The running job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Progress>,
}

/// How far a job is. May be dropped or merged at will: its end is a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Which.
    pub id: JobId,
    /// What it does.
    pub work: Work,
    /// How much is done.
    #[serde(rename = "percent")]
    pub done: Percent,
    /// How fast it goes, in bytes a second of the disk or of the repository that it looks at.
    #[serde(rename = "rate_bytes_s", default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Bytes>,
    /// How long it will still take, where that is known.
    #[serde(rename = "left_s", default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Seconds>,
}

impl Message for Heartbeat {
    const NAME: &'static str = "heartbeat";
    const LIMIT: usize = crate::limits::HEARTBEAT;
}
