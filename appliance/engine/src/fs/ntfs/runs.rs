//! Mapping pairs: turns the packed run list of an attribute into runs of clusters, and reads through them.
//!
//! A run outside the volume is a flaw, so whoever gets a run may multiply it by the cluster size.

use super::boot::Geometry;
use super::record::Flaw;
use crate::fs::FsError;
use crate::read::ReadAt;

/// 24 MB for one stream. Surveying streams runs and has no such limit; only what is read through a map has.
const MAX_RUNS: usize = 1 << 20;

/// No cluster has this number, so it can mark a run that has none.
const HOLE: u64 = u64::MAX;

/// Clusters of a stream that follow each other on disk, or a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// First cluster of the stream.
    pub(super) vcn: u64,
    lcn: u64,
    /// How many; never zero.
    pub(super) len: u64,
}

impl Run {
    /// First cluster on disk; `None` for a hole.
    pub(super) fn lcn(&self) -> Option<u64> {
        Some(self.lcn).filter(|lcn| *lcn != HOLE)
    }

    /// First cluster of the stream behind the run.
    pub(super) fn end(&self) -> u64 {
        self.vcn.saturating_add(self.len)
    }

    fn continues(&self, next: &Run) -> bool {
        match (self.lcn(), next.lcn()) {
            (Some(here), Some(there)) => here.checked_add(self.len) == Some(there),
            (None, None) => true,
            _ => false,
        }
    }
}

/// Decodes mapping pairs; ends after the first flaw.
pub(super) struct Decoder<'a> {
    rest: &'a [u8],
    vcn: u64,
    lcn: i64,
    clusters: u64,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(pairs: &'a [u8], lowest: u64, clusters: u64) -> Self {
        Self { rest: pairs, vcn: lowest, lcn: 0, clusters }
    }

    /// First cluster of the stream behind everything decoded so far.
    pub(super) fn end(&self) -> u64 {
        self.vcn
    }

    fn step(&mut self) -> Result<Option<Run>, Flaw> {
        let rest = std::mem::take(&mut self.rest);
        let Some((header, rest)) = rest.split_first().filter(|(header, _)| **header != 0) else {
            return Ok(None);
        };
        let (len, rest) = rest.split_at_checked(usize::from(header & 15)).ok_or("a run is cut off")?;
        let (delta, rest) = rest.split_at_checked(usize::from(header >> 4)).ok_or("a run is cut off")?;
        let len = signed(len).filter(|len| *len > 0).ok_or("a run has an impossible length")? as u64;
        let end = self.vcn.checked_add(len).ok_or("runs are longer than a stream can be")?;
        let lcn = if delta.is_empty() {
            HOLE
        } else {
            let step = signed(delta).ok_or("a run has an impossible offset")?;
            self.lcn = self.lcn.checked_add(step).ok_or("a run lies outside the volume")?;
            let lcn = u64::try_from(self.lcn).map_err(|_| "a run lies outside the volume")?;
            if lcn.checked_add(len).is_none_or(|end| end > self.clusters) {
                return Err("a run lies outside the volume");
            }
            lcn
        };
        let run = Run { vcn: self.vcn, lcn, len };
        self.vcn = end;
        self.rest = rest;
        Ok(Some(run))
    }
}

impl Iterator for Decoder<'_> {
    type Item = Result<Run, Flaw>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Little-endian two's complement of up to eight bytes.
fn signed(bytes: &[u8]) -> Option<i64> {
    let top = *bytes.last()?;
    let mut word = if top & 0x80 != 0 { [0xFF; 8] } else { [0; 8] };
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(word))
}

/// All runs of one stream, in order and without gaps.
#[derive(Clone, Debug, Default)]
pub(super) struct RunMap {
    runs: Vec<Run>,
}

impl RunMap {
    /// Adds the run that follows.
    pub(super) fn push(&mut self, run: Run) -> Result<(), Flaw> {
        if run.vcn != self.end() {
            return Err("a stream's parts do not follow each other");
        }
        if let Some(last) = self.runs.last_mut().filter(|last| last.continues(&run)) {
            last.len = last.len.saturating_add(run.len);
            return Ok(());
        }
        if self.runs.len() >= MAX_RUNS {
            return Err("a stream has more runs than we hold");
        }
        self.runs.push(run);
        Ok(())
    }

