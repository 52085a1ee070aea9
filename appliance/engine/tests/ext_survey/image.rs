//! Filesystem images made by mke2fs and filled by the kernel through a loop mount.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use saveos_engine::fs::{Extent, Node, NodeKind, Tree};
use saveos_engine::read::ReadAt;

/// What a path holds: file content, a link's target, a directory, something else.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Held {
    File(Vec<u8>),
    Link(Vec<u8>),
    Directory,
    Other,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Held::File(bytes) => write!(f, "File({} bytes, {})", bytes.len(), blake3::hash(bytes)),
            Held::Link(target) => write!(f, "Link({})", String::from_utf8_lossy(target)),
            Held::Directory => f.write_str("Directory"),
            Held::Other => f.write_str("Other"),
        }
    }
}

pub(crate) type Files = BTreeMap<PathBuf, Held>;
pub(crate) type Nodes = BTreeMap<PathBuf, Node>;

/// An image in a directory of its own.
pub(crate) struct Image {
    directory: tempfile::TempDir,
}

/// Loop mounts need root. A test without them says so and ends; nothing else may make it end early.
pub(crate) fn can_mount() -> bool {
    let possible = rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists();
    if !possible {
        eprintln!("SKIPPED: needs root and loop devices");
    }
    possible
}

impl Image {
    /// Runs `mke2fs` with these arguments on a sparse file.
    pub(crate) fn make(mebibytes: u64, arguments: &str) -> Self {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let image = Self { directory };
        let file = fs::File::create(image.path()).expect("a scratch file");
        file.set_len(mebibytes << 20).expect("a sparse file");
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        run("mke2fs", &[&["-q", "-F"], arguments.as_slice(), &[image.text()]].concat());
        image
    }

    /// The same, filled from a directory.
    pub(crate) fn make_from(mebibytes: u64, arguments: &str, source: &Path) -> Self {
        Self::make(mebibytes, &format!("{arguments} -d {}", source.display()))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    pub(crate) fn text(&self) -> &'static str {
        // Arguments are borrowed all over; a leaked path per image is cheap.
        Box::leak(self.path().display().to_string().into_boxed_str())
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("the image is readable")
    }

    /// Mounts the image; it is unmounted when the guard goes.
    pub(crate) fn mount(&self, options: &str) -> Mounted {
        let at = self.directory.path().join("mnt");
        fs::create_dir_all(&at).expect("a mount point");
        let options = if options.is_empty() { "loop".to_owned() } else { format!("loop,{options}") };
        run("mount", &["-t", "ext4", "-o", &options, self.text(), &at.display().to_string()]);
        Mounted { at }
    }
}

/// A mounted image.
pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A process that another test starts at this moment has our open files until it becomes its program.
        for _ in 0..50 {
            if Command::new("umount").arg(&self.at).status().is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(std::thread::panicking(), "could not unmount");
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("the tool is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}{errors}", output.status);
    text
}

/// Bytes that look random and differ by seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Everything a filesystem can be asked to hold, in few megabytes.
pub(crate) fn fill(root: &Path) {
    let write = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).expect("a file");
    write("empty", b"");
    write("tiny", b"tiny");
    write("inline-sized", &noise(1, 120));
    write("one-block-and-a-bit", &noise(2, 4097));
    write("large", &noise(3, 6_000_001));
    fs::hard_link(root.join("large"), root.join("large-again")).expect("a hard link");
    symlink("tiny", root.join("short-link")).expect("a link");
    symlink("x".repeat(900), root.join("long-link")).expect("a link");
    symlink("y".repeat(59), root.join("link-59")).expect("a link");
    symlink("y".repeat(60), root.join("link-60")).expect("a link");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .expect("a FIFO");

    fs::create_dir_all(root.join("a/b/c/d")).expect("directories");
    fs::write(root.join("a/b/c/d/deep"), b"deep").expect("a file");
    fs::create_dir(root.join("many")).expect("a directory");
    for n in 0..1500 {
        fs::write(root.join(format!("many/a file with quite a long name, number {n:06}")), b"").expect("a file");
    }
    fs::create_dir(root.join("few")).expect("a directory");
    fs::write(root.join("few/x"), b"x").expect("a file");

    sparse(root);
    fragmented(root);
    attributes(root);
    reserved(root);
    swap_file(root);

    for n in 0..40 {
        fs::write(root.join(format!("gone-{n}")), noise(n, 100_000)).expect("a file");
    }
    settle(root);
    for n in 0..40 {
        fs::remove_file(root.join(format!("gone-{n}"))).expect("the file was just made");
    }
}

/// Writes this filesystem out; `sync` would wait for everybody else's, too.
pub(crate) fn settle(root: &Path) {
    fs::File::open(root).and_then(|root| Ok(rustix::fs::syncfs(root)?)).expect("a filesystem that can be synced");
}

fn sparse(root: &Path) {
    let mut file = fs::File::create(root.join("sparse")).expect("a file");
    for (n, at) in [70_000u64, 1 << 20, 20 << 20, 300 << 20].into_iter().enumerate() {
        file.seek(SeekFrom::Start(at)).expect("a seek");
        file.write_all(&noise(n as u64, 5000)).expect("a write");
    }
    file.set_len((300 << 20) + 100_000).expect("a longer file");
}

