//! The file allocation table: turns a cluster number into what follows it. Serves FAT12, FAT16, FAT32 and exFAT.
//!
//! Tables of large volumes measure gigabytes, so only a few windows are held. A part of the first copy that cannot be
//! read is taken from the next copy.

use std::sync::{Arc, Mutex, PoisonError};

use crate::fs::FsError;
use crate::le::{u16_at, u32_at};
use crate::read::ReadAt;

/// 16384 entries of four bytes.
const WINDOW: u64 = 64 << 10;
/// 4 MiB in all: the table of 128 GiB in clusters of 128 KiB.
const WINDOWS: usize = 64;
/// The first two entries name no cluster.
pub(in crate::fs) const FIRST_CLUSTER: u32 = 2;

/// How wide entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fs) enum Width {
    Twelve,
    Sixteen,
    /// Four bytes, of which the upper four bits are somebody else's.
    TwentyEight,
    /// exFAT: four bytes.
    ThirtyTwo,
}

/// What an entry says of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fs) enum Link {
    Free,
    Next(u32),
    End,
    Bad,
    Reserved,
}

/// What is known about some clusters that follow each other.
#[derive(Debug)]
pub(in crate::fs) enum State {
    Used,
    /// Marked as bad.
    Bad,
    /// Their entries could not be read.
    Unknown(FsError),
}

impl Width {
    /// Bytes that `entries` entries take.
    pub(in crate::fs) fn bytes(self, entries: u64) -> u64 {
        match self {
            Width::Twelve => entries.saturating_mul(3).div_ceil(2),
            Width::Sixteen => entries.saturating_mul(2),
            Width::TwentyEight | Width::ThirtyTwo => entries.saturating_mul(4),
        }
    }

    /// How many whole entries fit into `bytes`.
    pub(in crate::fs) fn entries(self, bytes: u64) -> u64 {
        match self {
            Width::Twelve => bytes.saturating_mul(2) / 3,
            Width::Sixteen => bytes / 2,
            Width::TwentyEight | Width::ThirtyTwo => bytes / 4,
        }
    }

    /// The bare number of an entry.
    pub(in crate::fs) fn value(self, bytes: &[u8], index: usize) -> Option<u32> {
        match self {
            Width::Twelve => {
                let pair = u16_at(bytes, index.checked_add(index / 2)?)?;
                Some(u32::from(if index.is_multiple_of(2) { pair & 0xFFF } else { pair >> 4 }))
            }
            Width::Sixteen => u16_at(bytes, index.checked_mul(2)?).map(u32::from),
            Width::TwentyEight => Some(u32_at(bytes, index.checked_mul(4)?)? & 0x0FFF_FFFF),
            Width::ThirtyTwo => u32_at(bytes, index.checked_mul(4)?),
        }
    }

    /// The sixteen highest numbers have meanings of their own.
    fn special(self) -> u32 {
        match self {
            Width::Twelve => 0xFF0,
            Width::Sixteen => 0xFFF0,
            Width::TwentyEight => 0x0FFF_FFF0,
            Width::ThirtyTwo => 0xFFFF_FFF0,
        }
    }

    fn link(self, value: u32) -> Link {
        match (value, value.checked_sub(self.special())) {
            (0, _) => Link::Free,
            (1, _) => Link::Reserved,
            // exFAT knows no reserved numbers below, and its largest volume uses some of them for clusters.
            (_, Some(0..=6)) if self == Width::ThirtyTwo => Link::Next(value),
            (_, Some(7)) => Link::Bad,
            (_, Some(15)) => Link::End,
            (_, Some(8..)) if self != Width::ThirtyTwo => Link::End,
            (_, Some(_)) => Link::Reserved,
            (_, None) => Link::Next(value),
        }
    }
}

