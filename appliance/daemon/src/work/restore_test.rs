//! Restores to nowhere: reads a sample back and proves it, restores every file system's structure and lets its checker judge,
//! then reads files as a person would. What passes has been a restore, not a promise of one.

use super::{Bench, Meter, Trouble};
use crate::clock::Moment;
use crate::queue::Job;
use saveos_engine::files;
use saveos_engine::fs::{FsError, Node, NodeKind, Tree};
use saveos_engine::lease::LeaseKind;
use saveos_engine::read::Window;
use saveos_engine::repository::Repository;
use saveos_engine::restore::RestoreError;
use saveos_engine::snapshot::{Snapshot, SnapshotId};
use saveos_engine::verify;
use saveos_engine::verify::fsck::{self, Verdict};
use saveos_engine::view::SnapshotDisk;
use saveos_protocol::command::Action;
use saveos_protocol::fact::{Failure, FailureReason, RestoreTestSummary, VerifyVerdict};
use saveos_protocol::hex;
use saveos_protocol::text::Text;
use saveos_protocol::unit::{Bytes, Count};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Files of a file system that are read, and bytes of each.
const FILES: usize = 200;
const FILE_BYTES: u64 = 4 << 20;
/// Directories that are opened to find them.
const DIRECTORIES: usize = 2_000;
/// Of all chunks.
const SAMPLE: f64 = 0.05;

pub(super) fn run(
    job: &Job,
    bench: &Bench,
    (meter, stop): (&Meter, &(dyn Fn() -> bool + Sync)),
    now: &Moment,
) -> Result<RestoreTestSummary, Trouble> {
    let repository = Arc::new(bench.vault.repository(LeaseKind::Reader, &now.boot.to_string())?);
    let wanted = match &job.order {
        Some(Action::RestoreTest { snapshot: Some(id) }) => vec![super::restore::find(&repository, SnapshotId(id.0))?],
        _ => newest_of_each_disk(&repository)?,
    };
    let last = wanted.iter().max_by_key(|(_, snapshot)| snapshot.sequence).map(|(id, _)| *id);
    let last = last.ok_or_else(|| {
        let message = Text::cut("there is no recovery point yet");
        Trouble::Failed(Failure { reason: FailureReason::SnapshotMissing, message })
    })?;
    let mut test = Test { files: 0, bytes: 0, verdict: VerifyVerdict::Clean, problems: Vec::new() };
    for found in &wanted {
        if stop() {
            return Err(Trouble::Stopped);
        }
        test.one(&repository, found, (bench, meter), now)?;
    }
    Ok(RestoreTestSummary {
        snapshot: hex::SnapshotId(last.0),
        verdict: test.verdict,
        bytes: Bytes::saturating(test.bytes),
        files: Count::saturating(test.files),
        problems: test.problems.iter().map(|problem| Text::cut(problem)).collect(),
    })
}

fn newest_of_each_disk(repository: &Repository) -> Result<Vec<(SnapshotId, Snapshot)>, Trouble> {
    let (snapshots, _) = repository.snapshots()?;
    let mut newest: BTreeMap<String, (SnapshotId, Snapshot)> = BTreeMap::new();
    for (id, snapshot) in snapshots.into_iter().filter(|(_, snapshot)| snapshot.state.is_recovery_point()) {
        let known = newest.get(&snapshot.name);
        if known.is_none_or(|(_, known)| known.sequence < snapshot.sequence) {
            newest.insert(snapshot.name.clone(), (id, snapshot));
        }
    }
    Ok(newest.into_values().collect())
}

struct Test {
    files: u64,
    bytes: u64,
    verdict: VerifyVerdict,
    problems: Vec<String>,
}

