//! Commands: read, checked, done once however often they come, answered with a report. What this release cannot do is said.
//!
//! Answers are remembered for a week, as the contract says; a copy that comes later has expired.

use super::LineError;
use crate::clock::{self, Moment};
use crate::db::{self, DbError};
use crate::logs::Wanted;
use crate::wishes::Wishes;
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
    (device, key): (DeviceId, &CommandKey),
    wishes: &Wishes,
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
    // Before what the control plane said itself: nobody knows whether the command's time is over.
    let sure = !clock::is_behind(now.ts, super::heard(db)?);
    let command = match command::admit(received, device, key, sure.then_some(now.ts)) {
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
    if let Some(answer) = db::note(db, &name)? {
        return Ok(report(match answer.strip_suffix(AT_ONCE) {
            Some(_) => State::Succeeded { note: None },
            None if answer.contains('{') => ended_earlier(&answer),
            None => State::Accepted { job: answer.parse().ok() },
        }));
    }
    if matches!(command.action, Action::FetchLogs { .. }) {
        return Ok(report(State::Accepted { job: None }));
    }
    if is_at_once(&command.action) {
        // Remembered before it is done: a box that restarts must not do so for ever.
        let step = db.transaction().map_err(DbError::from)?;
        forget_old_answers(&step, now.ts)?;
        db::set_note(&step, &name, &(JobId::from_parts(now.ts, [0; 10]).to_string() + AT_ONCE))?;
        step.commit().map_err(DbError::from)?;
        if let Err(reason) = do_at_once(&command.action, wishes) {
            db::forget_note(db, &name)?;
            return Ok(rejected(reason));
        }
        return Ok(report(State::Succeeded { note: None }));
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

/// Logs that a command wants, once it was admitted and while nobody has brought them.
pub(super) fn logs_of(payload: &[u8]) -> Option<(CommandId, Wanted)> {
    let received = sign::receive::<Command>(payload).ok()?;
    let command = received.document();
    match &command.action {
        Action::FetchLogs { url, since, max_bytes } => {
            Some((command.id, Wanted { url: url.clone(), since: *since, max_bytes: max_bytes.get() }))
        }
        _ => None,
    }
}

/// Remembers how bringing logs ended: a copy of the command gets the same answer.
pub(super) fn brought(db: &Connection, payload: &[u8], state: &State, now: Timestamp) -> Result<(), DbError> {
    let Ok(received) = sign::receive::<Command>(payload) else { return Ok(()) };
    let name = format!("command {}", received.document().idem);
    let state = serde_json::to_string(state).map_err(|_| DbError::Damaged("an answer"))?;
    db::set_note(db, &name, &format!("{} {state}", JobId::from_parts(now, [0; 10])))
}

fn ended_earlier(answer: &str) -> State {
    let json = answer.split_once(' ').map_or("", |(_, json)| json);
    serde_json::from_str(json).unwrap_or(State::Succeeded { note: None })
}

/// Marks the answer to what became no job; the name before it tells its age like that of a job.
const AT_ONCE: &str = " done";

const fn is_at_once(action: &Action) -> bool {
    matches!(action, Action::Rescan {} | Action::Rebirth {} | Action::Identify { .. } | Action::Reboot {})
}

/// Does what is no job.
fn do_at_once(action: &Action, wishes: &Wishes) -> Result<(), Rejection> {
    let able = |done: std::io::Result<bool>| match done {
        Ok(true) => Ok(()),
        Ok(false) => Err(Rejection::NotAble),
        Err(error) => {
            tracing::error!(%error, command = action.name(), "the box cannot do it");
            Err(Rejection::NotAble)
        }
    };
    match action {
        Action::Rescan {} => {
            wishes.rescan();
            Ok(())
        }
        Action::Rebirth {} => wishes.rebirth().then_some(()).ok_or(Rejection::TooOften),
        Action::Identify { period } => able(Ok(wishes.identify(period.duration()))),
        Action::Reboot {} => able(wishes.reboot()),
        _ => Err(Rejection::NotAble),
    }
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
        Action::Restore { extent: Extent::Files { stick, .. }, .. } => Ok((Work::Restore, Some(named(stick, known)?))),
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
    fn what_is_no_job_is_done_once_and_what_the_box_cannot_do_is_said() {
        let mut given = crate::desired::tests::given();
        let reboot = given.folder.path().join("reboot");
        let mut ask = |wishes: &Wishes, name: &str, action: Action| {
            let id = CommandId::from_parts(given.now.ts, [name.as_bytes()[0]; 10]);
            let exp = given.now.ts.after(Duration::from_secs(600));
            let command = Command { v: V1, id, action, exp, idem: name.parse().expect("a key"), sig: None };
            let json = saveos_protocol::encode(&command).expect("it fits");
            let whose = (given.enrolment.device, &given.enrolment.command_key);
            take(&mut given.db, whose, wishes, &json).expect("room").expect("an answer").1.state
        };
        let done = State::Succeeded { note: None };
        let unable = State::Rejected { reason: Rejection::NotAble, note: None };
        assert_eq!(ask(&Wishes::default(), "a", Action::Reboot {}), unable);
        let wishes = Wishes::new(false, Some(reboot.clone()));
        assert_eq!(ask(&wishes, "a", Action::Reboot {}), done, "what was refused may be asked again");
        std::fs::remove_file(&reboot).expect("it was asked for");
        assert_eq!(ask(&wishes, "a", Action::Reboot {}), done);
        assert!(!reboot.exists(), "the copy of a command does not restart the box again");
        assert_eq!(ask(&wishes, "b", Action::Rescan {}), done);
        assert!(wishes.wants_rescan() && !wishes.wants_rescan());
        assert_eq!(ask(&wishes, "c", Action::Rebirth {}), done);
        assert_eq!(ask(&wishes, "d", Action::Rebirth {}), State::Rejected { reason: Rejection::TooOften, note: None });
        assert_eq!(ask(&wishes, "e", Action::Identify { period: 5u32.into() }), unable);
    }

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
