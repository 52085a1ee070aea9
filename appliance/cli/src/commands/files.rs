//! `saveos files ls|cp`: files of a snapshot without mounting it.

use crate::args::{self, Repo};
use crate::output::{Exit, Output, json_name, printable, time};
use crate::progress::Bar;
use crate::session;
use anyhow::{Context, bail};
use saveos_engine::files;
use saveos_engine::fs::{Entry, FsError, Node, NodeKind, Tree};
use saveos_engine::lease::LeaseKind;
use saveos_engine::read::Window;
use saveos_engine::view::SnapshotDisk;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) fn run(command: args::Files, out: &Output) -> anyhow::Result<Exit> {
    match command {
        args::Files::Ls { snapshot, path, repo } => ls(&snapshot, &path, &repo, out),
        args::Files::Cp { snapshot, path, dest, repo } => {
            cp(&snapshot, &path, dest.as_deref().unwrap_or(Path::new(".")), &repo, out)
        }
    }
}

fn ls(wanted: &str, path: &str, repo: &Repo, out: &Output) -> anyhow::Result<Exit> {
    let (tree, disk) = open(wanted, repo, out)?;
    let node = files::find(&*tree, path.as_bytes())?;
    if node.kind != NodeKind::Directory {
        let name = path.rsplit('/').next().unwrap_or(path);
        print(name.as_bytes(), &node, out)?;
        return Ok(Exit::Complete);
    }
    let listing = files::entries(&*tree, &node);
    for entry in &listing.entries {
        print(&entry.name, &entry.node, out)?;
    }
    let damage = match listing.damage {
        Some(damage) => damage.to_string(),
        None if disk.missing_bytes() > 0 => "the snapshot has holes in the filesystem's structure".to_owned(),
        None => return Ok(Exit::Complete),
    };
    out.warn(&format!("there may be more in {path}: {damage}"));
    Ok(Exit::Partial)
}

fn print(name: &[u8], node: &Node, out: &Output) -> anyhow::Result<()> {
    let (kind, letter) = match node.kind {
        NodeKind::File => ("file", '-'),
        NodeKind::Directory => ("directory", 'd'),
        NodeKind::Symlink => ("symlink", 'l'),
        NodeKind::Other => ("other", '?'),
    };
    let mode = node.mode.map_or_else(|| "   -".to_owned(), |mode| format!("{:04o}", mode & 0o7777));
    let shown = printable(name);
    out.line(&format!("{letter} {mode} {:>14}  {}  {shown}", node.size, time(node.modified)))?;
    let mut object = json_name(name);
    if let Some(object) = object.as_object_mut() {
        let more = serde_json::json!({"type": "entry", "kind": kind, "size": node.size, "modified": node.modified, "mode": node.mode});
        object.extend(more.as_object().cloned().unwrap_or_default());
    }
    out.object(&object)
}

fn cp(wanted: &str, path: &str, dest: &Path, repo: &Repo, out: &Output) -> anyhow::Result<Exit> {
    let (tree, disk) = open(wanted, repo, out)?;
    let node = files::find(&*tree, path.as_bytes())?;
    if dest == Path::new("-") {
        let watched = Watched::new(&*tree, &node, out);
        files::copy::stream(&watched, &node, path, &mut std::io::stdout().lock())?;
        let missing = disk.missing_bytes();
        if missing > 0 {
            out.warn(&format!("{path} has zeros for {missing} bytes that the snapshot does not have"));
        }
        return Ok(if missing > 0 { Exit::Partial } else { Exit::Complete });
    }
    let name = path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("files");
    let watched = Watched::new(&*tree, &node, out);
    let copied = files::copy::copy(&watched, &node, name.as_bytes(), dest, &|| disk.missing_bytes())?;
    drop(watched);
    for file in &copied.incomplete {
        out.warn(&format!("{} has zeros for {} bytes that the snapshot does not have", file.path, file.missing_bytes));
    }
    let incomplete: Vec<_> = copied.incomplete.iter().map(|file| &file.path).collect();
    let failed: Vec<String> =
        copied.failed.into_iter().map(|failure| format!("{:#}", anyhow::Error::new(failure))).collect();
    failed.iter().for_each(|failure| out.warn(failure));
    out.line(&format!(
        "copied {} files, {} directories, {} links; {} incomplete, {} not copied",
        copied.files,
        copied.directories,
        copied.links,
        incomplete.len(),
        failed.len()
    ))?;
    out.object(&serde_json::json!({
        "type": "copied", "files": copied.files, "directories": copied.directories, "links": copied.links,
        "bytes": copied.bytes, "incomplete": incomplete, "failed": failed,
    }))?;
    // Holes in the structure may have hidden files.
    Ok(if failed.is_empty() && disk.missing_bytes() == 0 { Exit::Complete } else { Exit::Partial })
}

