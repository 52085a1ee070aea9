//! The structure check: does every record parse, is every cluster owned at most once and marked as used, does the
//! mirror agree. It is no fsck: indexes and security are not judged and nothing is repaired.
//!
//! Memory is bounded: large volumes are checked a window of clusters at a time, with one walk over the MFT for each.

use std::ops::Range;
use std::sync::Arc;

use super::attribute::{Attribute, DATA};
use super::record::{Record, repair};
use super::runs::Run;
use super::stream::Stream;
use super::volume::{MFT_MIRROR, Volume};
use super::walk::{self, Visitor, Walked};
use super::{bitmap, journal};
use crate::fs::FsError;
use crate::le::u16_at;
use crate::read::ReadAt;

/// 32 MiB of bits: 1 TiB of 4 KiB clusters per walk.
const WINDOW_CLUSTERS: u64 = 8 * (32 << 20);
const MAX_COMPLAINTS: usize = 100;
/// `$MFTMirr` repeats the first four records, or as many as fit one cluster.
const MAX_MIRROR: u64 = 2 << 20;

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    /// Files and directories, by their base records.
    pub files: u64,
    /// Further records that files needed.
    pub extensions: u64,
    /// Runs of clusters.
    pub runs: u64,
    /// Clusters that some file owns.
    pub owned: u64,
    /// Clusters marked as used in `$Bitmap`; more than `owned` when some were lost, which harms nobody.
    pub used: u64,
    /// What does not fit together; the first of many.
    pub complaints: Vec<String>,
    /// How many complaints did not fit the list.
    pub more_complaints: u64,
}

impl Structure {
    /// True when nothing was found wrong.
    pub fn is_sound(&self) -> bool {
        self.complaints.is_empty()
    }

    fn complain(&mut self, complaint: String) {
        if self.complaints.len() < MAX_COMPLAINTS {
            self.complaints.push(complaint);
        } else {
            self.more_complaints += 1;
        }
    }
}

/// Checks the whole volume.
pub(super) fn run(disk: Arc<dyn ReadAt + '_>) -> Result<Structure, FsError> {
    check(&Volume::open(disk)?, WINDOW_CLUSTERS)
}

fn check(volume: &Volume<'_>, window: u64) -> Result<Structure, FsError> {
    let mut structure = Structure::default();
    for doubt in &volume.doubts {
        structure.complain(doubt.clone());
    }
    if volume.dirty {
        structure.complain("the volume is marked dirty".into());
    }
    match journal::dirt(volume) {
        Ok(None) => {}
        Ok(Some(why)) => structure.complain(format!("$LogFile is dirty ({why})")),
        Err(cause) => structure.complain(format!("$LogFile: {cause}")),
    }
    check_mirror(volume, &mut structure);
    let bits = bitmap::open(volume).map_err(|cause| FsError::Unusable(format!("$Bitmap: {cause}")))?;
    let clusters = volume.geometry.clusters;
    let mut start = 0;
    while start < clusters {
        let end = start.saturating_add(window).min(clusters);
        let mut owners = Owners::new(start..end, &mut structure);
        let walked = walk::all(volume, &mut owners)?;
        owners.compare(volume, &bits, walked);
        start = end;
    }
    Ok(structure)
}

fn check_mirror(volume: &Volume<'_>, structure: &mut Structure) {
    let mirror = Stream::open(volume, MFT_MIRROR, DATA, &[]).and_then(|mirror| mirror.read_all(volume, MAX_MIRROR));
    let mirror = match mirror {
        Ok(mirror) => mirror,
        Err(cause) => return structure.complain(format!("$MFTMirr: {cause}")),
    };
    for (number, mirrored) in mirror.chunks_exact(volume.geometry.record_len()).enumerate() {
        let mut record = vec![0; mirrored.len()];
        match volume.mft.read_raw(number as u64, &mut record) {
            Ok(()) if unguarded(&record) == unguarded(mirrored) => {}
            Ok(()) => structure.complain(format!("$MFTMirr: record {number} differs from the MFT")),
            Err(cause) => structure.complain(format!("$MFTMirr: record {number}: {cause}")),
        }
    }
}

/// A record without its update sequence, which differs between two writes of the same bytes.
fn unguarded(record: &[u8]) -> Vec<u8> {
    let mut bytes = record.to_vec();
    if repair(&mut bytes, b"FILE").is_ok() {
        let array = u16_at(&bytes, 4).map_or(0, usize::from);
        let len = u16_at(&bytes, 6).map_or(0, |count| 2 * usize::from(count));
        bytes.get_mut(array..array + len).unwrap_or_default().fill(0);
    }
    bytes
}

/// Who owns the clusters of one window: a bit each.
struct Owners<'s> {
    window: Range<u64>,
    bits: Vec<u64>,
    structure: &'s mut Structure,
    /// The record whose runs arrive.
    number: u64,
    owned: u64,
    twice: u64,
}

impl<'s> Owners<'s> {
    fn new(window: Range<u64>, structure: &'s mut Structure) -> Self {
        let bits = vec![0; (window.end - window.start).div_ceil(64) as usize];
        Self { window, bits, structure, number: 0, owned: 0, twice: 0 }
    }

    /// The walk of every window sees the same flaws; the first one tells them.
    fn is_first(&self) -> bool {
        self.window.start == 0
    }

