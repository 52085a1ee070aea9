//! `saveos backup`.

use crate::args::Repo;
use crate::output::{Exit, Output, printable, size};
use crate::progress::{self, Bar};
use crate::session;
use saveos_engine::backup::{self, DEFAULT_LEVEL, Flow, Options};
use saveos_engine::lease::LeaseKind;
use saveos_engine::snapshot::{Snapshot, SnapshotId, State};
use saveos_engine::source::{DiskSource, Source};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What the person asked for besides the source.
pub(crate) struct Wishes {
    pub(crate) name: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) live: bool,
    pub(crate) limit_read: Option<f64>,
}

pub(crate) fn run(path: &Path, repo: &Repo, wishes: Wishes, out: &Output) -> anyhow::Result<Exit> {
    let source = DiskSource::open(path)?;
    let refused = source.refuse_in_use();
    let live = refused.is_err();
    if !wishes.live {
        refused?;
    }
    if source.holds(&repo.repo) {
        anyhow::bail!(
            "{} holds the repository {}: a backup cannot contain itself",
            path.display(),
            repo.repo.display()
        );
    }
    let repository = session::open(repo, LeaseKind::Writer, out)?;
    let file_name = path.file_name().map_or_else(|| "disk".to_owned(), |name| printable(name.as_encoded_bytes()));
    let begun = Instant::now();
    let scratch = session::scratch(&repo.repo);
    let options = Options {
        writer: session::writer(&repository),
        name: wishes.name.unwrap_or(file_name),
        tags: wishes.tags,
        time: session::now(),
        boot: session::boot_id(),
        uptime: session::uptime(),
        live,
        workers: session::workers(),
        level: DEFAULT_LEVEL,
        limit_read: wishes.limit_read.map(|rate| (rate * 1024.0 * 1024.0) as u64),
        scratch: &scratch,
        elapsed: &|| begun.elapsed(),
    };
    progress::catch_interrupts()?;
    let bar = Bar::new(out, "backup");
    let source: Arc<dyn Source> = Arc::new(source);
    let (id, snapshot) = backup::run(&repository, &source, &options, &|progress| {
        bar.show(progress.done, progress.total);
        if progress::interrupted() { Flow::Stop } else { Flow::Continue }
    })?;
    drop(bar);
    print(id, &snapshot, begun.elapsed().as_secs_f64(), out)?;
    Ok(if snapshot.state == State::Complete { Exit::Complete } else { Exit::Partial })
}

fn print(id: SnapshotId, snapshot: &Snapshot, seconds: f64, out: &Output) -> anyhow::Result<()> {
    let summary = &snapshot.summary;
    for region in summary.regions.iter().filter(|region| !region.doubts.is_empty() || !region.notes.is_empty()) {
        let place = region.partition.map_or_else(|| "disk".to_owned(), |number| format!("partition {number}"));
        for doubt in &region.doubts {
            out.note(&format!("{place} ({}): read as a whole: {}", region.filesystem, printable(doubt.as_bytes())))?;
        }
        for note in &region.notes {
            out.note(&format!("{place} ({}): {}", region.filesystem, printable(note.as_bytes())))?;
        }
    }
    for hole in &summary.holes {
        let file = hole.file.as_ref().map_or_else(String::new, |file| format!(" in {}", printable(file.as_bytes())));
        out.line(&format!("unreadable: {} at byte {}{file}", size(hole.len), hole.start))?;
    }
    out.line(&format!(
        "snapshot {} {}: {} read, {} new, {} stored, {:.1} s",
        &id.to_string()[..12],
        snapshot.state,
        size(summary.bytes_read),
        size(summary.bytes_new),
        size(summary.bytes_stored),
        seconds
    ))?;
    let mut object = serde_json::json!({
        "type": "summary", "snapshot": id, "state": snapshot.state, "name": snapshot.name, "sequence": snapshot.sequence,
        "seconds": seconds,
    });
    if let (Some(object), serde_json::Value::Object(more)) = (object.as_object_mut(), serde_json::to_value(summary)?) {
        object.extend(more);
    }
    out.object(&object)
}
