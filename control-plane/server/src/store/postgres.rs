//! The engine for several replicas: PostgreSQL, one writer at a time in the whole cluster, readers beside it.
//!
//! ```text
//! write ─▶ BEGIN, synchronous commit, advisory lock ─▶ work ─▶ COMMIT    READ COMMITTED: what it sees is what the last writer left
//! read  ─▶ BEGIN REPEATABLE READ, READ ONLY         ─▶ work ─▶ COMMIT    one consistent view
//! ```
//!
//! Writers take turns as they do in the embedded engine, so that one argument of correctness holds for both: what a transaction
//! read is what it writes upon, and numbers of facts are committed in their order. The lock belongs to the transaction: it ends
//! with it, with its connection, or when whoever holds it says nothing for half a minute.

use super::database::Database;
use super::fence;
use super::migrations::{self, Standing, Steps};
use super::{Row, StoreError, Tx, Value, is_portable};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Connections of a process, opened as they are needed: pages of lists are short, and one of them writes. Nine processes stay below the
/// hundred that PostgreSQL takes by default.
const CONNECTIONS: usize = 10;
/// What a connection may take to come up, and a request to get one.
const CONNECT: Duration = Duration::from_secs(5);
/// A database that is restarted or fails over is waited for so long before anybody is told.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(200);
/// The oldest release that is maintained and has what we use.
const OLDEST: i64 = 140_000;

/// `71` in the namespace of advisory locks; another program in the same database is not expected.
const BEGIN_WRITE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on;
    SET LOCAL idle_in_transaction_session_timeout = '30s'; SET LOCAL statement_timeout = '120s';
    SELECT pg_advisory_xact_lock(71)";
/// A writer that fills whole tables, for as long as they take.
pub(super) const BEGIN_COPY: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on;
    SELECT pg_advisory_xact_lock(71)";
const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL idle_in_transaction_session_timeout = '60s'; SET LOCAL statement_timeout = '120s'";

/// The store. Copies share a pool.
#[derive(Clone)]
pub(crate) struct Postgres {
    pool: Pool,
    /// Writers of this replica wait here and not each with a connection.
    turn: Arc<Mutex<()>>,
}

