//! A disk image from outside: where its partitions are, and one changed bit.

use anyhow::Context;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

/// The bytes of a partition, by its label.
pub(crate) fn partition(image: &Path, label: &str) -> anyhow::Result<Range<u64>> {
    let output = Command::new("sfdisk").arg("--json").arg(image).output().context("could not start sfdisk")?;
    let table: Value = serde_json::from_slice(&output.stdout).context("sfdisk prints no table")?;
    let table = &table["partitiontable"];
    let sector = table["sectorsize"].as_u64().unwrap_or(512);
    let partitions = table["partitions"].as_array().context("no partitions")?;
    let found = partitions.iter().find(|one| one["name"] == label).with_context(|| format!("no partition {label}"))?;
    let number = |name: &str| found[name].as_u64().with_context(|| format!("{label} has no {name}"));
    let start = number("start")? * sector;
    Ok(start..start + number("size")? * sector)
}

/// Turns one bit around.
pub(crate) fn flip(image: &Path, at: u64) -> anyhow::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(image)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 0x10;
    Ok(file.write_all_at(&byte, at)?)
}

/// The boot state in an image.
pub(crate) struct BootStateIn<'a> {
    /// The image.
    pub(crate) image: &'a File,
    /// Where its partition begins.
    pub(crate) at: u64,
}

impl saveos_bootctl::Disk for BootStateIn<'_> {
    fn read(&self, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.image.read_exact_at(bytes, self.at + offset)
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.image.write_all_at(bytes, self.at + offset)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.image.sync_data()
    }
}
