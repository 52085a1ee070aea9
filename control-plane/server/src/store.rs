//! The one place where truth is kept. One SQL text for every engine, run in synchronous transactions.
//!
//! ```text
//! write(|tx| …) ─▶ the one writer, one transaction after the other, synced before it answers
//! read(|tx| …)  ─▶ one of several readers, a consistent view
//! ```
//!
//! Portable subset: `$1…$n` in ascending order of their first appearance (SQLite numbers them so), integers, text and bytes,
//! `ON CONFLICT`. No engine's name leaves this module.

mod copy;
mod database;
pub(crate) mod fence;
mod migrations;
mod postgres;
mod sqlite;
mod value;

pub(crate) use database::{Database, DatabaseError, Engine};
pub(crate) use value::{Row, Value, values};

pub(crate) use sqlite::FILE;

use migrations::Steps;
use postgres::Postgres;
use sqlite::Sqlite;
use std::path::Path;

/// Why the store could not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The engine.
    #[error("the database failed")]
    Engine(#[from] rusqlite::Error),
    /// The engine for several replicas.
    #[error("the database failed")]
    Server(#[from] tokio_postgres::Error),
    /// It is not there, or takes nobody else. Nothing was done.
    #[error("the database is not there")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Where it is.
    #[error(transparent)]
    Where(#[from] DatabaseError),
    /// It would not keep what it is given, or sort it otherwise.
    #[error("the database cannot be used: {0}")]
    Unfit(&'static str),
    /// A newer release went on with it.
    #[error(
        "the database is at step {last} and this release knows {known} and may not work beside it: start the release that was here last"
    )]
    Newer {
        /// Of the database.
        last: i64,
        /// Of this program.
        known: i64,
    },
    /// Steps are missing, and nobody asked for them.
    #[error("the database is at step {last} and this release works with {known}: `saveos-server migrate`, or start it")]
    Older {
        /// Of the database.
        last: i64,
        /// Of this program.
        known: i64,
    },
    /// What is to be filled holds something.
    #[error("the database is not empty; nothing was changed")]
    Occupied,
    /// A newer release wrote it, or a step failed.
    #[error("the database could not be brought up to date")]
    Migration(#[source] Box<refinery::Error>),
    /// A copy is not on the disk.
    #[error("could not sync the copy of the database")]
    Sync(#[source] std::io::Error),
    /// A value that this program did not write.
    #[error("the database holds something else than it should: {0}")]
    Damaged(&'static str),
    /// The writer ended.
    #[error("the database is closed")]
    Closed,
}

impl StoreError {
    /// Whether the same may succeed in a moment: the database is restarted, or another takes its place.
    pub(crate) fn passes(&self) -> bool {
        match self {
            StoreError::Closed | StoreError::Away(_) => true,
            StoreError::Server(error) => postgres::passes(error),
            _ => false,
        }
    }
}

/// The store. Copies are the same store.
#[derive(Clone)]
pub(crate) enum Store {
    /// A file in the data folder.
    Sqlite(Sqlite),
    /// A server that replicas share.
    Postgres(Postgres),
}

impl Store {
    /// Opens it, or makes it, and brings it up to date: where `database` says, or else in the data folder.
    pub(crate) async fn open(data: &Path, database: Option<&Database>) -> Result<Store, StoreError> {
        Store::with(data, database, Steps::Run).await
    }

    /// Opens it as it is: an error if it is not up to date.
    pub(crate) async fn look(data: &Path, database: Option<&Database>) -> Result<Store, StoreError> {
        Store::with(data, database, Steps::Leave).await
    }

    async fn with(data: &Path, database: Option<&Database>, steps: Steps) -> Result<Store, StoreError> {
        match database {
            Some(database) => Postgres::open(database, steps).await.map(Store::Postgres),
            None => Sqlite::open(data, steps).map(Store::Sqlite),
        }
    }

    /// Runs a transaction, one after the other; what it returns is on the disk.
    pub(crate) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    {
        match self {
            Store::Sqlite(file) => file.write(work).await,
            Store::Postgres(server) => server.write(work).await,
        }
    }

    /// Whether the fence between customers holds for the user of the database; there is one only where replicas share it.
    pub(crate) async fn is_fenced(&self) -> Result<bool, StoreError> {
        match self {
            Store::Sqlite(_) => Ok(true),
            Store::Postgres(server) => Ok(!server.climbs().await?),
        }
    }

    /// Runs a transaction that only reads.
    pub(crate) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    {
        match self {
            Store::Sqlite(file) => file.read(work).await,
            Store::Postgres(server) => server.read(work).await,
        }
    }
}

/// An open transaction. An error rolls it back.
pub(crate) trait Tx {
    /// Runs a statement; how many rows it changed.
    fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, StoreError>;

    /// Runs a query; all of its rows.
    fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError>;
}

/// The first row, where there is one.
pub(crate) fn first(tx: &mut dyn Tx, sql: &'static str, values: &[Value]) -> Result<Option<Row>, StoreError> {
    Ok(tx.query(sql, values)?.into_iter().next())
}

/// Counts up and gives the first of `count` new numbers.
pub(crate) fn take_numbers(tx: &mut dyn Tx, name: &str, count: u64) -> Result<u64, StoreError> {
    let sql = "INSERT INTO counter (name, value) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET value = counter.value + excluded.value RETURNING value";
    let row = first(tx, sql, &values![name, count])?.ok_or(StoreError::Damaged("no counter"))?;
    Ok(row.number(0)? - count + 1)
}

/// Whether parameters first appear as `$1`, `$2`, …: then every engine numbers them alike.
fn is_portable(sql: &str) -> bool {
    let mut last = 0;
    for part in sql.split('$').skip(1) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse::<usize>() {
            Ok(number) if number == last + 1 => last = number,
            Ok(number) if (1..=last).contains(&number) => {}
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
impl Store {
    /// A new one for a test: in `folder`, or a database of its own on the server that `SAVEOS_TEST_POSTGRES` names. So every test of
    /// what uses a store can run on both engines.
    pub(crate) async fn for_test(folder: &Path) -> Store {
        let database = database::for_test().await;
        Store::open(folder, database.as_ref()).await.expect("a store")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a transaction read is what it writes upon, also beside another process.
    #[tokio::test]
    async fn writers_of_two_processes_take_turns() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = database::for_test().await;
        let open = || Store::open(folder.path(), database.as_ref());
        let (one, two) = (open().await.expect("a store"), open().await.expect("the same store"));
        let count = |store: Store| async move {
            for _ in 0..100 {
                let counted = store.write(|tx| {
                    let row = first(tx, "SELECT value FROM counter WHERE name = 'turns'", &[])?;
                    let next = row.map_or(Ok(0), |row| row.number(0))? + 1;
                    let sql = "INSERT INTO counter (name, value) VALUES ('turns', $1)
                        ON CONFLICT (name) DO UPDATE SET value = excluded.value";
                    tx.execute(sql, &values![next])
                });
                counted.await.expect("room");
            }
        };
        let (here, there) = (tokio::spawn(count(one.clone())), tokio::spawn(count(two)));
        here.await.expect("no panic");
        there.await.expect("no panic");
        let row = one.read(|tx| first(tx, "SELECT value FROM counter WHERE name = 'turns'", &[])).await;
        assert_eq!(row.expect("readable").expect("a row").number(0).expect("a number"), 200);
    }

    /// An engine that goes on after a failed statement commits what it can, and another nothing: so nothing it is, for both.
    #[tokio::test]
    async fn what_went_on_after_a_failure_is_not_committed_in_part() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let written = store.write(|tx| {
            tx.execute("INSERT INTO counter (name, value) VALUES ('twice', 1)", &[])?;
            let again = tx.execute("INSERT INTO counter (name, value) VALUES ('twice', 2)", &[]);
            assert!(again.is_err(), "its name is taken");
            Ok::<_, StoreError>(())
        });
        let outcome = written.await;
        let row = store.read(|tx| first(tx, "SELECT value FROM counter WHERE name = 'twice'", &[])).await;
        let kept = row.expect("readable").is_some();
        assert!(outcome.is_err() && !kept, "{outcome:?}, kept: {kept}");
    }

    /// Whatever the database says of itself: the one for tests says that commits may be lost.
    #[tokio::test]
    async fn what_is_written_is_on_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let (sql, on) = match &store {
            Store::Sqlite(_) => ("PRAGMA synchronous", Value::Integer(2)),
            Store::Postgres(_) => ("SELECT current_setting('synchronous_commit')", Value::from("on")),
        };
        let level = store.write(move |tx| first(tx, sql, &[])).await.expect("an answer").expect("a row");
        assert_eq!(level.any(0).expect("a value"), &on);
    }

    #[test]
    fn parameters_that_engines_number_otherwise_are_noticed() {
        for good in ["SELECT 1", "SELECT $1, $2, $1", "UPDATE x SET a = $1 WHERE b = $2 AND c > $1"] {
            assert!(is_portable(good), "{good}");
        }
        for bad in ["SELECT $2, $1", "SELECT $1, $3", "SELECT $x", "SELECT $0"] {
            assert!(!is_portable(bad), "{bad}");
        }
    }
}
