//! A repository in a local folder: the steps of `durable` on real files.

use super::durable::{Durable, IsFolder, Steps};
use super::{Area, StorageError};
use crate::read::{ReadAt, past_end};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Objects in a folder of a local filesystem.
pub type Local = Durable<LocalSteps>;

impl Local {
    /// Opens the folder of an existing repository. Writes nothing.
    pub fn open(root: &Path) -> Local {
        Durable::new(LocalSteps { root: root.to_owned() })
    }

    /// Makes the folders of a new repository in `root`, which must be missing or empty, and syncs them.
    pub fn create(root: &Path) -> Result<Local, StorageError> {
        let wrap = |source| StorageError::new("make the folders of", Area::Root, &root.to_string_lossy(), source);
        make_folders(root).map_err(wrap)?;
        Ok(Local::open(root))
    }
}

impl LocalSteps {
    /// Makes folders that are missing: many tools that copy a repository leave empty ones out.
    pub fn restore_folders(&self) -> Result<(), StorageError> {
        let wrap = |source| StorageError::new("make the folders of", Area::Root, "", source);
        folders_in(&self.root).map_err(wrap)
    }
}

/// Makes what is missing, and its name durable before anything is put in it.
fn folders_in(root: &Path) -> io::Result<()> {
    let make = |name: &str| match fs::create_dir(root.join(name)) {
        Err(there) if there.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true),
    };
    let mut made = false;
    for name in ["keys", "packs", "snapshots", "checkpoints", "dead", "locks", "tmp"] {
        made |= make(name)?;
    }
    let mut made_packs = false;
    for byte in 0..=255u8 {
        made_packs |= make(&format!("packs/{byte:02x}"))?;
    }
    if made_packs {
        File::open(root.join("packs"))?.sync_all()?;
    }
    if made { File::open(root)?.sync_all() } else { Ok(()) }
}

/// Makes a folder and those above it that are missing, with durable names.
pub fn make_folder(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    fs::create_dir_all(&path)?;
    // From the top down: a name is worth nothing in a folder that has none yet.
    let holders = missing.iter().rev().filter_map(|folder| folder.parent());
    holders.map(File::open).try_for_each(|holder| holder?.sync_all())
}

fn make_folders(root: &Path) -> io::Result<()> {
    make_folder(root)?;
    if fs::read_dir(root)?.next().is_some() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the folder is not empty"));
    }
    folders_in(root)
}

/// The steps on real files.
pub struct LocalSteps {
    root: PathBuf,
}

impl LocalSteps {
    /// The repository's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl Steps for LocalSteps {
    type File = File;

    fn create(&self, temporary: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.root.join(temporary))
    }

    fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn rename(&self, temporary: &str, path: &str) -> io::Result<()> {
        let target = self.root.join(path);
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        let here = rustix::fs::CWD;
        match rustix::fs::renameat_with(here, self.root.join(temporary), here, &target, flags) {
            // Some filesystems (FUSE, NFS) have no RENAME_NOREPLACE. Names are random or content hashes, so a look is enough.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                if target.exists() {
                    return Err(io::Error::from(io::ErrorKind::AlreadyExists));
                }
                #[expect(clippy::disallowed_methods, reason = "this is the one place the ban sends everybody to")]
                fs::rename(self.root.join(temporary), target)
            }
            other => Ok(other?),
        }
    }

    fn sync_directory(&self, folder: &str) -> io::Result<()> {
        File::open(self.root.join(folder))?.sync_all()
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64, IsFolder)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(folder))? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let folder = if metadata.is_dir() { IsFolder::Yes } else { IsFolder::No };
            names.push((entry.file_name().to_string_lossy().into_owned(), metadata.len(), folder));
        }
        Ok(names)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(FileReader::new(File::open(self.root.join(path))?)?))
    }

    fn free_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.root).ok()?;
        Some(stat.f_bavail * stat.f_frsize)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let path = self.root.join("reserve");
        if bytes == 0 {
            return match fs::remove_file(path) {
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            };
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        if file.metadata()?.len() == bytes {
            return Ok(());
        }
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            // exFAT, NFS: no way to promise space; prune then needs free space of its own.
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(fs::remove_file(path)?),
            other => Ok(other?),
        }
    }

    fn unique(&self) -> String {
        // Not the process id: in a container every run may be process 1, beside drafts of the last one.
        crate::chunk::hex(&crate::seal::random_bytes::<16>())
    }
}

/// A local file of fixed length as random access bytes.
pub struct FileReader {
    file: File,
    len: u64,
}

impl FileReader {
    /// Takes the length once: files of a repository do not grow.
    pub fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl ReadAt for FileReader {
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
