//! `saveos repair`.

use crate::args::Repair;
use crate::output::{Exit, Output, size};
use crate::progress::Bar;
use crate::session;
use saveos_engine::lease::LeaseKind;
use saveos_engine::repair;

pub(crate) fn run(command: Repair, out: &Output) -> anyhow::Result<Exit> {
    match command {
        Repair::Index { repo } => {
            let folder = repo.repo.join("index");
            // The index is a cache: without it, opening reads every pack's own table.
            match std::fs::remove_dir_all(&folder) {
                Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
            let repository = session::open(&repo, LeaseKind::Sweeper, out)?;
            let bar = Bar::new(out, "read packs");
            let repaired = repair::index(&repository, &|done, total| bar.show(done, total))?;
            drop(bar);
            out.line(&format!(
                "{} packs in the index; {} damaged packs: {} chunks saved, {} lost; {} packs cannot be opened",
                repaired.packs,
                repaired.salvaged_packs,
                repaired.salvaged_chunks,
                repaired.lost_chunks,
                repaired.unreadable_packs
            ))?;
            let mut object = serde_json::to_value(&repaired)?;
            if let Some(object) = object.as_object_mut() {
                object.insert("type".to_owned(), "repaired".into());
            }
            out.object(&object)?;
            let whole = repaired.lost_chunks == 0 && repaired.unreadable_packs == 0;
            if !whole {
                out.note("what is lost is stored again by the next backup of a disk that still has it")?;
            }
            Ok(if whole { Exit::Complete } else { Exit::Partial })
        }
        Repair::Snapshots { repo } => {
            let repository = session::open(&repo, LeaseKind::Sweeper, out)?;
            let bar = Bar::new(out, "read snapshots");
            let done = repair::snapshots(&repository, &|done, total| bar.show(done, total))?;
            drop(bar);
            for repaired in &done {
                out.line(&format!(
                    "{} has lost {}; {} is the same with holes. Forget the first when you do not need it.",
                    &repaired.original.to_string()[..12],
                    size(repaired.lost_bytes),
                    &repaired.repaired.to_string()[..12]
                ))?;
                out.object(&serde_json::json!({
                    "type": "repaired", "original": repaired.original, "snapshot": repaired.repaired, "lost_bytes": repaired.lost_bytes,
                }))?;
            }
            out.line(&format!("{} snapshots written anew", done.len()))?;
            Ok(if done.is_empty() { Exit::Complete } else { Exit::Partial })
        }
    }
}
