//! Jobs: what began, why, and how it ended. The kind of work decides the form of its summary, so a failed restore cannot
//! carry the numbers of a backup.

use crate::excerpt::{Excerpt, Shorten};
use crate::hex::{RepositoryId, SnapshotId, WriterId};
use crate::id::{CommandId, DiskId, JobId};
use crate::text::{Mark, Text};
use crate::time::Timestamp;
use crate::unit::{Bytes, Count, Millis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

crate::word::words! { open
    /// What a job does.
    Work {
        /// Takes a snapshot.
        Backup = "backup",
        /// Reads back what is stored.
        Verify = "verify",
        /// Writes a snapshot to a disk.
        Restore = "restore",
        /// Restores a sample to nowhere and compares.
        RestoreTest = "restore_test",
        /// Lets old snapshots go.
        Prune = "prune",
    }
}

/// Why a job began. A job that goes on after a restart or a plug keeps its first reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Trigger {
    /// A disk was plugged in.
    Plug,
    /// Its time had come.
    Schedule,
    /// The control plane asked.
    Command {
        /// With this command.
        command: CommandId,
    },
    /// A person pressed the button.
    Button,
    /// Something of a newer version.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

/// A job began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobStarted {
    /// The job.
    pub job: JobId,
    /// What it does.
    pub work: Work,
    /// The disk it reads; for a restore, the disk it writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskId>,
    /// Why.
    pub trigger: Trigger,
    /// Goes on with what an unplugged disk or a restart cut off.
    #[serde(default)]
    pub resumed: bool,
}

/// A job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobEnded {
    /// The job.
    pub job: JobId,
    /// The disk it read; for a restore, the disk it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskId>,
    /// From its first start, waiting for a disk included.
    #[serde(rename = "duration_ms")]
    pub duration: Millis,
    /// What it did, and how that ended.
    pub result: JobResult,
}

/// The end of each kind of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum JobResult {
    /// A backup.
    Backup(End<BackupSummary>),
    /// A verify.
    Verify(End<VerifySummary>),
    /// A restore.
    Restore(End<RestoreSummary>),
    /// A restore test.
    RestoreTest(End<RestoreTestSummary>),
    /// A prune.
    Prune(End<PruneSummary>),
}

impl JobResult {
    /// What it was.
    pub const fn work(&self) -> Work {
        match self {
            JobResult::Backup(_) => Work::Backup,
            JobResult::Verify(_) => Work::Verify,
            JobResult::Restore(_) => Work::Restore,
            JobResult::RestoreTest(_) => Work::RestoreTest,
            JobResult::Prune(_) => Work::Prune,
        }
    }

    /// Why it failed; `None` when it did not.
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            JobResult::Backup(end) => end.failure(),
            JobResult::Verify(end) => end.failure(),
            JobResult::Restore(end) => end.failure(),
            JobResult::RestoreTest(end) => end.failure(),
            JobResult::Prune(end) => end.failure(),
        }
    }

    pub(super) fn lists(&mut self) -> Vec<&mut dyn Shorten> {
        match self {
            JobResult::Backup(End::Done(summary)) => summary.lists(),
            JobResult::Verify(End::Done(summary)) => vec![&mut summary.problems, &mut summary.affected],
            JobResult::RestoreTest(End::Done(summary)) => vec![&mut summary.problems],
            JobResult::Restore(End::Done(summary)) => vec![&mut summary.notes],
            JobResult::Prune(End::Done(summary)) => vec![&mut summary.forgotten],
            JobResult::Backup(End::Failed(_))
            | JobResult::Verify(End::Failed(_))
            | JobResult::Restore(End::Failed(_))
            | JobResult::RestoreTest(End::Failed(_))
            | JobResult::Prune(End::Failed(_)) => Vec::new(),
        }
    }
}

/// Done, with a summary that says how well, or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "end", rename_all = "snake_case")]
#[schemars(rename = "EndOf{S}")]
pub enum End<S> {
    /// It ran to its end; the summary may still be of damage.
    Done(S),
    /// It did not.
    Failed(Failure),
}

impl<S> End<S> {
    const fn failure(&self) -> Option<&Failure> {
        match self {
            End::Done(_) => None,
            End::Failed(failure) => Some(failure),
        }
    }
}

crate::word::words! { open
    /// Why a job failed, for rules; the message beside it is for people.
    FailureReason {
        /// The disk was pulled and did not come back in time.
        DiskGone = "disk_gone",
        /// The disk could not be read at all.
        DiskUnreadable = "disk_unreadable",
        /// The disk is mounted read-write.
        DiskInUse = "disk_in_use",
        /// No room in the store.
        StoreFull = "store_full",
        /// The store is not there or refuses writes.
        StoreUnavailable = "store_unavailable",
        /// The repository is damaged.
        RepositoryDamaged = "repository_damaged",
        /// No key opens the repository.
        KeyMissing = "key_missing",
        /// The snapshot is not there.
        SnapshotMissing = "snapshot_missing",
        /// The target is missing, too small or a store.
        TargetUnfit = "target_unfit",
        /// Nobody confirmed at the box.
        NotConfirmed = "not_confirmed",
        /// The retention floor forbids it.
        Floor = "floor",
        /// A person stopped it.
        Cancelled = "cancelled",
        /// A fault of ours.
        Internal = "internal",
    }
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// For rules.
    pub reason: FailureReason,
    /// For people: what we were doing, to what, and the causes.
    pub message: Text,
}

