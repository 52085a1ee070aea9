//! The job queue. It survives the process: what was running when the box lost power begins again, and says so.
//!
//! ```text
//! asking ─▶ waiting ─▶ running ─▶ done | failed
//!    │         ▲          │          ▲
//!    │         └── restart┘          │
//!    └── nobody confirmed ───────────┘
//! ```
//!
//! A job that overwrites a disk asks first: a person at the box names the disk, or it ends after an hour.

use crate::clock::Moment;
use crate::db::DbError;
use crate::identity::random;
use crate::outbox::{self, OutboxError};
use crate::plan::Tried;
use crate::update::advance::Backups;
use rusqlite::{Connection, OptionalExtension, params};
use saveos_protocol::command::Action;
use saveos_protocol::fact::{Body, JobEnded, JobResult, JobStarted, Trigger, Work};
use saveos_protocol::id::{DiskId, JobId};
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::Millis;
use std::time::Duration;

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) work: Work,
    pub(crate) disk: Option<DiskId>,
    pub(crate) trigger: Trigger,
    pub(crate) state: State,
    pub(crate) queued: Timestamp,
    pub(crate) begun: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    /// What exactly was asked for, where the kind of work and the disk are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) order: Option<Action>,
    /// How it ended, in a sentence.
    pub(crate) outcome: Option<String>,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// For a person at the box.
    Asking,
    Waiting,
    Running,
    Done,
    Failed,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            State::Asking => "asking",
            State::Waiting => "waiting",
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
        }
    }

    fn of(word: &str) -> Option<State> {
        let all = [State::Asking, State::Waiting, State::Running, State::Done, State::Failed];
        all.into_iter().find(|state| state.word() == word)
    }
}

/// How long a job asks.
pub(crate) const ASKS: Duration = Duration::from_secs(3600);

/// Adds a job.
pub(crate) fn add(
    db: &Connection,
    work: Work,
    disk: Option<DiskId>,
    trigger: &Trigger,
    now: Timestamp,
) -> Result<JobId, DbError> {
    put(db, (work, disk, None), State::Waiting, trigger, now)
}

/// Adds a job that does what was ordered. One that overwrites a disk asks at the box first.
pub(crate) fn order(
    db: &Connection,
    (work, disk): (Work, Option<DiskId>),
    order: &Action,
    trigger: &Trigger,
    now: Timestamp,
) -> Result<JobId, DbError> {
    let state = if work == Work::Restore { State::Asking } else { State::Waiting };
    put(db, (work, disk, Some(order)), state, trigger, now)
}

fn put(
    db: &Connection,
    (work, disk, order): (Work, Option<DiskId>, Option<&Action>),
    state: State,
    trigger: &Trigger,
    now: Timestamp,
) -> Result<JobId, DbError> {
    let id = JobId::from_parts(now, random().map_err(|_| DbError::Damaged("no random bytes"))?);
    let trigger = serde_json::to_string(trigger).map_err(|_| DbError::Damaged("a trigger"))?;
    let order = order.map(serde_json::to_string).transpose().map_err(|_| DbError::Damaged("an order"))?;
    let disk = disk.map(|disk| disk.to_string());
    let sql =
        "INSERT INTO job (id, work, disk, trigger, state, queued_ms, work_order) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    db.execute(sql, params![id.to_string(), work.as_str(), disk, trigger, state.word(), now.as_millis(), order])?;
    tracing::info!(job = %id, work = %work, state = state.word(), "queued");
    Ok(id)
}

/// A job that asks.
pub(crate) fn asking(db: &Connection, id: JobId) -> Result<Option<Job>, DbError> {
    let sql = "SELECT id FROM job WHERE id = ?1 AND state = 'asking'";
    let id: Option<String> = db.query_row(sql, [id.to_string()], |row| row.get(0)).optional()?;
    id.map(|id| one(db, &id)).transpose()
}

/// A person at the box wants it: it waits for its turn.
pub(crate) fn confirm(db: &Connection, job: &Job) -> Result<(), DbError> {
    db.execute("UPDATE job SET state = 'waiting' WHERE id = ?1 AND state = 'asking'", [job.id.to_string()])?;
    Ok(())
}

/// The one that asks for longest.
pub(crate) fn oldest_asking(db: &Connection) -> Result<Option<Job>, DbError> {
    let sql = "SELECT id FROM job WHERE state = 'asking' ORDER BY queued_ms, id LIMIT 1";
    let id: Option<String> = db.query_row(sql, [], |row| row.get(0)).optional()?;
    id.map(|id| one(db, &id)).transpose()
}

