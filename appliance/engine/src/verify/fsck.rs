//! Proves a snapshot's filesystems: their structure is restored to a sparse file without any file contents, the journal is
//! replayed there, and the filesystem's own checker judges it in a child that has no network and little memory.
//!
//! Whose damage it is comes before what the checker says: structure that the repository lost, or that does not read, is
//! ours, whatever the source was like. Who could not check never says clean.
//!
//! NTFS has no checker on Linux; ours is called *structure* and never fsck.

use crate::fs::Extent;
use crate::layout::Region;
use crate::layout::identify::Filesystem;
use crate::pack::read::ReadBuffers;
use crate::read::{ReadAt, Window};
use crate::repository::{Repository, RepositoryError};
use crate::restore::{self, Part, RestoreError};
use crate::segment::{Cause, Class, Content, Entry, Run};
use crate::snapshot::Snapshot;
use crate::view::SnapshotDisk;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    alive: &(dyn Fn() + Sync),
) -> Result<Vec<Checked>, RestoreError> {
    let mut verdicts = Vec::new();
    for region in &snapshot.summary.regions {
        let checker: Option<&[&str]> = match region.filesystem {
            Filesystem::Ext => Some(&["e2fsck", "-fn"]),
            Filesystem::Fat => Some(&["fsck.fat", "-n"]),
            Filesystem::Exfat => Some(&["fsck.exfat", "-n"]),
            Filesystem::Ntfs => None,
            _ => continue,
        };
        let by = checker.map_or("structure", |words| words[0]);
        let verdict = match (Missing::structure(repository, snapshot, region), checker) {
            (Err(lost), _) => Verdict::DamagedByUs { detail: lost.to_string() },
            (Ok(Missing { lost: bytes @ 1.., .. }), _) => {
                Verdict::DamagedByUs { detail: format!("the repository has lost {bytes} bytes of structure") }
            }
            (Ok(Missing { unreadable: bytes @ 1.., .. }), _) => Verdict::DamagedAtSource {
                by: by.to_owned(),
                detail: format!("{bytes} bytes of structure could not be read from the source"),
            },
            (Ok(_), Some(checker)) => run_checker(repository, snapshot, region, (workers, scratch, alive), checker)?,
            (Ok(_), None) => check_ntfs(repository, snapshot, region, scratch),
        };
        verdicts.push(Checked { partition: region.partition, filesystem: region.filesystem, verdict });
    }
    Ok(verdicts)
}

/// Bytes of a filesystem's structure that are not in the snapshot, by whose fault it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    /// The source could not be read there.
    unreadable: u64,
    /// The repository had them and lost them.
    lost: u64,
}

impl Missing {
    fn structure(repository: &Repository, snapshot: &Snapshot, region: &Region) -> Result<Missing, RepositoryError> {
        let (mut missing, mut buffers) = (Missing::default(), ReadBuffers::default());
        for row in repository.read_segment_list(snapshot)? {
            let entries = repository.read_segment(&row.segment, &mut buffers)?;
            entries.iter().for_each(|entry| missing.add(entry, region));
        }
        Ok(missing)
    }

    fn add(&mut self, entry: &Entry, region: &Region) {
        // Repair knows of a lost segment only that it was there, and calls its window RAW; where there was doubt, structure
        // may lie among what was read raw, too.
        let raw_counts = |cause| cause == Cause::Lost || !region.doubts.is_empty();
        let counts = |cause| entry.class == Class::Meta || entry.class == Class::Raw && raw_counts(cause);
        let mut hole = |from: u64, len: u64, cause: Cause| {
            let bytes = if counts(cause) { inside(&entry.extents, from, len, region) } else { 0 };
            match cause {
                Cause::Unreadable => self.unreadable += bytes,
                Cause::Lost => self.lost += bytes,
            }
        };
        match &entry.content {
            Content::Hole(cause) => hole(0, entry.len(), *cause),
            Content::Runs { runs, .. } => {
                let mut at = 0;
                for run in runs {
                    if let Run::Hole(cause, len) = run {
                        hole(at, u64::from(*len), *cause);
                    }
                    at += u64::from(run.len());
                }
            }
            Content::Zeros | Content::Chunk(_) | Content::LeftOut(_) => {}
        }
    }
}

/// How many of a piece's bytes `from..from + len` lie in the region.
fn inside(extents: &[Extent], from: u64, len: u64, region: &Region) -> u64 {
    let (mut at, mut bytes) = (0, 0);
    for extent in extents {
        let first = extent.start + from.clamp(at, at + extent.len) - at;
        let last = extent.start + (from + len).clamp(at, at + extent.len) - at;
        bytes += last.min(region.start + region.len).saturating_sub(first.max(region.start));
        at += extent.len;
    }
    bytes
}

