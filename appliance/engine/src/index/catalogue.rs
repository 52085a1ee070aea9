//! The SQLite side of the index: a row per pack and per run, none per chunk.
//!
//! `synchronous=NORMAL`: it is a cache, and a lost row costs reading one table again.

use crate::seal::{Kind, PackId};
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// SQLite refused.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} the index {path}")]
pub struct CatalogueError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: rusqlite::Error,
}

/// A pack, as the catalogue knows it.
#[derive(Clone, Debug)]
pub struct PackRow {
    /// Its number in the runs.
    pub number: u32,
    /// Its id.
    pub id: PackId,
    /// Data or metadata.
    pub kind: Kind,
    /// Length of its file.
    pub size: u64,
    /// How many chunks.
    pub chunks: u64,
}

/// The open database.
pub struct Catalogue {
    path: PathBuf,
    db: Connection,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS counter (next INTEGER NOT NULL);
    INSERT INTO counter SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM counter);
    CREATE TABLE IF NOT EXISTS packs (
        number INTEGER PRIMARY KEY, id BLOB NOT NULL, kind INTEGER NOT NULL, size INTEGER NOT NULL, chunks INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS runs (name TEXT PRIMARY KEY, entries INTEGER NOT NULL);";

impl Catalogue {
    /// Opens the database; one that is damaged is thrown away and begun anew.
    pub fn open(path: &Path) -> Result<Catalogue, CatalogueError> {
        match Self::try_open(path) {
            Ok(catalogue) => Ok(catalogue),
            Err(_) => {
                for suffix in ["", "-wal", "-shm"] {
                    // Best effort: the second try says what is really wrong.
                    let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
                }
                Self::try_open(path)
            }
        }
    }

    fn try_open(path: &Path) -> Result<Catalogue, CatalogueError> {
        let wrap = |source| CatalogueError { doing: "open", path: path.to_owned(), source };
        let db = Connection::open(path).map_err(wrap)?;
        db.busy_timeout(Duration::from_secs(60)).map_err(wrap)?;
        db.pragma_update(None, "journal_mode", "WAL").map_err(wrap)?;
        db.pragma_update(None, "synchronous", "NORMAL").map_err(wrap)?;
        db.execute_batch(SCHEMA).map_err(wrap)?;
        db.query_row("SELECT count(*) FROM packs", [], |_| Ok(())).map_err(wrap)?;
        Ok(Catalogue { path: path.to_owned(), db })
    }

    /// A number no pack has had.
    pub fn next_number(&self) -> Result<u32, CatalogueError> {
        self.db
            .query_row("UPDATE counter SET next = next + 1 RETURNING next - 1", [], |row| row.get(0))
            .map_err(self.wrap("count up in"))
    }

    /// All packs. A row that makes no sense is left out: its pack's table is read again.
    pub fn packs(&self) -> Result<Vec<PackRow>, CatalogueError> {
        let wrap = self.wrap("read");
        let mut query = self.db.prepare("SELECT number, id, kind, size, chunks FROM packs").map_err(&wrap)?;
        let rows = query
            .query_map([], |row| {
                let id: Vec<u8> = row.get(1)?;
                let kind: u8 = row.get(2)?;
                Ok(id.try_into().ok().zip(Kind::from_u8(kind)).map(|(id, kind)| (PackId(id), kind)).zip(Some((
                    row.get::<_, u32>(0)?,
                    row.get::<_, i64>(3)? as u64,
                    row.get::<_, i64>(4)? as u64,
                ))))
            })
            .map_err(&wrap)?;
        let mut packs = Vec::new();
        for row in rows {
            if let Some(((id, kind), (number, size, chunks))) = row.map_err(&wrap)? {
                packs.push(PackRow { number, id, kind, size, chunks });
            }
        }
        Ok(packs)
    }

    /// Names of all runs.
    pub fn runs(&self) -> Result<Vec<String>, CatalogueError> {
        let wrap = self.wrap("read");
        let mut query = self.db.prepare("SELECT name FROM runs").map_err(&wrap)?;
        let names = query.query_map([], |row| row.get(0)).map_err(&wrap)?;
        names.collect::<Result<_, _>>().map_err(&wrap)
    }

    /// Adds a durable run and the packs it covers.
    pub fn add_run(&self, name: &str, entries: u64, packs: &[PackRow]) -> Result<(), CatalogueError> {
        self.transaction("add a run to", |db| {
            db.execute("INSERT INTO runs VALUES (?1, ?2)", params![name, entries as i64])?;
            let mut insert = db.prepare("INSERT OR REPLACE INTO packs VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for pack in packs {
                insert.execute(params![
                    pack.number,
                    pack.id.0,
                    pack.kind as u8,
                    pack.size as i64,
                    pack.chunks as i64
                ])?;
            }
            Ok(())
        })
    }

    /// Puts one run in the place of several.
    pub fn replace_runs(&self, old: &[String], new: &str, entries: u64) -> Result<(), CatalogueError> {
        self.transaction("merge runs of", |db| {
            for name in old {
                db.execute("DELETE FROM runs WHERE name = ?1", [name])?;
            }
            db.execute("INSERT INTO runs VALUES (?1, ?2)", params![new, entries as i64])?;
            Ok(())
        })
    }

    /// Forgets all runs and packs.
    pub fn forget_runs(&self) -> Result<(), CatalogueError> {
        self.transaction("clear", |db| db.execute_batch("DELETE FROM runs; DELETE FROM packs"))
    }

    /// Forgets packs.
    pub fn remove_packs(&self, numbers: &[u32]) -> Result<(), CatalogueError> {
        self.transaction("remove packs from", |db| {
            let mut delete = db.prepare("DELETE FROM packs WHERE number = ?1")?;
            numbers.iter().try_for_each(|number| delete.execute([number]).map(drop))
        })
    }

    fn transaction(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), CatalogueError> {
        let wrap = self.wrap(doing);
        let transaction =
            rusqlite::Transaction::new_unchecked(&self.db, rusqlite::TransactionBehavior::Immediate).map_err(&wrap)?;
        work(&transaction).map_err(&wrap)?;
        transaction.commit().map_err(&wrap)
    }

    fn wrap(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> CatalogueError + use<> {
        let path = self.path.clone();
        move |source| CatalogueError { doing, path: path.clone(), source }
    }
}
