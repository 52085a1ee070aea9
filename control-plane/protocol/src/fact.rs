//! Facts: what happened, numbered in a stream, kept on the box until the control plane has them on disk.
//!
//! A fact is named by (device, stream, number) and the numbers have no holes, so nothing is lost in silence and nothing
//! counts twice. Results are never dropped or merged; what does not fit shortens its lists and says by how much. A kind
//! that only a newer release knows is numbered, stored and acknowledged like any other.

mod disk;
mod health;
mod job;
mod stream;
mod trust;

pub use crate::unit::FactNumber;
pub use disk::{Bus, DiskGone, DiskIdentified, DiskIdentity, DiskSeen, Partition};
pub use health::{ClockJump, SameIdTwice, Smart, SmartVerdict, StoreCapacity, StoreLevel};
pub use job::{
    BackupSummary, End, Failure, FailureReason, HoleCause, HoleNote, JobEnded, JobResult, JobStarted, Note,
    PartitionUse, PruneSummary, RestoreSummary, RestoreTestSummary, SnapshotFound, SnapshotState, Trigger,
    VerifySummary, VerifyVerdict, Work,
};
pub use stream::{Gap, StreamBirth};
pub use trust::{KeyState, PolicyRefused, Tamper};

use crate::excerpt::{Shorten, shorten_longest};
use crate::hex::BootId;
use crate::id::StreamId;
use crate::message::{EncodeError, Message, V1, encode};
use crate::time::Timestamp;
use crate::unit::Millis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `up/ev/{kind}`: one fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// Major version.
    pub v: V1,
    /// The outbox it was written into.
    pub stream: StreamId,
    /// Its place in the stream.
    pub n: FactNumber,
    /// By the box's clock, which may be wrong.
    pub ts: Timestamp,
    /// The boot that `uptime` counts from; together they do not lie.
    pub boot: BootId,
    /// Since that boot.
    #[serde(rename = "uptime_ms")]
    pub uptime: Millis,
    /// What happened.
    pub body: Body,
}

impl Message for Fact {
    const NAME: &'static str = "fact";
    const LIMIT: usize = crate::limits::FACT;
}

impl Fact {
    /// Shortens the lists, longest first, until the fact fits; their `more` says by how much. Numbers and outcomes stay.
    pub fn fold(mut self) -> Result<Fact, EncodeError> {
        loop {
            match encode(&self) {
                Err(EncodeError::TooLarge { .. }) if shorten_longest(&mut self.body.lists()) => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(self),
            }
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident($body:ty) = $word:literal,)*) => {
        /// What happened.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "kind")]
        pub enum Body {
            $($(#[$doc])* #[serde(rename = $word)] $name($body),)*
            /// A kind of a newer release: whoever keeps facts keeps the bytes. Never written from here.
            #[serde(other, skip_serializing)]
            #[schemars(skip)]
            Unknown,
        }

        /// The kinds, as the topic names them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// The last level of its topic, and the `kind` of its body.
            pub const fn as_str(self) -> &'static str {
                match self { $(Kind::$name => $word),* }
            }
        }

        impl Body {
            /// The kind; `None` for one of a newer release.
            pub const fn kind(&self) -> Option<Kind> {
                match self { $(Body::$name(_) => Some(Kind::$name),)* Body::Unknown => None }
            }
        }
    };
}

kinds! {
    /// The stream began: always its number 1.
    StreamBorn(StreamBirth) = "stream_born",
    /// Facts that no longer exist anywhere.
    Gap(Gap) = "gap",
    /// A disk was plugged in.
    DiskSeen(DiskSeen) = "disk_seen",
    /// Its tables were read, without reading data.
    DiskIdentified(DiskIdentified) = "disk_identified",
    /// A disk was unplugged.
    DiskGone(DiskGone) = "disk_gone",
    /// What a disk says of itself.
    Smart(Smart) = "smart",
    /// A job began.
    JobStarted(JobStarted) = "job_started",
    /// A job ended, one way or the other.
    JobEnded(JobEnded) = "job_ended",
    /// At start, the repository held a snapshot that no fact told of.
    SnapshotFound(SnapshotFound) = "snapshot_found",
    /// How full a store is, when that crossed a line.
    StoreCapacity(StoreCapacity) = "store_capacity",
    /// Who can open the repository, when that changed.
    Key(KeyState) = "key",
    /// A desired document was not applied.
    PolicyRefused(PolicyRefused) = "policy_refused",
    /// Somebody tried something.
    Tamper(Tamper) = "tamper",
    /// The clock moved otherwise than the uptime.
    ClockJump(ClockJump) = "clock_jump",
    /// The broker keeps dropping us for another one with our name.
    SameIdTwice(SameIdTwice) = "same_id_twice",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Body {
    /// What may be shortened.
    fn lists(&mut self) -> Vec<&mut dyn Shorten> {
        match self {
            Body::DiskIdentified(disk) => vec![&mut disk.partitions],
            Body::Smart(smart) => vec![&mut smart.reasons],
            Body::PolicyRefused(refused) => vec![&mut refused.weakenings],
            Body::SnapshotFound(found) => found.summary.lists(),
            Body::JobEnded(ended) => ended.result.lists(),
            Body::StreamBorn(_)
            | Body::Gap(_)
            | Body::DiskSeen(_)
            | Body::DiskGone(_)
            | Body::JobStarted(_)
            | Body::StoreCapacity(_)
            | Body::Key(_)
            | Body::Tamper(_)
            | Body::ClockJump(_)
            | Body::SameIdTwice(_)
            | Body::Unknown => Vec::new(),
        }
    }
}
