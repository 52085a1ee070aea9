//! A source that gives 150 MB a second, as a USB disk does: saveos must keep it busy while it compresses.
//!
//! nbdkit slows the image down, nbdfuse shows it as a file, and a loop device makes a disk of that. `dd` reads the same disk
//! first: what it gets is what the source gives.

use super::disks::Disks;
use crate::shell::{output, quiet};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes a second.
const RATE: u64 = 150_000_000;

/// Backs the first disk up and compares the rate with the source's.
pub(crate) fn run(saveos: &Path, disks: &Disks, folder: &Path) -> anyhow::Result<()> {
    let repository = folder.join("repository");
    super::remove(&repository)?;
    let (repository, shown) = (repository.to_string_lossy().into_owned(), folder.join("throttled"));
    let secret = |command: &mut Command| -> anyhow::Result<()> {
        let status = command.env("SAVEOS_PASSPHRASE", "benchmark").stdout(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { bail!("saveos ended with {status}") }
    };
    secret(Command::new(saveos).args(["init", &repository]))?;
    let source = Throttled::show(&disks.first, &shown)?;
    let (input, len) = (format!("if={}", source.device), disks.allocated);
    let begun = Instant::now();
    quiet("dd", &[&input, "of=/dev/null", "bs=2M", "iflag=direct", &format!("count={}", len >> 21), "status=none"])?;
    let given = (len >> 21 << 21) as f64 / begun.elapsed().as_secs_f64();
    // What dd read lies in the page cache of nbdfuse's file.
    quiet("sh", &["-c", "echo 3 > /proc/sys/vm/drop_caches"])?;
    let begun = Instant::now();
    secret(Command::new(saveos).args(["backup", "--repo", &repository]).arg(&source.device))?;
    let rate = len as f64 / begun.elapsed().as_secs_f64();
    drop(source);
    println!(
        "\na first backup from a disk of {} MB/s, which gives dd {:.0} MB/s: {:.0} MB/s of allocated bytes = {:.1} % of that  (goal 95 %)",
        RATE / 1_000_000,
        given / 1e6,
        rate / 1e6,
        rate * 100.0 / given
    );
    Ok(())
}

/// The slow disk; gone when dropped.
struct Throttled {
    device: String,
    processes: Vec<Child>,
    folder: std::path::PathBuf,
}

impl Throttled {
    fn show(image: &Path, folder: &Path) -> anyhow::Result<Throttled> {
        std::fs::create_dir_all(folder)?;
        let socket = folder.with_extension("socket");
        super::remove(&socket)?;
        let nbdkit = Command::new("nbdkit")
            .args(["-f", "-r", "--filter=rate", "-U"])
            .arg(&socket)
            .args(["file".to_owned(), format!("file={}", image.display()), format!("rate={}", RATE * 8)])
            .spawn()
            .context("could not start nbdkit")?;
        let mut slow = Throttled { device: String::new(), processes: vec![nbdkit], folder: folder.to_owned() };
        until("nbdkit's socket", || socket.exists())?;
        let nbdfuse = Command::new("nbdfuse").arg(folder.join("disk.img")).arg("--unix").arg(&socket).spawn();
        slow.processes.push(nbdfuse.context("could not start nbdfuse")?);
        until("nbdfuse's file", || folder.join("disk.img").exists())?;
        let image = folder.join("disk.img");
        slow.device = output("losetup", &["-r", "-f", "--show", &image.to_string_lossy()])?.trim().to_owned();
        Ok(slow)
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        // Best effort: what is left over is seen by the next run, which fails on it.
        let _ = quiet("losetup", &["-d", &self.device]);
        let _ = quiet("fusermount3", &["-u", &self.folder.join("disk.img").to_string_lossy()])
            .or_else(|_| quiet("umount", &[&self.folder.join("disk.img").to_string_lossy()]))
            .or_else(|_| output("umount", &[&self.folder.to_string_lossy()]).map(drop));
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn until(what: &str, there: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !there() {
        if begun.elapsed() > Duration::from_secs(10) {
            bail!("{what} did not appear");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
