//! Everything a filesystem shows of its files, so that two of them can be compared.

use super::run::text;
use super::{Kind, Mount, read, tool_result};
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What a path shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// `file`, `directory`, `link`, `other`.
    pub(crate) kind: &'static str,
    /// Hash of a file's bytes, target of a link.
    pub(crate) content: String,
    about: (u32, u32, i64, u64),
    attributes: BTreeMap<String, String>,
}

/// Path below the root to what it shows.
pub(crate) type Tree = BTreeMap<PathBuf, Shown>;

/// The files of an image as another implementation reads them.
pub(crate) fn tree_of(kind: Kind, image: &Path) -> Result<Tree, String> {
    if kind == Kind::Fat {
        let out = tempfile::tempdir().map_err(|error| error.to_string())?;
        let ran = tool_result(&["mcopy", "-i", text(image), "-s", "-m", "-Q", "-n", "::", text(out.path())]);
        return if ran.code == 0 { below(out.path()) } else { Err(ran.err) };
    }
    let mount = Mount::readable(kind, image)?;
    below(&mount.at)
}

/// Kinds and contents alone: what a copy keeps. FIFOs and what lies in `without` are not looked at.
pub(crate) fn contents(tree: &Tree, without: &str) -> BTreeMap<PathBuf, (&'static str, String)> {
    let kept = tree.iter().filter(|(path, shown)| shown.kind != "other" && !path.starts_with(without));
    kept.map(|(path, shown)| (path.clone(), (shown.kind, shown.content.clone()))).collect()
}

/// All that lies below a folder.
pub(crate) fn below(root: &Path) -> Result<Tree, String> {
    let mut tree = Tree::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| format!("{folder:?}: {error}"))? {
            let path = entry.map_err(|error| format!("{folder:?}: {error}"))?.path();
            let name = path.strip_prefix(root).expect("a path below the root").to_owned();
            let shown = show(&path).map_err(|error| format!("{path:?}: {error}"))?;
            if shown.kind == "directory" {
                open.push(path);
            }
            tree.insert(name, shown);
        }
    }
    Ok(tree)
}

fn show(path: &Path) -> std::io::Result<Shown> {
    let metadata = std::fs::symlink_metadata(path)?;
    let (kind, content) = match metadata.file_type() {
        kind if kind.is_dir() => ("directory", String::new()),
        kind if kind.is_symlink() => ("link", format!("{:?}", std::fs::read_link(path)?)),
        kind if kind.is_file() => ("file", blake3::hash(&std::fs::read(path)?).to_string()),
        kind if kind.is_fifo() => ("other", "fifo".to_owned()),
        _ => ("other", "?".to_owned()),
    };
    let mut attributes = BTreeMap::new();
    if matches!(kind, "file" | "directory") {
        for name in attribute_names(path)? {
            attributes.insert(name.clone(), attribute(path, &name)?);
        }
    }
    let about = (metadata.mode(), metadata.uid(), metadata.mtime(), metadata.nlink());
    Ok(Shown { kind, content, about, attributes })
}

fn attribute_names(path: &Path) -> std::io::Result<Vec<String>> {
    let mut names = vec![0; 16 * 1024];
    match rustix::fs::listxattr(path, &mut names) {
        Ok(len) => names.truncate(len),
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(other) => return Err(other.into()),
    }
    let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

fn attribute(path: &Path, name: &str) -> std::io::Result<String> {
    let mut value = vec![0; 256 * 1024];
    let len = rustix::fs::getxattr(path, name, &mut value)?;
    Ok(blake3::hash(&value[..len]).to_string())
}

/// The bytes of one file of an image.
pub(crate) fn file_of(kind: Kind, image: &Path, name: &str) -> Vec<u8> {
    let mount = Mount::readable(kind, image).expect("the image mounts");
    read(&mount.at.join(name))
}