/// One table, in one or more copies.
pub(in crate::fs) struct Table<'d> {
    disk: Arc<dyn ReadAt + 'd>,
    width: Width,
    /// Byte offsets of the copies that are kept alike.
    copies: Vec<u64>,
    /// Entries, the two that name no cluster included.
    entries: u64,
    /// The window used last comes first.
    cache: Mutex<Vec<(u64, Window)>>,
}

/// The bytes, or nothing where they cannot be read: asking a dying disk again takes seconds each time.
type Window = Option<Arc<Vec<u8>>>;

impl<'d> Table<'d> {
    pub(in crate::fs) fn new(disk: Arc<dyn ReadAt + 'd>, width: Width, copies: Vec<u64>, clusters: u32) -> Self {
        let entries = u64::from(clusters) + u64::from(FIRST_CLUSTER);
        Self { disk, width, copies, entries, cache: Mutex::default() }
    }

    /// What follows `cluster`.
    pub(in crate::fs) fn link(&self, cluster: u32) -> Result<Link, FsError> {
        self.value(cluster).map(|value| self.width.link(value))
    }

    /// The bare entry.
    pub(in crate::fs) fn value(&self, cluster: u32) -> Result<u32, FsError> {
        let per_window = self.per_window();
        let window = self.window(u64::from(cluster) / per_window)?;
        let index = (u64::from(cluster) % per_window) as usize;
        self.width.value(&window, index).ok_or_else(|| FsError::Damaged(format!("cluster {cluster} has no entry")))
    }

    /// Calls `each` with first cluster and count of all clusters that are not free, in order.
    pub(in crate::fs) fn each(
        &self,
        each: &mut dyn FnMut(u32, u64, State) -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let per_window = self.per_window();
        let mut open: Option<(u64, u64, bool)> = None;
        let flush = |open: &mut Option<(u64, u64, bool)>, each: &mut dyn FnMut(u32, u64, State) -> _| {
            let Some((start, count, bad)) = open.take() else { return Ok(()) };
            each(start as u32, count, if bad { State::Bad } else { State::Used })
        };
        for index in 0..self.entries.div_ceil(per_window) {
            let first = (index * per_window).max(u64::from(FIRST_CLUSTER));
            let end = ((index + 1) * per_window).min(self.entries);
            let window = match self.window(index) {
                Ok(window) => window,
                Err(cause) => {
                    flush(&mut open, each)?;
                    each(first as u32, end.saturating_sub(first), State::Unknown(cause))?;
                    continue;
                }
            };
            for cluster in first..end {
                // An entry that is not there must not pass for free.
                let value = self.width.value(&window, (cluster - index * per_window) as usize).unwrap_or(1);
                let bad = match self.width.link(value) {
                    Link::Free => None,
                    Link::Bad => Some(true),
                    _ => Some(false),
                };
                match (&mut open, bad) {
                    (Some((start, count, state)), Some(bad)) if *state == bad && *start + *count == cluster => {
                        *count += 1;
                    }
                    (None, None) => {}
                    (_, bad) => {
                        flush(&mut open, each)?;
                        open = bad.map(|bad| (cluster, 1, bad));
                    }
                }
            }
        }
        flush(&mut open, each)
    }

    /// Looks for the first window in which the copies are not alike, or one of them cannot be read. The two entries that
    /// name no cluster may differ: they hold marks that some drivers write to the first copy only.
    pub(in crate::fs) fn difference(&self) -> Option<String> {
        let (first, others) = self.copies.split_first()?;
        let marks = self.width.bytes(FIRST_CLUSTER.into());
        let len = self.width.bytes(self.entries);
        let mut at = marks;
        while at < len {
            let size = (len - at).min(16 * WINDOW) as usize;
            let Ok(one) = self.disk.read_vec(first.saturating_add(at), size) else {
                return Some("a part of the first FAT could not be read".into());
            };
            for (number, copy) in (2..).zip(others) {
                match self.disk.read_vec(copy.saturating_add(at), size) {
                    Ok(other) if other == one => {}
                    Ok(_) => return Some(format!("FAT {number} is not a copy of the first")),
                    Err(_) => return Some(format!("a part of FAT {number} could not be read")),
                }
            }
            at += size as u64;
        }
        None
    }

