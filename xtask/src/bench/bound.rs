//! What nobody can beat on these cores: the same bytes through bare zstd, AES and BLAKE3, measured in the same run.

use super::disks::Disks;
use crate::shell::output;
use anyhow::Context;
use std::path::Path;
use std::time::Instant;

/// Seconds for all allocated bytes of the first disk, on all cores.
pub(crate) struct Bound {
    /// `zstd -3` of them, in bytes: the yardstick of the repository's size.
    pub(crate) zstd3_bytes: u64,
    /// `zstd -1`, then AES-256.
    pub(crate) compress_and_seal: f64,
    /// BLAKE3.
    pub(crate) hash: f64,
    /// AES-256 and `zstd -d`, into nothing.
    pub(crate) open_and_decompress: f64,
}

/// Runs them; `b3sum`, `zstd` and `openssl` are those of the distribution.
pub(crate) fn measure(disks: &Disks, folder: &Path) -> anyhow::Result<Bound> {
    let (disk, plain, sealed) = (disks.first.display(), folder.join("allocated.bin"), folder.join("allocated.sealed"));
    let (plain, sealed) = (plain.display(), sealed.display());
    timed(&format!("partclone.ext4 -c -s '{disk}' -O - -L /dev/null 2>/dev/null > '{plain}'"))?;
    let zstd3_bytes = output("sh", &["-c", &format!("zstd -q -3 -T0 -c '{plain}' | wc -c")])?;
    let cipher = "openssl enc -aes-256-ctr -pbkdf2 -pass pass:benchmark";
    let bound = Bound {
        zstd3_bytes: zstd3_bytes.trim().parse().context("zstd gave no size")?,
        compress_and_seal: timed(&format!("zstd -q -1 -T0 -c '{plain}' | {cipher} > '{sealed}'"))?,
        hash: timed(&format!("b3sum '{plain}' > /dev/null"))?,
        open_and_decompress: timed(&format!("{cipher} -d -in '{sealed}' | zstd -q -dc > /dev/null"))?,
    };
    timed(&format!("rm '{plain}' '{sealed}'"))?;
    Ok(bound)
}

fn timed(script: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    output("sh", &["-c", script])?;
    Ok(begun.elapsed().as_secs_f64())
}