/// The last backup of a disk that ended, well or not.
pub(crate) fn last_backup(db: &Connection, disk: DiskId) -> Result<Option<Job>, DbError> {
    let sql = "SELECT id FROM job WHERE disk = ?1 AND work = 'backup' AND state IN ('done', 'failed')
               ORDER BY ended_ms DESC, id DESC LIMIT 1";
    let id: Option<String> = db.query_row(sql, [disk.to_string()], |row| row.get(0)).optional()?;
    id.map(|id| one(db, &id)).transpose()
}

/// The oldest job that nobody confirmed in time. A clock that jumps ends it early and destroys nothing.
pub(crate) fn asked_in_vain(db: &Connection, now: Timestamp) -> Result<Option<Job>, DbError> {
    let sql = "SELECT id, queued_ms FROM job WHERE state = 'asking' ORDER BY queued_ms, id LIMIT 1";
    let oldest: Option<(String, u64)> = db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let over = oldest.filter(|(_, queued)| now.since(Timestamp::saturating(*queued)) > ASKS);
    over.map(|(id, _)| one(db, &id)).transpose()
}

/// Begins the oldest waiting job, and tells of it.
pub(crate) fn begin_next(db: &mut Connection, now: &Moment) -> Result<Option<Job>, OutboxError> {
    let step = db.transaction()?;
    let sql = "SELECT id FROM job WHERE state = 'waiting' ORDER BY queued_ms, id LIMIT 1";
    let Some(id) = step.query_row(sql, [], |row| row.get::<_, String>(0)).optional()? else { return Ok(None) };
    // It has begun before when the box stopped in the middle of it.
    let sql =
        "UPDATE job SET state = 'running', begun_ms = coalesce(begun_ms, ?2) WHERE id = ?1 RETURNING begun_ms < ?2";
    let resumed: bool = step.query_row(sql, params![id, now.ts.as_millis()], |row| row.get(0))?;
    let job = one(&step, &id)?;
    let started = JobStarted { job: job.id, work: job.work, disk: job.disk, trigger: job.trigger.clone(), resumed };
    outbox::append(&step, now, Body::JobStarted(started))?;
    step.commit()?;
    Ok(Some(job))
}

/// Ends a job and tells of it, in one transaction. One that never began is told to have begun: whoever asked learns its name.
pub(crate) fn end(db: &mut Connection, job: &Job, result: JobResult, now: &Moment) -> Result<(), OutboxError> {
    let (state, outcome) = match result.failure() {
        None => (State::Done, result.work().as_str().to_owned() + " done"),
        Some(failure) => (State::Failed, format!("{}: {}", failure.reason, failure.message)),
    };
    let step = db.transaction()?;
    step.execute(
        "UPDATE job SET state = ?2, ended_ms = ?3, outcome = ?4 WHERE id = ?1",
        params![job.id.to_string(), state.word(), now.ts.as_millis(), outcome],
    )?;
    if let JobResult::Backup(saveos_protocol::fact::End::Done(summary)) = &result {
        step.execute("INSERT OR IGNORE INTO told (snapshot) VALUES (?1)", [summary.snapshot.to_string()])?;
    }
    if job.begun.is_none() {
        let (work, trigger) = (job.work, job.trigger.clone());
        let started = JobStarted { job: job.id, work, disk: job.disk, trigger, resumed: false };
        outbox::append(&step, now, Body::JobStarted(started))?;
    }
    let duration = Millis::of(now.ts.since(job.begun.unwrap_or(now.ts)));
    outbox::append(&step, now, Body::JobEnded(JobEnded { job: job.id, disk: job.disk, duration, result }))?;
    step.commit()?;
    tracing::info!(job = %job.id, state = state.word(), outcome, "job ended");
    Ok(())
}

/// What a stop interrupted waits again; in its old place, for it is the oldest.
pub(crate) fn wait_again(db: &Connection) -> Result<usize, DbError> {
    Ok(db.execute("UPDATE job SET state = 'waiting' WHERE state = 'running'", [])?)
}

