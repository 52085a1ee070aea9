//! `saveos plan`: the layout of a disk, from its metadata alone.

use crate::output::{Exit, Output, printable, size};
use saveos_engine::layout::{Layout, Region};
use saveos_engine::source::{DiskSource, Source};
use std::path::Path;

pub(crate) fn run(path: &Path, out: &Output) -> anyhow::Result<Exit> {
    let source = DiskSource::open(path)?;
    let layout = Layout::survey(&source, source.sector_size(), &std::env::temp_dir())?;
    for region in &layout.regions {
        let mut object = serde_json::to_value(region)?;
        if let Some(object) = object.as_object_mut() {
            object.insert("type".to_owned(), "region".into());
        }
        out.object(&object)?;
    }
    let table = serde_json::to_value(layout.table)?;
    out.object(&serde_json::json!({
        "type": "layout", "size": layout.size, "table": table, "identity": layout.identity, "bytes": layout.stored_bytes(),
    }))?;
    out.line(&format!(
        "{}: {} {}, {}; a backup reads {}",
        path.display(),
        size(layout.size),
        table.as_str().unwrap_or(""),
        layout.identity,
        size(layout.stored_bytes())
    ))?;
    print_regions(&layout.regions, out)?;
    Ok(Exit::Complete)
}

/// A table of regions with their doubts below.
pub(crate) fn print_regions(regions: &[Region], out: &Output) -> anyhow::Result<()> {
    out.line(&format!(
        "{:>4}  {:<9}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}  name",
        "part", "content", "size", "files", "structure", "raw", "left out", "free"
    ))?;
    for region in regions {
        let bytes = &region.bytes;
        out.line(&format!(
            "{:>4}  {:<9}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}  {}",
            region.partition.map_or_else(|| "-".to_owned(), |number| number.to_string()),
            region.filesystem.name(),
            size(region.len),
            size(bytes.file),
            size(bytes.meta),
            size(bytes.raw),
            size(bytes.left_out),
            size(bytes.free),
            printable(region.name.as_bytes())
        ))?;
        for doubt in &region.doubts {
            out.line(&format!("      doubt: {}", printable(doubt.as_bytes())))?;
        }
        if region.more_doubts > 0 {
            out.line(&format!("      and {} more doubts", region.more_doubts))?;
        }
        for note in &region.notes {
            out.line(&format!("      note: {}", printable(note.as_bytes())))?;
        }
    }
    Ok(())
}
