//! The daemon's one database: facts, jobs, disks. One file, so that a job's end and the fact that tells of it are one
//! transaction, and `synchronous=FULL`, so that what was committed is on the disk.
//!
//! A file that cannot be opened is set aside under another name and a new one begins: a new stream, which the control plane
//! sees by its birth. Backups do not wait for it.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    /// SQLite.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that this program did not write.
    #[error("the database holds something else than it should: {0}")]
    Damaged(&'static str),
    /// It could not be set aside.
    #[error("could not set {path} aside")]
    SetAside {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

const FILE: &str = "state.sqlite";

/// Versions, oldest first; `user_version` counts those that were applied.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE stream (id TEXT NOT NULL, birth TEXT NOT NULL, sessions INTEGER NOT NULL);
    CREATE TABLE fact (
        n INTEGER PRIMARY KEY, kind TEXT NOT NULL, json BLOB NOT NULL, at_ms INTEGER NOT NULL, acked_ms INTEGER
    );
    CREATE TABLE job (
        id TEXT PRIMARY KEY, work TEXT NOT NULL, disk TEXT, trigger TEXT NOT NULL, state TEXT NOT NULL,
        queued_ms INTEGER NOT NULL, begun_ms INTEGER, ended_ms INTEGER, outcome TEXT
    );
    CREATE INDEX job_by_state ON job (state, queued_ms);
    CREATE TABLE disk (
        id TEXT PRIMARY KEY, identity TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, path TEXT, plugged_ms INTEGER
    );
    CREATE TABLE told (snapshot TEXT PRIMARY KEY);
    CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
",
    "
    ALTER TABLE job ADD COLUMN work_order TEXT;
",
    "
    ALTER TABLE disk ADD COLUMN bus TEXT NOT NULL DEFAULT 'image';
",
];

/// Opens it, or begins a new one where it is damaged.
pub(crate) fn open(data: &Path) -> Result<Connection, DbError> {
    let path = data.join(FILE);
    match try_open(&path) {
        Err(DbError::Sqlite(error)) if is_damage(&error) => {
            tracing::error!(path = %path.display(), %error, "the database is damaged; a new one begins");
            for suffix in ["", "-wal", "-shm"] {
                let old = data.join(format!("{FILE}{suffix}"));
                let source = match rustix::fs::rename(&old, data.join(format!("{FILE}{suffix}.damaged"))) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => continue,
                    Err(errno) => errno.into(),
                };
                return Err(DbError::SetAside { path: old, source });
            }
            try_open(&path)
        }
        other => other,
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// A second connection, for who works beside the one that opened it. Never sets anything aside.
pub(crate) fn connect(data: &Path) -> Result<Connection, DbError> {
    configured(&data.join(FILE))
}

fn configured(path: &Path) -> Result<Connection, DbError> {
    let mut db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(10))?;
    // Whoever reads first and writes then fails at once, whatever he would wait, when another connection wrote in between
    // (SQLITE_BUSY_SNAPSHOT): all of ours write.
    db.set_transaction_behavior(TransactionBehavior::Immediate);
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Ok(db)
}

fn try_open(path: &Path) -> Result<Connection, DbError> {
    let mut db = configured(path)?;
    // A page that rotted is noticed at the start, not in the middle of a job.
    let sound: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if sound != "ok" {
        return Err(DbError::Sqlite(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error { code: rusqlite::ErrorCode::DatabaseCorrupt, extended_code: 11 },
            Some(sound),
        )));
    }
    let done: usize = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (version, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let step = db.transaction()?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", version + 1)?;
        step.commit()?;
    }
    Ok(db)
}

/// A small value that outlives the process.
pub(crate) fn note(db: &Connection, name: &str) -> Result<Option<String>, DbError> {
    Ok(db.query_row("SELECT value FROM note WHERE name = ?1", [name], |row| row.get(0)).optional()?)
}

/// Remembers it.
pub(crate) fn set_note(db: &Connection, name: &str, value: &str) -> Result<(), DbError> {
    let sql = "INSERT INTO note (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    db.execute(sql, [name, value])?;
    Ok(())
}

/// Remembers it no more.
pub(crate) fn forget_note(db: &Connection, name: &str) -> Result<(), DbError> {
    db.execute("DELETE FROM note WHERE name = ?1", [name])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_and_then_writes_is_not_overtaken() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut here = open(folder.path()).expect("a database");
        let beside = connect(folder.path()).expect("the same");
        beside.busy_timeout(Duration::ZERO).expect("it is set");
        let step = here.transaction().expect("it is free");
        assert_eq!(note(&step, "turn").expect("readable"), None);
        // It has to wait, as everybody who does not say that he will not.
        assert!(set_note(&beside, "turn", "another's").is_err());
        set_note(&step, "turn", "ours").expect("nobody came in between");
        step.commit().expect("room");
        set_note(&beside, "turn", "another's").expect("its turn");
        assert_eq!(note(&here, "turn").expect("readable").as_deref(), Some("another's"));
    }

    #[test]
    fn what_was_noted_is_there_again_and_commits_are_synced() {
        let folder = tempfile::tempdir().expect("a folder");
        set_note(&open(folder.path()).expect("a new database"), "key", "shown").expect("room");
        let db = open(folder.path()).expect("the same database");
        assert_eq!(note(&db, "key").expect("readable"), Some("shown".to_owned()));
        let level: i64 = db.query_row("PRAGMA synchronous", [], |row| row.get(0)).expect("a number");
        assert_eq!(level, 2, "FULL");
    }

    #[test]
    fn a_damaged_database_is_set_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        crate::files::write_secret(folder.path(), FILE, &"no database at all ".repeat(300)).expect("room");
        let db = open(folder.path()).expect("a new database");
        assert_eq!(note(&db, "key").expect("readable"), None);
        assert!(folder.path().join("state.sqlite.damaged").exists());
    }
}
