//! What FAT and exFAT have in common: a heap of numbered clusters, and a table that chains them.
//!
//! Numbers are checked against the heap before they become byte offsets, so that an offset always lies on the volume.

use std::sync::Arc;

use super::table::{FIRST_CLUSTER, Table};
use super::walk::Walk;
use crate::fs::{Extent, FsError};
use crate::read::ReadAt;

/// Where clusters lie. Whoever makes one has checked that all of it lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fs) struct Heap {
    /// Byte offset of cluster 2.
    pub(in crate::fs) start: u64,
    /// Bytes per cluster.
    pub(in crate::fs) cluster: u64,
    /// How many there are.
    pub(in crate::fs) clusters: u32,
}

/// Which clusters a file or directory has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fs) enum Place {
    /// Those that the table chains from this one.
    Chain(u32),
    /// So many from this one on; the table says nothing about them.
    Contiguous(u32, u64),
}

/// A disk with its heap and table.
pub(in crate::fs) struct Volume<'d> {
    pub(in crate::fs) disk: Arc<dyn ReadAt + 'd>,
    pub(in crate::fs) heap: Heap,
    pub(in crate::fs) table: Table<'d>,
}

impl Heap {
    /// True when the cluster exists.
    pub(in crate::fs) fn holds(&self, cluster: u32) -> bool {
        cluster.checked_sub(FIRST_CLUSTER).is_some_and(|index| index < self.clusters)
    }

    /// The bytes of `count` clusters from `first`, which exists.
    pub(in crate::fs) fn extent(&self, first: u32, count: u64) -> Extent {
        let index = u64::from(first.saturating_sub(FIRST_CLUSTER));
        let start = self.start.saturating_add(index.saturating_mul(self.cluster));
        Extent::new(start, count.saturating_mul(self.cluster))
    }

    /// First byte behind the last cluster.
    pub(in crate::fs) fn end(&self) -> u64 {
        self.extent(FIRST_CLUSTER, self.clusters.into()).end()
    }
}

impl Volume<'_> {
    /// Visits the clusters of a file or directory.
    pub(in crate::fs) fn walk(&self, place: Place) -> Walk<'_> {
        Walk::new(self.heap, &self.table, place)
    }

    pub(in crate::fs) fn read(&self, at: u64, buf: &mut [u8]) -> Result<(), FsError> {
        self.disk.read_at(at, buf).map_err(|source| FsError::Read { at, source })
    }
}
