//! A store as one file, whatever engine it lives in: the form of backups, and the way from one engine to the other.
//!
//! The file is a SQLite database with the same steps run. Tables are read in one view of the database and written in one
//! transaction: a copy is as the store was at one moment, or is none.

use super::database::Database;
use super::fence;
use super::migrations::Steps;
use super::postgres::{self, Postgres};
use super::sqlite::{FILE, Sqlite};
use super::{Row, Store, StoreError, Value};
use deadpool_postgres::Object;
use futures_util::{StreamExt, pin_mut};
use rusqlite::Connection;
use std::path::Path;
use tokio_postgres::types::{ToSql, Type};

impl Store {
    /// Copies the store of a data folder, or of a database, into a file in the folder `to`, also while somebody writes.
    pub(crate) async fn copy_out(data: &Path, database: Option<&Database>, to: &Path) -> Result<(), StoreError> {
        let Some(database) = database else { return Sqlite::copy(data, to) };
        let server = Postgres::open(database, Steps::Run).await?;
        server.is_ours().await?;
        drop(Sqlite::open(to, Steps::Run)?);
        let client = server.pool().get().await.map_err(|error| StoreError::Away(Box::new(error)))?;
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let mut file = Connection::open(to.join(FILE))?;
        for table in tables(&file)? {
            out(&client, &mut file, &table).await?;
        }
        client.batch_execute("COMMIT").await?;
        // Into the one file, and onto the disk.
        file.pragma_update(None, "journal_mode", "DELETE")?;
        drop(file);
        let synced = std::fs::File::open(to.join(FILE)).and_then(|file| file.sync_all());
        synced.and_then(|()| std::fs::File::open(to)?.sync_all()).map_err(StoreError::Sync)
    }

    /// Fills an empty store with the file in the folder `from`; one that holds something stays as it is.
    pub(crate) async fn copy_in(from: &Path, data: &Path, database: Option<&Database>) -> Result<(), StoreError> {
        let Some(database) = database else {
            Sqlite::copy(from, data)?;
            // It is opened before the folder becomes a data folder: a damaged one is told now.
            return Sqlite::open(data, Steps::Run).map(drop);
        };
        // A file of an older release is brought up to date first, on a copy: a backup is never written.
        let staged = tempfile::tempdir_in(data).map_err(StoreError::Sync)?;
        Sqlite::copy(from, staged.path())?;
        drop(Sqlite::open(staged.path(), Steps::Run)?);
        let file = Connection::open(staged.path().join(FILE))?;
        let server = Postgres::open(database, Steps::Run).await?;
        let client = server.pool().get().await.map_err(|error| StoreError::Away(Box::new(error)))?;
        client.batch_execute(postgres::BEGIN_COPY).await?;
        // What fails ends with its connection, which is nobody else's: the database rolls back.
        fill(&client, &file).await?;
        Ok(client.batch_execute("COMMIT").await?)
    }
}

async fn fill(client: &Object, file: &Connection) -> Result<(), StoreError> {
    let occupied = "SELECT EXISTS (SELECT 1 FROM node) OR EXISTS (SELECT 1 FROM account)";
    if client.query_one(occupied, &[]).await?.try_get(0)? {
        return Err(StoreError::Occupied);
    }
    client.batch_execute(&fence::lower()).await?;
    for table in tables(file)? {
        // Steps put rows into some.
        client.batch_execute(&format!("DELETE FROM {}", table.name)).await?;
        fill_table(client, file, &table).await?;
    }
    Ok(client.batch_execute(&fence::raise_again()).await?)
}

/// A table by its name and its columns. All of them are named by our steps: nothing of a user is in them.
struct Table {
    name: String,
    columns: Vec<String>,
}

fn tables(file: &Connection) -> Result<Vec<Table>, StoreError> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'refinery_schema_history'
        AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name";
    let mut statement = file.prepare(sql)?;
    let names = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    let columns = |name: String| {
        let mut statement = file.prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?;
        let columns = statement.query_map([&name], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        Ok(Table { name, columns })
    };
    names.into_iter().map(columns).collect()
}

async fn out(client: &Object, file: &mut Connection, table: &Table) -> Result<(), StoreError> {
    let columns = table.columns.join(", ");
    let places = (1..=table.columns.len()).map(|place| format!("?{place}")).collect::<Vec<_>>().join(", ");
    let none: [&(dyn ToSql + Sync); 0] = [];
    let rows = client.query_raw(&format!("SELECT {columns} FROM {}", table.name), none).await?;
    pin_mut!(rows);
    let step = file.transaction()?;
    step.execute(&format!("DELETE FROM {}", table.name), [])?;
    let mut insert = step.prepare(&format!("INSERT INTO {} ({columns}) VALUES ({places})", table.name))?;
    while let Some(row) = rows.next().await {
        let Row(values) = postgres::row(&row?)?;
        insert.execute(rusqlite::params_from_iter(values))?;
    }
    drop(insert);
    Ok(step.commit()?)
}

/// By COPY, which takes rows as fast as they come.
async fn fill_table(client: &Object, file: &Connection, table: &Table) -> Result<(), StoreError> {
    let columns = table.columns.join(", ");
    let kinds = client.prepare(&format!("SELECT {columns} FROM {}", table.name)).await?;
    let kinds: Vec<Type> = kinds.columns().iter().map(|column| column.type_().clone()).collect();
    let sink = client.copy_in(&format!("COPY {} ({columns}) FROM STDIN BINARY", table.name)).await?;
    let writer = tokio_postgres::binary_copy::BinaryCopyInWriter::new(sink, &kinds);
    pin_mut!(writer);
    let mut statement = file.prepare(&format!("SELECT {columns} FROM {}", table.name))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..kinds.len()).map(|place| super::sqlite::value(row.get_ref(place)?));
        let values = values.collect::<Result<Vec<Value>, StoreError>>()?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        writer.as_mut().write(&values).await?;
    }
    writer.finish().await?;
    Ok(())
}
