//! Makes NTFS images with the tools of another implementation, and fills them through its driver.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a mount may take on a busy machine.
const MOUNT_DEADLINE: Duration = Duration::from_secs(20);

/// Path below the root to content.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// An image in a directory of its own.
pub(crate) struct Image {
    home: tempfile::TempDir,
}

/// A mounted image; unmounting waits until the driver has written everything.
pub(crate) struct Mounted<'i> {
    root: PathBuf,
    driver: Option<Child>,
    _image: &'i Image,
}

/// True when all tools are there; says so loudly when not.
pub(crate) fn tools_or_skip(test: &str) -> bool {
    let there =
        |tool: &str| ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|at| Path::new(at).join(tool).exists());
    let missing: Vec<_> = ["mkntfs", "ntfs-3g", "ntfsinfo", "umount"].into_iter().filter(|tool| !there(tool)).collect();
    let root = rustix::process::geteuid().is_root();
    if missing.is_empty() && root && Path::new("/dev/fuse").exists() {
        return true;
    }
    eprintln!("SKIPPED: {test}: needs root, /dev/fuse and {missing:?}");
    false
}

impl Image {
    /// Formats `len` bytes with clusters of `cluster` bytes.
    pub(crate) fn format(len: u64, cluster: u64) -> Self {
        let image = Self { home: tempfile::tempdir().unwrap() };
        File::create(image.path()).unwrap().set_len(len).unwrap();
        run(Command::new("mkntfs").args(["-F", "-Q", "-c", &cluster.to_string()]).arg(image.path()));
        image
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("image")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }

    pub(crate) fn mount(&self) -> Mounted<'_> {
        let root = self.home.path().join("mounted");
        std::fs::create_dir_all(&root).unwrap();
        let driver = Command::new("ntfs-3g")
            .args(["-o", "no_detach,streams_interface=windows,compression,special_files=wsl"])
            .args([self.path(), root.clone()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + MOUNT_DEADLINE;
        let wanted = root.to_str().unwrap();
        while !std::fs::read_to_string("/proc/mounts").unwrap().contains(wanted) {
            assert!(Instant::now() < deadline, "ntfs-3g did not mount");
            std::thread::sleep(Duration::from_millis(5));
        }
        Mounted { root, driver: Some(driver), _image: self }
    }
}

impl Mounted<'_> {
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Writes a file and remembers what was written.
    pub(crate) fn write(&self, files: &mut Files, path: &str, content: Vec<u8>) {
        std::fs::write(self.at(path), &content).unwrap();
        files.insert(path.into(), content);
    }

    /// Two files in fragments of one piece: holes are left between pieces and filled later, out of other clusters.
    pub(crate) fn fragment(&self, files: &mut Files, paths: [&str; 2], piece: usize, pieces: usize) {
        for path in paths {
            let file = File::create(self.at(path)).unwrap();
            let content = noise(path.len() as u64, piece * pieces);
            file.set_len(content.len() as u64).unwrap();
            for first in [1, 0] {
                for (index, part) in content.chunks(piece).enumerate().skip(first).step_by(2) {
                    file.write_all_at(part, (index * piece) as u64).unwrap();
                }
            }
            files.insert(path.into(), content);
        }
    }

    /// Leaves free space only in gaps of `gap` bytes: `count` small files, then a full volume, then every other goes.
    pub(crate) fn scatter(&self, files: &mut Files, count: usize, gap: usize) {
        for number in 0..count {
            self.write(files, &format!("early {number}"), noise(number as u64, gap));
        }
        for (turn, len) in [1 << 20, 64 << 10, 4096, 1024].into_iter().enumerate() {
            for number in 0.. {
                let path = format!("filler {turn} {number}");
                if !self.try_write(files, &path, noise(number, len)) {
                    break;
                }
            }
        }
        for number in (0..count).step_by(2) {
            let path = format!("early {number}");
            std::fs::remove_file(self.at(&path)).unwrap();
            files.remove(&path);
        }
    }

    /// Writes a file; false, and no file, when the volume is full.
    pub(crate) fn try_write(&self, files: &mut Files, path: &str, content: Vec<u8>) -> bool {
        if std::fs::write(self.at(path), &content).is_ok() {
            files.insert(path.into(), content);
            return true;
        }
        // The error may have come before there was a file.
        let _ = std::fs::remove_file(self.at(path));
        false
    }

    /// One file that takes all space that is left; the driver says how much of it got there.
    pub(crate) fn write_until_full(&self, files: &mut Files, path: &str) {
        let file = File::create(self.at(path)).unwrap();
        let content = noise(1, 4 << 20);
        let taken = content.chunks(512).enumerate();
        let taken = taken.take_while(|(index, part)| file.write_all_at(part, 512 * *index as u64).is_ok()).count();
        file.set_len(512 * taken as u64).unwrap();
        files.insert(path.into(), content[..512 * taken].to_vec());
    }

    /// New files in this directory become compressed.
    pub(crate) fn compress_directory(&self, path: &str) {
        std::fs::create_dir(self.at(path)).unwrap();
        let attributes = 0x0000_0810u32.to_be_bytes();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(self.at(path), "system.ntfs_attrib_be", &attributes, flags).unwrap();
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        run(Command::new("umount").arg(&self.root));
        let status = self.driver.take().unwrap().wait().unwrap();
        assert!(status.success(), "the driver ended with {status}");
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(len)
    .collect()
}

/// Bytes that compress.
pub(crate) fn prose(len: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for line in 0.. {
        text.extend(format!("line {line}: the same words again and again, {}\n", line * line).into_bytes());
        if text.len() >= len {
            break;
        }
    }
    text.truncate(len);
    text
}

/// Runs a tool and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
