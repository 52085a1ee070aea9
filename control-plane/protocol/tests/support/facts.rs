//! A fact of every kind, with every field set somewhere.

use super::{command_id, disk, job, mark, now, stream, text};
use saveos_protocol::V1;
use saveos_protocol::fact::*;
use saveos_protocol::hex::{BootId, EscrowKey, RepositoryId, SnapshotId, WriterId};
use saveos_protocol::id::StreamId;
use saveos_protocol::shadow::{RetentionRule, Weakening};
use saveos_protocol::sign::SignatureFault;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{Bytes, Celsius, Count, DesiredVersion, Hours, Millis, Percent, Seconds};

/// ECDSA is not the same twice: made once with the key of RFC 6979 over the stream below, and verified by a test.
const BIRTH_PROOF: &str = "c8d16a0fd914e596600923f177e0a32c77540f52fd84fa8341f521025eb519684b3efd97681aa9b487aa5d39e182a5e70b47a046b36f210ec8cecbe32405daf7";

pub(crate) fn fact(n: u64, body: Body) -> Fact {
    Fact {
        v: V1,
        stream: stream(),
        n: FactNumber::saturating(n),
        ts: now(),
        boot: BootId([6; 16]),
        uptime: Millis::from(86_400_000),
        body,
    }
}

pub(crate) fn birth() -> StreamBirth {
    let previous = Some(StreamId::from_parts(Timestamp::saturating(1_700_000_000_000), [9; 10]));
    let proof = BIRTH_PROOF.parse().expect("a signature");
    StreamBirth { stream: stream(), born: now(), previous, proof }
}

fn bytes(value: u64) -> Bytes {
    Bytes::saturating(value)
}

fn identity() -> DiskIdentity {
    DiskIdentity {
        serial: Some(mark("WD-WCC4N1234567")),
        model: Some(mark("WDC WD20EZRZ-00Z5HB0")),
        table: Some(mark("5f1c3a2e-0d1f-4b6a-9a53-0c0e6d0c9f11")),
        filesystem: Some(mark("9e2d3b1c-7a6f-4f0e-8d5c-2b1a0f9e8d7c")),
    }
}

pub(crate) fn backup_summary() -> BackupSummary {
    BackupSummary {
        snapshot: SnapshotId([0xA1; 32]),
        previous: Some(SnapshotId([0xA0; 32])),
        repository: RepositoryId([0xB1; 16]),
        writer: WriterId([0xC1; 16]),
        sequence: Count::from(42),
        state: SnapshotState::Partial,
        bytes_read: bytes(812_000_000_000),
        bytes_new: bytes(9_000_000_000),
        bytes_stored: bytes(4_100_000_000),
        hole_bytes: bytes(4096),
        holes: std::iter::once(HoleNote {
            start_bytes: bytes(1_048_576),
            length_bytes: bytes(4096),
            cause: HoleCause::Unreadable,
        })
        .collect(),
        hole_files: None,
        used: Default::default(),
        left_out_bytes: bytes(8_589_934_592),
        notes: std::iter::once(Note {
            partition: Some(Count::from(2)),
            filesystem: Some(mark("ntfs")),
            text: text("the log is dirty: free space was read too"),
        })
        .collect(),
    }
}

fn ended(result: JobResult) -> Body {
    Body::JobEnded(JobEnded { job: job(), disk: Some(disk(3)), duration: Millis::from(4_321_000), result })
}

/// The same, of a box that tells what the holes cost and how full the file systems are.
fn telling_backup_summary() -> BackupSummary {
    let used = PartitionUse { partition: Count::from(2), used_bytes: bytes(700_000_000_000) };
    BackupSummary { hole_files: Some(Count::from(1)), used: std::iter::once(used).collect(), ..backup_summary() }
}

fn identified(start_bytes: Option<Bytes>) -> Body {
    let partition = Partition {
        number: Count::from(1),
        start_bytes,
        size_bytes: bytes(536_870_912),
        filesystem: mark("ext4"),
        label: Some(text("Büro")),
    };
    Body::DiskIdentified(DiskIdentified {
        disk: disk(3),
        identity: identity(),
        partitions: std::iter::once(partition).collect(),
    })
}