    fn own(&mut self, lcn: u64, len: u64) {
        let start = lcn.max(self.window.start);
        let end = (lcn + len).min(self.window.end);
        // Runs that overlap this much are a bomb: marking on would take longer than it tells.
        if start >= end || self.twice > self.window.end - self.window.start {
            return;
        }
        let mut twice = 0;
        let (first, last) = (start - self.window.start, end - self.window.start);
        for index in first / 64..last.div_ceil(64) {
            let low = first.saturating_sub(64 * index);
            let high = (last - 64 * index).min(64);
            let mask = (u64::MAX >> (64 - (high - low))) << low;
            if let Some(word) = self.bits.get_mut(index as usize) {
                twice += u64::from((*word & mask).count_ones());
                *word |= mask;
            }
        }
        self.owned += end - start - twice;
        self.twice += twice;
        if twice > 0 {
            let number = self.number;
            self.structure.complain(format!(
                "MFT record {number}: {twice} of the clusters {start} to {} have another owner too",
                end - 1
            ));
        }
    }

    fn compare(self, volume: &Volume<'_>, bits: &Stream, walked: Walked) {
        let (first, structure) = (self.is_first(), self.structure);
        if first {
            (structure.files, structure.extensions) = (walked.files, walked.extensions);
        }
        structure.owned += self.owned;
        // Windows start at multiples of 64, so words of both sides meet.
        for (index, words) in self.bits.chunks(1 << 13).enumerate() {
            let start = self.window.start + 64 * (index << 13) as u64;
            let mut used = vec![0; 8 * words.len()];
            match bits.read(volume, start / 8, &mut used) {
                Ok(_) => compare_words(start, self.window.end, words, &used, structure),
                Err(cause) => structure.complain(format!("$Bitmap: {cause}")),
            }
        }
    }
}

/// Compares the clusters from `start` on, up to `end`.
fn compare_words(start: u64, end: u64, owned: &[u64], used: &[u8], structure: &mut Structure) {
    for (index, (owned, used)) in owned.iter().zip(used.chunks(8)).enumerate() {
        let at = start + 64 * index as u64;
        let used = used.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let inside = u64::MAX >> (64 - end.saturating_sub(at).clamp(1, 64));
        structure.used += u64::from((used & inside).count_ones());
        let free = owned & !used & inside;
        if free != 0 {
            structure.complain(format!(
                "{} clusters from {} on are owned but free in $Bitmap",
                free.count_ones(),
                at + u64::from(free.trailing_zeros())
            ));
        }
    }
}

impl Visitor for Owners<'_> {
    fn file(&mut self, number: u64, _: &Record<'_>) -> Result<(), FsError> {
        self.number = number;
        Ok(())
    }

    fn resident(&mut self, _: &Attribute<'_>, _: &[u8]) -> Result<(), FsError> {
        Ok(())
    }

    fn begin(&mut self, _: &Attribute<'_>) -> Result<(), FsError> {
        Ok(())
    }

    fn run(&mut self, run: Run) -> Result<(), FsError> {
        if let Some(lcn) = run.lcn() {
            if self.is_first() {
                self.structure.runs += 1;
            }
            self.own(lcn, run.len);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), FsError> {
        Ok(())
    }

    fn flaw(&mut self, flaw: String) -> Result<(), FsError> {
        if self.is_first() {
            self.structure.complain(flaw);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(window: Range<u64>, runs: &[(u64, u64)]) -> (u64, Vec<u64>, Structure) {
        let mut structure = Structure::default();
        let mut owners = Owners::new(window, &mut structure);
        runs.iter().for_each(|(lcn, len)| owners.own(*lcn, *len));
        (owners.owned, owners.bits.clone(), structure)
    }

    #[test]
    fn windows_see_their_part_of_a_run() {
        let runs = [(3, 2), (60, 10), (127, 130), (300, 1)];
        let (owned, bits, structure) = marked(64..192, &runs);
        assert_eq!((owned, bits), (6 + 65, vec![0x3F | 1 << 63, u64::MAX]));
        assert!(structure.is_sound());
        let parts: u64 = [0..64, 64..128, 128..256, 256..301].map(|window| marked(window, &runs).0).iter().sum();
        assert_eq!(parts, marked(0..301, &runs).0);
        assert_eq!(parts, 2 + 10 + 130 + 1);
    }

    #[test]
    fn a_second_owner_is_named() {
        let (owned, _, structure) = marked(0..200, &[(10, 100), (105, 10), (0, 10)]);
        assert_eq!(owned, 115);
        let expected = "MFT record 0: 5 of the clusters 105 to 114 have another owner too";
        assert_eq!(structure.complaints, [expected]);
    }

    #[test]
    fn an_overlap_bomb_is_given_up() {
        let bomb = vec![(0, 6400); 100_000];
        let (_, _, structure) = marked(0..6400, &bomb);
        assert!(structure.complaints.len() < 4);
    }

    #[test]
    fn owned_but_free_is_told_and_bits_behind_the_volume_are_not() {
        let mut structure = Structure::default();
        compare_words(640, 640 + 64 + 8, &[0b111, 0xFF], &[0b101, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], &mut structure);
        assert_eq!(structure.used, 2 + 8);
        assert_eq!(structure.complaints, ["1 clusters from 641 on are owned but free in $Bitmap"]);
    }
}
