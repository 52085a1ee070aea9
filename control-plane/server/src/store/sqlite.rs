//! The embedded engine: one file, one writer on a thread of its own, several readers.
//!
//! `synchronous=FULL`: a commit is on the disk before the writer answers, and only then is anything acknowledged to a box.

use super::migrations::{self, Standing, Steps};
use super::{Row, StoreError, Tx, Value, is_portable};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

/// Below the data folder, and in a backup.
pub(crate) const FILE: &str = "saveos.sqlite";
/// Readers at once: pages of lists are short, and two cores serve no more.
const READERS: usize = 4;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The store. Copies share one writer; it ends with the last of them.
#[derive(Clone)]
pub(crate) struct Sqlite {
    writer: mpsc::Sender<Job>,
    readers: Arc<Readers>,
}

struct Readers {
    idle: Mutex<Vec<Connection>>,
    freed: Condvar,
}

impl Sqlite {
    /// Opens the file below `data`, or makes it, and brings it up to date.
    pub(super) fn open(data: &Path, steps: Steps) -> Result<Sqlite, StoreError> {
        let path = data.join(FILE);
        let mut db = configured(&path)?;
        if migrations::must_run(&standing(&db)?, steps)? {
            migrations::runner().run(&mut db).map_err(|error| StoreError::Migration(Box::new(error)))?;
        }
        let (writer, jobs) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("store".to_owned());
        let spawned = thread.spawn(move || jobs.into_iter().for_each(|job| job(&mut db)));
        spawned.map_err(|_| StoreError::Closed)?;
        let idle = (0..READERS).map(|_| reader(&path)).collect::<Result<_, _>>()?;
        let readers = Readers { idle: Mutex::new(idle), freed: Condvar::new() };
        Ok(Sqlite { writer, readers: Arc::new(readers) })
    }

    /// Copies the database of one folder into another, as it is at one moment, also while somebody writes.
    pub(super) fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
        let (source, target) = (from.join(FILE), to.join(FILE));
        let db = Connection::open_with_flags(source, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.execute("VACUUM INTO ?1", [target.to_string_lossy()])?;
        // VACUUM INTO syncs nothing by itself.
        let synced = std::fs::File::open(&target).and_then(|file| file.sync_all());
        synced.and_then(|()| std::fs::File::open(to)?.sync_all()).map_err(StoreError::Sync)
    }

    /// Runs a transaction on the writer; what it returns is on the disk.
    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            // Nobody waits any more: the work is done all the same.
            let _ = done.send(transact(db, TransactionBehavior::Immediate, work));
        });
        self.writer.send(job).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs a transaction that only reads.
    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    {
        let readers = Arc::clone(&self.readers);
        let task = tokio::task::spawn_blocking(move || {
            let mut db = readers.take();
            let outcome = transact(&mut db, TransactionBehavior::Deferred, work);
            readers.give_back(db);
            outcome
        });
        task.await.map_err(|_| StoreError::Closed)?
    }
}

impl Readers {
    fn take(&self) -> Connection {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match idle.pop() {
                Some(db) => return db,
                None => idle = self.freed.wait(idle).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn give_back(&self, db: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
        self.freed.notify_one();
    }
}

fn standing(db: &Connection) -> Result<Standing, StoreError> {
    let has = |table: &str| db.prepare("SELECT 1 FROM sqlite_master WHERE name = ?1")?.exists([table]);
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
    if !has("refinery_schema_history")? {
        return Ok(Standing::New);
    }
    let floor = if has("compatible")? { Some(number(migrations::FLOOR)?) } else { None };
    Ok(Standing::At { last: number(migrations::LAST)?, floor })
}

fn configured(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::from_secs(10))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.set_prepared_statement_cache_capacity(128);
    Ok(db)
}

fn reader(path: &Path) -> Result<Connection, StoreError> {
    let db = configured(path)?;
    db.pragma_update(None, "query_only", true)?;
    // In KiB: what lists look through stays in memory, also of 100,000 boxes.
    db.pragma_update(None, "cache_size", -16 * 1024)?;
    Ok(db)
}

fn transact<T, E: From<StoreError>>(
    db: &mut Connection,
    behavior: TransactionBehavior,
    work: impl FnOnce(&mut dyn Tx) -> Result<T, E>,
) -> Result<T, E> {
    let step = db.transaction_with_behavior(behavior).map_err(StoreError::from)?;
    let mut open = Open { step: &step, failed: false };
    let value = work(&mut open)?;
    if open.failed {
        return Err(StoreError::Damaged("a statement failed, and what ran it went on").into());
    }
    step.commit().map_err(StoreError::from)?;
    Ok(value)
}

/// A transaction, and whether a statement of it failed.
struct Open<'t> {
    step: &'t rusqlite::Transaction<'t>,
    failed: bool,
}

impl Open<'_> {
    fn bound(&self, sql: &'static str, values: &[Value]) -> Result<rusqlite::CachedStatement<'_>, StoreError> {
        debug_assert!(is_portable(sql), "{sql}");
        let mut statement = self.step.prepare_cached(sql)?;
        for (place, value) in (1..).zip(values) {
            statement.raw_bind_parameter(place, value)?;
        }
        Ok(statement)
    }

    fn rows(&self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.bound(sql, values)?;
        let columns = statement.column_count();
        let (mut rows, mut found) = (statement.raw_query(), Vec::new());
        while let Some(row) = rows.next()? {
            let read = |column| value(row.get_ref(column)?);
            found.push(Row((0..columns).map(read).collect::<Result<_, StoreError>>()?));
        }
        Ok(found)
    }
}

impl Tx for Open<'_> {
    fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, StoreError> {
        let changed = self.bound(sql, values).and_then(|mut statement| Ok(statement.raw_execute()?));
        self.failed |= changed.is_err();
        Ok(changed? as u64)
    }

    fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let found = self.rows(sql, values);
        self.failed |= found.is_err();
        found
    }
}

/// A value as every engine gives it.
pub(super) fn value(found: ValueRef<'_>) -> Result<Value, StoreError> {
    match found {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Integer(number)),
        ValueRef::Text(text) => Ok(Value::Text(String::from_utf8_lossy(text).into_owned())),
        ValueRef::Real(_) | ValueRef::Blob(_) => Err(StoreError::Damaged("a value of a kind that nobody wrote")),
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Integer(number) => ToSqlOutput::Borrowed(ValueRef::Integer(*number)),
            Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{first, take_numbers, values};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    #[test]
    fn what_was_written_is_read_and_what_failed_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Sqlite::open(folder.path(), Steps::Run).expect("a new store");
        runtime().block_on(async {
            let write = |fails: bool| {
                store.write(move |tx| {
                    let numbers = (take_numbers(tx, "seq", 3)?, take_numbers(tx, "seq", 1)?);
                    if fails { Err(StoreError::Damaged("a test")) } else { Ok(numbers) }
                })
            };
            assert_eq!(write(false).await.expect("room"), (1, 4));
            assert!(write(true).await.is_err());
            assert_eq!(write(false).await.expect("room"), (5, 8));
            let again = Sqlite::open(folder.path(), Steps::Run).expect("the same store");
            let sql = "SELECT value FROM counter WHERE name = $1";
            let row = again.read(|tx| first(tx, sql, &values!["seq"])).await.expect("readable");
            assert_eq!(row.expect("a row").number(0).expect("a number"), 8);
            let refused = again.read(|tx| tx.execute("DELETE FROM counter", &[])).await;
            assert!(refused.is_err(), "a reader wrote");
        });
    }
}
