//! Restores files to a stick that any computer reads: the stick is formatted, the files are written, and all of them are read back
//! through our own reader and compared before the job counts as done.
//!
//! | what FAT cannot hold | what becomes of it |
//! |---|---|
//! | letters that its names may not have, names that differ only in case | another name |
//! | files of 4 GiB and more, directories of more than 65,535 entries | left out, counted |
//! | links, devices, sockets | left out, counted |
//!
//! Which files a customer has stays on the box: what is told are counts, names go to its log.

mod fat;
mod names;

use super::restore::{find, refused};
use super::{Bench, Meter, Trouble, failed};
use crate::clock::Moment;
use aws_lc_rs::digest::{Context, SHA256};
use fat::{Entries, Place, Stick};
use names::Directory;
use saveos_engine::files;
use saveos_engine::fs::{Entry, FsError, Node, NodeKind, Tree};
use saveos_engine::layout::identify::identify;
use saveos_engine::layout::partition;
use saveos_engine::lease::LeaseKind;
use saveos_engine::read::Window;
use saveos_engine::restore::target::{FileTarget, Overwrite};
use saveos_engine::snapshot::SnapshotId;
use saveos_engine::source::{DiskSource, Source};
use saveos_engine::view::SnapshotDisk;
use saveos_protocol::fact::{FailureReason, RestoreSummary};
use saveos_protocol::hex;
use saveos_protocol::text::{FilePath, Mark, Text};
use saveos_protocol::unit::{Bytes, Count};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Files, directories and links of one job: a tree that loops ends here.
const MOST: u64 = 5_000_000;
/// Directories within directories.
const DEEPEST: usize = 64;
/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// What goes where.
pub(super) struct Order<'o> {
    pub(super) snapshot: &'o hex::SnapshotId,
    pub(super) partition: Count,
    pub(super) paths: &'o [FilePath],
    pub(super) stick: &'o Mark,
}

pub(super) fn run(
    order: &Order<'_>,
    (path, size): (&Path, u64),
    bench: &Bench,
    (meter, stop): (&Meter, &(dyn Fn() -> bool + Sync)),
    now: &Moment,
) -> Result<RestoreSummary, Trouble> {
    let repository = Arc::new(bench.vault.repository(LeaseKind::Reader, &now.boot.to_string())?);
    let (id, snapshot) = find(&repository, SnapshotId(order.snapshot.0))?;
    let number = u32::try_from(order.partition.get()).ok().filter(|number| *number > 0);
    let no_files = |why: &str| refused(FailureReason::SnapshotMissing, why);
    let region = snapshot.summary.regions.iter().find(|region| region.partition == number);
    let region = region.ok_or_else(|| no_files("the snapshot has no partition of that number"))?;
    let disk = Arc::new(SnapshotDisk::open(Arc::clone(&repository), &snapshot, &bench.vault.scratch())?);
    let window = Arc::new(Window::new(Arc::clone(&disk), region.start, region.len));
    let tree = files::browse(window, region.filesystem).map_err(|error| no_files(&error.to_string()))?;
    let wanted = picked(&*tree, order.paths).map_err(|()| no_files("a file or folder is not in the snapshot"))?;
    let hashes = HashMap::new();
    let mut copy = Copy { tree: &*tree, meter, stop, done: 0, total: 0, hashes, left: Left::default(), seen: 0 };
    let source = DiskSource::open(path).map_err(|error| failed(FailureReason::TargetUnfit, &error))?;
    let sector = source.sector_size();
    drop(source);
    // Before anything is written: whether it would fit.
    let bytes = copy.measure(&wanted)?;
    // Twice: what is written is read back.
    copy.total = 2 * bytes;
    let target = FileTarget::open(path, size, bench.vault.path(), Overwrite::Allow)
        .map_err(|error| failed(FailureReason::TargetUnfit, &error))?;
    if bytes > size {
        return Err(refused(FailureReason::TargetUnfit, &format!("the stick is too small for {bytes} bytes")));
    }
    let mut stick = Stick::begin(&target, size, sector, id.0[..4].try_into().unwrap_or_default())?;
    let root = copy.folder(&mut stick, (wanted, ""), None, 0)?;
    debug_assert_eq!(root.0.first, 2, "the root comes first");
    stick.finish()?;
    let written = root.1;
    drop(target);
    compare(path, &mut copy)?;
    let mut notes = copy.left.notes();
    if disk.missing_bytes() > 0 {
        notes.push(format!(
            "{} bytes are missing in the snapshot; there are zeros in their place",
            disk.missing_bytes()
        ));
    }
    Ok(RestoreSummary {
        snapshot: hex::SnapshotId(id.0),
        target: order.stick.clone(),
        bytes_written: Bytes::saturating(written),
        hole_bytes: Bytes::saturating(disk.missing_bytes()),
        notes: notes.iter().map(|note| Text::cut(note)).collect(),
    })
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        failed(FailureReason::TargetUnfit, &error)
    }
}

