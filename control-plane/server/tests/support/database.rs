//! The server's database from behind, for what no route does: in its data folder, or on the PostgreSQL that the run is given.

use super::Server;
use rusqlite::types::ValueRef;
use std::path::PathBuf;
use std::time::Duration;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// The server for databases, where the tests run on one (`cargo xtask test cluster` starts it).
pub(crate) const SERVER: &str = "SAVEOS_TEST_POSTGRES";

/// Where the program finds its own.
pub(super) const URL: &str = "SAVEOS_DATABASE_URL";

/// An open database. SQL is one text for both engines, and rows are texts.
pub(crate) enum Db {
    File(rusqlite::Connection),
    Server(tokio::runtime::Handle, tokio_postgres::Client),
}

impl Db {
    /// Runs a statement; how many rows it changed.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str) -> u64 {
        match self {
            Db::File(db) => db.execute(sql, []).expect("it is free") as u64,
            Db::Server(runtime, client) => runtime.block_on(client.execute(sql, &[])).expect("it is free"),
        }
    }

    /// All rows.
    #[track_caller]
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        match self {
            Db::File(db) => {
                let mut query = db.prepare(sql).expect("a table");
                let columns = query.column_count();
                let text = |value: ValueRef| match value {
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    _ => String::new(),
                };
                let row = |row: &rusqlite::Row| (0..columns).map(|column| row.get_ref(column).map(text)).collect();
                query.query_map([], row).expect("rows").collect::<Result<_, _>>().expect("rows")
            }
            Db::Server(runtime, client) => {
                let messages = runtime.block_on(client.simple_query(sql)).expect("rows");
                let row = |message| match message {
                    SimpleQueryMessage::Row(row) => {
                        Some((0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect())
                    }
                    _ => None,
                };
                messages.into_iter().filter_map(row).collect()
            }
        }
    }

    /// The first column of the first row.
    #[track_caller]
    pub(crate) fn one(&self, sql: &str) -> String {
        self.rows(sql)[0][0].clone()
    }
}

impl Server {
    /// Opens it.
    pub(crate) fn db(&self) -> Db {
        match &self.database {
            Some(url) => Db::Server(self.runtime.handle().clone(), connected(&self.runtime, url)),
            None => {
                let db = rusqlite::Connection::open(self.file()).expect("a database");
                db.busy_timeout(Duration::from_secs(10)).expect("it is set");
                Db::File(db)
            }
        }
    }

    /// Goes on in another data folder and a database that is not in it.
    pub(crate) fn take_up(&mut self, data: &std::path::Path, url: &str) {
        let own = self.data();
        rustix::fs::rename(&own, own.with_extension("before")).expect("room");
        std::os::unix::fs::symlink(data, own).expect("room");
        self.database = Some(url.to_owned());
        self.environment.push((URL, url.to_owned()));
    }

    /// What follows is done with an empty database; in a file it is one by itself, with a new folder.
    pub(crate) fn move_to_a_new_database(&mut self) {
        if let Some(server) = std::env::var(SERVER).ok().filter(|_| self.database.is_some()) {
            self.database = Some(new(&self.runtime, &server));
            self.environment.retain(|(name, _)| *name != URL);
            self.environment.extend(self.database.iter().map(|url| (URL, url.clone())));
        }
    }

    /// Where SQLite finds the database: not through /proc, whose links it resolves as this side sees them, but as a copy.
    fn file(&self) -> PathBuf {
        if self.small.is_none() {
            return self.data().join("saveos.sqlite");
        }
        let copy = self.folder.path().join("seen.sqlite");
        for part in ["", "-wal"] {
            let to = format!("{}{part}", copy.display());
            std::fs::copy(self.data().join(format!("saveos.sqlite{part}")), to).expect("it can be copied");
        }
        copy
    }
}

fn connected(runtime: &tokio::runtime::Runtime, url: &str) -> tokio_postgres::Client {
    let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).expect("a server");
    runtime.spawn(connection);
    client
}

/// The URL of a new database on a server.
pub(super) fn new(runtime: &tokio::runtime::Runtime, server: &str) -> String {
    let name = tempfile::Builder::new().prefix("t").rand_bytes(12).tempfile().expect("a name");
    let name = name.path().file_name().expect("a name").to_string_lossy().to_lowercase();
    let client = connected(runtime, server);
    // Of a user for whom rows are fenced: the server's own is a superuser, who climbs over.
    let role = "DO $$ BEGIN CREATE ROLE saveos_app LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";
    runtime.block_on(client.batch_execute(role)).expect("a role");
    let sql = format!("CREATE DATABASE {name} OWNER saveos_app TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'");
    runtime.block_on(client.batch_execute(&sql)).expect("a database");
    server.replace("/postgres", &format!("/{name}")).replace("//saveos@", "//saveos_app@")
}
