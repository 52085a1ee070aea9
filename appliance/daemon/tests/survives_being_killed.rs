//! Promise: whatever moment the power goes, jobs go on after it, no fact is lost or twice, and every snapshot is told once.

mod support;

use saveos_protocol::fact::{Body, End, JobResult};
use std::collections::BTreeSet;
use support::{Appliance, EAGER, disk};

/// Snapshots that facts told of; each once.
#[track_caller]
fn told(appliance: &Appliance) -> BTreeSet<String> {
    let mut told = BTreeSet::new();
    for fact in appliance.facts() {
        let snapshot = match fact.body {
            Body::JobEnded(ended) => match ended.result {
                JobResult::Backup(End::Done(summary)) => summary.snapshot,
                _ => continue,
            },
            Body::SnapshotFound(found) => found.summary.snapshot,
            _ => continue,
        };
        assert!(told.insert(snapshot.to_string()), "{snapshot} was told twice");
    }
    told
}

fn stored(appliance: &Appliance) -> BTreeSet<String> {
    let entries = std::fs::read_dir(appliance.data().join("repository/snapshots")).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn jobs_go_on_and_every_snapshot_is_told_once() {
    let mut appliance = Appliance::new(Some(EAGER));
    appliance.start();
    appliance.plug("large.img", &disk(1, 640));
    // Killed when the job has begun, and at later and later points of it.
    for part in 0..6u64 {
        appliance.until("progress", |appliance| {
            if !appliance.jobs("done").is_empty() {
                return Some(()); // it was faster than we
            }
            let running = &appliance.ask("status")["running"];
            let (done, total) = (running["bytes_done"].as_u64()?, running["bytes_total"].as_u64()?);
            (done * 8 >= total * part).then_some(())
        });
        appliance.kill();
        appliance.start();
        if !appliance.jobs("done").is_empty() {
            break; // it was faster than we
        }
    }
    appliance.until("a backup", |appliance| appliance.jobs("done").pop());
    assert_eq!(told(&appliance), stored(&appliance));
    let resumed = |fact: &saveos_protocol::fact::Fact| matches!(&fact.body, Body::JobStarted(job) if job.resumed);
    assert!(appliance.facts().iter().any(resumed), "the second try says that it is one");
}

#[test]
fn a_polite_stop_leaves_the_job_for_the_next_start() {
    let mut appliance = Appliance::new(Some(EAGER));
    appliance.start();
    appliance.plug("large.img", &disk(2, 640));
    appliance.until("a job", |appliance| (!appliance.ask("status")["running"].is_null()).then_some(()));
    appliance.stop();
    assert!(appliance.facts().iter().all(|fact| !matches!(fact.body, Body::JobEnded(_))), "it was interrupted");
    appliance.start();
    appliance.until("a backup", |appliance| appliance.jobs("done").pop());
    assert_eq!(told(&appliance), stored(&appliance));
    assert_eq!(appliance.jobs("failed").len(), 0, "{}", appliance.log());
}

#[test]
fn a_lost_database_begins_a_new_stream_that_tells_of_what_is_stored() {
    let mut appliance = Appliance::new(Some(EAGER));
    appliance.start();
    appliance.plug("disk.img", &disk(3, 1));
    appliance.until("a backup", |appliance| appliance.jobs("done").pop());
    let before = appliance.facts()[0].stream;
    appliance.unplug("disk.img");
    appliance.stop();
    for file in ["state.sqlite", "state.sqlite-wal", "state.sqlite-shm"] {
        // Best effort: a clean stop leaves the first only.
        let _ = std::fs::remove_file(appliance.data().join(file));
    }
    appliance.start();
    let facts = appliance.facts();
    assert_ne!(facts[0].stream, before);
    assert!(matches!(facts[0].body, Body::StreamBorn(_)));
    assert_eq!(told(&appliance), stored(&appliance));
    assert_eq!(stored(&appliance).len(), 1);
}
