//! A source: the disk or disk image that is backed up. It is opened to read, never mounted, and never written.

use crate::read::{ReadAt, past_end};
use crate::snapshot::SourceKind;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the engine needs of a source besides its bytes.
pub trait Source: ReadAt {
    /// A disk or an image.
    fn kind(&self) -> SourceKind;

    /// Logical sector size in bytes.
    fn sector_size(&self) -> u32;

    /// What offsets, lengths and buffers of `read_bulk` must be multiples of.
    fn alignment(&self) -> usize {
        1
    }

    /// Reads past the page cache where that is possible: a backup reads everything once, and what it reads again at its end
    /// must come from the disk.
    fn read_bulk(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buf)
    }

    /// Whether the device is gone, as opposed to having bad sectors.
    fn is_gone(&self) -> bool {
        false
    }

    /// Whether somebody may be writing to it now.
    fn is_in_use(&self) -> bool {
        false
    }

    /// Whether it shows that it was written to since it was opened. `false` proves nothing.
    fn was_written(&self) -> bool {
        false
    }
}

/// Why a source cannot be backed up.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It could not be opened.
    #[error("could not open the source {path}")]
    Open {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is no disk and no image.
    #[error("{path} is {what}; a source is a disk or a disk image")]
    NotADisk {
        /// Which one.
        path: PathBuf,
        /// `a directory`.
        what: &'static str,
    },
    /// It has no bytes.
    #[error("{path} is empty")]
    Empty {
        /// Which one.
        path: PathBuf,
    },
    /// Somebody may write to it while we read.
    #[error("{path} is mounted read-write at {at}; unmount it, or use --live and get a snapshot that proves nothing")]
    Mounted {
        /// Which one.
        path: PathBuf,
        /// Where.
        at: String,
    },
    /// The kernel has given it to something that may write to it.
    #[error(
        "{path} is in use (LVM, RAID, an open LUKS volume, swap or another program); close it, or use --live and get a \
         snapshot that proves nothing"
    )]
    Held {
        /// Which one.
        path: PathBuf,
    },
}

/// A block device or an image file.
pub struct DiskSource {
    path: PathBuf,
    file: File,
    direct: Option<File>,
    kind: SourceKind,
    len: u64,
    sector_size: u32,
    modified: (i64, i64),
}

impl DiskSource {
    /// Opens it to read. FIFOs and sockets are refused before they are opened: opening them would wait for ever.
    pub fn open(path: &Path) -> Result<DiskSource, SourceError> {
        let wrap = |source| SourceError::Open { path: path.to_owned(), source };
        let metadata = std::fs::metadata(path).map_err(wrap)?;
        let kind = match metadata.file_type() {
            kind if kind.is_file() => SourceKind::Image,
            kind if kind.is_block_device() => SourceKind::Disk,
            other => return Err(SourceError::NotADisk { path: path.to_owned(), what: describe(other) }),
        };
        let file = File::open(path).map_err(wrap)?;
        let (len, sector_size) = measure(&file, kind).map_err(wrap)?;
        if len == 0 {
            return Err(SourceError::Empty { path: path.to_owned() });
        }
        let direct = match kind {
            // Best effort: without O_DIRECT the same bytes come through the page cache.
            SourceKind::Disk => {
                File::options().read(true).custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32).open(path).ok()
            }
            SourceKind::Image => None,
        };
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential); // a hint
        let modified = modified(&file).map_err(wrap)?;
        Ok(DiskSource { path: path.to_owned(), file, direct, kind, len, sector_size, modified })
    }

    /// Refuses a source that somebody may write to while it is read.
    pub fn refuse_in_use(&self) -> Result<(), SourceError> {
        let (path, mounts) = (self.path.clone(), self.mounts());
        match mounts.iter().find(|mount| !mount.read_only) {
            Some(mount) => Err(SourceError::Mounted { path, at: mount.at.clone() }),
            // A read-only mount holds the device, too, and changes nothing.
            None if mounts.is_empty() && self.is_held() => Err(SourceError::Held { path }),
            None => Ok(()),
        }
    }

    /// Where it is mounted, as a whole or a partition of it.
    fn mounts(&self) -> Vec<Mount> {
        let Ok(metadata) = self.file.metadata() else { return Vec::new() };
        let devices = self.devices(&metadata);
        let is_ours = |mount: &Mount| {
            let on = |device: &str| devices.iter().any(|(_, ours)| is_same_or_partition(ours, device));
            // Filesystems over several devices (btrfs, ZFS) have a number of their own: then the mount's source tells.
            mount.is_of(&metadata) || on(&mount.device) || mount.source_device().is_some_and(|device| on(&device))
        };
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        table.lines().filter_map(Mount::parse).filter(is_ours).collect()
    }

    /// Itself when it is a disk, and the loop devices it backs when it is an image: path and `major:minor`.
    fn devices(&self, metadata: &std::fs::Metadata) -> Vec<(PathBuf, String)> {
        match self.kind {
            SourceKind::Disk => vec![(self.path.clone(), number(metadata.rdev()))],
            SourceKind::Image => {
                loop_devices_of(metadata).into_iter().map(|(path, number)| (path.into(), number)).collect()
            }
        }
    }

    /// Whether the kernel refuses to give it, or a partition of it, to somebody alone: it belongs to a mount, LVM, md, an
    /// open LUKS volume, swap, or a program that asked the same.
    fn is_held(&self) -> bool {
        let Ok(metadata) = self.file.metadata() else { return false };
        let alone = |path: &Path| {
            let flags = rustix::fs::OFlags::EXCL.bits() as i32;
            File::options().read(true).custom_flags(flags).open(path).map(drop)
        };
        let busy = Some(rustix::io::Errno::BUSY.raw_os_error());
        self.devices(&metadata).iter().any(|(path, _)| alone(path).is_err_and(|error| error.raw_os_error() == busy))
    }
}