/// What goes into a folder of the stick.
enum Item {
    /// All that is below, as it is.
    Node(Node),
    /// A folder on the way to what was asked for.
    Way(BTreeMap<Vec<u8>, Item>),
}

type Items = Vec<(Vec<u8>, Item)>;

/// The paths that were asked for, as a tree. What lies below another one is in it already.
fn picked(tree: &dyn Tree, paths: &[FilePath]) -> Result<Items, ()> {
    let mut root = BTreeMap::new();
    for path in paths {
        let node = files::find(tree, path.as_bytes()).map_err(|_| ())?;
        let mut parts: Vec<&[u8]> =
            path.as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
        let Some(name) = parts.pop() else { return Ok(items(files::entries(tree, &node).entries)) };
        let mut into = Some(&mut root);
        for part in parts {
            into =
                into.and_then(|items| match items.entry(part.to_vec()).or_insert_with(|| Item::Way(BTreeMap::new())) {
                    Item::Node(_) => None,
                    Item::Way(items) => Some(items),
                });
        }
        if let Some(items) = into {
            items.insert(name.to_vec(), Item::Node(node));
        }
    }
    Ok(root.into_iter().collect())
}

fn items(entries: Vec<Entry>) -> Items {
    entries.into_iter().map(|entry| (entry.name, Item::Node(entry.node))).collect()
}

/// What was left out or had to be changed.
#[derive(Default)]
struct Left {
    large: u64,
    crowded: u64,
    special: u64,
    unreadable: u64,
    renamed: u64,
}

impl Left {
    fn notes(&self) -> Vec<String> {
        let of = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let all = [
            of(self.large, "files are larger than FAT32 holds and were left out: restore the partition for them"),
            of(self.crowded, "files or folders did not fit into a crowded folder and were left out"),
            of(self.special, "links and devices were left out"),
            of(self.unreadable, "files could not be read to their end"),
            of(self.renamed, "names were changed to such as FAT32 holds"),
        ];
        all.into_iter().flatten().collect()
    }
}

struct Copy<'c> {
    tree: &'c dyn Tree,
    meter: &'c Meter,
    stop: &'c (dyn Fn() -> bool + Sync),
    done: u64,
    total: u64,
    /// Of what was written, by the path on the stick in capitals.
    hashes: HashMap<String, [u8; 32]>,
    left: Left,
    seen: u64,
}