/// All jobs, the last first.
pub(crate) fn all(db: &Connection, count: usize) -> Result<Vec<Job>, DbError> {
    let mut query = db.prepare_cached("SELECT id FROM job ORDER BY queued_ms DESC, id DESC LIMIT ?1")?;
    let ids: Vec<String> = query.query_map([count], |row| row.get(0))?.collect::<Result<_, _>>()?;
    ids.iter().map(|id| one(db, id)).collect()
}

/// When a disk's last backup was asked for, and whether a job of it is open.
pub(crate) fn of_disk(db: &Connection, disk: DiskId) -> Result<(Option<Timestamp>, bool), DbError> {
    let sql =
        "SELECT max(queued_ms) FILTER (WHERE work = 'backup'), count(*) FILTER (WHERE state IN ('asking', 'waiting', 'running'))
               FROM job WHERE disk = ?1";
    let (asked, open): (Option<u64>, u64) =
        db.query_row(sql, [disk.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((asked.map(Timestamp::saturating), open > 0))
}

/// How work of a kind stands.
pub(crate) fn of_work(db: &Connection, work: Work) -> Result<Tried, DbError> {
    let sql = "SELECT max(ended_ms) FILTER (WHERE state = 'done'), max(queued_ms),
               count(*) FILTER (WHERE state IN ('waiting', 'running')) FROM job WHERE work = ?1";
    let (done, asked, open): (Option<u64>, Option<u64>, u64) =
        db.query_row(sql, [work.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(Tried { done: done.map(Timestamp::saturating), asked: asked.map(Timestamp::saturating), open: open > 0 })
}

/// How backups ended since then.
pub(crate) fn backups_since(db: &Connection, since: Timestamp) -> Result<Backups, DbError> {
    let sql = "SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'failed')
               FROM job WHERE work = 'backup' AND ended_ms >= ?1";
    let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    Ok(db.query_row(sql, [since], |row| Ok(Backups { good: row.get(0)?, failed: row.get(1)? }))?)
}

/// How work stands that does exactly this.
pub(crate) fn of_order(db: &Connection, order: &Action) -> Result<Tried, DbError> {
    let order = serde_json::to_string(order).map_err(|_| DbError::Damaged("an order"))?;
    let sql = "SELECT max(ended_ms) FILTER (WHERE state = 'done'), max(queued_ms),
               count(*) FILTER (WHERE state IN ('waiting', 'running')) FROM job WHERE work_order = ?1";
    let (done, asked, open): (Option<u64>, Option<u64>, u64) =
        db.query_row(sql, [order], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(Tried { done: done.map(Timestamp::saturating), asked: asked.map(Timestamp::saturating), open: open > 0 })
}

/// Whether a fact told of this snapshot.
pub(crate) fn is_told(db: &Connection, snapshot: &str) -> Result<bool, DbError> {
    Ok(db.query_row("SELECT count(*) FROM told WHERE snapshot = ?1", [snapshot], |row| row.get::<_, u64>(0))? > 0)
}

fn one(db: &Connection, id: &str) -> Result<Job, DbError> {
    let sql = "SELECT work, disk, trigger, state, queued_ms, begun_ms, ended_ms, outcome, work_order
        FROM job WHERE id = ?1";
    let mut query = db.prepare_cached(sql)?;
    query
        .query_row([id], |row| {
            let words: (String, Option<String>, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            let times: (u64, Option<u64>, Option<u64>) = (row.get(4)?, row.get(5)?, row.get(6)?);
            Ok((words, times, row.get::<_, Option<String>>(7)?, row.get::<_, Option<String>>(8)?))
        })
        .map_err(DbError::from)
        .and_then(|((work, disk, trigger, state), (queued, begun, ended), outcome, order)| {
            Ok(Job {
                id: id.parse().map_err(|_| DbError::Damaged("a job's name"))?,
                work: Work::ALL.iter().copied().find(|known| known.as_str() == work).unwrap_or(Work::Unknown),
                disk: disk.map(|text| text.parse()).transpose().map_err(|_| DbError::Damaged("a job's disk"))?,
                trigger: serde_json::from_str(&trigger).map_err(|_| DbError::Damaged("a job's trigger"))?,
                state: State::of(&state).ok_or(DbError::Damaged("a job's state"))?,
                queued: Timestamp::saturating(queued),
                begun: begun.map(Timestamp::saturating),
                ended: ended.map(Timestamp::saturating),
                order: order
                    .map(|json| serde_json::from_str(&json))
                    .transpose()
                    .map_err(|_| DbError::Damaged("a job's order"))?,
                outcome,
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use saveos_protocol::command::Extent;
    use saveos_protocol::fact::{End, Fact, Failure, FailureReason};
    use saveos_protocol::hex::SnapshotId;
    use saveos_protocol::text::Text;

    /// A box that has told of nothing yet.
    fn begun() -> (tempfile::TempDir, Connection, Moment) {
        let (folder, now) = (tempfile::tempdir().expect("a folder"), crate::clock::now());
        let identity = Identity::open(folder.path(), &now).expect("an identity");
        let mut db = crate::db::open(folder.path()).expect("a database");
        outbox::begin(&mut db, &identity, &now).expect("a stream");
        (folder, db, now)
    }

    #[test]
    fn a_job_that_was_interrupted_begins_again_and_says_so() {
        let (folder, mut db, mut now) = begun();
        let id = add(&db, Work::Backup, None, &Trigger::Plug, now.ts).expect("room");
        let job = begin_next(&mut db, &now).expect("room").expect("a job");
        assert_eq!((job.id, job.state), (id, State::Running));
        assert_eq!(begin_next(&mut db, &now).expect("room"), None);
        drop(db); // the power goes

        let mut db = crate::db::open(folder.path()).expect("the same database");
        assert_eq!(wait_again(&db).expect("room"), 1);
        now.ts = now.ts.after(Duration::from_secs(60));
        let job = begin_next(&mut db, &now).expect("room").expect("the same job");
        assert_eq!(job.id, id);
        let failure = Failure { reason: FailureReason::DiskGone, message: Text::cut("unplugged") };
        end(&mut db, &job, JobResult::Backup(End::Failed(failure)), &now).expect("room");
        assert_eq!(all(&db, 10).expect("jobs")[0].state, State::Failed);

        let facts = outbox::waiting(&db, 0, 10).expect("facts");
        let bodies: Vec<Body> =
            facts.iter().map(|(.., json)| saveos_protocol::decode::<Fact>(json).expect("a fact").body).collect();
        let resumed = |body: &Body| matches!(body, Body::JobStarted(started) if started.resumed);
        assert_eq!(bodies.iter().map(resumed).collect::<Vec<_>>(), [false, false, true, false]);
        assert!(matches!(&bodies[3], Body::JobEnded(ended) if ended.duration == Millis::saturating(60_000)));
    }

    #[test]
    fn a_restore_asks_and_ends_unasked_for_after_an_hour() {
        let (folder, db, mut now) = begun();
        let disk = DiskId::from_parts(now.ts, [1; 10]);
        let extent = Extent::Disk { target: "WX11".parse().expect("a mark") };
        let action = Action::Restore { snapshot: SnapshotId([3; 32]), extent };
        let ask = |db: &Connection, now: &Moment| {
            order(db, (Work::Restore, Some(disk)), &action, &Trigger::Button, now.ts).expect("room")
        };
        let id = ask(&db, &now);
        drop(db); // the power goes

        let mut db = crate::db::open(folder.path()).expect("the same database");
        assert_eq!(wait_again(&db).expect("room"), 0);
        assert_eq!(begin_next(&mut db, &now).expect("room"), None, "not before somebody confirms");
        assert_eq!(of_disk(&db, disk).expect("readable"), (None, true), "and no backup of what goes begins");
        now.ts = now.ts.after(ASKS);
        assert_eq!(asked_in_vain(&db, now.ts).expect("readable"), None);
        let over = asked_in_vain(&db, now.ts.after(Duration::from_secs(1))).expect("readable").expect("the job");
        assert_eq!((over.id, over.order.as_ref()), (id, Some(&action)));
        let failure = Failure { reason: FailureReason::NotConfirmed, message: Text::cut("nobody came") };
        end(&mut db, &over, JobResult::Restore(End::Failed(failure)), &now).expect("room");
        assert_eq!(asking(&db, id).expect("readable"), None);
        let facts = outbox::waiting(&db, 0, 10).expect("facts");
        let told = |name: &str| facts.iter().filter(|(.., json)| String::from_utf8_lossy(json).contains(name)).count();
        assert_eq!((told("job_started"), told("job_ended")), (1, 1), "who asked learns the job's name");

        let id = ask(&db, &now);
        let asking = asking(&db, id).expect("readable").expect("it asks");
        confirm(&db, &asking).expect("room");
        assert_eq!(begin_next(&mut db, &now).expect("room").expect("a job").id, id);
    }
}