impl Postgres {
    /// Connects, and brings the database up to date.
    pub(super) async fn open(database: &Database, steps: Steps) -> Result<Postgres, StoreError> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let config = database.config();
        let manager = match database.tls()? {
            Some(tls) => Manager::from_config(config, tls, recycling),
            None => Manager::from_config(config, tokio_postgres::NoTls, recycling),
        };
        let pool = Pool::builder(manager).max_size(CONNECTIONS).runtime(Runtime::Tokio1);
        let pool = pool.wait_timeout(Some(PATIENCE)).create_timeout(Some(CONNECT)).recycle_timeout(Some(CONNECT));
        let pool = pool.build().map_err(|_| StoreError::Closed)?;
        let store = Postgres { pool, turn: Arc::default() };
        store.examine().await?;
        store.migrate(steps).await?;
        Ok(store)
    }

    /// What we rely on and cannot set ourselves.
    async fn examine(&self) -> Result<(), StoreError> {
        let client = self.pool.get().await.map_err(away)?;
        let sql = "SELECT 'B' < 'a' AND current_setting('server_encoding') = 'UTF8',
            current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on',
            current_setting('server_version_num')";
        let row = client.query_one(sql, &[]).await?;
        let version: String = row.try_get(2)?;
        let (sorts, syncs) = (row.try_get::<_, bool>(0)?, row.try_get::<_, bool>(1)?);
        match (sorts, syncs, version.parse::<i64>().is_ok_and(|version| version >= OLDEST)) {
            (_, _, false) => Err(StoreError::Unfit("it is older than PostgreSQL 14")),
            (false, ..) => Err(StoreError::Unfit(
                "it must have the encoding UTF8 and the locale C (CREATE DATABASE saveos TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C')",
            )),
            (_, false, _) => Err(StoreError::Unfit("fsync or full_page_writes is off: what it commits can be lost")),
            (true, true, true) => Ok(()),
        }
    }

    /// Under the lock of the writers: replicas that start together, or beside running ones, migrate once.
    async fn migrate(&self, steps: Steps) -> Result<(), StoreError> {
        let lock = self.begin(BEGIN_WRITE).await?;
        let mut client = self.pool.get().await.map_err(away)?;
        let sql = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
        let known: bool = client.query_one(sql, &[]).await?.try_get(0)?;
        let standing = match known {
            false => Standing::New,
            true => {
                let row = client.query_one(migrations::LAST, &[]).await?;
                Standing::At { last: row.try_get(0)?, floor: floor(&client).await? }
            }
        };
        if migrations::must_run(&standing, steps)? {
            let runner = migrations::runner();
            runner.run_async(&mut **client).await.map_err(|error| StoreError::Migration(Box::new(error)))?;
        }
        if steps == Steps::Run {
            fence::raise(&client).await?;
        }
        lock.end().await
    }

    /// Runs a transaction; when it answers, it is on the disk of the database.
    pub(super) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let outcome = self.begin(BEGIN_WRITE).await?.run(work).await;
        drop(turn);
        outcome
    }

    /// Runs a transaction that only reads.
    pub(super) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    {
        self.begin(BEGIN_READ).await?.run(work).await
    }

    /// An open transaction. Nothing was done yet, so a database that is away can be waited for.
    async fn begin(&self, how: &'static str) -> Result<Open, StoreError> {
        let (begun, mut told, how) = (Instant::now(), false, fence::begin(how)?);
        loop {
            let error = match self.pool.get().await {
                Ok(client) => {
                    let open = Open { client: Some(client), runtime: Handle::current(), failed: false };
                    match open.client()?.batch_execute(&how).await {
                        Ok(()) => return Ok(open),
                        Err(error) => error,
                    }
                }
                Err(PoolError::Backend(error)) => error,
                Err(error) => return Err(away(error)),
            };
            if !passes(&error) || begun.elapsed() > PATIENCE {
                return Err(StoreError::Away(Box::new(error)));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(error = &error as &dyn Error, "the database is away; waits for it");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Refused, when the database has steps that this program does not know: it would not see all that is in it.
    pub(super) async fn is_ours(&self) -> Result<(), StoreError> {
        let client = self.pool.get().await.map_err(away)?;
        let last: i64 = client.query_one(migrations::LAST, &[]).await?.try_get(0)?;
        let known = migrations::newest();
        if last > known { Err(StoreError::Newer { last, known }) } else { Ok(()) }
    }

    /// Whether its user sees everything, whatever its rows are fenced with.
    pub(super) async fn climbs(&self) -> Result<bool, StoreError> {
        let client = self.pool.get().await.map_err(away)?;
        Ok(client.query_one(fence::CLIMBS, &[]).await?.try_get(0)?)
    }

    /// The pool, for what goes over whole tables.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }
}

async fn floor(client: &Object) -> Result<Option<i64>, StoreError> {
    let known = client.query_one("SELECT to_regclass('compatible') IS NOT NULL", &[]).await?;
    if !known.try_get::<_, bool>(0)? {
        return Ok(None);
    }
    Ok(Some(client.query_one(migrations::FLOOR, &[]).await?.try_get(0)?))
}

/// Whether it may be over in a moment: restarted, failed over, or full.
pub(super) fn passes(error: &tokio_postgres::Error) -> bool {
    let passing = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ];
    let unreachable = error.source().is_some_and(|source| source.is::<std::io::Error>());
    error.is_closed() || unreachable || error.code().is_some_and(|code| passing.contains(code))
}

fn away(error: PoolError) -> StoreError {
    match error {
        PoolError::Backend(error) => StoreError::Away(Box::new(error)),
        error => StoreError::Away(Box::new(error)),
    }
}

/// A transaction on a connection of the pool. One that was not ended is never lent again: its connection closes, and the
/// database rolls back.
struct Open {
    client: Option<Object>,
    runtime: Handle,
    /// A statement failed: nothing of it can be committed, and a COMMIT would be answered as if it had been.
    failed: bool,
}

impl Open {
    fn client(&self) -> Result<&Object, StoreError> {
        self.client.as_ref().ok_or(StoreError::Closed)
    }

    async fn run<T, E, F>(mut self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut dyn Tx) -> Result<T, E> + Send + 'static,
    {
        let task = tokio::task::spawn_blocking(move || (work(&mut self), self));
        let (outcome, open) = task.await.map_err(|_| StoreError::Closed)?;
        match outcome {
            Ok(_) if open.failed => {
                open.roll_back().await;
                Err(StoreError::Damaged("a statement failed, and what ran it went on").into())
            }
            Ok(value) => {
                open.end().await?;
                Ok(value)
            }
            Err(error) => {
                open.roll_back().await;
                Err(error)
            }
        }
    }

    async fn end(mut self) -> Result<(), StoreError> {
        self.client()?.batch_execute("COMMIT").await?;
        self.client = None;
        Ok(())
    }

    async fn roll_back(mut self) {
        let done = match self.client() {
            Ok(client) => client.batch_execute("ROLLBACK").await.is_ok(),
            Err(_) => false,
        };
        if done {
            self.client = None;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

impl Tx for Open {
    fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, StoreError> {
        debug_assert!(is_portable(sql), "{sql}");
        let client = self.client()?;
        let changed = self.runtime.block_on(async {
            let statement = client.prepare_cached(sql).await?;
            client.execute_raw(&statement, values.iter().map(|value| value as &dyn ToSql)).await
        });
        self.failed |= changed.is_err();
        Ok(changed?)
    }

    fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        debug_assert!(is_portable(sql), "{sql}");
        let client = self.client()?;
        let rows = self.runtime.block_on(async {
            let statement = client.prepare_cached(sql).await?;
            let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
            client.query(&statement, &values).await
        });
        self.failed |= rows.is_err();
        rows?.iter().map(row).collect()
    }
}

/// A row as every engine gives it: truth as 0 and 1.
pub(super) fn row(row: &tokio_postgres::Row) -> Result<Row, StoreError> {
    let read = |(place, column): (usize, &tokio_postgres::Column)| {
        let number = match *column.type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(place)?,
            Type::INT4 => row.try_get::<_, Option<i32>>(place)?.map(i64::from),
            Type::BOOL => row.try_get::<_, Option<bool>>(place)?.map(i64::from),
            Type::TEXT | Type::VARCHAR => {
                return Ok(row.try_get::<_, Option<String>>(place)?.map_or(Value::Null, Value::Text));
            }
            _ => return Err(StoreError::Damaged("a value of a kind that nobody wrote")),
        };
        Ok(number.map_or(Value::Null, Value::Integer))
    };
    Ok(Row(row.columns().iter().enumerate().map(read).collect::<Result<_, StoreError>>()?))
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self, kind) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Integer(number), &Type::INT8) => number.to_sql(kind, out),
            (Value::Integer(number), &Type::INT4) => i32::try_from(*number)?.to_sql(kind, out),
            (Value::Integer(number), &Type::BOOL) => (*number != 0).to_sql(kind, out),
            (Value::Text(text), &Type::TEXT | &Type::VARCHAR) => text.to_sql(kind, out),
            (value, kind) => Err(format!("{value:?} is bound where {kind} is expected").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