impl Copy<'_> {
    fn step(&mut self, bytes: u64) -> Result<(), Trouble> {
        self.done += bytes;
        self.meter.show(self.done, self.total.max(self.done));
        if (self.stop)() { Err(Trouble::Stopped) } else { Ok(()) }
    }

    fn count(&mut self) -> Result<(), Trouble> {
        self.seen += 1;
        if self.seen > MOST {
            return Err(refused(FailureReason::TargetUnfit, "more files than a stick is for: restore the partition"));
        }
        self.step(0)
    }

    /// Bytes of all files.
    fn measure(&mut self, wanted: &[(Vec<u8>, Item)]) -> Result<u64, Trouble> {
        let (mut bytes, mut todo) = (0u64, Vec::new());
        let mut wanted: Vec<&Item> = wanted.iter().map(|(_, item)| item).collect();
        while let Some(item) = wanted.pop() {
            match item {
                Item::Node(node) => todo.push((node.clone(), 0)),
                Item::Way(below) => wanted.extend(below.values()),
            }
        }
        while let Some((node, depth)) = todo.pop() {
            self.count()?;
            match node.kind {
                NodeKind::File if names::fits(node.size) => bytes = bytes.saturating_add(node.size),
                NodeKind::Directory if depth < DEEPEST => {
                    let entries = files::entries(self.tree, &node).entries;
                    todo.extend(entries.into_iter().map(|entry| (entry.node, depth + 1)));
                }
                _ => {}
            }
        }
        self.seen = 0;
        Ok(bytes)
    }

    /// Writes a folder and all below it; where it lies, and the bytes of files in it.
    fn folder(
        &mut self,
        stick: &mut Stick<'_>,
        (inside, path): (Items, &str),
        above: Option<Place>,
        depth: usize,
    ) -> Result<(Place, u64), Trouble> {
        let (mut directory, mut named) = (Directory::new(), Vec::new());
        for (name, item) in inside {
            self.count()?;
            if let Some(own) = self.name(&name, &item, &mut directory, depth) {
                named.push((own, item));
            }
        }
        let place = stick.folder(directory.entries())?;
        let (mut entries, mut written) = (Entries::of(place, above), 0);
        for (own, item) in named {
            let path = format!("{path}/{own}");
            let (is_folder, modified, (below, bytes)) = match item {
                Item::Way(below) => {
                    let inside = (below.into_iter().collect(), path.as_str());
                    (true, 0, self.folder(stick, inside, Some(place), depth + 1)?)
                }
                Item::Node(node) if node.kind == NodeKind::Directory => {
                    let list = files::entries(self.tree, &node);
                    if let Some(error) = list.damage {
                        tracing::warn!(%error, "a folder could not be read to its end");
                        self.left.unreadable += 1;
                    }
                    let inside = (items(list.entries), path.as_str());
                    (true, node.modified, self.folder(stick, inside, Some(place), depth + 1)?)
                }
                Item::Node(node) => {
                    let place = self.file(stick, &node, &path)?;
                    (false, node.modified, (place, u64::from(place.len)))
                }
            };
            entries.add(&own, is_folder, modified, below);
            written += bytes;
        }
        stick.fill(place, entries.into_bytes())?;
        Ok((place, written))
    }

    /// Its name on the stick; `None` for what stays away.
    fn name(&mut self, name: &[u8], item: &Item, directory: &mut Directory, depth: usize) -> Option<String> {
        if let Item::Node(node) = item {
            if !matches!(node.kind, NodeKind::File | NodeKind::Directory) || depth > DEEPEST {
                self.left.special += 1;
                return None;
            }
            if node.kind == NodeKind::File && !names::fits(node.size) {
                tracing::warn!(file = %String::from_utf8_lossy(name), "too large for FAT32");
                self.left.large += 1;
                return None;
            }
        }
        let Some(own) = directory.name(&String::from_utf8_lossy(name)) else {
            self.left.crowded += 1;
            return None;
        };
        self.left.renamed += u64::from(own.as_bytes() != name);
        Some(own)
    }

    fn file(&mut self, stick: &mut Stick<'_>, node: &Node, path: &str) -> Result<Place, Trouble> {
        let mut hash = Context::new(&SHA256);
        let place = stick.file(|at| {
            let want = usize::try_from(node.size.saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
            let mut piece = vec![0; want];
            if want == 0 {
                return Ok(piece);
            }
            let len = self.tree.read(node, at, &mut piece).unwrap_or_else(|error| {
                tracing::warn!(path, %error, "a file cannot be read to its end");
                0
            });
            self.left.unreadable += u64::from(len == 0);
            piece.truncate(len);
            hash.update(&piece);
            self.step(len as u64)?;
            Ok::<_, Trouble>(piece)
        })?;
        self.hashes.insert(names::key(path), digest(hash));
        Ok(place)
    }
}

fn digest(context: Context) -> [u8; 32] {
    context.finish().as_ref().try_into().unwrap_or_default()
}

/// Reads the stick as another computer would, with a reader that shares nothing with who wrote it.
fn compare(path: &Path, copy: &mut Copy<'_>) -> Result<(), Trouble> {
    let wrong =
        |why: &str| refused(FailureReason::TargetUnfit, &format!("the stick does not hold what was written: {why}"));
    let damaged = |error: FsError| wrong(&error.to_string());
    let disk = Arc::new(DiskSource::open(path).map_err(|error| failed(FailureReason::TargetUnfit, &error))?);
    let table = partition::read(&*disk, disk.sector_size());
    let own = table.partitions.first().ok_or_else(|| wrong("it has no partition"))?;
    let window = Arc::new(Window::new(Arc::clone(&disk), own.start, own.len));
    let filesystem = identify(&*window);
    let tree = files::browse(window, filesystem).map_err(damaged)?;
    let mut todo = vec![(String::new(), tree.root().map_err(damaged)?)];
    let mut piece = vec![0; PIECE];
    while let Some((at, node)) = todo.pop() {
        if node.kind == NodeKind::Directory {
            let list = files::entries(&*tree, &node);
            if let Some(error) = list.damage {
                return Err(damaged(error));
            }
            let below =
                |entry: Entry| (names::key(&format!("{at}/{}", String::from_utf8_lossy(&entry.name))), entry.node);
            todo.extend(list.entries.into_iter().map(below));
            continue;
        }
        let wanted = copy.hashes.remove(&at).ok_or_else(|| wrong("there is a file that nobody wrote"))?;
        let (mut read, mut hash) = (0, Context::new(&SHA256));
        while read < node.size {
            let len = tree.read(&node, read, &mut piece).map_err(damaged)?;
            if len == 0 {
                return Err(wrong("a file ends too soon"));
            }
            hash.update(&piece[..len]);
            read += len as u64;
            copy.step(len as u64)?;
        }
        if digest(hash) != wanted {
            return Err(wrong("a file is another one"));
        }
    }
    if copy.hashes.is_empty() { Ok(()) } else { Err(wrong("a file is missing")) }
}