    /// A FAT12 table is smaller than a window, so no entry lies in two.
    fn per_window(&self) -> u64 {
        self.width.entries(WINDOW)
    }

    fn window(&self, index: u64) -> Result<Arc<Vec<u8>>, FsError> {
        let at = index.saturating_mul(WINDOW);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        match cache.iter().position(|(held, _)| *held == index) {
            Some(0) => {}
            Some(place) => {
                if let Some(held) = cache.get_mut(..=place) {
                    held.rotate_right(1);
                }
            }
            None => {
                let len = self.width.bytes(self.entries).saturating_sub(at).min(WINDOW) as usize;
                let read = |copy: &u64| self.disk.read_vec(copy.saturating_add(at), len).ok();
                let window = self.copies.iter().find_map(read).map(Arc::new);
                cache.truncate(WINDOWS - 1);
                cache.insert(0, (index, window));
            }
        }
        let held = cache.first().and_then(|(_, window)| window.clone());
        held.ok_or_else(|| {
            let at = self.copies.first().copied().unwrap_or_default().saturating_add(at);
            FsError::Read { at, source: std::io::Error::other("no copy of the FAT could be read here") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_mean_what_they_mean_in_each_width() {
        let twelve = [0xF8, 0xFF, 0xFF, 0x03, 0x70, 0xFF];
        let links: Vec<_> = (0..4).map(|at| Width::Twelve.link(Width::Twelve.value(&twelve, at).unwrap())).collect();
        assert_eq!(links, [Link::End, Link::End, Link::Next(3), Link::Bad]);
        assert_eq!(Width::Twelve.value(&twelve, 4), None);
        assert_eq!(Width::Sixteen.link(0xFFF8), Link::End);
        assert_eq!(Width::Sixteen.link(0xFFF1), Link::Reserved);
        assert_eq!(Width::TwentyEight.link(Width::TwentyEight.value(&[0, 0, 0, 0xF0], 0).unwrap()), Link::Free);
        assert_eq!(Width::ThirtyTwo.link(0xFFFF_FFF8), Link::Reserved);
        assert_eq!(Width::ThirtyTwo.link(0xFFFF_FFF2), Link::Next(0xFFFF_FFF2));
        assert_eq!(Width::ThirtyTwo.link(0xFFFF_FFFF), Link::End);
    }

    #[test]
    fn runs_of_used_and_bad_clusters_are_told_apart() {
        let entries = [0xFFF8u16, 0xFFFF, 3, 0xFFFF, 0, 0xFFF7, 0xFFF7, 0xFFFF, 1];
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let table = Table::new(Arc::new(bytes), Width::Sixteen, vec![0], 7);
        let mut told = Vec::new();
        table
            .each(&mut |first, count, state| {
                told.push((first, count, matches!(state, State::Bad)));
                Ok(())
            })
            .unwrap();
        assert_eq!(told, [(2, 2, false), (5, 2, true), (7, 2, false)]);
    }

    #[test]
    fn copies_are_compared_and_stand_in_for_each_other() {
        let mut bytes = vec![0u8; 1 << 20];
        bytes[4096 + 40] = 7;
        let table = Table::new(Arc::new(bytes.clone()), Width::TwentyEight, vec![0, 4096], 500);
        assert_eq!(table.difference().as_deref(), Some("FAT 2 is not a copy of the first"));
        assert_eq!(table.value(10).unwrap(), 0);
        let table = Table::new(Arc::new(bytes), Width::TwentyEight, vec![1 << 30, 4096], 500);
        assert_eq!(table.value(10).unwrap(), 7);
        assert!(table.difference().is_some());
    }
}