impl Test {
    fn one(
        &mut self,
        repository: &Arc<Repository>,
        found: &(SnapshotId, Snapshot),
        (bench, meter): (&Bench, &Meter),
        now: &Moment,
    ) -> Result<(), Trouble> {
        let (id, snapshot) = found;
        let options = verify::Options { sample: SAMPLE, seed: now.ts.as_millis(), workers: 1 };
        let report = verify::run(repository, Some(found), &options, &|done, total| meter.show(done, total))?;
        self.bytes += report.bytes;
        for problem in &report.problems {
            self.damaged(format!("{}: {}", problem.place, problem.what));
        }
        let checks = match fsck::check(repository, snapshot, super::workers(), &bench.vault.scratch(), &|| meter.tick())
        {
            Ok(checks) => checks,
            Err(RestoreError::Repository(error)) => return Err(error.into()),
            Err(error) => return Err(super::failed(FailureReason::StoreUnavailable, &error)),
        };
        for check in checks {
            let place = check.partition.map_or_else(|| "disk".to_owned(), |number| format!("partition {number}"));
            match check.verdict {
                Verdict::Clean { .. } => {}
                Verdict::DamagedByUs { detail } => self.damaged(format!("{id} {place}: {detail}")),
                Verdict::DamagedAtSource { by, detail } => {
                    self.damaged_at_source(format!("{id} {place}: {by}: {detail}"));
                }
                // Its bytes are proven all the same; that nobody judged the structure is said.
                Verdict::Unchecked { reason } => self.problems.push(format!("{id} {place}: not checked: {reason}")),
            }
        }
        self.read_files(repository, snapshot, bench)
    }

    fn damaged(&mut self, problem: String) {
        self.verdict = VerifyVerdict::Damaged;
        self.problems.push(problem);
    }

    fn damaged_at_source(&mut self, problem: String) {
        if self.verdict == VerifyVerdict::Clean {
            self.verdict = VerifyVerdict::DamagedAtSource;
        }
        self.problems.push(problem);
    }

    fn read_files(&mut self, repository: &Arc<Repository>, snapshot: &Snapshot, bench: &Bench) -> Result<(), Trouble> {
        let disk = Arc::new(SnapshotDisk::open(Arc::clone(repository), snapshot, &bench.vault.scratch())?);
        for region in &snapshot.summary.regions {
            let window = Arc::new(Window::new(Arc::clone(&disk), region.start, region.len));
            // What has no files that we know was proven by its bytes.
            let Ok(tree) = files::browse(window, region.filesystem) else { continue };
            if let Ok(root) = tree.root() {
                self.walk(&*tree, root);
            }
        }
        Ok(())
    }

    /// Breadth first, bounded: a hostile tree ends where the counts end.
    fn walk(&mut self, tree: &dyn Tree, root: Node) {
        let (mut seen, mut todo, mut read) = (HashSet::new(), std::collections::VecDeque::from([root]), 0);
        while let Some(directory) = todo.pop_front() {
            if read >= FILES || seen.len() >= DIRECTORIES || !seen.insert(directory.id) {
                continue;
            }
            for entry in files::entries(tree, &directory).entries {
                match entry.node.kind {
                    NodeKind::Directory => todo.push_back(entry.node),
                    NodeKind::File if read < FILES => {
                        read += 1;
                        self.read(tree, &entry.node, &entry.name);
                    }
                    NodeKind::File | NodeKind::Symlink | NodeKind::Other => {}
                }
            }
        }
    }

    fn read(&mut self, tree: &dyn Tree, node: &Node, name: &[u8]) {
        let (mut buffer, mut at) = (vec![0; 256 * 1024], 0);
        while at < FILE_BYTES {
            match tree.read(node, at, &mut buffer) {
                Ok(0) => break,
                Ok(len) => at += len as u64,
                // Not its name: which files a customer has stays on the box.
                Err(error) => {
                    tracing::warn!(file = %String::from_utf8_lossy(name), %error, "a file cannot be read back");
                    let problem = format!("a file of {} bytes cannot be read back", node.size);
                    // Bytes that do not come are our fault; a file system that makes no sense was like that.
                    return match error {
                        FsError::Read { .. } => self.damaged(problem),
                        _ => self.damaged_at_source(problem),
                    };
                }
            }
        }
        self.files += 1;
        self.bytes += at;
    }
}