/// When an image's bytes changed last. A device's node says nothing of its bytes.
fn modified(file: &File) -> io::Result<(i64, i64)> {
    let metadata = file.metadata()?;
    Ok(if metadata.is_file() { (metadata.mtime(), metadata.mtime_nsec()) } else { (0, 0) })
}

impl DiskSource {
    /// Whether a folder lies on this disk, or on a filesystem inside this image.
    pub fn holds(&self, folder: &Path) -> bool {
        let (Ok(own), Ok(folder)) = (self.file.metadata(), std::fs::metadata(folder)) else { return false };
        let device = number(folder.dev());
        match self.kind {
            SourceKind::Disk => on_same_disk(own.rdev(), &device),
            SourceKind::Image => {
                loop_devices_of(&own).iter().any(|(_, ours)| is_same_or_partition(ours, &device))
                    || mount_of(&own).is_some_and(|mount| mount.device == device)
            }
        }
    }
}

/// One line of `/proc/self/mountinfo`.
struct Mount {
    device: String,
    at: String,
    source: PathBuf,
    read_only: bool,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let mut words = line.split(' ');
        let device = words.nth(2)?.to_owned();
        let at = unescape(words.nth(1)?);
        let per_mount = words.next()?;
        let mut last = line.rsplit(' ');
        let (per_filesystem, source) = (last.next()?, unescape(last.next()?));
        let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
        Some(Mount {
            device,
            at,
            source: source.into(),
            read_only: has_ro(per_filesystem) || (has_ro(per_mount) && per_filesystem.is_empty()),
        })
    }
}

impl Mount {
    /// `major:minor` of the device it was mounted from, where that is one.
    fn source_device(&self) -> Option<String> {
        let metadata = std::fs::metadata(&self.source).ok().filter(|_| self.source.is_absolute())?;
        metadata.file_type().is_block_device().then(|| number(metadata.rdev()))
    }

    /// Whether a FUSE driver serves this file: it has no device of its own, and the mount names the file.
    fn is_of(&self, image: &std::fs::Metadata) -> bool {
        self.source.is_absolute() && same_file(&self.source, image)
    }
}

/// Blanks, tabs, line ends and backslashes are octal in mountinfo.
fn unescape(word: &str) -> String {
    word.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The mount of an image by a FUSE driver.
fn mount_of(image: &std::fs::Metadata) -> Option<Mount> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().filter_map(Mount::parse).find(|mount| mount.is_of(image))
}

