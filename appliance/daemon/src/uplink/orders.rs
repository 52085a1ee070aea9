//! Commands: read, checked, done once however often they come, answered with a report. What this release cannot do is said.

use super::LineError;
use crate::clock;
use crate::db::{self, DbError};
use crate::{disks, queue};
use rusqlite::Connection;
use saveos_protocol::V1;
use saveos_protocol::command::{self, Action, Command, Rejection, Report, State};
use saveos_protocol::fact::{Trigger, Work};
use saveos_protocol::hex::CommandKey;
use saveos_protocol::id::{CommandId, DeviceId};
use saveos_protocol::sign;

/// No command key is pinned before enrolment. What would need one is refused before this stands in for it.
const NO_KEY: CommandKey = CommandKey([0xff; 32]);

/// Takes a command; `None` for bytes that name none.
pub(super) fn take(
    db: &mut Connection,
    device: DeviceId,
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
    if received.document().action.is_destructive() {
        return Ok(rejected(Rejection::NotSigned));
    }
    let command = match command::admit(received, device, &NO_KEY, Some(now.ts)) {
        Ok(command) => command,
        Err(reason) => return Ok(rejected(reason)),
    };
    // QoS 1 repeats, and a resend must find its answer.
    let name = format!("command {idem}");
    if let Some(job) = db::note(db, &name)? {
        return Ok(report(State::Accepted { job: job.parse().ok() }));
    }
    let (work, disk) = match command.action {
        Action::StartBackup { disk } => (Work::Backup, Some(disk)),
        Action::Verify { .. } => (Work::Verify, None),
        _ => return Ok(rejected(Rejection::NotAble)),
    };
    let known = disks::all(db)?;
    if disk.is_some_and(|disk| !known.iter().any(|row| row.id == disk)) {
        return Ok(rejected(Rejection::NoSuchDisk));
    }
    let step = db.transaction().map_err(DbError::from)?;
    let job = queue::add(&step, work, disk, &Trigger::Command { command: id }, now.ts)?;
    db::set_note(&step, &name, &job.to_string())?;
    step.commit().map_err(DbError::from)?;
    Ok(report(State::Accepted { job: Some(job) }))
}
