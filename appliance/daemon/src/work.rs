//! Does a job with the engine and says how it ended, in the control plane's words. Runs on the job thread; the rest of the
//! daemon goes on.

mod restore;
mod restore_test;
mod stick;

use crate::clock::{self, Moment};
use crate::disks;
use crate::floor;
use crate::policy::InForce;
use crate::queue::Job;
use crate::told;
use crate::vault::Vault;
use saveos_engine::backup::{self, BackupError, DEFAULT_LEVEL, Flow, Options};
use saveos_engine::lease::LeaseKind;
use saveos_engine::prune::{self, Mode};
use saveos_engine::repository::RepositoryError;
use saveos_engine::snapshot::SnapshotId;
use saveos_engine::source::{DiskSource, Source, SourceError};
use saveos_engine::storage::StorageError;
use saveos_engine::{repository, verify};
use saveos_protocol::command::Action;
use saveos_protocol::fact::{
    BackupSummary, End, Failure, FailureReason, JobResult, PruneSummary, VerifySummary, VerifyVerdict, Work,
};
use saveos_protocol::hex;
use saveos_protocol::id::DeviceId;
use saveos_protocol::limits;
use saveos_protocol::text::Text;
use saveos_protocol::unit::{Bytes, Count};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What every job needs.
pub(crate) struct Bench {
    pub(crate) vault: Vault,
    pub(crate) device: DeviceId,
    pub(crate) rules: Arc<InForce>,
}

/// How far the running job is; read by others while it runs.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Bytes done.
    pub(crate) done: AtomicU64,
    /// Bytes in all.
    pub(crate) total: AtomicU64,
    /// Signs of life between them.
    ticks: AtomicU64,
}

impl Meter {
    fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// Changes while the job moves.
    pub(crate) fn moved(&self) -> u64 {
        self.done.load(Ordering::Relaxed).wrapping_add(self.ticks.load(Ordering::Relaxed))
    }

    fn show(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }
}

/// How a job came to a stop.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It ended.
    Ended(Box<JobResult>),
    /// The daemon stops: the job begins again at the next start, and nothing is stored twice.
    Interrupted,
}

