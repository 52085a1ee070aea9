//! `saveos verify`.

use crate::args::Repo;
use crate::output::{Exit, Output, printable, size};
use crate::progress::Bar;
use crate::session;
use saveos_engine::lease::LeaseKind;
use saveos_engine::verify::fsck::{self, Verdict};
use saveos_engine::verify::{self, Options};

pub(crate) fn run(
    repo: &Repo,
    sample: Option<f64>,
    wanted: Option<&str>,
    with_fsck: bool,
    out: &Output,
) -> anyhow::Result<Exit> {
    let repository = session::open(repo, LeaseKind::Reader, out)?;
    let only = wanted.map(|wanted| repository.find_snapshot(wanted)).transpose()?;
    let options = Options { sample: sample.unwrap_or(1.0), seed: session::now() as u64, workers: session::workers() };
    let bar = Bar::new(out, "verify");
    let report = verify::run(&repository, only.as_ref(), &options, &|done, total| bar.show(done, total))?;
    drop(bar);
    for problem in &report.problems {
        out.line(&format!("{}: {}", problem.place, printable(problem.what.as_bytes())))?;
        out.object(&serde_json::json!({"type": "problem", "place": problem.place, "what": problem.what}))?;
    }
    if !report.damaged.is_empty() {
        match repository.set_aside(&report.damaged) {
            Ok(0) => {}
            Ok(count) => {
                out.line(&format!("{count} damaged packs set aside: the next backup stores anew what they held"))?;
                out.object(&serde_json::json!({"type": "set-aside", "packs": count}))?;
            }
            Err(error) => {
                out.warn(&format!("damaged packs could not be set aside, `saveos repair index` does it: {error}"))
            }
        }
    }
    let (mut damaged_by_us, mut unchecked) = (false, 0u64);
    if with_fsck {
        let all = repository.snapshots()?.0;
        for (id, snapshot) in only.as_ref().map_or(all.as_slice(), std::slice::from_ref) {
            for checked in
                fsck::check(&repository, snapshot, session::workers(), &session::scratch(&repo.repo), &|| {})?
            {
                damaged_by_us |= matches!(checked.verdict, Verdict::DamagedByUs { .. });
                unchecked += u64::from(matches!(checked.verdict, Verdict::Unchecked { .. }));
                let place = checked.partition.map_or_else(|| "disk".to_owned(), |number| format!("partition {number}"));
                let words = match &checked.verdict {
                    Verdict::Clean { by } => format!("clean ({by})"),
                    Verdict::DamagedAtSource { by, detail } => format!("damaged at the source ({by}): {detail}"),
                    Verdict::DamagedByUs { detail } => format!("damaged by us: {detail}"),
                    Verdict::Unchecked { reason } => format!("not checked: {reason}"),
                };
                // A checker speaks in lines.
                let words: Vec<String> = words.lines().map(|line| printable(line.as_bytes())).collect();
                out.line(&format!(
                    "{} {place} {}: {}",
                    &id.to_string()[..12],
                    checked.filesystem,
                    words.join("\n    ")
                ))?;
                let mut object = serde_json::to_value(&checked)?;
                if let Some(object) = object.as_object_mut() {
                    object.insert("type".to_owned(), "fsck".into());
                    object.insert("snapshot".to_owned(), id.to_string().into());
                }
                out.object(&object)?;
            }
        }
    }
    out.line(&format!(
        "{} snapshots, {} packs, {} chunks ({}) read and proven; {} problems, {} snapshots affected",
        report.snapshots,
        report.packs,
        report.chunks,
        size(report.bytes),
        report.problems.len(),
        report.affected.len()
    ))?;
    out.object(&serde_json::json!({
        "type": "verified", "snapshots": report.snapshots, "packs": report.packs, "chunks": report.chunks,
        "bytes": report.bytes, "problems": report.problems.len(), "affected": report.affected,
    }))?;
    Ok(match report.problems.is_empty() && !damaged_by_us {
        false => Exit::Failed,
        // Asked for and not done: that is no proof.
        true if unchecked > 0 => Exit::Partial,
        true => Exit::Complete,
    })
}