    /// Adds all runs of the part that follows.
    pub(super) fn extend(&mut self, runs: Decoder<'_>) -> Result<(), Flaw> {
        runs.into_iter().try_for_each(|run| self.push(run?))
    }

    /// Clusters mapped.
    pub(super) fn end(&self) -> u64 {
        self.runs.last().map_or(0, Run::end)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// The run from cluster `vcn` of the stream on.
    pub(super) fn at(&self, vcn: u64) -> Option<Run> {
        let index = self.runs.partition_point(|run| run.end() <= vcn);
        let run = self.runs.get(index)?;
        let skip = vcn.checked_sub(run.vcn)?;
        let lcn = run.lcn().map_or(HOLE, |lcn| lcn + skip);
        Some(Run { vcn, lcn, len: run.len.checked_sub(skip)? })
    }

    /// Reads the stored bytes of the stream; holes are zeros.
    pub(super) fn read(
        &self,
        disk: &dyn ReadAt,
        geometry: &Geometry,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<(), FsError> {
        let mut done = 0usize;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let here = offset.saturating_add(done as u64);
            let run = self
                .at(here / geometry.cluster)
                .ok_or_else(|| FsError::Damaged("a stream is shorter than its size".into()))?;
            let within = here % geometry.cluster;
            // A hole may be longer than bytes can be counted.
            let len = run.len.saturating_mul(geometry.cluster).saturating_sub(within);
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
            let part = rest.get_mut(..len).unwrap_or_default();
            match run.lcn() {
                Some(lcn) => {
                    let at = lcn * geometry.cluster + within;
                    disk.read_at(at, part).map_err(|source| FsError::Read { at, source })?;
                }
                None => part.fill(0),
            }
            done += len;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pairs: &[u8]) -> Result<Vec<(u64, Option<u64>, u64)>, Flaw> {
        Decoder::new(pairs, 0, 10_000).map(|run| run.map(|run| (run.vcn, run.lcn(), run.len))).collect()
    }

    #[test]
    fn runs_go_back_and_forth_and_have_holes() {
        let pairs = [0x21, 0x18, 0x34, 0x12, 0x01, 0x10, 0x11, 0x08, 0xF0, 0x00, 0xFF];
        assert_eq!(decode(&pairs), Ok(vec![(0, Some(0x1234), 0x18), (0x18, None, 0x10), (0x28, Some(0x1224), 8)]));
    }

    #[test]
    fn runs_outside_the_volume_are_flaws() {
        for pairs in [
            &[0x11, 0x01, 0xFF][..],
            &[0x21, 0x01, 0x10, 0x27],
            &[0x21, 0x02, 0x0F, 0x27],
            &[0x81, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
            &[0x11, 0x00, 0x01],
            &[0x11, 0x80, 0x01],
            &[0x10, 0x01],
            &[0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            &[0x22, 0x01],
        ] {
            assert!(decode(pairs).is_err(), "{pairs:x?}");
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 56) as u8 & if state & 1 << 40 == 0 { 0x33 } else { 0xFF }
            })
            .take(40)
            .collect();
            let mut map = RunMap::default();
            for run in Decoder::new(&bytes, 0, u64::MAX >> 1).map_while(Result::ok) {
                let _ = map.push(run);
            }
            assert!(map.at(map.end()).is_none());
        }
    }

    #[test]
    fn a_map_merges_and_finds() {
        let mut map = RunMap::default();
        for run in Decoder::new(&[0x11, 4, 8, 0x11, 4, 4, 0x01, 2, 0x11, 1, 1], 0, 100) {
            map.push(run.unwrap()).unwrap();
        }
        assert_eq!(map.iter().count(), 3);
        assert_eq!(map.at(5).map(|run| (run.lcn(), run.len)), Some((Some(13), 3)));
        assert_eq!(map.at(9).map(|run| (run.lcn(), run.len)), Some((None, 1)));
        assert_eq!(map.at(10).map(|run| (run.lcn(), run.len)), Some((Some(13), 1)));
        assert_eq!(map.at(11), None);
    }
}
