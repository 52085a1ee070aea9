//! The outbox: facts in a numbered stream, kept until the control plane has them on disk, and thirty days longer for one that
//! comes back from an older backup of itself.
//!
//! A fact is written in the transaction of what it tells of, so neither is there without the other. Only `acknowledge` marks
//! rows, and only marked rows are ever removed.

use crate::clock::Moment;
use crate::db::DbError;
use crate::identity::{Identity, IdentityError, random};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use saveos_protocol::fact::{Body, Fact, FactNumber, Gap, StreamBirth};
use saveos_protocol::id::StreamId;
use saveos_protocol::time::Timestamp;
use saveos_protocol::{EncodeError, V1, encode};
use std::time::Duration;

/// Acknowledged facts stay for a control plane that was restored from an older backup.
const KEEP: Duration = Duration::from_secs(30 * 86_400);
/// Acknowledged facts above this many bytes go earlier, oldest first.
const ROOM: u64 = 64 << 20;

/// Why a fact could not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboxError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// It does not fit, however much is left out.
    #[error("a fact could not be written")]
    Encode(#[from] EncodeError),
    /// No key or no random bytes for a new stream.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<rusqlite::Error> for OutboxError {
    fn from(error: rusqlite::Error) -> Self {
        OutboxError::Db(error.into())
    }
}

/// Begins a stream where there is none: its first fact is its birth.
pub(crate) fn begin(db: &mut Connection, identity: &Identity, now: &Moment) -> Result<StreamBirth, OutboxError> {
    let known: Option<String> = db.query_row("SELECT birth FROM stream", [], |row| row.get(0)).optional()?;
    if let Some(json) = known {
        return Ok(serde_json::from_str(&json).map_err(|_| DbError::Damaged("the birth of its stream"))?);
    }
    let birth = identity.stream(StreamId::from_parts(now.ts, random()?), now.ts, None)?;
    let json = serde_json::to_string(&birth).map_err(|_| DbError::Damaged("the birth of its stream"))?;
    let step = db.transaction()?;
    step.execute(
        "INSERT INTO stream (id, birth, sessions) VALUES (?1, ?2, 0)",
        params![birth.stream.to_string(), json],
    )?;
    append(&step, now, Body::StreamBorn(birth.clone()))?;
    step.commit()?;
    Ok(birth)
}

/// Adds a fact to what the transaction does.
pub(crate) fn append(step: &Transaction<'_>, now: &Moment, body: Body) -> Result<FactNumber, OutboxError> {
    let stream: String = step.query_row("SELECT id FROM stream", [], |row| row.get(0))?;
    let last: u64 = step.query_row("SELECT coalesce(max(n), 0) FROM fact", [], |row| row.get(0))?;
    let kind = body.kind().map_or("unknown", |kind| kind.as_str());
    let fact = Fact {
        v: V1,
        stream: stream.parse().map_err(|_| DbError::Damaged("the name of its stream"))?,
        n: FactNumber::saturating(last + 1),
        ts: now.ts,
        boot: now.boot,
        uptime: now.uptime,
        body,
    }
    .fold()?;
    let json = encode(&fact)?;
    step.execute(
        "INSERT INTO fact (n, kind, json, at_ms) VALUES (?1, ?2, ?3, ?4)",
        params![fact.n.get(), kind, json, now.ts.as_millis()],
    )?;
    tracing::info!(n = fact.n.get(), kind, "fact");
    Ok(fact.n)
}

/// A fact in a transaction of its own.
pub(crate) fn append_alone(db: &mut Connection, now: &Moment, body: Body) -> Result<FactNumber, OutboxError> {
    let step = db.transaction()?;
    let n = append(&step, now, body)?;
    step.commit()?;
    Ok(n)
}

/// How the outbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Level {
    /// The last fact.
    pub(crate) last: u64,
    /// Facts that the control plane does not have.
    pub(crate) waiting: u64,
}

