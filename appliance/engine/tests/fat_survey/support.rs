//! What the tests of FAT and exFAT share: trees read back, surveys judged, volumes damaged at random.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use saveos_engine::fs::{Extent, Node, NodeKind, Tree};
use saveos_engine::read::ReadAt;

use super::told::Told;

/// Per damaged image; a sane one takes a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// An image file.
pub(crate) struct Disk(File);

impl Disk {
    pub(crate) fn open(path: &Path) -> Self {
        Self(File::open(path).unwrap())
    }
}

impl ReadAt for Disk {
    fn len(&self) -> u64 {
        self.0.metadata().unwrap().len()
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
}

/// A disk that cannot read some of its bytes.
pub(crate) struct Failing(pub(crate) Vec<u8>, pub(crate) Vec<Extent>);

impl ReadAt for Failing {
    fn len(&self) -> u64 {
        self.0.as_slice().len() as u64
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let end = offset + buf.len() as u64;
        if self.1.iter().any(|bad| bad.start < end && offset < bad.end()) {
            return Err(std::io::Error::other("bad sector"));
        }
        self.0.read_at(offset, buf)
    }
}

/// Path below the root to content.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// True when all tools are there; says so loudly when not.
pub(crate) fn tools_or_skip(test: &str, tools: &[&str]) -> bool {
    let there =
        |tool: &str| ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|at| Path::new(at).join(tool).exists());
    let missing: Vec<_> = tools.iter().filter(|tool| !there(tool)).collect();
    if !missing.is_empty() {
        eprintln!("SKIPPED: {test}: needs {missing:?}");
    }
    missing.is_empty()
}

/// All files of a tree.
pub(crate) fn read_tree(tree: &dyn Tree) -> Files {
    let mut files = Files::new();
    let mut todo = vec![(String::new(), tree.root().unwrap())];
    while let Some((path, directory)) = todo.pop() {
        tree.list(&directory, &mut |entry| {
            let path = format!("{path}{}", String::from_utf8(entry.name).unwrap());
            match entry.node.kind {
                NodeKind::Directory => todo.push((path + "/", entry.node)),
                _ => {
                    files.insert(path, read_node(tree, &entry.node));
                }
            }
            true
        })
        .unwrap();
    }
    files
}

/// All bytes of a file.
pub(crate) fn read_node(tree: &dyn Tree, node: &Node) -> Vec<u8> {
    let mut content = Vec::new();
    // An odd length crosses clusters and fragments at every place.
    let mut buf = vec![0; 70_001];
    loop {
        match tree.read(node, content.len() as u64, &mut buf).unwrap() {
            0 => break,
            len => content.extend_from_slice(&buf[..len]),
        }
    }
    assert_eq!(content.len() as u64, node.size);
    content
}

pub(crate) fn find(tree: &dyn Tree, path: &str) -> Node {
    path.split('/').fold(tree.root().unwrap(), |directory, name| {
        tree.lookup(&directory, name.as_bytes()).unwrap().unwrap_or_else(|| panic!("no {name} of {path}"))
    })
}

pub(crate) fn assert_same(found: &Files, put: &Files) {
    assert_eq!(found.keys().collect::<Vec<_>>(), put.keys().collect::<Vec<_>>());
    for (path, content) in put {
        assert!(found[path] == *content, "{path} reads differently");
    }
}

/// The same content once more, from the runs that the layout will cut.
pub(crate) fn assert_runs_hold(told: &Told, disk: &dyn ReadAt, tree: &dyn Tree, files: &Files) {
    for (path, content) in files.iter().filter(|(_, content)| !content.is_empty()) {
        let node = find(tree, path);
        assert!(content_of(told, disk, &node) == *content, "{path} surveys differently");
    }
}

/// The content of a file as its runs give it.
fn content_of(told: &Told, disk: &dyn ReadAt, node: &Node) -> Vec<u8> {
    let mut content = vec![0; node.size as usize];
    for (logical, extent) in told.files.iter().filter(|file| file.id == node.id.0).flat_map(|file| &file.runs) {
        disk.read_at(extent.start, &mut content[*logical as usize..][..extent.len as usize]).unwrap();
    }
    content
}

