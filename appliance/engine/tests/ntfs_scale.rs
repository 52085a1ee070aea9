//! A volume of 8 TiB with a million files and one file in a million fragments is surveyed in bounded memory.
//!
//! No such disk is at hand, so its records are made up as they are read; `cargo xtask bench scale` does it with ten million.
//! Alone in its file: it measures the process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop at once")]

#[path = "../benches/scale/ntfs.rs"]
mod disk;

use disk::{GIANT_RUNS, Ntfs, RUNS_PER_FILE};
use saveos_engine::fs::{Doubt, Extent, FileId, FsError, LeftOut, Survey, ntfs};

const FILES: u64 = 1_000_000;

const MEMORY_LIMIT_KIB: u64 = 64 << 10;

#[derive(Default)]
struct Counted {
    files: u64,
    runs: u64,
    longest: u64,
    open: u64,
    doubts: Vec<String>,
}

impl Survey for Counted {
    fn allocated(&mut self, _: Extent) -> Result<(), FsError> {
        Ok(())
    }
    fn meta(&mut self, _: Extent) -> Result<(), FsError> {
        Ok(())
    }
    fn raw(&mut self, _: Extent) -> Result<(), FsError> {
        Ok(())
    }
    fn left_out(&mut self, _: LeftOut, _: Extent) -> Result<(), FsError> {
        Ok(())
    }
    fn file_begin(&mut self, _: FileId) -> Result<(), FsError> {
        self.files += 1;
        self.open = 0;
        Ok(())
    }
    fn file_run(&mut self, _: u64, _: Extent) -> Result<(), FsError> {
        self.runs += 1;
        self.open += 1;
        Ok(())
    }
    fn file_end(&mut self) -> Result<(), FsError> {
        self.longest = self.longest.max(self.open);
        Ok(())
    }
    fn doubt(&mut self, doubt: Doubt) {
        self.doubts.push(doubt.0);
    }
    fn note(&mut self, _: String) {}
}

/// The most memory this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn millions_of_extents_fit_in_little_memory() {
    let mut counted = Counted::default();
    ntfs::survey(&Ntfs { files: FILES }, &mut counted).unwrap();
    assert_eq!(counted.doubts, Vec::<String>::new());
    assert_eq!(counted.files, FILES + 1);
    assert_eq!(counted.longest, GIANT_RUNS);
    assert_eq!(counted.runs, FILES * RUNS_PER_FILE + GIANT_RUNS);
    let peak = peak_kib();
    assert!(peak < MEMORY_LIMIT_KIB, "{peak} KiB at the peak");
    eprintln!("peak {peak} KiB");
}
