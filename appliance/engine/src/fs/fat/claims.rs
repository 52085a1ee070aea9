//! Tells who owns which clusters, each cluster once: a cluster met again is a doubt and goes to nobody else.
//!
//! Because of that the work for a hostile volume stays proportional to its clusters, whatever its directories say: loops
//! and chains that join others end where they meet what was told before.

use std::fmt::Arguments;

use super::volume::Heap;
use super::walk::Walk;
use crate::fs::{Doubt, Extent, FileId, FsError, Survey};

/// The first doubts tell a person what is wrong; a million of them fill the memory.
const MAX_DOUBTS: u64 = 100;
/// Clusters per page of marks: 4 KiB.
const PAGE_CLUSTERS: u32 = 32 << 10;
/// 32 MiB of marks: every FAT32 volume, and exFAT up to 32 TiB in clusters of 128 KiB. Beyond, only loops and the
/// number of clusters are noticed here; the receiver of the claims still finds overlaps.
const MAX_PAGES: usize = 8192;

/// A survey with marks of what it was told.
pub(in crate::fs) struct Claims<'o> {
    /// Where everything goes.
    pub(in crate::fs) out: &'o mut dyn Survey,
    heap: Heap,
    pages: Vec<Option<Box<[u8]>>>,
    free_pages: usize,
    left: u64,
    doubts: u64,
}

/// Takes one run: where it lies in the file, and on the disk.
type Run<'r> = dyn FnMut(&mut dyn Survey, u64, Extent) -> Result<(), FsError> + 'r;

/// How far a file reaches into its clusters.
#[derive(Clone, Copy, Debug)]
pub(in crate::fs) struct Length {
    /// Bytes that were written. What lies behind is RAW.
    pub(in crate::fs) valid: u64,
    /// Bytes that the clusters must hold.
    pub(in crate::fs) size: u64,
}

impl<'o> Claims<'o> {
    pub(in crate::fs) fn new(out: &'o mut dyn Survey, heap: Heap) -> Self {
        let pages = (heap.clusters / PAGE_CLUSTERS + 1) as usize;
        Self { out, heap, pages: vec![None; pages], free_pages: MAX_PAGES, left: heap.clusters.into(), doubts: 0 }
    }

    pub(in crate::fs) fn doubt(&mut self, text: String) {
        self.doubts += 1;
        if self.doubts <= MAX_DOUBTS {
            self.out.doubt(Doubt(text));
        }
    }

    /// To be called last.
    pub(in crate::fs) fn finish(&mut self) {
        if let Some(untold) = self.doubts.checked_sub(MAX_DOUBTS).filter(|untold| *untold > 0) {
            self.out.doubt(Doubt(format!("{untold} more doubts like these")));
        }
    }

    /// Structures of the filesystem. Returns how many clusters there were.
    pub(in crate::fs) fn meta(&mut self, what: Arguments<'_>, walk: Walk<'_>) -> Result<u64, FsError> {
        self.runs(what, walk, &mut |out, _, extent| out.meta(extent))
    }

    /// A file: what was written is FILE, what lies behind is RAW.
    pub(in crate::fs) fn file(
        &mut self,
        what: Arguments<'_>,
        id: FileId,
        length: Length,
        walk: Walk<'_>,
    ) -> Result<(), FsError> {
        let mut begun = false;
        let clusters = self.runs(what, walk, &mut |out, logical, extent| {
            let inside = length.valid.saturating_sub(logical).min(extent.len);
            if inside > 0 {
                if !begun {
                    out.file_begin(id)?;
                    begun = true;
                }
                out.file_run(logical, Extent::new(extent.start, inside))?;
            }
            if inside == extent.len {
                return Ok(());
            }
            // Behind the cut no byte is the file's any more, so it ends before others are told.
            if std::mem::take(&mut begun) {
                out.file_end()?;
            }
            out.raw(Extent::new(extent.start + inside, extent.len - inside))
        })?;
        if begun {
            self.out.file_end()?;
        }
        if clusters.saturating_mul(self.heap.cluster) < length.size {
            self.doubt(format!("{what}: {clusters} clusters are too few for {} bytes", length.size));
        }
        Ok(())
    }

    /// Joins clusters that follow each other; stops with a doubt where something does not fit.
    fn runs(&mut self, what: Arguments<'_>, mut walk: Walk<'_>, each: &mut Run<'_>) -> Result<u64, FsError> {
        let (mut first, mut count, mut before) = (0u32, 0u64, 0u64);
        while let Some(cluster) = self.take(what, &mut walk) {
            if count > 0 && u64::from(first) + count != u64::from(cluster) {
                each(self.out, before * self.heap.cluster, self.heap.extent(first, count))?;
                (before, count) = (before + count, 0);
            }
            if count == 0 {
                first = cluster;
            }
            count += 1;
        }
        if count > 0 {
            each(self.out, before * self.heap.cluster, self.heap.extent(first, count))?;
        }
        Ok(before + count)
    }

    /// The next cluster that nobody had before.
    fn take(&mut self, what: Arguments<'_>, walk: &mut Walk<'_>) -> Option<u32> {
        let cluster = match walk.next() {
            Ok(cluster) => cluster?,
            Err(cause) => {
                self.doubt(format!("{what}: {cause}"));
                return None;
            }
        };
        if self.left == 0 || !self.mark(cluster) {
            self.doubt(format!("{what}: cluster {cluster} belongs to somebody else too"));
            return None;
        }
        self.left -= 1;
        Some(cluster)
    }

    /// False when the cluster was marked before.
    fn mark(&mut self, cluster: u32) -> bool {
        let Some(page) = self.pages.get_mut((cluster / PAGE_CLUSTERS) as usize) else { return false };
        if page.is_none() {
            let Some(left) = self.free_pages.checked_sub(1) else { return true };
            self.free_pages = left;
            *page = Some(vec![0; PAGE_CLUSTERS as usize / 8].into());
        }
        let bit = cluster % PAGE_CLUSTERS;
        let Some(byte) = page.as_mut().and_then(|page| page.get_mut((bit / 8) as usize)) else { return false };
        let new = *byte & 1 << (bit % 8) == 0;
        *byte |= 1 << (bit % 8);
        new
    }
}
