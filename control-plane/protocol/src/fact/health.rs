//! How disks, stores, clock and connection are. Judged on the box, which sees the values; absence is judged in the cloud.

use crate::excerpt::Excerpt;
use crate::id::DiskId;
use crate::text::Text;
use crate::time::Timestamp;
use crate::unit::{Bytes, Celsius, Count, Hours, Millis, Percent, Seconds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

crate::word::words! { open
    /// A disk's health in a word.
    SmartVerdict {
        /// Nothing speaks against it.
        Healthy = "healthy",
        /// It has begun to age: plan its end.
        Watch = "watch",
        /// Replace it now.
        Failing = "failing",
        /// It does not say, as behind some USB bridges.
        Silent = "silent",
    }
}

/// What a disk says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Smart {
    /// Which disk.
    pub disk: DiskId,
    /// In a word.
    pub verdict: SmartVerdict,
    /// Why, in sentences.
    #[serde(default)]
    pub reasons: Excerpt<Text>,
    /// Its temperature.
    #[serde(rename = "temperature_c", default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Celsius>,
    /// How long it has run.
    #[serde(rename = "powered_on_h", default, skip_serializing_if = "Option::is_none")]
    pub powered_on: Option<Hours>,
    /// Sectors it has given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reallocated_sectors: Option<Count>,
    /// Sectors it could not read and may give up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_sectors: Option<Count>,
    /// How much of its endurance flash has used.
    #[serde(rename = "worn_percent", default, skip_serializing_if = "Option::is_none")]
    pub worn: Option<Percent>,
}

crate::word::words! { open
    /// Which line a store has crossed.
    StoreLevel {
        /// Room for more.
        Roomy = "roomy",
        /// Soon full: make room.
        Low = "low",
        /// Backups fail.
        Full = "full",
    }
}

/// Room in a store: it crossed a line, moved by a hundredth, or a day has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreCapacity {
    /// The store disk; none: the box's own data partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskId>,
    /// Which line.
    pub level: StoreLevel,
    /// How large it is.
    pub size_bytes: Bytes,
    /// What is free.
    pub free_bytes: Bytes,
}

/// The clock moved otherwise than the uptime: a dead battery, a set clock, or somebody who wants old snapshots gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClockJump {
    /// What the clock said before.
    pub before: Timestamp,
    /// What it said after.
    pub after: Timestamp,
    /// What really passed, by uptime.
    #[serde(rename = "elapsed_ms")]
    pub elapsed: Millis,
}

/// Connections were cut as a broker cuts them when a second client comes with the same name: a cloned disk, or a stolen
/// key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SameIdTwice {
    /// How often.
    pub cuts: Count,
    /// In how long.
    #[serde(rename = "within_s")]
    pub within: Seconds,
}
