//! Commands: read, checked, done once however often they come, answered with a report. What this release cannot do is said.
//!
//! Answers are remembered for a week, as the contract says; a copy that comes later has expired.

use super::LineError;
use crate::clock::{self, Moment};
use crate::db::{self, DbError};
use crate::{disks, outbox, queue};
use rusqlite::{Connection, params};
use saveos_protocol::V1;
use saveos_protocol::command::{self, Action, Command, Extent, Rejection, Report, State};
use saveos_protocol::fact::{Body, Tamper, Trigger, Work};
use saveos_protocol::hex::CommandKey;
use saveos_protocol::id::{CommandId, DeviceId, DiskId, JobId};
use saveos_protocol::limits;
use saveos_protocol::sign::{self, SignatureFault};
use saveos_protocol::text::Mark;
use saveos_protocol::time::Timestamp;

/// Takes a command; `None` for bytes that name none.
pub(super) fn take(
    db: &mut Connection,
    device: DeviceId,
    key: &CommandKey,
    payload: &[u8],
) -> Result<Option<(CommandId, Report)>, LineError> {
    let now = clock::now();
    let received = match sign::receive::<Command>(payload) {
        Ok(received) => received,
        Err(error) => {
            tracing::warn!(%error, "a command is not understood");
            return Ok(None);
        }
    };
    let (id, idem) = (received.document().id, received.document().idem.to_string());
    let report = |state| Some((id, Report { v: V1, id, ts: now.ts, state }));
    let rejected = |reason| report(State::Rejected { reason, note: None });
    let command = match command::admit(received, device, key, Some(now.ts)) {
        Ok(command) => command,
        Err(reason) => {
            let fault = match reason {
                Rejection::NotSigned => Some(SignatureFault::Missing),
                Rejection::WrongSignature => Some(SignatureFault::Wrong),
                _ => None,
            };
            if let Some(signature) = fault {
                // Somebody tried what only the holder of the command key may do.
                tell_once(db, id, signature, &now)?;
            }
            return Ok(rejected(reason));
        }
    };
    // QoS 1 repeats, and a resend must find its answer.
    let name = format!("command {idem}");
    if let Some(job) = db::note(db, &name)? {
        return Ok(report(State::Accepted { job: job.parse().ok() }));
    }
    let (work, disk) = match work_of(&command.action, &disks::all(db)?) {
        Ok(work) => work,
        Err(reason) => return Ok(rejected(reason)),
    };
    let step = db.transaction().map_err(DbError::from)?;
    forget_old_answers(&step, now.ts)?;
    let job = queue::order(&step, (work, disk), &command.action, &Trigger::Command { command: id }, now.ts)?;
    db::set_note(&step, &name, &job.to_string())?;
    step.commit().map_err(DbError::from)?;
    Ok(report(State::Accepted { job: Some(job) }))
}

/// What a command makes us do, and with which disk.
fn work_of(action: &Action, known: &[disks::Row]) -> Result<(Work, Option<DiskId>), Rejection> {
    match action {
        Action::StartBackup { disk } if known.iter().any(|row| row.id == *disk) => Ok((Work::Backup, Some(*disk))),
        Action::StartBackup { .. } => Err(Rejection::NoSuchDisk),
        Action::Verify { store: None, .. } => Ok((Work::Verify, None)),
        Action::Restore { extent: Extent::Disk { target } | Extent::Partition { target, .. }, .. } => {
            Ok((Work::Restore, Some(named(target, known)?)))
        }
        Action::RestoreTest { .. } => Ok((Work::RestoreTest, None)),
        // The snapshots are checked against the floor when the job runs: until then there may be others.
        Action::Prune { store: None } | Action::Forget { .. } => Ok((Work::Prune, None)),
        _ => Err(Rejection::NotAble),
    }
}

/// The one plugged disk with this serial number; two of them name none.
fn named(serial: &Mark, known: &[disks::Row]) -> Result<DiskId, Rejection> {
    let mut plugged = known.iter().filter(|row| row.path.is_some() && row.identity.serial.as_ref() == Some(serial));
    match (plugged.next(), plugged.next()) {
        (Some(row), None) => Ok(row.id),
        _ => Err(Rejection::NoSuchDisk),
    }
}

/// One fact a command, however often the broker repeats it.
fn tell_once(
    db: &mut Connection,
    command: CommandId,
    signature: SignatureFault,
    now: &Moment,
) -> Result<(), LineError> {
    const TOLD: &str = "tamper_command";
    if db::note(db, TOLD)? == Some(command.to_string()) {
        return Ok(());
    }
    let step = db.transaction().map_err(DbError::from)?;
    db::set_note(&step, TOLD, &command.to_string())?;
    outbox::append(&step, now, Body::Tamper(Tamper::Command { command, signature }))?;
    step.commit().map_err(DbError::from)?;
    Ok(())
}

/// Names of jobs sort by age, so the job that an answer names tells how old it is.
fn forget_old_answers(db: &Connection, now: Timestamp) -> Result<(), DbError> {
    let kept = u64::try_from(limits::KEEP_COMMANDS.as_millis()).unwrap_or(u64::MAX);
    let before = Timestamp::saturating(now.as_millis().saturating_sub(kept));
    let oldest = JobId::from_parts(before, [0; 10]).to_string();
    db.execute("DELETE FROM note WHERE name GLOB 'command *' AND value < ?1", params![oldest])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn answers_are_remembered_for_a_week_and_other_notes_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = db::open(folder.path()).expect("a database");
        let answered = clock::now().ts;
        db::set_note(&db, "command a", &JobId::from_parts(answered, [7; 10]).to_string()).expect("room");
        db::set_note(&db, "gap_told", "3").expect("room");
        let known = |db: &Connection| db::note(db, "command a").expect("readable").is_some();
        forget_old_answers(&db, answered.after(limits::KEEP_COMMANDS)).expect("room");
        assert!(known(&db));
        forget_old_answers(&db, answered.after(limits::KEEP_COMMANDS + Duration::from_secs(1))).expect("room");
        assert!(!known(&db));
        assert!(db::note(&db, "gap_told").expect("readable").is_some());
    }
}
