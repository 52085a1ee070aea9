//! Proves a snapshot's filesystems: their structure is restored to a sparse file without any file contents, the journal is
//! replayed there, and the filesystem's own checker judges it in a child that has no network and little memory.
//!
//! NTFS has no checker on Linux; ours is called *structure* and never fsck.

use crate::layout::Region;
use crate::layout::identify::Filesystem;
use crate::read::Window;
use crate::repository::Repository;
use crate::restore::{self, Part, RestoreError};
use crate::snapshot::Snapshot;
use crate::view::SnapshotDisk;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What the checker thinks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Nothing wrong.
    Clean {
        /// `e2fsck` or `structure`.
        by: String,
    },
    /// The source was like this: every byte of its structure came back as it was read.
    DamagedAtSource {
        /// Who says so.
        by: String,
        /// Its words.
        detail: String,
    },
    /// Structure is missing in the snapshot.
    DamagedByUs {
        /// What is missing.
        detail: String,
    },
    /// Nobody could check.
    Unchecked {
        /// Why.
        reason: String,
    },
}

/// The verdict on one partition.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Checked {
    /// Its number.
    pub partition: Option<u32>,
    /// What is in it.
    pub filesystem: Filesystem,
    /// The verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Address space of a checker: e2fsck needs about 1 GiB for 8 TiB.
const CHECKER_MEMORY: &str = "--as=4294967296";
/// Processor seconds of a checker.
const CHECKER_SECONDS: &str = "--cpu=3600";

/// Checks every filesystem of a snapshot.
pub fn check(
    repository: &Arc<Repository>,
    snapshot: &Snapshot,
    workers: usize,
    scratch: &Path,
) -> Result<Vec<Checked>, RestoreError> {
    let mut verdicts = Vec::new();
    for region in &snapshot.summary.regions {
        let verdict = match region.filesystem {
            Filesystem::Ext => run_checker(repository, snapshot, region, workers, scratch, &["e2fsck", "-fn"])?,
            Filesystem::Fat => run_checker(repository, snapshot, region, workers, scratch, &["fsck.fat", "-n"])?,
            Filesystem::Exfat => run_checker(repository, snapshot, region, workers, scratch, &["fsck.exfat", "-n"])?,
            Filesystem::Ntfs => check_ntfs(repository, snapshot, region, scratch)?,
            _ => continue,
        };
        verdicts.push(Checked { partition: region.partition, filesystem: region.filesystem, verdict });
    }
    Ok(verdicts)
}

fn run_checker(
    repository: &Repository,
    snapshot: &Snapshot,
    region: &Region,
    workers: usize,
    scratch: &Path,
    checker: &[&str],
) -> Result<Verdict, RestoreError> {
    let unchecked = |reason: String| Ok(Verdict::Unchecked { reason });
    let copy = match Copy::new(scratch) {
        Ok(copy) => copy,
        Err(cause) => return unchecked(format!("could not make a scratch file: {cause}")),
    };
    let part = Part { start: region.start, len: region.len };
    // Where there was doubt, structure may lie among what was read raw.
    let options = restore::Options { part, only_metadata: region.doubts.is_empty(), workers };
    let target = match restore::target::FileTarget::open(
        &copy.0,
        region.len,
        Path::new("/nonexistent"),
        restore::target::Overwrite::Refuse,
    ) {
        Ok(target) => target,
        Err(cause) => return unchecked(cause.to_string()),
    };
    let restored = match restore::run(repository, snapshot, &target, &options, &|_| true) {
        Ok(restored) => restored,
        Err(RestoreError::Repository(lost)) => return Ok(Verdict::DamagedByUs { detail: lost.to_string() }),
        Err(other) => return Err(other),
    };
    if restored.hole_bytes > 0 {
        let detail = format!("{} bytes of structure could not be read from the source", restored.hole_bytes);
        return Ok(Verdict::DamagedAtSource { by: checker[0].to_owned(), detail });
    }
    if region.filesystem == Filesystem::Ext {
        // Not `e2fsck -E journal_only`: where the journal's own inode is damaged that repairs the whole filesystem, and the
        // check below would praise the repair. A journal that cannot be replayed shows there, too.
        // `-n`: before the replay bitmaps may not fit their checksums, and debugfs would not open the filesystem.
        let _ = sandboxed(&["debugfs", "-n", "-w", "-R", "journal_run"], &copy.0);
    }
    match sandboxed(checker, &copy.0) {
        Ok((0, _)) => Ok(Verdict::Clean { by: checker[0].to_owned() }),
        Ok((_, detail)) => Ok(Verdict::DamagedAtSource { by: checker[0].to_owned(), detail }),
        Err(cause) => unchecked(format!("could not run {}: {cause}", checker[0])),
    }
}

fn check_ntfs(
    repository: &Arc<Repository>,
    snapshot: &Snapshot,
    region: &Region,
    scratch: &Path,
) -> Result<Verdict, RestoreError> {
    let disk = SnapshotDisk::open(Arc::clone(repository), snapshot, scratch)?;
    let window = Window::new(disk, region.start, region.len);
    let by = "structure".to_owned();
    Ok(match crate::fs::ntfs::check(&window) {
        Ok(structure) if structure.is_sound() => Verdict::Clean { by },
        Ok(structure) => Verdict::DamagedAtSource { by, detail: structure.complaints.join("; ") },
        Err(refusal) => Verdict::DamagedAtSource { by, detail: refusal.to_string() },
    })
}

/// A named scratch file, gone when dropped.
struct Copy(std::path::PathBuf);

impl Copy {
    fn new(scratch: &Path) -> std::io::Result<Copy> {
        let name = format!(".fsck-{}", crate::chunk::hex(&crate::seal::random_bytes::<8>()));
        Ok(Copy(scratch.join(name)))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // best effort: it lies in a scratch folder
    }
}

/// Runs a checker without network, with bounded memory and time. Exit code and the first lines of what it said.
fn sandboxed(checker: &[&str], file: &Path) -> std::io::Result<(i32, String)> {
    let mut words = vec!["prlimit", CHECKER_MEMORY, CHECKER_SECONDS, "--core=0"];
    // Without the right to make a namespace the other limits still hold.
    let can_unshare =
        Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if can_unshare {
        words.extend(["unshare", "--net"]);
    }
    words.extend(checker);
    let output = Command::new(words[0])
        .args(&words[1..])
        .arg(file)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()?;
    let code = output.status.code().unwrap_or(128);
    if code == 127 {
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "the checker is not installed"));
    }
    let said = String::from_utf8_lossy(&output.stdout)
        .lines()
        .chain(String::from_utf8_lossy(&output.stderr).lines())
        .take(20)
        .collect::<Vec<_>>()
        .join("\n");
    Ok((code, said))
}
