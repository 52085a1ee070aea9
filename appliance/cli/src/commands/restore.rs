//! `saveos restore`: to a disk, a file or standard output.

use crate::args::Repo;
use crate::output::{Exit, Output, size};
use crate::progress::{self, Bar};
use crate::session;
use anyhow::Context;
use saveos_engine::lease::LeaseKind;
use saveos_engine::read::ReadAt;
use saveos_engine::repository::Repository;
use saveos_engine::restore::target::{FileTarget, Overwrite};
use saveos_engine::restore::{self, Options, Part};
use saveos_engine::snapshot::Snapshot;
use saveos_engine::view::SnapshotDisk;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

pub(crate) fn run(
    wanted: &str,
    target: &Path,
    repo: &Repo,
    partition: Option<u32>,
    force: bool,
    out: &Output,
) -> anyhow::Result<Exit> {
    let repository = session::open(repo, LeaseKind::Reader, out)?;
    let (_, snapshot) = repository.find_snapshot(wanted)?;
    if !snapshot.state.is_recovery_point() {
        out.warn(&format!(
            "this snapshot is {}: the source changed while it was read, and files may not fit together",
            snapshot.state
        ));
    }
    let part = Part::of(&snapshot, partition)?;
    if target == Path::new("-") {
        let bar = Bar::new(&Output { json: false, ..*out }, "restore"); // standard output is the disk
        return stream(repository, &snapshot, part, &session::scratch(&repo.repo), &bar);
    }
    let overwrite = if force { Overwrite::Allow } else { Overwrite::Refuse };
    let opened = FileTarget::open(target, part.len, &repo.repo, overwrite)?;
    progress::catch_interrupts()?;
    let bar = Bar::new(out, "restore");
    let total = bytes_of(&snapshot, partition);
    let options = Options { part, only_metadata: false, workers: session::workers() };
    let restored = restore::run(&repository, &snapshot, &opened, &options, &|done| {
        bar.show(done, total);
        !progress::interrupted()
    })?;
    drop(bar);
    out.line(&format!(
        "restored {} to {}, {} written",
        size(restored.bytes),
        target.display(),
        size(restored.written)
    ))?;
    if restored.hole_bytes > 0 {
        out.warn(&format!("{} are missing in the snapshot; there are zeros in their place", size(restored.hole_bytes)));
    }
    out.object(&serde_json::json!({
        "type": "restored", "bytes": restored.bytes, "written": restored.written, "hole_bytes": restored.hole_bytes,
        "left_out_bytes": restored.left_out_bytes,
    }))?;
    Ok(if restored.hole_bytes > 0 { Exit::Partial } else { Exit::Complete })
}

fn bytes_of(snapshot: &Snapshot, partition: Option<u32>) -> u64 {
    let regions = snapshot.summary.regions.iter().filter(|region| partition.is_none() || region.partition == partition);
    regions.map(|region| region.len - region.bytes.free.min(region.len)).sum()
}

/// Standard output cannot seek: the disk is read from front to back, free space as zeros.
fn stream(
    repository: Arc<Repository>,
    snapshot: &Snapshot,
    part: Part,
    scratch: &Path,
    bar: &Bar,
) -> anyhow::Result<Exit> {
    const STEP: u64 = 1024 * 1024;
    let holes = restore::missing(&repository, snapshot, part)?;
    let disk = SnapshotDisk::open(repository, snapshot, scratch)?;
    let mut stdout = std::io::stdout().lock();
    let mut buffer = vec![0; STEP as usize];
    let mut at = part.start;
    while at < part.start + part.len {
        let len = (part.start + part.len - at).min(STEP) as usize;
        disk.read_at(at, &mut buffer[..len])?;
        stdout.write_all(&buffer[..len]).context("could not write to standard output")?;
        at += len as u64;
        bar.show(at - part.start, part.len);
    }
    stdout.flush()?;
    Ok(if holes > 0 { Exit::Partial } else { Exit::Complete })
}