/// Two files written by turns, block by block, with neighbours removed: many short extents.
fn fragmented(root: &Path) {
    let open = |name: &str| fs::File::create(root.join(name)).expect("a file");
    let (even, odd) = (open("even"), open("odd"));
    for n in 0..600u64 {
        let file = if n % 2 == 0 { &even } else { &odd };
        // Every second block only: holes force one extent per block.
        file.write_all_at(&noise(n, 4096), n * 8192).expect("a write");
    }
}

fn attributes(root: &Path) {
    for n in 0..12 {
        let path = root.join(format!("few/attributes-{n}"));
        fs::write(&path, b"attributed").expect("a file");
        // The first half shares one value, the others have their own.
        let value = noise(if n < 6 { 0 } else { n }, 700);
        rustix::fs::setxattr(&path, "user.saveos", &value, rustix::fs::XattrFlags::empty()).expect("an attribute");
    }
}

/// Blocks that are allocated but not written; ext2 and ext3 have none.
fn reserved(root: &Path) {
    use rustix::fs::{FallocateFlags, fallocate};
    let mut file = fs::File::create(root.join("reserved")).expect("a file");
    if fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).is_err() {
        return;
    }
    file.seek(SeekFrom::Start(300_000)).expect("a seek");
    file.write_all(&noise(9, 50_000)).expect("a write");
    fallocate(&file, FallocateFlags::KEEP_SIZE, 1 << 20, 1 << 20).expect("blocks past the end");
}

/// A swap file whose header covers all but its last 64 KiB.
fn swap_file(root: &Path) {
    let path = root.join("swap");
    fs::write(&path, noise(77, 512 << 10)).expect("a file");
    let mut header = vec![0u8; 4096];
    header[1024..1028].copy_from_slice(&1u32.to_le_bytes());
    header[1028..1032].copy_from_slice(&111u32.to_le_bytes());
    header[4086..].copy_from_slice(b"SWAPSPACE2");
    fs::OpenOptions::new().write(true).open(path).and_then(|file| file.write_all_at(&header, 0)).expect("a header");
}

/// What the kernel shows below `root`. Contents above 8 MiB are cut off there.
pub(crate) fn held(root: &Path) -> Files {
    let mut files = Files::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a readable directory") {
            let path = entry.expect("an entry").path();
            let kind = fs::symlink_metadata(&path).expect("metadata").file_type();
            let held = if kind.is_dir() {
                open.push(path.clone());
                Held::Directory
            } else if kind.is_symlink() {
                Held::Link(fs::read_link(&path).expect("a target").into_os_string().into_encoded_bytes())
            } else if kind.is_file() {
                let file = fs::File::open(&path).expect("a file");
                let mut bytes = vec![0; file.metadata().expect("metadata").len().min(CUT) as usize];
                file.read_exact_at(&mut bytes, 0).expect("content");
                Held::File(bytes)
            } else {
                assert!(kind.is_fifo());
                Held::Other
            };
            files.insert(path.strip_prefix(root).expect("a path below the root").to_owned(), held);
        }
    }
    files
}

const CUT: u64 = 8 << 20;

/// The same through a `Tree`.
pub(crate) fn held_by(tree: &dyn Tree) -> (Files, Nodes) {
    let (mut files, mut nodes) = (Files::new(), Nodes::new());
    let mut open = vec![(PathBuf::new(), tree.root().expect("a root"))];
    while let Some((path, directory)) = open.pop() {
        tree.list(&directory, &mut |entry| {
            let path = path.join(String::from_utf8_lossy(&entry.name).as_ref());
            nodes.insert(path.clone(), entry.node.clone());
            let held = match entry.node.kind {
                NodeKind::Directory => {
                    open.push((path.clone(), entry.node));
                    Held::Directory
                }
                NodeKind::File => Held::File(content(tree, &entry.node)),
                NodeKind::Symlink => Held::Link(content(tree, &entry.node)),
                NodeKind::Other => Held::Other,
            };
            assert!(files.insert(path, held).is_none(), "a name was listed twice");
            true
        })
        .expect("a readable directory");
    }
    (files, nodes)
}

/// Content read in uneven steps, cut off like `held`.
pub(crate) fn content(tree: &dyn Tree, node: &Node) -> Vec<u8> {
    let mut bytes = vec![0; node.size.min(CUT) as usize];
    let mut at = 0;
    while at < bytes.len() {
        let step = (bytes.len() - at).min(300_007);
        let got = tree.read(node, at as u64, &mut bytes[at..at + step]).expect("content");
        assert!(got > 0, "content ended early");
        at += got;
    }
    bytes
}

/// The blocks that dumpe2fs does not call free, as bytes; the boot block counts as used.
pub(crate) fn used(image: &Image) -> Vec<Extent> {
    let text = run("dumpe2fs", &[image.text()]);
    let number = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).expect("dumpe2fs names it");
        line.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("a number")
    };
    let (blocks, size) = (number("Block count:"), number("Block size:"));
    let mut used = vec![true; blocks as usize];
    for line in text.lines().filter_map(|line| line.strip_prefix("  Free blocks: ")) {
        for range in line.split(", ").filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let parse = |text: &str| text.trim().parse::<usize>().expect("a block number");
            used[parse(first)..=parse(last)].fill(false);
        }
    }
    let extents = (0..blocks).filter(|block| used[*block as usize]).map(|block| Extent::new(block * size, size));
    super::collect::union(extents.collect())
}

pub(crate) fn shared(bytes: Vec<u8>) -> Arc<dyn ReadAt> {
    Arc::new(bytes)
}