/// Does the job. `stop` is asked several times a second.
pub(crate) fn run(
    job: &Job,
    disk: Option<&disks::Row>,
    bench: &Bench,
    meter: &Meter,
    stop: &(dyn Fn() -> bool + Sync),
) -> Stop {
    let now = clock::now();
    match job.work {
        Work::Backup => match back_up(disk, bench, meter, stop, &now) {
            Err(Trouble::Stopped) => Stop::Interrupted,
            end => ended(JobResult::Backup(end_of(end))),
        },
        Work::Verify => ended(JobResult::Verify(end_of(verify(job, bench, meter, &now)))),
        Work::Prune => ended(JobResult::Prune(end_of(prune(job, bench, meter, &now)))),
        Work::Restore => match restore::run(job, disk, bench, (meter, stop), &now) {
            Err(Trouble::Stopped) => Stop::Interrupted,
            end => ended(JobResult::Restore(end_of(end))),
        },
        Work::RestoreTest => match restore_test::run(job, bench, (meter, stop), &now) {
            Err(Trouble::Stopped) => Stop::Interrupted,
            end => ended(JobResult::RestoreTest(end_of(end))),
        },
        Work::Unknown => {
            let message = Text::cut("this release cannot do that");
            let failure = Failure { reason: FailureReason::Internal, message };
            ended(JobResult::Restore(End::Failed(failure)))
        }
    }
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn ended(result: JobResult) -> Stop {
    Stop::Ended(Box::new(result))
}

enum Trouble {
    Stopped,
    Failed(Failure),
}

fn end_of<S>(end: Result<S, Trouble>) -> End<S> {
    match end {
        Ok(summary) => End::Done(summary),
        Err(Trouble::Failed(failure)) => End::Failed(failure),
        Err(Trouble::Stopped) => {
            End::Failed(Failure { reason: FailureReason::Cancelled, message: Text::cut("stopped") })
        }
    }
}

fn failed(reason: FailureReason, error: &dyn std::error::Error) -> Trouble {
    Trouble::Failed(Failure { reason, message: Text::of_error(error) })
}

impl From<RepositoryError> for Trouble {
    fn from(error: RepositoryError) -> Self {
        let reason = match &error {
            RepositoryError::Storage(StorageError::Full { .. }) => FailureReason::StoreFull,
            RepositoryError::Store(repository::store::StoreError::Storage(StorageError::Full { .. })) => {
                FailureReason::StoreFull
            }
            RepositoryError::NotARepository { .. } | RepositoryError::Lease(_) => FailureReason::StoreUnavailable,
            RepositoryError::Key(_) => FailureReason::KeyMissing,
            RepositoryError::Pack(_)
            | RepositoryError::Record(_)
            | RepositoryError::DamagedRecord { .. }
            | RepositoryError::LostChunk(_)
            | RepositoryError::Segment { .. } => FailureReason::RepositoryDamaged,
            RepositoryError::NoSnapshot(_) => FailureReason::SnapshotMissing,
            _ => FailureReason::StoreUnavailable,
        };
        failed(reason, &error)
    }
}

fn back_up(
    disk: Option<&disks::Row>,
    bench: &Bench,
    meter: &Meter,
    stop: &(dyn Fn() -> bool + Sync),
    now: &Moment,
) -> Result<BackupSummary, Trouble> {
    let gone = || {
        let message = Text::cut("the disk is not plugged in");
        Trouble::Failed(Failure { reason: FailureReason::DiskGone, message })
    };
    let disk = disk.ok_or_else(gone)?;
    let path = disk.path.as_deref().ok_or_else(gone)?;
    let source = DiskSource::open(path).map_err(|error| failed(FailureReason::DiskUnreadable, &error))?;
    source.refuse_in_use().map_err(|error: SourceError| failed(FailureReason::DiskInUse, &error))?;
    let repository = bench.vault.repository(LeaseKind::Writer, &now.boot.to_string())?;
    let (begun, scratch) = (Instant::now(), bench.vault.scratch());
    let options = Options {
        writer: bench.vault.writer(&bench.device.to_string()),
        name: disk.id.to_string(),
        tags: Vec::new(),
        time: now.seconds(),
        boot: now.boot.to_string(),
        uptime: now.uptime.get() / 1000,
        live: false,
        workers: workers(),
        level: DEFAULT_LEVEL,
        limit_read: None,
        scratch: &scratch,
        elapsed: &|| begun.elapsed(),
    };
    let source: Arc<dyn Source> = Arc::new(source);
    let made = backup::run(&repository, &source, &options, &|progress| {
        meter.show(progress.done, progress.total);
        if stop() { Flow::Stop } else { Flow::Continue }
    });
    match made {
        Ok((id, snapshot)) => Ok(told::summary(bench.vault.id(), id, &snapshot)),
        Err(BackupError::Stopped) => Err(Trouble::Stopped),
        Err(error @ BackupError::Gone { .. }) => Err(failed(FailureReason::DiskGone, &error)),
        Err(BackupError::Repository(error)) => Err(error.into()),
        Err(error @ (BackupError::Layout(_) | BackupError::Scratch(_))) => {
            Err(failed(FailureReason::StoreUnavailable, &error))
        }
    }
}

fn verify(job: &Job, bench: &Bench, meter: &Meter, now: &Moment) -> Result<VerifySummary, Trouble> {
    let repository = bench.vault.repository(LeaseKind::Reader, &now.boot.to_string())?;
    let percent = match &job.order {
        Some(Action::Verify { percent, .. }) => *percent,
        _ => bench.rules.get().policy.verify.sample,
    };
    let options =
        verify::Options { sample: f64::from(percent.get().max(1)) / 100.0, seed: now.ts.as_millis(), workers: 1 };
    let report = verify::run(&repository, None, &options, &|done, total| meter.show(done, total))?;
    // What is damaged is stored anew by the next backup.
    if let Err(error) = repository.set_aside(&report.damaged) {
        tracing::warn!(%error, "damaged packs could not be set aside");
    }
    let damaged = !report.problems.is_empty();
    Ok(VerifySummary {
        repository: hex::RepositoryId(bench.vault.id().0),
        verdict: if damaged { VerifyVerdict::Damaged } else { VerifyVerdict::Clean },
        snapshots: Count::saturating(report.snapshots as u64),
        chunks: Count::saturating(report.chunks),
        bytes: Bytes::saturating(report.bytes),
        problems: report
            .problems
            .iter()
            .map(|problem| Text::cut(&format!("{}: {}", problem.place, problem.what)))
            .collect(),
        affected: report.affected.iter().map(|id| hex::SnapshotId(id.0)).collect(),
    })
}

fn prune(job: &Job, bench: &Bench, meter: &Meter, now: &Moment) -> Result<PruneSummary, Trouble> {
    let repository = bench.vault.repository(LeaseKind::Sweeper, &now.boot.to_string())?;
    let (snapshots, _) = repository.snapshots()?;
    let rules = bench.rules.get();
    let retention_of = |name: &str| match name.parse() {
        Ok(disk) => *rules.policy.retention_of(disk),
        // Somebody else's snapshots are theirs to forget.
        Err(_) => Default::default(),
    };
    let mut verdict = match &job.order {
        Some(Action::Forget { snapshots: named }) => {
            let named: Vec<SnapshotId> = named.iter().map(|id| SnapshotId(id.0)).collect();
            floor::release(&snapshots, &named, now.seconds())
        }
        _ => floor::decide(&snapshots, &retention_of, now.seconds()),
    };
    // As many as one fact can name: a control plane that is not told of all would show recovery points that are gone.
    let later = verdict.forget.len().saturating_sub(limits::SHOWN);
    verdict.forget.truncate(limits::SHOWN);
    verdict.kept += later;
    prune::forget(&repository, &verdict.forget)?;
    let pruned = prune::run_observed(&repository, Mode::Run, &|done, total| meter.show(done, total))?;
    Ok(PruneSummary {
        repository: hex::RepositoryId(bench.vault.id().0),
        forgotten: verdict.forget.iter().map(|id| hex::SnapshotId(id.0)).collect(),
        kept: Count::saturating(verdict.kept as u64),
        kept_by_floor: Count::saturating(verdict.kept_by_floor as u64),
        bytes_freed: Bytes::saturating(pruned.deleted_bytes),
    })
}