/// Where a FUSE driver has mounted an image.
pub(crate) fn mount_point_of(image: &std::fs::Metadata) -> Option<String> {
    mount_of(image).map(|mount| mount.at)
}

fn number(device: u64) -> String {
    format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device))
}

/// Whether `major:minor` of a mount is this disk, a partition of it, or sits on it.
fn is_same_or_partition(ours: &str, mounted: &str) -> bool {
    if ours == mounted {
        return true;
    }
    // /sys/dev/block/M:m points into the folder of the whole disk.
    let Ok(disk) = std::fs::canonicalize(format!("/sys/dev/block/{ours}")) else { return false };
    sits_on(mounted, &disk, 0)
}

/// Follows LUKS, LVM and md down to the disks below them.
fn sits_on(device: &str, disk: &Path, depth: u32) -> bool {
    let Ok(path) = std::fs::canonicalize(format!("/sys/dev/block/{device}")) else { return false };
    if path.starts_with(disk) {
        return true;
    }
    let Ok(below) = std::fs::read_dir(path.join("slaves")) else { return false };
    depth < 8
        && below.flatten().any(|slave| {
            std::fs::read_to_string(slave.path().join("dev")).is_ok_and(|name| sits_on(name.trim(), disk, depth + 1))
        })
}

/// Whether writing to the first device would change the second (`major:minor`): the same, a partition of it, or the whole
/// disk that it is a partition of.
pub(crate) fn on_same_disk(rdev: u64, other: &str) -> bool {
    let ours = number(rdev);
    if is_same_or_partition(&ours, other) {
        return true;
    }
    std::fs::canonicalize(format!("/sys/dev/block/{other}")).is_ok_and(|disk| sits_on(&ours, &disk, 0))
}

/// The loop devices that a file backs: path and `major:minor`.
pub(crate) fn loop_devices_of(metadata: &std::fs::Metadata) -> Vec<(String, String)> {
    let Ok(devices) = std::fs::read_dir("/sys/block") else { return Vec::new() };
    let backed = devices.flatten().filter_map(|device| {
        let file = std::fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        let number = std::fs::read_to_string(device.path().join("dev")).ok()?;
        let path = format!("/dev/{}", device.file_name().to_string_lossy());
        same_file(Path::new(file.trim_end_matches('\n')), metadata).then(|| (path, number.trim().to_owned()))
    });
    backed.collect()
}

fn same_file(path: &Path, metadata: &std::fs::Metadata) -> bool {
    std::fs::metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()))
}

fn describe(kind: std::fs::FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() => "a character device",
        _ => "no regular file",
    }
}

fn measure(file: &File, kind: SourceKind) -> io::Result<(u64, u32)> {
    match kind {
        SourceKind::Image => Ok((file.metadata()?.len(), 512)),
        SourceKind::Disk => {
            let len = rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?;
            Ok((len, rustix::fs::ioctl_blksszget(file)?))
        }
    }
}

impl ReadAt for DiskSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.len) {
            return Err(past_end());
        }
        self.file.read_exact_at(buf, offset)
    }
}

impl Source for DiskSource {
    fn kind(&self) -> SourceKind {
        self.kind
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn alignment(&self) -> usize {
        match self.direct {
            Some(_) => 4096.max(self.sector_size as usize),
            None => 1,
        }
    }

    fn read_bulk(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let Some(direct) = &self.direct else { return self.read_at(offset, buf) };
        match direct.read_exact_at(buf, offset) {
            // The last bytes of a disk whose length is no multiple of the alignment, or a driver that wants more than we know.
            Err(refused) if refused.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                self.read_at(offset, buf)
            }
            other => other,
        }
    }

    fn is_gone(&self) -> bool {
        match self.kind {
            SourceKind::Image => self.file.metadata().map_or(true, |metadata| metadata.len() < self.len),
            SourceKind::Disk => {
                let len = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::End(0));
                !self.path.exists() || len.map_or(true, |len| len < self.len)
            }
        }
    }

    fn is_in_use(&self) -> bool {
        self.refuse_in_use().is_err()
    }

    fn was_written(&self) -> bool {
        modified(&self.file).map_or(true, |now| now != self.modified)
    }
}
