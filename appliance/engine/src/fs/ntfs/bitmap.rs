//! `$Bitmap`, one bit per cluster: turns it into runs of used clusters, a megabyte at a time.
//!
//! What the bitmap does not tell (unreadable, too short) is told as unknown, never as free.

use super::attribute::DATA;
use super::stream::Stream;
use super::volume::{BITMAP_FILE, Volume};
use crate::fs::FsError;

/// Eight million clusters per read.
const WINDOW: u64 = 1 << 20;

/// What is known about some clusters that follow each other.
#[derive(Debug)]
pub(super) enum Clusters {
    /// Their bits are set.
    Used,
    /// Their bits could not be read.
    Unknown(FsError),
}

/// Opens the stream that holds the bits.
pub(super) fn open(volume: &Volume<'_>) -> Result<Stream, FsError> {
    Stream::open(volume, BITMAP_FILE, DATA, &[])
}

/// Calls `each` with start and length of all clusters that are not free, in order.
pub(super) fn each(
    volume: &Volume<'_>,
    bits: &Stream,
    each: &mut dyn FnMut(u64, u64, Clusters) -> Result<(), FsError>,
) -> Result<(), FsError> {
    let clusters = volume.geometry.clusters;
    // A hole reads as zeros, which must not pass for free.
    let holes = bits.runs().any(|run| run.lcn().is_none());
    let known = if holes { 0 } else { clusters.min(bits.size().min(bits.initialized()).saturating_mul(8)) };
    let mut window = vec![0; WINDOW as usize];
    let mut open = None;
    let mut cluster = 0;
    while cluster < known {
        let count = (known - cluster).min(8 * WINDOW);
        let bytes = window.get_mut(..count.div_ceil(8) as usize).unwrap_or_default();
        match bits.read(volume, cluster / 8, bytes) {
            Ok(_) => scan(bytes, cluster, count, &mut open, &mut |start, len| each(start, len, Clusters::Used))?,
            Err(cause) => {
                if let Some(start) = open.take() {
                    each(start, cluster - start, Clusters::Used)?;
                }
                each(cluster, count, Clusters::Unknown(cause))?;
            }
        }
        cluster += count;
    }
    if let Some(start) = open {
        each(start, known - start, Clusters::Used)?;
    }
    if known < clusters {
        let cause = FsError::Damaged("it does not cover the volume".into());
        each(known, clusters - known, Clusters::Unknown(cause))?;
    }
    Ok(())
}

/// Finds runs of set bits among the first `count`; one that reaches the end stays `open` for the next window.
pub(in crate::fs) fn scan(
    bytes: &[u8],
    first: u64,
    count: u64,
    open: &mut Option<u64>,
    each: &mut dyn FnMut(u64, u64) -> Result<(), FsError>,
) -> Result<(), FsError> {
    for (index, word) in bytes.chunks(8).enumerate() {
        let at = first + 64 * index as u64;
        let bits = (first + count).saturating_sub(at).min(64) as u32;
        let word = word.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        let mut bit = 0;
        while bit < bits {
            let rest = word >> bit;
            let used = rest & 1 == 1;
            match (used, *open) {
                (true, None) => *open = Some(at + u64::from(bit)),
                (false, Some(start)) => {
                    *open = None;
                    each(start, at + u64::from(bit) - start)?;
                }
                _ => {}
            }
            bit += if used { rest.trailing_ones() } else { rest.trailing_zeros() };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_those_of_a_bit_by_bit_reading() {
        let mut state = 3u64;
        for round in 0..200u64 {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                [0, 0xFF, (state >> 50) as u8][(state >> 60) as usize % 3]
            })
            .take(200)
            .collect();
            let count = 1600 - round % 70;
            let mut slow = Vec::new();
            for bit in 0..count {
                if bytes[(bit / 8) as usize] >> (bit % 8) & 1 == 1 {
                    match slow.last_mut() {
                        Some((start, len)) if *start + *len == bit => *len += 1,
                        _ => slow.push((bit, 1)),
                    }
                }
            }
            let (mut fast, mut open) = (Vec::new(), None);
            let mut push = |start, len| {
                fast.push((start, len));
                Ok(())
            };
            scan(&bytes[..80], 0, 640, &mut open, &mut push).unwrap();
            scan(&bytes[80..], 640, count - 640, &mut open, &mut push).unwrap();
            fast.extend(open.map(|start| (start, count - start)));
            assert_eq!(fast, slow);
        }
    }
}