/// What there is and what waits.
pub(crate) fn level(db: &Connection) -> Result<Level, DbError> {
    let sql = "SELECT coalesce(max(n), 0), count(*) FILTER (WHERE acked_ms IS NULL) FROM fact";
    Ok(db.query_row(sql, [], |row| Ok(Level { last: row.get(0)?, waiting: row.get(1)? }))?)
}

/// Facts that wait, oldest first: number, kind, bytes.
pub(crate) fn waiting(db: &Connection, above: u64, count: usize) -> Result<Vec<(u64, String, Vec<u8>)>, DbError> {
    let sql = "SELECT n, kind, json FROM fact WHERE acked_ms IS NULL AND n > ?1 ORDER BY n LIMIT ?2";
    let mut query = db.prepare_cached(sql)?;
    let rows = query.query_map(params![above, count], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The control plane has everything up to `n` of this stream; then what is old enough goes.
pub(crate) fn acknowledge(db: &mut Connection, stream: StreamId, n: FactNumber, now: Timestamp) -> Result<(), DbError> {
    let ours: String = db.query_row("SELECT id FROM stream", [], |row| row.get(0))?;
    if ours != stream.to_string() {
        return Ok(()); // of an outbox that was lost
    }
    let step = db.transaction()?;
    step.execute(
        "UPDATE fact SET acked_ms = ?2 WHERE n <= ?1 AND acked_ms IS NULL",
        params![n.get(), now.as_millis()],
    )?;
    let before = now.as_millis().saturating_sub(KEEP.as_millis() as u64);
    // The last one stays whatever its age: the next number comes from it.
    step.execute("DELETE FROM fact WHERE acked_ms < ?1 AND n < (SELECT max(n) FROM fact)", params![before])?;
    let sql = "SELECT coalesce(sum(length(json)), 0) FROM fact";
    let mut bytes: u64 = step.query_row(sql, [], |row| row.get(0))?;
    while bytes > ROOM {
        let sql = "DELETE FROM fact WHERE n = (SELECT min(n) FROM fact WHERE acked_ms IS NOT NULL)
                   AND n < (SELECT max(n) FROM fact) RETURNING length(json)";
        match step.query_row(sql, [], |row| row.get::<_, u64>(0)).optional()? {
            Some(freed) => bytes = bytes.saturating_sub(freed),
            None => break, // what waits is never dropped
        }
    }
    step.commit()?;
    Ok(())
}

/// The control plane is behind, restored from a backup: what it wants waits again, and what is gone is said to be.
pub(crate) fn wanted(db: &mut Connection, stream: StreamId, from: FactNumber, now: &Moment) -> Result<(), OutboxError> {
    let ours: String = db.query_row("SELECT id FROM stream", [], |row| row.get(0))?;
    if ours != stream.to_string() {
        return Ok(());
    }
    let step = db.transaction()?;
    step.execute("UPDATE fact SET acked_ms = NULL WHERE n >= ?1", [from.get()])?;
    let first: u64 = step.query_row("SELECT min(n) FROM fact", [], |row| row.get(0))?;
    // The same wish, repeated, is not a second gap.
    let told: Option<u64> = crate::db::note(&step, "gap_told")?.and_then(|text| text.parse().ok());
    if from.get() < first && told < Some(first) {
        let to = FactNumber::saturating(first - 1);
        append(&step, now, Body::Gap(Gap { stream, from, to }))?;
        crate::db::set_note(&step, "gap_told", &first.to_string())?;
    }
    step.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use saveos_protocol::fact::KeyState;
    use saveos_protocol::time::Timestamp;

    struct Box {
        _folder: tempfile::TempDir,
        db: Connection,
        birth: StreamBirth,
        now: Moment,
    }

    fn new_box() -> Box {
        let folder = tempfile::tempdir().expect("a folder");
        let now = crate::clock::now();
        let identity = Identity::open(folder.path(), &now).expect("an identity");
        let mut db = crate::db::open(folder.path()).expect("a database");
        let birth = begin(&mut db, &identity, &now).expect("a stream");
        assert_eq!(begin(&mut db, &identity, &now).expect("the same stream"), birth);
        Box { _folder: folder, db, birth, now }
    }

    fn add(given: &mut Box, count: usize) {
        for _ in 0..count {
            append_alone(&mut given.db, &given.now, Body::Key(KeyState::WordsShown)).expect("room");
        }
    }

    #[test]
    fn facts_have_no_holes_and_begin_with_the_birth() {
        let mut given = new_box();
        add(&mut given, 3);
        let facts = waiting(&given.db, 0, 10).expect("facts");
        assert_eq!(facts.iter().map(|(n, ..)| *n).collect::<Vec<_>>(), [1, 2, 3, 4]);
        let first: Fact = saveos_protocol::decode(&facts[0].2).expect("a fact");
        assert_eq!(first.body, Body::StreamBorn(given.birth.clone()));
        assert_eq!(waiting(&given.db, 2, 1).expect("facts").len(), 1);
    }

    #[test]
    fn a_transaction_that_is_undone_uses_no_number() {
        let mut given = new_box();
        let step = given.db.transaction().expect("a transaction");
        append(&step, &given.now, Body::Key(KeyState::WordsShown)).expect("room");
        drop(step);
        add(&mut given, 1);
        assert_eq!(level(&given.db).expect("a level"), Level { last: 2, waiting: 2 });
    }

    #[test]
    fn only_an_acknowledgement_of_this_stream_frees_a_fact_and_thirty_days_later() {
        let mut given = new_box();
        add(&mut given, 4);
        let n = FactNumber::saturating(3);
        let other = StreamId::from_parts(given.now.ts, [7; 10]);
        acknowledge(&mut given.db, other, FactNumber::saturating(5), given.now.ts).expect("no harm");
        assert_eq!(level(&given.db).expect("a level").waiting, 5);
        acknowledge(&mut given.db, given.birth.stream, n, given.now.ts).expect("room");
        assert_eq!(level(&given.db).expect("a level"), Level { last: 5, waiting: 2 });
        let held = |db: &Connection| db.query_row("SELECT count(*) FROM fact", [], |row| row.get::<_, u64>(0));
        assert_eq!(held(&given.db).expect("a count"), 5);
        let later = Timestamp::saturating(given.now.ts.as_millis() + 31 * 86_400_000);
        acknowledge(&mut given.db, given.birth.stream, n, later).expect("room");
        assert_eq!(held(&given.db).expect("a count"), 2);
        // All of them acknowledged and old: the last stays, so that no number comes twice.
        acknowledge(&mut given.db, given.birth.stream, FactNumber::saturating(5), later).expect("room");
        let last = Timestamp::saturating(later.as_millis() + 31 * 86_400_000);
        acknowledge(&mut given.db, given.birth.stream, FactNumber::saturating(5), last).expect("room");
        add(&mut given, 1);
        assert_eq!(level(&given.db).expect("a level"), Level { last: 6, waiting: 1 });
    }

    #[test]
    fn a_control_plane_that_is_behind_gets_all_there_is_and_one_gap() {
        let mut given = new_box();
        add(&mut given, 4);
        let (stream, month) = (given.birth.stream, Duration::from_secs(31 * 86_400));
        acknowledge(&mut given.db, stream, FactNumber::saturating(5), given.now.ts).expect("room");
        add(&mut given, 1);
        acknowledge(&mut given.db, stream, FactNumber::saturating(5), given.now.ts.after(month)).expect("room");
        for _ in 0..2 {
            wanted(&mut given.db, stream, FactNumber::saturating(2), &given.now).expect("room");
        }
        let facts = waiting(&given.db, 0, 10).expect("facts");
        assert_eq!(facts.iter().map(|(n, ..)| *n).collect::<Vec<_>>(), [6, 7]);
        let last: Fact = saveos_protocol::decode(&facts[1].2).expect("a fact");
        let to = FactNumber::saturating(5);
        assert_eq!(last.body, Body::Gap(Gap { stream, from: FactNumber::saturating(2), to }));
    }
}
