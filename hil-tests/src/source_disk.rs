//! A customer's disk: an image with ext4 and NTFS, and files that have holes, slack and the same bytes twice.

use anyhow::{Context, bail};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const MIB: u64 = 1 << 20;
/// Where the partitions begin, how long they are, of which type.
const EXT4: (u64, u64) = (MIB, 40 * MIB);
const NTFS: (u64, u64) = (48 * MIB, 40 * MIB);
const SIZE: u64 = 96 * MIB;

/// Makes the disk.
pub(crate) fn make(image: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let files = folder.path().join("files");
    std::fs::create_dir(&files)?;
    for (name, bytes) in
        [("letter.txt", text(3_000)), ("photo.raw", noise(5 << 20)), ("photo-copy.raw", noise(5 << 20))]
    {
        File::create(files.join(name))?.write_all(&bytes)?;
    }
    File::create(image)?.set_len(SIZE)?;
    let sector = |bytes: u64| bytes / 512;
    let table = format!(
        "label: gpt\nstart={}, size={}, type=L, name=papers\nstart={}, size={}, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, name=photos\n",
        sector(EXT4.0),
        sector(EXT4.1),
        sector(NTFS.0),
        sector(NTFS.1)
    );
    let mut sfdisk = Command::new("sfdisk").args(["--quiet"]).arg(image).stdin(Stdio::piped()).spawn()?;
    sfdisk.stdin.take().context("a pipe")?.write_all(table.as_bytes())?;
    if !sfdisk.wait()?.success() {
        bail!("sfdisk made no table");
    }
    let part = folder.path().join("part");
    File::create(&part)?.set_len(EXT4.1)?;
    run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&files).arg(&part))?;
    lay(&part, image, EXT4.0)?;
    File::create(&part)?.set_len(NTFS.1)?;
    run(Command::new("mkntfs").args(["-q", "-F", "-f"]).arg(&part))?;
    for name in ["letter.txt", "photo.raw"] {
        run(Command::new("ntfscp").arg("-q").arg(&part).arg(files.join(name)).arg(name))?;
    }
    lay(&part, image, NTFS.0)
}

/// What somebody does with it elsewhere: a file more.
pub(crate) fn change(image: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (part, added) = (folder.path().join("part"), folder.path().join("added.txt"));
    let mut disk = File::open(image)?;
    disk.seek(SeekFrom::Start(NTFS.0))?;
    std::io::copy(&mut disk.take(NTFS.1), &mut File::create(&part)?)?;
    File::create(&added)?.write_all(&text(300_000))?;
    run(Command::new("ntfscp").arg("-q").arg(&part).arg(&added).arg("added.txt"))?;
    lay(&part, image, NTFS.0)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr))
}

fn lay(part: &Path, image: &Path, at: u64) -> anyhow::Result<()> {
    let mut image = OpenOptions::new().write(true).open(image)?;
    image.seek(SeekFrom::Start(at))?;
    std::io::copy(&mut File::open(part)?, &mut image)?;
    Ok(())
}

fn text(length: usize) -> Vec<u8> {
    b"Dear customer, your data is safe. ".iter().copied().cycle().take(length).collect()
}

/// What does not compress, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}
