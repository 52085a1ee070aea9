//! `cargo xtask demo engine`: the product's main job on a real disk image, step by step, with what each step cost.
//!
//! A GPT disk with ext4, NTFS and FAT is made and filled, backed up, changed, backed up again, listed, restored and compared.

use crate::setup;
use crate::shell::{output, quiet, root, run};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const MIB: u64 = 1024 * 1024;
/// Partitions on the demo disk: name, start and length in MiB, type code of sgdisk.
const PARTITIONS: [(&str, u64, u64, &str); 3] =
    [("efi", 1, 64, "ef00"), ("linux", 65, 256, "8300"), ("windows", 321, 160, "0700")];

/// The engine's story.
pub(super) fn tell() -> anyhow::Result<()> {
    setup::for_demo()?;
    run("cargo", &["build", "--release", "--locked", "-p", "saveos"])?;
    let folder = root().join("target/demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let mut demo = Demo { saveos: root().join("target/release/saveos"), folder, steps: Vec::new() };
    demo.tell()?;
    println!("\nwhat each step cost:");
    for (step, seconds, cost) in &demo.steps {
        println!("  {step:<44} {seconds:6.2} s  {cost}");
    }
    println!("\nThe repository is in {}; its passphrase is `demo`.", demo.folder.join("repository").display());
    Ok(())
}

/// A folder with a disk in it, and the program that backs it up.
pub(super) struct Demo {
    saveos: PathBuf,
    folder: PathBuf,
    steps: Vec<(String, f64, String)>,
}

impl Demo {
    fn tell(&mut self) -> anyhow::Result<()> {
        let disk = self.path("disk.img");
        self.step("make a disk: GPT with FAT, ext4 and NTFS", |demo| {
            demo.make_disk().map(|()| size_of(&demo.path("disk.img")))
        })?;
        self.step("make a repository", |demo| demo.saveos(&["init", &demo.repository()]).map(|_| String::new()))?;
        self.step("back the disk up", |demo| demo.backup())?;
        std::fs::copy(&disk, self.path("first.img"))?;
        self.step("change some files on it", |demo| demo.change_files().map(|()| String::new()))?;
        self.step("back it up again", |demo| demo.backup())?;
        self.step("and once more, unchanged", |demo| demo.backup())?;
        println!("\n{}", self.saveos(&["snapshots", "--repo", &self.repository()])?);
        println!(
            "files on the NTFS partition:\n{}",
            self.saveos(&["files", "ls", "latest:3", "/docs", "--repo", &self.repository()])?
        );
        let restored = self.path("restored.img");
        self.step("restore the disk", |demo| {
            demo.saveos(&["restore", "latest", &text(&restored), "--repo", &demo.repository()])
        })?;
        self.step("compare it with the original", |_| same(&disk, &restored))?;
        self.step("back the restored disk up: nothing is new", |demo| {
            let said =
                demo.saveos(&["backup", &text(&restored), "--name", "disk.img", "--repo", &demo.repository()])?;
            if said.contains(" 0 B new") { Ok(said) } else { bail!("the restored disk is not the same disk: {said}") }
        })?;
        self.step("verify all, filesystem checks included", |demo| {
            demo.saveos(&["verify", "--fsck", "--repo", &demo.repository()])
        })?;
        Ok(())
    }

    /// Only to make and change disks.
    pub(super) fn of_disks(folder: PathBuf) -> Demo {
        Demo { saveos: PathBuf::new(), folder, steps: Vec::new() }
    }

    /// `disk.img` in the folder: GPT with three filesystems and real files.
    pub(super) fn make_disk(&self) -> anyhow::Result<()> {
        let disk = self.path("disk.img");
        std::fs::File::create(&disk)?.set_len(512 * MIB)?;
        for (number, (name, start, len, code)) in (1..).zip(PARTITIONS) {
            let first = start * MIB / 512;
            let last = (start + len) * MIB / 512 - 1;
            let (place, kind) = (format!("--new={number}:{first}:{last}"), format!("--typecode={number}:{code}"));
            quiet("sgdisk", &[&place, &kind, &format!("--change-name={number}:{name}"), &text(&disk)])?;
        }
        let content = self.path("content");
        make_content(&content)?;
        for (name, start, len, _) in PARTITIONS {
            let part = self.path(name);
            std::fs::File::create(&part)?.set_len(len * MIB)?;
            match name {
                "efi" => {
                    quiet("mkfs.fat", &["-F", "32", &text(&part)])?;
                    quiet("mcopy", &["-s", "-i", &text(&part), &text(&content.join("docs")), "::docs"])?;
                }
                "linux" => quiet("mke2fs", &["-q", "-t", "ext4", "-d", &text(&content), &text(&part)])?,
                _ => {
                    quiet("mkntfs", &["-F", "-Q", "-q", &text(&part)])?;
                    self.with_ntfs(&part, |mounted| {
                        quiet("cp", &["-r", &text(&content.join("docs")), &text(&content.join("video.bin")), mounted])
                    })?;
                }
            }
            write_into(&disk, &part, start * MIB)?;
        }
        Ok(())
    }

    /// NTFS is filled through ntfs-3g; a machine without FUSE gets an empty one.
    fn with_ntfs(&self, image: &Path, work: impl Fn(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let folder = self.path("mounted");
        std::fs::create_dir_all(&folder)?;
        if let Err(refused) = quiet("ntfs-3g", &[&text(image), &text(&folder)]) {
            println!("no FUSE here, the NTFS partition stays as it is: {refused}");
            return Ok(());
        }
        let done = work(&text(&folder));
        quiet("umount", &[&text(&folder)])?;
        done
    }

    /// What a day of work does to it.
    pub(super) fn change_files(&self) -> anyhow::Result<()> {
        let disk = self.path("disk.img");
        let (_, start, len, _) = PARTITIONS[2];
        let part = self.path("windows");
        extract(&disk, &part, start * MIB, len * MIB)?;
        let copied = self.path("content/docs/page-7.txt");
        self.with_ntfs(&part, |mounted| {
            quiet("cp", &[&text(&copied), &format!("{mounted}/docs/a new file.txt")])?;
            quiet("rm", &["-f", &format!("{mounted}/docs/page-1.txt")])
        })?;
        write_into(&disk, &part, start * MIB)?;
        // 40 pages in the middle of a big file on ext4, as a database would change them.
        let (_, start, len, _) = PARTITIONS[1];
        let part = self.path("linux");
        extract(&disk, &part, start * MIB, len * MIB)?;
        let video = self.path("content/video.bin");
        let mut bytes = std::fs::read(&video)?;
        for page in 0..40 {
            bytes[page * 500_000..page * 500_000 + 4096].fill(page as u8);
        }
        std::fs::File::create(&video).and_then(|mut file| std::io::Write::write_all(&mut file, &bytes))?;
        quiet("debugfs", &["-w", "-R", "rm /video.bin", &text(&part)])?;
        quiet("debugfs", &["-w", "-R", &format!("write {} video.bin", text(&video)), &text(&part)])?;
        write_into(&disk, &part, start * MIB)
    }

    fn backup(&self) -> anyhow::Result<String> {
        let said = self.saveos(&["backup", &text(&self.path("disk.img")), "--repo", &self.repository()])?;
        Ok(said.lines().last().unwrap_or_default().to_owned())
    }

    fn step(&mut self, name: &str, work: impl FnOnce(&Self) -> anyhow::Result<String>) -> anyhow::Result<()> {
        println!("- {name}");
        let begun = Instant::now();
        let cost = work(self).with_context(|| name.to_owned())?;
        let cost = cost.lines().last().unwrap_or_default().to_owned();
        self.steps.push((name.to_owned(), begun.elapsed().as_secs_f64(), cost));
        Ok(())
    }

    fn saveos(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.saveos).args(arguments).env("SAVEOS_PASSPHRASE", "demo").output()?;
        if !output.status.success() {
            bail!(
                "saveos {} ended with {}: {}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn repository(&self) -> String {
        text(&self.path("repository"))
    }
}

/// Real files: this tree's own sources as documents, and a big file that does not compress.
fn make_content(folder: &Path) -> anyhow::Result<()> {
    let docs = folder.join("docs");
    std::fs::create_dir_all(&docs)?;
    let sources = output("git", &["ls-files", "*.rs", "*.md"])?;
    for (number, source) in sources.lines().enumerate() {
        std::fs::copy(source, docs.join(format!("page-{number}.txt")))?;
    }
    let mut noise = vec![0; 24 * MIB as usize];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut noise)?;
    std::fs::File::create(folder.join("video.bin"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, &noise))?;
    Ok(())
}

fn write_into(disk: &Path, part: &Path, at: u64) -> anyhow::Result<()> {
    dd(part, disk, &[&format!("seek={}", at / MIB), "conv=notrunc,sparse"])
}

fn extract(disk: &Path, part: &Path, at: u64, len: u64) -> anyhow::Result<()> {
    dd(disk, part, &[&format!("skip={}", at / MIB), &format!("count={}", len / MIB)])
}

fn dd(from: &Path, to: &Path, more: &[&str]) -> anyhow::Result<()> {
    let (from, to) = (format!("if={}", from.display()), format!("of={}", to.display()));
    quiet("dd", &[&[from.as_str(), to.as_str(), "bs=1M", "status=none"], more].concat())
}

/// Equal everywhere, or zeros where the original has the remains of deleted files in free space.
pub(super) fn same(one: &Path, other: &Path) -> anyhow::Result<String> {
    let (mut a, mut b) = (std::fs::File::open(one)?, std::fs::File::open(other)?);
    let (mut x, mut y) = (vec![0; 512], vec![0; 512]);
    let mut free = 0;
    for block in 0..a.metadata()?.len() / 512 {
        std::io::Read::read_exact(&mut a, &mut x)?;
        std::io::Read::read_exact(&mut b, &mut y)?;
        match () {
            () if x == y => {}
            () if y.iter().all(|&byte| byte == 0) => free += 1,
            () => bail!("sector {block} differs"),
        }
    }
    Ok(format!("every allocated byte is equal; {} KiB of deleted data in free space was not kept", free / 2))
}

fn size_of(path: &Path) -> String {
    std::fs::metadata(path).map_or_else(|_| String::new(), |metadata| format!("{} MiB", metadata.len() / MIB))
}

pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
