//! `saveos snapshots` and `saveos show`.

use crate::args::Repo;
use crate::output::{Exit, Output, print_bytes, printable, size, time};
use crate::session;
use saveos_engine::lease::LeaseKind;

pub(crate) fn list(repo: &Repo, out: &Output) -> anyhow::Result<Exit> {
    let repository = session::open(repo, LeaseKind::Reader, out)?;
    let (mut snapshots, damaged) = repository.snapshots()?;
    snapshots.sort_by_key(|(_, snapshot)| (snapshot.time, snapshot.sequence));
    if snapshots.is_empty() {
        out.note("no snapshots yet; `saveos backup SOURCE` makes one")?;
    } else {
        out.line(&format!(
            "{:<12}  {:<19}  {:<8}  {:>10}  {:>10}  name",
            "snapshot", "time (UTC)", "state", "size", "stored"
        ))?;
    }
    for (id, snapshot) in &snapshots {
        let tags = if snapshot.tags.is_empty() { String::new() } else { format!("  [{}]", snapshot.tags.join(", ")) };
        out.line(&format!(
            "{:<12}  {:<19}  {:<8}  {:>10}  {:>10}  {}{}",
            &id.to_string()[..12],
            time(snapshot.time),
            snapshot.state,
            size(snapshot.source.size),
            size(snapshot.summary.bytes_stored),
            printable(snapshot.name.as_bytes()),
            printable(tags.as_bytes())
        ))?;
        out.object(&serde_json::json!({
            "type": "snapshot", "id": id, "time": snapshot.time, "name": snapshot.name, "tags": snapshot.tags,
            "state": snapshot.state, "sequence": snapshot.sequence, "writer": snapshot.writer, "parent": snapshot.parent,
            "source": snapshot.source, "bytes_stored": snapshot.summary.bytes_stored,
            "bytes_new": snapshot.summary.bytes_new, "hole_bytes": snapshot.summary.hole_bytes,
        }))?;
    }
    for error in &damaged {
        out.warn(&error.to_string());
    }
    Ok(if damaged.is_empty() { Exit::Complete } else { Exit::Partial })
}

pub(crate) fn show(wanted: &str, repo: &Repo, map: bool, out: &Output) -> anyhow::Result<Exit> {
    let repository = session::open(repo, LeaseKind::Reader, out)?;
    let (id, snapshot) = repository.find_snapshot(wanted)?;
    if map {
        print_bytes(saveos_engine::rescue_map::of(&repository, &snapshot)?.as_bytes())?;
        return Ok(Exit::Complete);
    }
    let mut object = serde_json::to_value(&snapshot)?;
    if let Some(object) = object.as_object_mut() {
        object.insert("type".to_owned(), "snapshot".into());
        object.insert("id".to_owned(), id.to_string().into());
    }
    out.object(&object)?;
    out.line(&format!("snapshot   {id}"))?;
    out.line(&format!("name       {}", printable(snapshot.name.as_bytes())))?;
    out.line(&format!("time       {} UTC, number {} of its writer", time(snapshot.time), snapshot.sequence))?;
    out.line(&format!("state      {}", snapshot.state))?;
    let table = serde_json::to_value(snapshot.source.table)?;
    out.line(&format!(
        "source     {} {}, {}",
        size(snapshot.source.size),
        table.as_str().unwrap_or(""),
        snapshot.source.identity
    ))?;
    let summary = &snapshot.summary;
    out.line(&format!(
        "bytes      {} hashed, {} new, {} stored",
        size(summary.bytes_hashed),
        size(summary.bytes_new),
        size(summary.bytes_stored)
    ))?;
    super::plan::print_regions(&summary.regions, out)?;
    for left in &summary.left_out {
        let rule = serde_json::to_value(left.rule)?;
        out.line(&format!("left out   {} at byte {}: {}", size(left.len), left.start, rule.as_str().unwrap_or("")))?;
    }
    for hole in &summary.holes {
        let file = hole.file.as_ref().map_or_else(String::new, |file| format!(" in {}", printable(file.as_bytes())));
        out.line(&format!("missing    {} at byte {}{file}", size(hole.len), hole.start))?;
    }
    Ok(Exit::Complete)
}
