//! Bits of a block or inode bitmap.

use crate::fs::FsError;
use crate::le::u64_at;

/// One bitmap; bits past its end are clear.
pub(super) struct Bitmap<'a>(pub(super) &'a [u8]);

impl Bitmap<'_> {
    pub(super) fn has(&self, bit: u32) -> bool {
        self.0.get((bit / 8) as usize).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }

    fn word(&self, index: u64) -> u64 {
        u64_at(self.0, index as usize * 8).unwrap_or(0)
    }
}

/// Calls `each` with every run of set bits below `bits` as `(first, count)`.
pub(super) fn each_used(
    bitmap: &Bitmap<'_>,
    bits: u64,
    mut each: impl FnMut(u64, u64) -> Result<(), FsError>,
) -> Result<(), FsError> {
    let mut at = next(bitmap, 0, bits, 0);
    while at < bits {
        let end = next(bitmap, at, bits, u64::MAX);
        each(at, end - at)?;
        at = next(bitmap, end, bits, 0);
    }
    Ok(())
}

/// The first bit from `at` on that differs from those in `same`, a word of equal bits; `bits` when there is none.
fn next(bitmap: &Bitmap<'_>, mut at: u64, bits: u64, same: u64) -> u64 {
    while at < bits {
        let differing = (bitmap.word(at / 64) ^ same) >> (at % 64);
        if differing != 0 {
            return (at + u64::from(differing.trailing_zeros())).min(bits);
        }
        at = (at / 64 + 1) * 64;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(bytes: &[u8], bits: u64) -> Vec<(u64, u64)> {
        let mut runs = Vec::new();
        each_used(&Bitmap(bytes), bits, |first, count| {
            runs.push((first, count));
            Ok(())
        })
        .expect("collecting cannot fail");
        runs
    }

    #[test]
    fn runs_cross_words_and_end_at_the_limit() {
        let mut bytes = vec![0u8; 24];
        bytes[7] = 0b1100_0000;
        bytes[8] = 0b0000_0011;
        bytes[15..].fill(0xFF);
        assert_eq!(runs(&bytes, 192), [(62, 4), (120, 72)]);
        assert_eq!(runs(&bytes, 130), [(62, 4), (120, 10)]);
        assert_eq!(runs(&[0; 24], 192), []);
        assert_eq!(runs(&[0xFF; 24], 192), [(0, 192)]);
    }
}