/// A filesystem of a snapshot, and the disk it lies on.
type Browsed = (Box<dyn Tree>, Arc<SnapshotDisk>);

/// A tree that shows how much of it was read. Of a directory nobody knows the size before it is read.
struct Watched<'t> {
    tree: &'t dyn Tree,
    total: Option<u64>,
    done: AtomicU64,
    bar: Bar,
}

impl Watched<'_> {
    fn new<'t>(tree: &'t dyn Tree, node: &Node, out: &Output) -> Watched<'t> {
        let total = (node.kind == NodeKind::File).then_some(node.size);
        Watched { tree, total, done: AtomicU64::new(0), bar: Bar::new(out, "copy") }
    }
}

impl Tree for Watched<'_> {
    fn root(&self) -> Result<Node, FsError> {
        self.tree.root()
    }

    fn list(&self, directory: &Node, each: &mut dyn FnMut(Entry) -> bool) -> Result<(), FsError> {
        self.tree.list(directory, each)
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>, FsError> {
        self.tree.lookup(directory, name)
    }

    fn read(&self, node: &Node, offset: u64, buf: &mut [u8]) -> Result<usize, FsError> {
        let read = self.tree.read(node, offset, buf)?;
        let done = self.done.fetch_add(read as u64, Ordering::Relaxed) + read as u64;
        match self.total {
            Some(total) => self.bar.show(done, total),
            None => self.bar.count(done),
        }
        Ok(read)
    }
}

/// Opens the filesystem that `SNAPSHOT[:PARTITION]` names. Without a number the only browsable one is meant.
fn open(wanted: &str, repo: &Repo, out: &Output) -> anyhow::Result<Browsed> {
    let (name, partition) = match wanted.split_once(':') {
        Some((name, number)) => (name, Some(number.parse::<u32>().context("the partition is a number")?)),
        None => (wanted, None),
    };
    let repository = session::open(repo, LeaseKind::Reader, out)?;
    let (_, snapshot) = repository.find_snapshot(name)?;
    let regions = &snapshot.summary.regions;
    let browsable: Vec<_> = regions
        .iter()
        .filter(|region| match partition {
            Some(number) => region.partition == Some(number),
            None => region.filesystem.is_browsable(),
        })
        .collect();
    let region = match browsable.as_slice() {
        [one] => *one,
        [] => bail!("the snapshot has no such partition with files; `saveos show` lists them"),
        several => {
            let numbers: Vec<String> =
                several.iter().filter_map(|region| region.partition).map(|n| format!("{name}:{n}")).collect();
            bail!("several partitions have files: name one of {}", numbers.join(", "))
        }
    };
    let (start, len, filesystem) = (region.start, region.len, region.filesystem);
    let disk = Arc::new(SnapshotDisk::open(repository, &snapshot, &session::scratch(&repo.repo))?);
    let tree = files::browse(Arc::new(Window::new(Arc::clone(&disk), start, len)), filesystem)?;
    Ok((tree, disk))
}
