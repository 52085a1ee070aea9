//! The disks of the benchmark: ext4, about 55 % full, with deleted data in its free blocks, and a mix of bytes that compress
//! well, a little, and not at all. Made once and kept in `target/bench`.

use crate::shell::{output, quiet};
use anyhow::Context;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The disks.
pub(crate) struct Disks {
    /// The first disk.
    pub(crate) first: PathBuf,
    /// The same after a day's work.
    pub(crate) work_day: PathBuf,
    /// Another disk with most of the files, at other places.
    pub(crate) second: PathBuf,
    /// Length of each.
    pub(crate) size: u64,
    /// Bytes in blocks the filesystem has allocated.
    pub(crate) allocated: u64,
    /// Bytes in 4 KiB blocks that the work day changed.
    pub(crate) changed: u64,
}

impl Disks {
    /// Makes them, or takes those that are there.
    pub(crate) fn make(folder: &Path, gib: u64) -> anyhow::Result<Disks> {
        let size = gib << 30;
        let at = |name: &str| folder.join(format!("{name}-{gib}.img"));
        let (first, work_day, second) = (at("first"), at("work-day"), at("second"));
        if !second.exists() {
            println!("making the disks, once");
            let content = folder.join("content");
            let _ = std::fs::remove_dir_all(&content); // what an interrupted run left
            Content { noise: Noise(7), folder: content.clone() }.write(size * 55 / 100)?;
            make_disk(&first, size, &content)?;
            std::fs::copy(&first, &work_day)?;
            change(&work_day, folder)?;
            reshuffle(&content, size)?;
            make_disk(&at("making"), size, &content)?;
            std::fs::remove_dir_all(&content)?;
            #[expect(
                clippy::disallowed_methods,
                reason = "a benchmark's file: its name only says that it is complete"
            )]
            std::fs::rename(at("making"), &second)?;
        }
        let allocated = allocated(&first)?;
        let changed = changed_blocks(&first, &work_day)?;
        Ok(Disks { first, work_day, second, size, allocated, changed })
    }

    /// In one line.
    pub(crate) fn describe(&self) -> String {
        let mib = |bytes: u64| bytes >> 20;
        let (size, allocated, changed) = (mib(self.size), mib(self.allocated), mib(self.changed));
        format!("disk: {size} MiB, {allocated} MiB allocated; the work day changes {changed} MiB of blocks")
    }

    /// Whether two disks hold the same files and structure. Free blocks may differ.
    pub(crate) fn same_content(&self, one: &Path, other: &Path) -> anyhow::Result<bool> {
        quiet("e2fsck", &["-fn", &other.to_string_lossy()])?;
        let free = free_blocks(one)?;
        let (mut a, mut b) = (File::open(one)?, File::open(other)?);
        let (mut x, mut y) = (vec![0; 4096], vec![0; 4096]);
        for block in 0..self.size / 4096 {
            a.read_exact(&mut x)?;
            b.read_exact(&mut y)?;
            if x != y && !free.iter().any(|range| range.contains(&block)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// An image full of old data, and a filesystem over it that leaves free blocks as they are.
fn make_disk(path: &Path, size: u64, content: &Path) -> anyhow::Result<()> {
    let mut noise = Noise(size ^ 0x5eed);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut block = vec![0; 1 << 20];
    for megabyte in 0..size >> 20 {
        if megabyte % 3 == 0 {
            noise.fill(&mut block);
        } else {
            noise.text(&mut block);
        }
        out.write_all(&block)?;
    }
    out.flush()?;
    drop(out);
    let (content, path) = (content.to_string_lossy(), path.to_string_lossy());
    quiet("mke2fs", &["-q", "-F", "-t", "ext4", "-E", "nodiscard,lazy_itable_init=0", "-d", &content, &path])
}

struct Content {
    noise: Noise,
    folder: PathBuf,
}

impl Content {
    /// Small and middle files like those of a system and a home folder, and some big ones like videos and disk images: a
    /// sixth of the bytes, as peers that cut a disk by content find next to nothing of a second one (`report::print_sizes`).
    fn write(&mut self, total: u64) -> anyhow::Result<()> {
        let (mut written, mut number) = (0, 0);
        while written < total * 5 / 6 {
            // Pareto: many small ones, few large ones, up to 4 MiB.
            let len = ((3000.0 / self.noise.unit().powf(1.1)) as u64).min(4 << 20);
            let folder = self.folder.join(format!("docs/{}", number / 300));
            std::fs::create_dir_all(&folder)?;
            self.file(&folder.join(format!("file-{number}")), len, number)?;
            written += len;
            number += 1;
        }
        let folder = self.folder.join("big");
        std::fs::create_dir_all(&folder)?;
        while written < total {
            let len = ((30 + self.noise.next() % 130) << 20).min(total - written + 4096);
            self.file(&folder.join(format!("big-{number}")), len, number)?;
            written += len;
            number += 1;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, len: u64, kind: u64) -> anyhow::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        let mut left = len;
        let mut block = vec![0; 64 * 1024];
        while left > 0 {
            let part = &mut block[..left.min(64 * 1024) as usize];
            match kind % 4 {
                0 => self.noise.fill(part),
                1 => self.noise.mixed(part),
                _ => self.noise.text(part),
            }
            out.write_all(part)?;
            left -= part.len() as u64;
        }
        Ok(out.flush()?)
    }
}

/// A day's work: pages of big files overwritten in place, some files removed, some written. Through a mount where that is
/// possible, since only a real filesystem writes its journal and bitmaps as real ones do.
fn change(disk: &Path, folder: &Path) -> anyhow::Result<()> {
    let mounted = folder.join("mounted");
    std::fs::create_dir_all(&mounted)?;
    quiet("mount", &["-o", "loop", &disk.to_string_lossy(), &mounted.to_string_lossy()])
        .context("the work day is made through a loop mount, which needs root")?;
    let done = change_mounted(&mounted);
    quiet("umount", &[&mounted.to_string_lossy()])?;
    done
}

fn change_mounted(mounted: &Path) -> anyhow::Result<()> {
    let mut noise = Noise(99);
    let mut page = vec![0; 4096];
    for (number, big) in sorted(&mounted.join("big"))?.into_iter().enumerate().filter(|(number, _)| number % 2 == 0) {
        let mut file = File::options().write(true).open(&big)?;
        let pages = file.metadata()?.len() / 4096;
        for _ in 0..400 {
            noise.mixed(&mut page);
            file.seek(SeekFrom::Start(noise.next() % pages * 4096))?;
            file.write_all(&page)?;
        }
        let _ = number;
    }
    for file in sorted(&mounted.join("docs/0"))?.into_iter().step_by(2) {
        std::fs::remove_file(file)?;
    }
    let mut content = Content { noise: Noise(3), folder: mounted.join("new") };
    content.write(60 << 20)
}

/// The second disk: four fifths of the files, in other folders and in another order, as on another computer with the same
/// programs and pictures, and as much of others.
fn reshuffle(content: &Path, size: u64) -> anyhow::Result<()> {
    let mut noise = Noise(11);
    let mut files = Vec::new();
    for folder in sorted(&content.join("docs"))?.into_iter().chain([content.join("big")]) {
        files.append(&mut sorted(&folder)?);
    }
    let (folders, mut removed) = (files.len() as u64 / 300 + 1, 0);
    for (number, file) in files.into_iter().enumerate() {
        let place = noise.next();
        if place.is_multiple_of(5) {
            removed += std::fs::metadata(&file)?.len();
            std::fs::remove_file(file)?;
            continue;
        }
        let folder = content.join(format!("moved/{}", (place >> 32) % folders));
        std::fs::create_dir_all(&folder)?;
        #[expect(clippy::disallowed_methods, reason = "content of a benchmark")]
        std::fs::rename(&file, folder.join(format!("{:x}-{number}", place >> 48)))?;
    }
    Content { noise: Noise(13), folder: content.join("other") }.write(removed.min(size / 10))
}

fn sorted(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

fn free_blocks(disk: &Path) -> anyhow::Result<Vec<std::ops::RangeInclusive<u64>>> {
    let text = output("dumpe2fs", &[&disk.to_string_lossy()])?;
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("Free blocks: "));
    let ranges = lines.flat_map(|line| line.split(", ")).filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    });
    Ok(ranges.collect())
}

fn allocated(disk: &Path) -> anyhow::Result<u64> {
    let free: u64 = free_blocks(disk)?.iter().map(|range| range.end() - range.start() + 1).sum();
    Ok(std::fs::metadata(disk)?.len() - free * 4096)
}

fn changed_blocks(one: &Path, other: &Path) -> anyhow::Result<u64> {
    let (mut a, mut b) = (File::open(one)?, File::open(other)?);
    let (mut x, mut y) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut changed = 0;
    for _ in 0..a.metadata()?.len() >> 20 {
        a.read_exact(&mut x)?;
        b.read_exact(&mut y)?;
        changed += x.chunks(4096).zip(y.chunks(4096)).filter(|(x, y)| x != y).count() as u64 * 4096;
    }
    Ok(changed)
}

/// SplitMix64 (Steele, Lea, Flood 2014): the same disks on every machine.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }

    fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            part.copy_from_slice(&bytes[..part.len()]);
        }
    }

    /// Words as often as in a language, so that a small file repeats itself, too: the r-th of 20,000 with a probability of
    /// about 1/r (Zipf 1949). Compresses to about a third.
    fn text(&mut self, out: &mut [u8]) {
        let mut at = 0;
        while at < out.len() {
            let word = (self.unit() * 20_000f64.ln()).exp() as u64;
            let mut spell = Noise(word);
            let len = 2 + spell.next() as usize % 8;
            for byte in out[at..].iter_mut().take(len) {
                *byte = b'a' + (spell.next() % 26) as u8;
            }
            at += len;
            if let Some(byte) = out.get_mut(at) {
                *byte = b' ';
            }
            at += 1;
        }
    }

    /// Noise and words by turns, as programs and documents are.
    fn mixed(&mut self, out: &mut [u8]) {
        let mut at = 0;
        while at < out.len() {
            let end = (at + 100 + self.next() as usize % 3000).min(out.len());
            if self.next().is_multiple_of(2) {
                self.fill(&mut out[at..end]);
            } else {
                self.text(&mut out[at..end]);
            }
            at = end;
        }
    }
}