/// With the name of its fixture. New ones go to the end: their place is their number.
pub(crate) fn fact_bodies() -> Vec<(&'static str, Body)> {
    let failure = Failure {
        reason: FailureReason::StoreFull,
        message: text("could not write pack 7f3a: no space left on device"),
    };
    vec![
        ("stream_born", Body::StreamBorn(birth())),
        ("gap", Body::Gap(Gap { stream: stream(), from: FactNumber::saturating(12), to: FactNumber::saturating(20) })),
        (
            "disk_seen",
            Body::DiskSeen(DiskSeen {
                disk: disk(3),
                identity: identity(),
                bus: Bus::Usb,
                size_bytes: bytes(2_000_398_934_016),
                new: true,
            }),
        ),
        ("disk_identified", identified(None)),
        ("disk_gone", Body::DiskGone(DiskGone { disk: disk(3), during: Some(job()) })),
        (
            "smart",
            Body::Smart(Smart {
                disk: disk(3),
                verdict: SmartVerdict::Watch,
                reasons: std::iter::once(text("8 sectors were reallocated")).collect(),
                temperature: Some(Celsius(-3)),
                powered_on: Some(Hours::from(31_000)),
                reallocated_sectors: Some(Count::from(8)),
                pending_sectors: Some(Count::ZERO),
                worn: Percent::new(17),
            }),
        ),
        (
            "job_started",
            Body::JobStarted(JobStarted {
                job: job(),
                work: Work::Backup,
                disk: Some(disk(3)),
                trigger: Trigger::Command { command: command_id() },
                resumed: true,
            }),
        ),
        (
            "job_started.plug",
            Body::JobStarted(JobStarted {
                job: job(),
                work: Work::Backup,
                disk: Some(disk(3)),
                trigger: Trigger::Plug,
                resumed: false,
            }),
        ),
        ("job_ended", ended(JobResult::Backup(End::Done(backup_summary())))),
        ("job_ended.failed", ended(JobResult::Backup(End::Failed(failure)))),
        (
            "job_ended.verify",
            ended(JobResult::Verify(End::Done(VerifySummary {
                repository: RepositoryId([0xB1; 16]),
                verdict: VerifyVerdict::Damaged,
                snapshots: Count::from(42),
                chunks: Count::from(1_000_000),
                bytes: bytes(80_000_000_000),
                problems: std::iter::once(text("pack 7f3a: 2 of 9 chunks do not open")).collect(),
                affected: std::iter::once(SnapshotId([0xA1; 32])).collect(),
            }))),
        ),
        (
            "job_ended.restore",
            ended(JobResult::Restore(End::Done(RestoreSummary {
                snapshot: SnapshotId([0xA1; 32]),
                target: mark("S3Z9NB0K123456"),
                bytes_written: bytes(812_000_000_000),
                hole_bytes: Bytes::ZERO,
                notes: std::iter::once(text("the target is larger than the source")).collect(),
            }))),
        ),
        (
            "job_ended.restore_test",
            ended(JobResult::RestoreTest(End::Done(RestoreTestSummary {
                snapshot: SnapshotId([0xA1; 32]),
                verdict: VerifyVerdict::Clean,
                bytes: bytes(1_000_000_000),
                files: Count::from(512),
                problems: Default::default(),
            }))),
        ),
        (
            "job_ended.prune",
            ended(JobResult::Prune(End::Done(PruneSummary {
                repository: RepositoryId([0xB1; 16]),
                forgotten: std::iter::once(SnapshotId([0x01; 32])).collect(),
                kept: Count::from(41),
                kept_by_floor: Count::from(3),
                bytes_freed: bytes(2_000_000_000),
            }))),
        ),
        (
            "snapshot_found",
            Body::SnapshotFound(SnapshotFound { disk: Some(disk(3)), taken: now(), summary: backup_summary() }),
        ),
        (
            "store_capacity",
            Body::StoreCapacity(StoreCapacity {
                disk: Some(disk(8)),
                level: StoreLevel::Low,
                size_bytes: bytes(4_000_000_000_000),
                free_bytes: bytes(200_000_000_000),
            }),
        ),
        ("key", Body::Key(KeyState::Escrowed { key: EscrowKey([0xE5; 32]) })),
        ("key.words", Body::Key(KeyState::WordsConfirmed)),
        (
            "policy_refused",
            Body::PolicyRefused(PolicyRefused {
                version: DesiredVersion::from(8),
                weakenings: [
                    Weakening::RetentionReduced { disk: None, rule: RetentionRule::Daily, from: 14, to: 1 },
                    Weakening::ScheduleOff { disk: Some(disk(3)) },
                    Weakening::ServerChanged,
                ]
                .into_iter()
                .collect(),
                signature: SignatureFault::Missing,
            }),
        ),
        ("tamper", Body::Tamper(Tamper::Command { command: command_id(), signature: SignatureFault::Wrong })),
        ("tamper.rolled_back", Body::Tamper(Tamper::RepositoryRolledBack)),
        (
            "clock_jump",
            Body::ClockJump(ClockJump { before: now(), after: Timestamp::saturating(0), elapsed: Millis::from(1_000) }),
        ),
        ("same_id_twice", Body::SameIdTwice(SameIdTwice { cuts: Count::from(12), within: Seconds::from(60) })),
        ("disk_identified.placed", identified(Some(bytes(1_048_576)))),
        ("job_ended.telling", ended(JobResult::Backup(End::Done(telling_backup_summary())))),
    ]
}
