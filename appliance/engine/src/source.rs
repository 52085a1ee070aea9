//! A source: the disk or disk image that is backed up. It is opened to read, never mounted, and never written.

use crate::read::{ReadAt, past_end};
use crate::snapshot::SourceKind;
use crate::system::{Mount, Number, System};
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
        let (system, Ok(metadata)) = (System::running(), self.file.metadata()) else { return Vec::new() };
        let ours = self.devices(&system, &metadata);
        let is_ours = |mount: &Mount| {
            let devices = system.devices_of(mount);
            (self.kind == SourceKind::Image && mount.is_of(&metadata))
                || ours.iter().any(|ours| devices.iter().any(|device| system.sits_on(device, ours)))
        };
        system.mounts().into_iter().filter(is_ours).collect()
    }

    /// Whether the kernel refuses to give it, or a partition of it, to somebody alone: it belongs to a mount, LVM, md, an
    /// open LUKS volume, swap, or a program that asked the same.
    fn is_held(&self) -> bool {
        let Ok(metadata) = self.file.metadata() else { return false };
        let paths = match self.kind {
            SourceKind::Disk => vec![self.path.clone()],
            SourceKind::Image => {
                System::running().loops_of(&metadata).into_iter().map(|(path, _)| path.into()).collect()
            }
        };
        let alone = |path: &PathBuf| {
            let flags = rustix::fs::OFlags::EXCL.bits() as i32;
            File::options().read(true).custom_flags(flags).open(path).map(drop)
        };
        let busy = Some(rustix::io::Errno::BUSY.raw_os_error());
        paths.iter().any(|path| alone(path).is_err_and(|error| error.raw_os_error() == busy))
    }

    /// Whether a folder lies on this disk, or on a filesystem inside this image.
    pub fn holds(&self, folder: &Path) -> bool {
        let system = System::running();
        let (Ok(own), Ok(folder)) = (self.file.metadata(), std::fs::metadata(folder)) else { return false };
        if self.kind == SourceKind::Image
            && system.mount_of(&own).is_some_and(|mount| mount.device == Number::of(folder.dev()))
        {
            return true;
        }
        let Some(device) = system.device_under(&folder) else { return false };
        // A partition holds what lies on the whole disk it is cut from, too.
        self.devices(&system, &own).iter().any(|ours| {
            system.sits_on(&device, ours) || (self.kind == SourceKind::Disk && system.sits_on(ours, &device))
        })
    }

    /// The device this is, or the loop devices over this image.
    fn devices(&self, system: &System, metadata: &std::fs::Metadata) -> Vec<Number> {
        match self.kind {
            SourceKind::Disk => vec![Number::of(metadata.rdev())],
            SourceKind::Image => system.loops_of(metadata).into_iter().map(|(_, number)| number).collect(),
        }
    }
}

/// When an image's bytes changed last. A device's node says nothing of its bytes.
fn modified(file: &File) -> io::Result<(i64, i64)> {
    let metadata = file.metadata()?;
    Ok(if metadata.is_file() { (metadata.mtime(), metadata.mtime_nsec()) } else { (0, 0) })
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