fn run_checker(
    repository: &Repository,
    snapshot: &Snapshot,
    region: &Region,
    (workers, scratch, alive): (usize, &Path, &(dyn Fn() + Sync)),
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
    let moves = |_| {
        alive();
        true
    };
    match restore::run(repository, snapshot, &target, &options, &moves) {
        Ok(_) => {}
        Err(RestoreError::Repository(lost)) => return Ok(Verdict::DamagedByUs { detail: lost.to_string() }),
        Err(other) => return Err(other),
    }
    if region.filesystem == Filesystem::Ext {
        // Not `e2fsck -E journal_only`: where the journal's own inode is damaged that repairs the whole filesystem, and the
        // check below would praise the repair. A journal that cannot be replayed shows there, too.
        // `-n`: before the replay bitmaps may not fit their checksums, and debugfs would not open the filesystem.
        let _ = sandboxed(&["debugfs", "-n", "-w", "-R", "journal_run"], &copy.0, alive);
    }
    match sandboxed(checker, &copy.0, alive) {
        Ok((0, _)) => Ok(Verdict::Clean { by: checker[0].to_owned() }),
        Ok((_, detail)) => Ok(Verdict::DamagedAtSource { by: checker[0].to_owned(), detail }),
        Err(cause) => unchecked(format!("could not run {}: {cause}", checker[0])),
    }
}

fn check_ntfs(repository: &Arc<Repository>, snapshot: &Snapshot, region: &Region, scratch: &Path) -> Verdict {
    let disk = match SnapshotDisk::open(Arc::clone(repository), snapshot, scratch) {
        Ok(disk) => Witness { disk, lost: Mutex::default() },
        Err(lost) => return Verdict::DamagedByUs { detail: lost.to_string() },
    };
    let by = "structure".to_owned();
    let judged = crate::fs::ntfs::check(&Window::new(&disk, region.start, region.len));
    let lost = disk.lost.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (lost, judged) {
        (Some(detail), _) => Verdict::DamagedByUs { detail },
        (None, Ok(structure)) if structure.is_sound() => Verdict::Clean { by },
        (None, Ok(structure)) => Verdict::DamagedAtSource { by, detail: structure.complaints.join("; ") },
        (None, Err(refusal)) => Verdict::DamagedAtSource { by, detail: refusal.to_string() },
    }
}

/// A snapshot's disk that remembers the first chunk it could not give: the check takes any failure for the volume's.
struct Witness {
    disk: SnapshotDisk,
    lost: Mutex<Option<String>>,
}

impl ReadAt for Witness {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.disk.read_at(offset, buf).inspect_err(|error| {
            if error.get_ref().is_some_and(|cause| cause.is::<RepositoryError>()) {
                let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
                lost.get_or_insert_with(|| error.to_string());
            }
        })
    }
}

/// A named scratch file, gone when dropped.
struct Copy(std::path::PathBuf);

impl Copy {
    fn new(scratch: &Path) -> io::Result<Copy> {
        let name = format!(".fsck-{}", crate::chunk::hex(&crate::seal::random_bytes::<8>()));
        Ok(Copy(scratch.join(name)))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // best effort: it lies in a scratch folder
    }
}

/// Between two looks at a checker's CPU time.
const LOOK: Duration = Duration::from_millis(100);

/// CPU time that a process has used, in ticks: fields 14 and 15 of proc_pid_stat(5), behind a name that may hold anything.
fn cpu_of(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some(fields.next()?? + fields.next()??)
}

/// Runs a checker without network, with bounded memory and time. Exit code and the first lines of what it said. `alive` is called while
/// it works; one that only waits is not alive.
fn sandboxed(checker: &[&str], file: &Path, alive: &(dyn Fn() + Sync)) -> io::Result<(i32, String)> {
    let mut words = vec!["prlimit", CHECKER_MEMORY, CHECKER_SECONDS, "--core=0"];
    // Without the right to make a namespace the other limits still hold.
    let can_unshare =
        Command::new("unshare").args(["--net", "true"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if can_unshare {
        words.extend(["unshare", "--net"]);
    }
    words.extend(checker);
    let child = Command::new(words[0])
        .args(&words[1..])
        .arg(file)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (id, mut used) = (child.id(), None);
    let output = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| child.wait_with_output());
        while !waiting.is_finished() {
            let now = cpu_of(id);
            if now != used {
                alive();
            }
            used = now;
            std::thread::sleep(LOOK);
        }
        waiting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    let code = match output.status.code() {
        Some(126 | 127) => return Err(io::Error::new(io::ErrorKind::NotFound, "the checker is not installed")),
        Some(code) => code,
        // By our limits, or by a person: it found nothing, and it did not find nothing.
        None => return Err(io::Error::other(format!("it was ended before it was done: {}", output.status))),
    };
    let said = String::from_utf8_lossy(&output.stdout)
        .lines()
        .chain(String::from_utf8_lossy(&output.stderr).lines())
        .take(20)
        .collect::<Vec<_>>()
        .join("\n");
    Ok((code, said))
}
