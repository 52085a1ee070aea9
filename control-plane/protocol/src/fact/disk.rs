//! Disks that come and go. No file name and no path leaves the box.

use crate::excerpt::Excerpt;
use crate::id::{DiskId, JobId};
use crate::text::{Mark, Text};
use crate::unit::{Bytes, Count};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

crate::word::words! { open
    /// How a disk is connected.
    Bus {
        /// USB.
        Usb = "usb",
        /// SATA.
        Sata = "sata",
        /// NVMe.
        Nvme = "nvme",
        /// An SD card or eMMC.
        Mmc = "mmc",
        /// A disk of a virtual machine.
        Virtio = "virtio",
        /// An image file, in tests and demos.
        Image = "image",
    }
}

/// What makes a disk this disk. Some USB bridges call every disk `0123456789ABCDEF`: no single field is proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskIdentity {
    /// The serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Mark>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Mark>,
    /// The GUID of the GPT, or the signature of the MBR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Mark>,
    /// The id of the first file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Mark>,
}

/// A disk was plugged in, or was there at start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskSeen {
    /// Its name from now on.
    pub disk: DiskId,
    /// Who it is.
    pub identity: DiskIdentity,
    /// How it is connected.
    pub bus: Bus,
    /// How large it is.
    pub size_bytes: Bytes,
    /// Seen for the first time: nothing is read until a policy says so.
    pub new: bool,
}

/// Its partition table and superblocks were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskIdentified {
    /// Which disk.
    pub disk: DiskId,
    /// Who it is, with what was read now.
    pub identity: DiskIdentity,
    /// The partitions, in order.
    pub partitions: Excerpt<Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Partition {
    /// Its number in the table.
    pub number: Count,
    /// Where it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_bytes: Option<Bytes>,
    /// How large it is.
    pub size_bytes: Bytes,
    /// `ext4`, `ntfs`, …, or `raw`.
    pub filesystem: Mark,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Text>,
}

/// A disk was unplugged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskGone {
    /// Which disk.
    pub disk: DiskId,
    /// The job that it left behind; it goes on when the disk is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<JobId>,
}
