//! Disk images, formatted by each filesystem's own tools.

use super::run::text;
use super::{Mount, tool};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext,
    Ntfs,
    Fat,
    Exfat,
}

impl Kind {
    /// The word of `plan --json`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ext => "ext",
            Kind::Ntfs => "ntfs",
            Kind::Fat => "fat",
            Kind::Exfat => "exfat",
        }
    }

    /// What making, filling and judging it takes.
    pub(crate) fn tools(self) -> &'static [&'static str] {
        match self {
            Kind::Ext => &["mke2fs", "e2fsck", "dumpe2fs", "partclone.extfs", "/dev/loop-control"],
            Kind::Ntfs => &["mkntfs", "ntfs-3g", "partclone.ntfs", "/dev/fuse"],
            Kind::Fat => &["mkfs.fat", "fsck.fat", "partclone.fat", "mcopy"],
            Kind::Exfat => {
                &["mkfs.exfat", "fsck.exfat", "partclone.exfat", "mount.exfat-fuse", "/dev/fuse", "/dev/loop-control"]
            }
        }
    }
}

/// An image file in a folder of its own.
pub(crate) struct Image {
    home: tempfile::TempDir,
}

impl Image {
    /// A sparse file.
    pub(crate) fn blank(len: u64) -> Image {
        let image = Image { home: tempfile::tempdir().expect("a scratch folder") };
        File::create(image.path()).and_then(|file| file.set_len(len)).expect("a sparse file");
        image
    }

    /// A file whose every page says that it is garbage.
    pub(crate) fn garbage(len: u64) -> Image {
        let image = Image::blank(len);
        let mut file = File::options().write(true).open(image.path()).expect("the image");
        let block = noise(0xbad, 1 << 20);
        (0..len.div_ceil(1 << 20)).for_each(|_| file.write_all(&block).expect("space"));
        file.set_len(len).expect("a file");
        image
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("disk.img")
    }

    pub(crate) fn text(&self) -> String {
        text(&self.path()).to_owned()
    }

    /// A name for a file beside it.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn len(&self) -> u64 {
        fs::metadata(self.path()).expect("the image").len()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        read(&self.path())
    }

    /// Formats the file and fills it. `mkfs` is the tool with its arguments.
    pub(crate) fn format(&self, kind: Kind, mkfs: &str) {
        let path = self.path();
        tool(&mkfs.split_whitespace().chain([text(&path)]).collect::<Vec<_>>());
        self.fill(kind);
    }

    fn fill(&self, kind: Kind) {
        match kind {
            Kind::Fat => {
                let staged = self.beside("staged");
                fs::create_dir(&staged).expect("a folder");
                fill(&staged, kind);
                for entry in fs::read_dir(&staged).expect("a folder").flatten() {
                    tool(&["mcopy", "-i", text(&self.path()), "-s", "-m", "-Q", text(&entry.path()), "::"]);
                }
                for n in 0..10 {
                    tool(&["mdel", "-i", text(&self.path()), &format!("::gone-{n}")]);
                }
                fs::remove_dir_all(&staged).expect("the folder");
            }
            _ => {
                let mount = Mount::writable(kind, &self.path());
                fill(&mount.at, kind);
                settle(&mount.at);
                for n in 0..10 {
                    fs::remove_file(mount.at.join(format!("gone-{n}"))).expect("the file was just made");
                }
            }
        }
    }
}

/// Bytes that look random and differ by seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A whole file.
#[track_caller]
pub(crate) fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    bytes
}

/// Makes a file.
#[track_caller]
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    File::create(path).and_then(|mut file| file.write_all(bytes)).unwrap_or_else(|e| panic!("{path:?}: {e}"));
}

/// Changes bytes of a file.
#[track_caller]
pub(crate) fn write_at(path: &Path, at: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.write_all_at(bytes, at)).unwrap_or_else(|e| panic!("{path:?}: {e}"));
}

/// A few megabytes of what filesystems are used for, as far as this kind can hold it.
pub(crate) fn fill(root: &Path, kind: Kind) {
    let small = if kind == Kind::Fat { 4 } else { 1 };
    write(&root.join("empty"), b"");
    write(&root.join("tiny"), b"tiny");
    write(&root.join("hundred"), &noise(1, 120));
    write(&root.join("one block and a bit"), &noise(2, 4097));
    write(&root.join("large.bin"), &noise(3, 2_100_001 / small));
    write(&root.join("text"), "the same line again and again\n".repeat(20_000 / small).as_bytes());
    write(&root.join("Ünïcode – ファイル"), b"a name");
    fs::create_dir_all(root.join("a/b/c/d")).expect("directories");
    write(&root.join("a/b/c/d/deep"), b"deep");
    fs::create_dir(root.join("many")).expect("a directory");
    for n in 0..300 / small {
        write(&root.join(format!("many/a file with quite a long name, number {n:06}")), &noise(n as u64, n % 7 * 30));
    }
    for n in 0..10 {
        write(&root.join(format!("gone-{n}")), &noise(100 + n, 100_000 / small));
    }
    // Grown by turns: fragments.
    let open = |name: &str| File::create(root.join(name)).expect("a file");
    let (mut even, mut odd) = (open("even"), open("odd"));
    for n in 0..40 {
        even.write_all(&noise(n, 5000)).expect("space");
        odd.write_all(&noise(n + 99, 3000)).expect("space");
    }
    match kind {
        Kind::Ext => {
            holes(root);
            links(root);
            let attributed = root.join("attributed");
            write(&attributed, b"attributed");
            set_attribute(&attributed, "user.saveos", &noise(5, 700));
        }
        Kind::Ntfs => {
            holes(root);
            let packed = root.join("packed");
            fs::create_dir(&packed).expect("a directory");
            set_attribute(&packed, "system.ntfs_attrib_be", &0x0000_0810u32.to_be_bytes());
            write(&packed.join("lines"), "compress me, please. ".repeat(20_000).as_bytes());
            write(&packed.join("noise"), &noise(6, 100_000));
            set_attribute(&root.join("tiny"), "user.stream", &noise(7, 60_000));
            set_attribute(&root.join("large.bin"), "user.small stream", b"a few bytes");
        }
        Kind::Fat | Kind::Exfat => {}
    }
}

fn holes(root: &Path) {
    let mut file = File::create(root.join("sparse")).expect("a file");
    for (n, at) in [70_000u64, 1 << 20, 9 << 20].into_iter().enumerate() {
        file.seek(SeekFrom::Start(at)).expect("a seek");
        file.write_all(&noise(n as u64, 5000)).expect("space");
    }
    file.set_len((9 << 20) + 100_000).expect("a longer file");
}

fn links(root: &Path) {
    fs::hard_link(root.join("large.bin"), root.join("large again")).expect("a hard link");
    symlink("tiny", root.join("short link")).expect("a link");
    symlink("../".repeat(200), root.join("long link")).expect("a link");
    tool(&["mkfifo", text(&root.join("fifo"))]);
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty())
        .unwrap_or_else(|error| panic!("{path:?} {name}: {error}"));
}

/// Writes this filesystem out; `sync` would wait for everybody else's, too.
pub(crate) fn settle(root: &Path) {
    File::open(root).and_then(|root| Ok(rustix::fs::syncfs(root)?)).expect("a filesystem that can be synced");
}
