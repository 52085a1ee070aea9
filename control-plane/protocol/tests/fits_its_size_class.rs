//! Every message fits its size class at its largest, or shortens its lists and says by how much. Results stay.

#[path = "support/support.rs"]
mod support;

use saveos_protocol::birth::Presence;
use saveos_protocol::fact::{Body, End, HoleCause, HoleNote, JobEnded, JobResult, Note};
use saveos_protocol::heartbeat::Heartbeat;
use saveos_protocol::shadow::{Desired, DiskPolicy, Role};
use saveos_protocol::text::Text;
use saveos_protocol::unit::{Bytes, Count, MAX_INTEGER, Millis, Percent, Seconds};
use saveos_protocol::{EncodeError, Message, decode, encode, limits};
use support::{all, backup_summary, desired, disk, fact, job, mark, reported};

#[test]
fn every_sample_fits() {
    for sample in all() {
        let bytes = serde_json::to_vec(&sample.json).expect("JSON");
        support::reader_of(&sample.name)(&bytes).unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        assert!(bytes.len() <= limits::PACKET);
    }
}

#[test]
fn the_longest_heartbeat_fits() {
    let sample = all().into_iter().find(|sample| sample.name == "heartbeat").expect("a sample").json;
    let mut beat: Heartbeat = serde_json::from_value(sample).expect("a heartbeat");
    // Ten years of beats, boots and facts; not 2^53 of each.
    let decade_ms = 10 * 365 * 86_400_000u64;
    beat.uptime = Millis::saturating(decade_ms);
    (beat.seq, beat.queued, beat.sess) = (Count::from(31_536_000), Count::from(100_000), Count::from(5_000_000));
    (beat.busy, beat.memory_used, beat.store_used) = (Percent::new(100), Percent::new(100), Percent::new(100));
    // 100 GB/s is more than any bus has.
    let job = beat.job.as_mut().expect("a job");
    (job.rate, job.left) = (Some(Bytes::saturating(99_999_999_999)), Some(Seconds::from(31_536_000)));
    encode(&beat).expect("it fits");
}

#[test]
fn the_longest_birth_fits() {
    let Presence::Here(mut birth) = support::presence() else { panic!("a birth") };
    birth.session = Count::saturating(MAX_INTEGER);
    birth.firmware = "9".repeat(64).parse().expect("a release");
    encode(&Presence::Here(birth)).expect("it fits");
}

#[test]
fn sixteen_disks_and_four_brokers_fit_a_desired_document() {
    let mut document: Desired = desired();
    let entry = |number: u8| DiskPolicy {
        disk: disk(number),
        role: Role::Source,
        name: Some(Text::cut(&"n".repeat(64))),
        backup: None,
        retention: Some(document.retention),
    };
    document.disks = (0..limits::DISKS as u8).map(entry).collect();
    document.uplink.brokers = vec!["mqtts://broker-17.eu-central.example.com:8883".parse().expect("a URL"); 4];
    assert_eq!(document.check(), Ok(()));
    encode(&document).expect("it fits");
}

fn noisy_backup(notes: usize) -> JobEnded {
    let mut summary = backup_summary();
    let hole = |at: usize| HoleNote {
        start_bytes: Bytes::saturating(at as u64 * 4096),
        length_bytes: Bytes::saturating(512),
        cause: HoleCause::Unreadable,
    };
    let note =
        |_| Note { partition: Some(Count::from(1)), filesystem: Some(mark("ext4")), text: Text::cut(&"x".repeat(300)) };
    summary.holes = (0..notes).map(hole).collect();
    summary.notes = (0..notes).map(note).collect();
    JobEnded {
        job: job(),
        disk: Some(disk(3)),
        duration: Millis::saturating(MAX_INTEGER),
        result: JobResult::Backup(End::Done(summary)),
    }
}

#[test]
fn a_fact_that_is_too_large_is_refused_and_folds_to_one_that_fits() {
    for notes in [0, 1, 20, 1000] {
        let whole = fact(7, Body::JobEnded(noisy_backup(notes)));
        if notes >= 20 {
            assert!(matches!(encode(&whole), Err(EncodeError::TooLarge { limit: limits::FACT, .. })));
        }
        let folded = whole.clone().fold().expect("its lists are what makes it large");
        let bytes = encode(&folded).expect("it fits");
        assert_eq!(decode::<saveos_protocol::fact::Fact>(&bytes).expect("it is read"), folded);
        let Body::JobEnded(JobEnded { result: JobResult::Backup(End::Done(summary)), .. }) = folded.body else {
            panic!("a backup that is done");
        };
        assert_eq!((summary.holes.total(), summary.notes.total()), (notes as u64, notes as u64));
        // What counts is untouched.
        let before = backup_summary();
        assert_eq!(
            (summary.snapshot, summary.state, summary.hole_bytes),
            (before.snapshot, before.state, before.hole_bytes)
        );
        assert!(notes == 0 || !summary.holes.shown.is_empty());
    }
}

#[test]
fn a_reported_document_folds_too() {
    let mut document = reported();
    let one = document.disks.shown[0].clone();
    document.disks = (0..40).map(|_| one.clone()).collect();
    assert!(encode(&document).is_err());
    let folded = document.fold().expect("its lists are what makes it large");
    assert!(encode(&folded).expect("it fits").len() <= limits::SHADOW);
    assert_eq!(folded.disks.total(), 40);
    assert!(folded.disks.shown.len() >= limits::DISKS, "{}", folded.disks.shown.len());
}

#[test]
fn no_message_is_larger_than_a_packet() {
    const {
        assert!(saveos_protocol::fact::Fact::LIMIT <= limits::PACKET);
        assert!(limits::SHADOW <= limits::PACKET && limits::COMMAND <= limits::PACKET);
    }
}