/// No doubt, no overlap; inside the heap all that is allocated is owned and nothing else.
pub(crate) fn assert_whole(told: &Told, heap: Extent, len: u64) {
    assert_eq!(told.doubts, Vec::<String>::new());
    told.assert_claims_are_disjoint();
    assert_eq!(cut(joined(told.claims()), heap), cut(told.in_use(), heap), "owned and allocated differ");
    // All before and behind the heap counts as allocated.
    let in_use = told.in_use();
    let around = [(0, heap.start), (heap.end(), len)];
    for (start, end) in around.into_iter().filter(|(start, end)| start < end) {
        assert!(in_use.iter().any(|extent| extent.start <= start && extent.end() >= end), "{start}..{end} is not read");
    }
}

/// Allocated bytes inside the heap.
pub(crate) fn used_in(told: &Told, heap: Extent) -> u64 {
    let part = |extent: &Extent| extent.end().min(heap.end()).saturating_sub(extent.start.max(heap.start));
    told.in_use().iter().map(part).sum()
}

pub(crate) fn joined(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort();
    let mut joined: Vec<Extent> = Vec::new();
    for extent in extents.into_iter().filter(|extent| extent.len > 0) {
        match joined.last_mut() {
            Some(last) if extent.start <= last.end() => last.len = last.len.max(extent.end() - last.start),
            _ => joined.push(extent),
        }
    }
    joined
}

/// What partclone says is used, cut to the heap.
pub(crate) fn used_by_partclone(tool: &str, image: &Path, heap: Extent) -> Vec<Extent> {
    let map = image.with_extension("map");
    super::image::run(
        std::process::Command::new(tool)
            .args(["-D", "-q", "-L", "/dev/null", "--offset_domain=0", "-s"])
            .arg(image)
            .arg("-o")
            .arg(&map),
    );
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let text = std::fs::read_to_string(&map).unwrap();
    let used = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(2) == Some(&"+"))
        .map(|fields| Extent::new(number(fields[0]), number(fields[1])))
        .collect();
    cut(joined(used), heap)
}

/// The parts inside the heap.
pub(crate) fn cut(extents: Vec<Extent>, heap: Extent) -> Vec<Extent> {
    let cut = |extent: Extent| {
        let (start, end) = (extent.start.max(heap.start), extent.end().min(heap.end()));
        Extent::new(start, end.saturating_sub(start))
    };
    extents.into_iter().map(cut).filter(|extent| extent.len > 0).collect()
}

/// Walks and reads what a damaged tree shows; what comes of it does not matter.
pub(crate) fn use_tree(tree: &dyn Tree) {
    let mut todo: Vec<Node> = tree.root().into_iter().collect();
    let mut steps = 0;
    while let Some(node) = todo.pop().filter(|_| steps < 200) {
        steps += 1;
        if node.kind == NodeKind::Directory {
            let _ = tree.list(&node, &mut |entry| {
                todo.push(entry.node);
                todo.len() < 500
            });
            let _ = tree.lookup(&node, b"file.bin");
        }
        let mut buf = [0; 3000];
        for offset in [0, 4096, node.size / 2, node.size.saturating_sub(9), u64::MAX - 3] {
            let _ = tree.read(&node, offset, &mut buf);
        }
    }
}

/// Runs `use_it` on thousands of copies with a few bytes changed, mostly in these extents.
pub(crate) fn damage(clean: &[u8], seeds: u64, targets: &[Extent], use_it: &dyn Fn(Vec<u8>)) {
    for seed in 1..=seeds {
        let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut bytes = clean.to_vec();
        for _ in 0..=rng.next(10) {
            let target = targets[rng.next(targets.len())];
            let at = target.start as usize + rng.next(target.len as usize);
            bytes[at] = match rng.next(5) {
                0 => 0xFF,
                1 => 0,
                2 => bytes[at] ^ 1 << rng.next(8),
                3 => rng.next(16) as u8,
                _ => rng.next(256) as u8,
            };
        }
        let started = Instant::now();
        use_it(bytes);
        assert!(started.elapsed() < PATIENCE, "seed {seed} took {:?}", started.elapsed());
    }
}

struct Rng(u64);

impl Rng {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }
}
