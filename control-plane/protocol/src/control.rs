//! What the control plane says to itself and to whoever watches it: `cp/state`, and wake-ups between its nodes.

use crate::id::{DeviceId, NodeId};
use crate::message::{Message, V1};
use crate::text::Release;
use crate::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `cp/state`, retained: whether somebody ingests. A device cannot read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ControlState {
    /// Major version.
    pub v: V1,
    /// There, or gone (the will).
    pub on: bool,
    /// Who holds the ingest lease.
    pub node: NodeId,
    /// What runs.
    pub release: Release,
    /// When it was written.
    pub ts: Timestamp,
}

impl Message for ControlState {
    const NAME: &'static str = "control-state";
    const LIMIT: usize = crate::limits::WAKE;
}

crate::word::words! { closed
    /// What another node should look at: the last level of `cp/bus/…`.
    Channel {
        /// Facts were committed: push them to browsers.
        Facts = "facts",
        /// Commands are open: send them.
        Commands = "commands",
        /// Policies changed: publish desired documents.
        Policies = "policies",
        /// A certificate was revoked: cut its session.
        Revocations = "revocations",
        /// Alerts changed.
        Alerts = "alerts",
    }
}

/// A hint, never the truth: that is in the database. Losing one costs a poll interval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wake {
    /// Major version.
    pub v: V1,
    /// Who wakes.
    pub node: NodeId,
    /// The one device it is about; none: look at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
}

impl Message for Wake {
    const NAME: &'static str = "wake";
    const LIMIT: usize = crate::limits::WAKE;
}
