//! A snapshot: what a disk held at one moment, and how sure we are of it. FORMAT.md §6.

use crate::chunk::{ChunkId, NotHex, hex, unhex};
use crate::layout::Region;
use crate::layout::partition::TableKind;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Names a snapshot: the hash of its record's bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub [u8; 32]);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotId({})", &hex(&self.0)[..8])
    }
}

impl FromStr for SnapshotId {
    type Err = NotHex;
    fn from_str(text: &str) -> Result<Self, NotHex> {
        unhex(text).map(SnapshotId).ok_or(NotHex)
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
as_text!(SnapshotId);
as_text!(ChunkId);
as_text!(WriterId);

/// Names who writes: one per appliance or machine and repository.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WriterId(pub [u8; 16]);

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for WriterId {
    type Err = NotHex;
    fn from_str(text: &str) -> Result<Self, NotHex> {
        unhex(text).map(WriterId).ok_or(NotHex)
    }
}

/// How much of the disk the snapshot really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Every allocated byte, at one moment.
    Complete,
    /// Bytes are missing, and the summary lists them.
    Partial,
    /// The source changed while it was read: no moment of it looked like this.
    Torn,
    /// The source was mounted read-write: nothing is proven.
    Live,
}

impl State {
    /// Whether a person may rely on it as a recovery point.
    pub fn is_recovery_point(self) -> bool {
        matches!(self, State::Complete | State::Partial)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::Complete => "complete",
            State::Partial => "partial",
            State::Torn => "torn",
            State::Live => "live",
        })
    }
}

/// Where the bytes came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// `disk` or `image`.
    pub kind: SourceKind,
    /// Length in bytes.
    pub size: u64,
    /// Logical sector size in bytes.
    pub sector_size: u32,
    /// GPT GUID, MBR signature, or size.
    pub identity: String,
    /// Which partition table.
    pub table: TableKind,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// A block device.
    Disk,
    /// A regular file.
    Image,
}

/// A range of the device whose bytes are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoleNote {
    /// Device offset.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Why.
    pub cause: crate::segment::Cause,
    /// The file it hurts, where one is known: partition number and path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// A range a rule left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutNote {
    /// Device offset.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Which rule.
    pub rule: crate::fs::LeftOut,
}

/// What a person wants to know of a backup.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Bytes read from the source, metadata re-reads included.
    pub bytes_read: u64,
    /// Bytes that pieces hold: all of them were hashed in this run.
    pub bytes_hashed: u64,
    /// Bytes of pieces that the repository did not have.
    pub bytes_new: u64,
    /// Bytes added to the repository.
    pub bytes_stored: u64,
    /// Pieces in all.
    pub pieces: u64,
    /// Regions of the disk, with doubts and notes.
    pub regions: Vec<Region>,
    /// Missing ranges, at most 1000; `hole_bytes` counts them all.
    pub holes: Vec<HoleNote>,
    /// Bytes missing.
    pub hole_bytes: u64,
    /// Ranges left out by a rule, at most 1000.
    pub left_out: Vec<LeftOutNote>,
    /// Bytes left out.
    pub left_out_bytes: u64,
    /// Metadata pieces that differed when read again: more than none makes it torn.
    pub torn_pieces: u64,
}

/// The record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Who wrote it.
    pub writer: WriterId,
    /// Counts this writer's snapshots from 1.
    pub sequence: u64,
    /// This writer's previous record.
    pub previous: Option<SnapshotId>,
    /// The snapshot it was compared with.
    pub parent: Option<SnapshotId>,
    /// Unix seconds by the writer's clock.
    pub time: i64,
    /// Names the boot `uptime` counts from.
    pub boot: String,
    /// Seconds since that boot.
    pub uptime: u64,
    /// What a person calls the source.
    pub name: String,
    /// Free labels.
    pub tags: Vec<String>,
    /// How much it is worth.
    pub state: State,
    /// Where it came from.
    pub source: SourceInfo,
    /// Metadata chunks that list the segments.
    pub segment_lists: Vec<ChunkId>,
    /// How many segments.
    pub segments: u64,
    /// For people.
    pub summary: Summary,
}

/// A row of a segment list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRef {
    /// Device offset of the window.
    pub window: u64,
    /// The segment's chunk.
    pub segment: ChunkId,
}

/// Rows in one list: 160 KiB.
pub const LIST_ROWS: usize = 4096;

/// The bytes of a list.
pub fn encode_list(rows: &[SegmentRef]) -> Vec<u8> {
    rows.iter().flat_map(|row| row.window.to_le_bytes().into_iter().chain(row.segment.0)).collect()
}

/// The rows of a list; `None` when the bytes are not whole rows.
pub fn decode_list(bytes: &[u8]) -> Option<Vec<SegmentRef>> {
    let (rows, rest) = bytes.as_chunks::<40>();
    let decode = |row: &[u8; 40]| {
        let (window, id) = row.split_first_chunk::<8>()?;
        Some(SegmentRef { window: u64::from_le_bytes(*window), segment: ChunkId(id.try_into().ok()?) })
    };
    if rest.is_empty() { rows.iter().map(decode).collect() } else { None }
}
