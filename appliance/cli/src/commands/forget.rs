//! `saveos forget` and `saveos prune`.

use crate::args::{self, Repo};
use crate::output::{Exit, Output, printable, size, time};
use crate::progress::Bar;
use crate::session;
use saveos_engine::lease::LeaseKind;
use saveos_engine::prune::{self, Mode};
use saveos_engine::retention::{self, Policy};
use saveos_engine::snapshot::SnapshotId;

pub(crate) fn forget(arguments: &args::Forget, out: &Output) -> anyhow::Result<Exit> {
    let policy = Policy {
        last: arguments.keep_last,
        hourly: arguments.keep_hourly,
        daily: arguments.keep_daily,
        weekly: arguments.keep_weekly,
        monthly: arguments.keep_monthly,
        yearly: arguments.keep_yearly,
        tags: arguments.keep_tag.iter().cloned().collect(),
    };
    if policy.is_empty() && arguments.snapshots.is_empty() {
        args::refuse("name snapshots to forget, or a policy such as --keep-daily 7: nobody means to forget everything");
    }
    if !policy.is_empty() && !arguments.snapshots.is_empty() {
        args::refuse("name snapshots or a policy, not both");
    }
    let repository = session::open(&arguments.repo, LeaseKind::Sweeper, out)?;
    let mut gone: Vec<SnapshotId> = Vec::new();
    if policy.is_empty() {
        for wanted in &arguments.snapshots {
            gone.push(repository.find_to_forget(wanted)?);
        }
    } else {
        let (snapshots, _) = repository.snapshots()?;
        for decision in retention::plan(&snapshots, &policy, session::now()) {
            let name = snapshots.iter().find(|(id, _)| *id == decision.snapshot).map_or("", |(_, s)| s.name.as_str());
            let verdict = if decision.keep.is_empty() { "forget".to_owned() } else { decision.keep.join(", ") };
            out.note(&format!(
                "{}  {}  {}  {verdict}",
                &decision.snapshot.to_string()[..12],
                time(decision.time),
                printable(name.as_bytes())
            ))?;
            out.object(&serde_json::json!({"type": "decision", "snapshot": decision.snapshot, "keep": decision.keep}))?;
            if decision.keep.is_empty() {
                gone.push(decision.snapshot);
            }
        }
    }
    if !arguments.dry_run {
        prune::forget(&repository, &gone)?;
    }
    out.line(&format!("{} {} snapshots", if arguments.dry_run { "would forget" } else { "forgot" }, gone.len()))?;
    out.object(&serde_json::json!({"type": "forgotten", "snapshots": gone, "dry_run": arguments.dry_run}))?;
    Ok(Exit::Complete)
}

pub(crate) fn prune(repo: &Repo, dry_run: bool, out: &Output) -> anyhow::Result<Exit> {
    let repository = session::open(repo, LeaseKind::Sweeper, out)?;
    let mode = if dry_run { Mode::DryRun } else { Mode::Run };
    let bar = Bar::new(out, "repack");
    let pruned = prune::run_observed(&repository, mode, &|done, total| bar.show(done, total))?;
    drop(bar);
    let did = if dry_run { "would delete" } else { "deleted" };
    out.line(&format!("{did} {} packs, {}", pruned.deleted_packs, size(pruned.deleted_bytes)))?;
    out.line(&format!(
        "{} packs, {}, listed for the next prune; {} repacked ({}), {} waiting for running commands, {} in use again, {} damaged and still needed",
        pruned.listed_packs,
        size(pruned.listed_bytes),
        pruned.repacked_packs,
        size(pruned.repacked_bytes),
        pruned.waiting_packs,
        pruned.revived_packs,
        pruned.damaged_packs
    ))?;
    let mut object = serde_json::to_value(&pruned)?;
    if let Some(object) = object.as_object_mut() {
        object.insert("type".to_owned(), "pruned".into());
        object.insert("dry_run".to_owned(), dry_run.into());
    }
    out.object(&object)?;
    Ok(Exit::Complete)
}
