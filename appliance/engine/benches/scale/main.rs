//! Memory and reads at the sizes that break others: ext4 and NTFS of 8 TiB with ten million files and fifty million extents,
//! one file of a million extents, an index of 30 million chunks. `cargo xtask bench scale`; each case is a process of its
//! own, prints what it counted and fails above the bounds of the design.

mod backup;
mod ext;
mod index;
mod ntfs;
mod survey;

use std::process::{Command, exit};

/// Its name, and what measures it; the number shrinks it for a quick look.
type Case = (&'static str, fn(u64));

const CASES: &[Case] = &[
    ("ext", survey::ext),
    ("ext-giant", survey::ext_giant),
    ("ntfs", survey::ntfs),
    ("backup-giant", backup::giant),
    ("index", index::measure),
];

/// 256 MiB, of which an appliance with 1 GiB can spare as much beside everything else.
const RSS_LIMIT: u64 = 256 << 20;

fn main() {
    // `cargo bench` passes its own flags; a number shrinks everything, a name measures that alone.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let part: u64 = words.iter().filter_map(|word| word.parse().ok()).next().unwrap_or(1);
    if let Some((_, measure)) = CASES.iter().find(|(name, _)| words.iter().any(|word| word == name)) {
        measure(part);
        let peak = peak_rss();
        println!("  peak RSS {} MiB", peak >> 20);
        assert!(peak <= RSS_LIMIT, "more than 256 MiB of memory");
        return;
    }
    let program = std::env::current_exe().expect("a program knows itself");
    for (name, _) in CASES {
        let status = Command::new(&program).args([name, part.to_string().as_str()]).status();
        if !status.expect("what ran once runs again").success() {
            exit(1);
        }
    }
}

/// The most memory this process ever had, in bytes.
fn peak_rss() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux tells of itself");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
