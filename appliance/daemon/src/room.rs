//! Room in the store: measured from the file system, told when it crosses a line, moved noticeably, or a day has passed, so that the
//! control plane can say when it will be full.

use rustix::fs::statvfs;
use saveos_protocol::fact::{StoreCapacity, StoreLevel};
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{Bytes, Percent};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Less free than this part of it is low; it is roomy again at one percent more, so that nothing is told back and forth.
const LOW_PERCENT: u64 = 10;
/// Less than this and backups fail: packs and index need room while they are written.
const FULL_PERCENT: u64 = 2;
/// A difference of this part of the store is worth telling.
const NOTICEABLE: u64 = 100;
/// Told at least so often: a flat line is news, too.
const DAILY: Duration = Duration::from_secs(86_400);

/// Room at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Room {
    pub(crate) size: u64,
    pub(crate) free: u64,
}

/// What was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    room: Room,
    level: StoreLevel,
    at: Timestamp,
}

/// Measures what this daemon may still write: what is kept for root is not counted as free.
pub(crate) fn measure(store: &Path) -> std::io::Result<Room> {
    let found = statvfs(store)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Room { size: bytes(found.f_blocks), free: bytes(found.f_bavail) })
}

impl Room {
    /// How much of it is used.
    pub(crate) fn used(self) -> Percent {
        Percent::of(self.size.saturating_sub(self.free), self.size.max(1))
    }

    fn is_below(self, percent: u64) -> bool {
        u128::from(self.free) * 100 < u128::from(self.size) * u128::from(percent)
    }

    /// Which line, coming from the level before.
    pub(crate) fn level(self, before: Option<StoreLevel>) -> StoreLevel {
        let more = |level| u64::from(before == Some(level));
        if self.is_below(FULL_PERCENT + more(StoreLevel::Full)) {
            StoreLevel::Full
        } else if self.is_below(LOW_PERCENT + u64::from(matches!(before, Some(StoreLevel::Low | StoreLevel::Full)))) {
            StoreLevel::Low
        } else {
            StoreLevel::Roomy
        }
    }
}

/// What to tell now, if anything, and what to remember of it.
pub(crate) fn news(room: Room, last: Option<Told>, now: Timestamp) -> Option<(StoreCapacity, Told)> {
    let level = room.level(last.map(|told| told.level));
    let same = last.is_some_and(|told| {
        told.level == level
            && told.room.size == room.size
            && told.room.free.abs_diff(room.free) < (room.size / NOTICEABLE).max(1)
            && now.since(told.at) < DAILY
    });
    let (size_bytes, free_bytes) = (Bytes::saturating(room.size), Bytes::saturating(room.free));
    (!same).then_some((StoreCapacity { disk: None, level, size_bytes, free_bytes }, Told { room, level, at: now }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1_000_000;

    fn at(hours: u64) -> Timestamp {
        Timestamp::saturating(hours * 3_600_000)
    }

    /// Levels that are told of these parts of a thousand that are free, an hour apart.
    fn told(free: &[u64]) -> Vec<(u64, StoreLevel)> {
        let mut last = None;
        let mut all = Vec::new();
        for (hour, free) in (0..).zip(free) {
            if let Some((capacity, remembered)) = news(Room { size: SIZE, free: free * SIZE / 1000 }, last, at(hour)) {
                all.push((capacity.free_bytes.get() * 1000 / SIZE, capacity.level));
                last = Some(remembered);
            }
        }
        all
    }

    #[test]
    fn lines_are_crossed_once_however_it_trembles() {
        use StoreLevel::{Full, Low, Roomy};
        let trembling = [500, 101, 99, 101, 99, 109, 108, 111, 19, 21, 19, 25, 31, 99, 112];
        let expected = [
            (500, Roomy),
            (101, Roomy),
            (99, Low),
            (109, Low),
            (111, Roomy),
            (19, Full),
            (31, Low),
            (99, Low),
            (112, Roomy),
        ];
        assert_eq!(told(&trembling), expected);
        assert_eq!(told(&[0]), [(0, Full)]);
    }

    #[test]
    fn small_changes_wait_for_a_day_and_large_ones_do_not() {
        assert_eq!(told(&[500, 499, 498, 495, 490]), [(500, StoreLevel::Roomy), (490, StoreLevel::Roomy)]);
        assert_eq!(told(&[500; 26]).len(), 2, "a flat line is told once a day");
    }

    #[test]
    fn a_folder_has_a_size_and_a_missing_one_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let room = measure(folder.path()).expect("it is there");
        assert!(room.size > 0 && room.free <= room.size);
        assert!(measure(&folder.path().join("nothing")).is_err());
        assert_eq!(Room { size: 0, free: 0 }.used(), Percent::of(0, 1));
    }
}