crate::word::words! { open
    /// How much of the disk a snapshot really is; the engine's words.
    SnapshotState {
        /// Every allocated byte, at one moment.
        Complete = "complete",
        /// Bytes are missing, and listed.
        Partial = "partial",
        /// The source changed while it was read.
        Torn = "torn",
        /// The source was mounted read-write.
        Live = "live",
    }
}

impl SnapshotState {
    /// Whether a person may rely on it. What a newer version calls otherwise does not count: doubt protects nobody.
    pub const fn is_recovery_point(self) -> bool {
        matches!(self, SnapshotState::Complete | SnapshotState::Partial)
    }
}

/// What a backup did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupSummary {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The hash of the writer's record before: the server holds the chain, and notices a repository that was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<SnapshotId>,
    /// The repository.
    pub repository: RepositoryId,
    /// Who wrote.
    pub writer: WriterId,
    /// Counts this writer's snapshots from 1.
    pub sequence: Count,
    /// What it is worth.
    pub state: SnapshotState,
    /// Read from the disk.
    pub bytes_read: Bytes,
    /// That the repository did not have.
    pub bytes_new: Bytes,
    /// By which the repository grew.
    pub bytes_stored: Bytes,
    /// Missing.
    pub hole_bytes: Bytes,
    /// Where they are missing.
    #[serde(default)]
    pub holes: Excerpt<HoleNote>,
    /// Files that lie there, at least. Their names stay on the box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hole_files: Option<Count>,
    /// How full the file systems are.
    #[serde(default, skip_serializing_if = "Excerpt::is_empty")]
    pub used: Excerpt<PartitionUse>,
    /// Left out by rule, such as swap files.
    pub left_out_bytes: Bytes,
    /// What the layout said.
    #[serde(default)]
    pub notes: Excerpt<Note>,
}

impl BackupSummary {
    pub(super) fn lists(&mut self) -> Vec<&mut dyn Shorten> {
        vec![&mut self.holes, &mut self.used, &mut self.notes]
    }
}

crate::word::words! { open
    /// Why bytes are missing.
    HoleCause {
        /// The disk could not be read there.
        Unreadable = "unreadable",
        /// The repository had lost them.
        Lost = "lost",
    }
}

/// A range without its bytes. Which file it hurts stays on the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoleNote {
    /// Offset on the disk.
    pub start_bytes: Bytes,
    /// How much.
    pub length_bytes: Bytes,
    /// Why.
    pub cause: HoleCause,
}

/// How full a file system is; one that could not be read has no entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartitionUse {
    /// Its partition's number.
    pub partition: Count,
    /// What it does not call free.
    pub used_bytes: Bytes,
}

/// Something to know about a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// Its number; none: the whole disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Count>,
    /// `ext4`, `ntfs`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Mark>,
    /// What.
    pub text: Text,
}

crate::word::words! { open
    /// What a verify found.
    VerifyVerdict {
        /// All that was read is whole.
        Clean = "clean",
        /// The file system was already damaged on the disk.
        DamagedAtSource = "damaged_at_source",
        /// The repository is damaged.
        Damaged = "damaged",
    }
}

/// What a verify found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifySummary {
    /// The repository.
    pub repository: RepositoryId,
    /// In a word.
    pub verdict: VerifyVerdict,
    /// Snapshots looked at.
    pub snapshots: Count,
    /// Chunks read and proven.
    pub chunks: Count,
    /// Bytes read and proven.
    pub bytes: Bytes,
    /// What is wrong.
    #[serde(default)]
    pub problems: Excerpt<Text>,
    /// Snapshots that cannot be restored whole.
    #[serde(default)]
    pub affected: Excerpt<SnapshotId>,
}

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreSummary {
    /// From which snapshot.
    pub snapshot: SnapshotId,
    /// Onto which disk.
    pub target: Mark,
    /// Written.
    pub bytes_written: Bytes,
    /// That were missing in the snapshot.
    pub hole_bytes: Bytes,
    /// What a person should know.
    #[serde(default)]
    pub notes: Excerpt<Text>,
}

/// What a restore test proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreTestSummary {
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// In a word.
    pub verdict: VerifyVerdict,
    /// Restored and compared.
    pub bytes: Bytes,
    /// Files among them.
    pub files: Count,
    /// What is wrong.
    #[serde(default)]
    pub problems: Excerpt<Text>,
}

/// What a prune let go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PruneSummary {
    /// The repository.
    pub repository: RepositoryId,
    /// Snapshots that are gone.
    #[serde(default)]
    pub forgotten: Excerpt<SnapshotId>,
    /// Snapshots that stay.
    pub kept: Count,
    /// Snapshots that the policy would have let go and the floor kept.
    pub kept_by_floor: Count,
    /// Freed.
    pub bytes_freed: Bytes,
}

/// A snapshot that no fact told of: the box died between the record and the outbox, or the outbox was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotFound {
    /// Of which disk, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskId>,
    /// When it was taken, as its record says.
    pub taken: Timestamp,
    /// As its record says.
    pub summary: BackupSummary,
}
