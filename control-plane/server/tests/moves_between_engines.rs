//! From the data folder into PostgreSQL and back, with everything; and what is said when the database is not what it should be:
//! one line with what to do, and nothing changed.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use support::postgres::Postgres;
use support::{ADMIN, Server};

/// A server for databases; it ends with the test.
struct Place {
    postgres: Postgres,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Option<Place> {
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(open).tempdir().expect("a folder");
        let Some(postgres) = Postgres::start(&folder.path().join("postgres")).expect("it starts") else {
            println!("SKIPPED: no postgresql");
            return None;
        };
        Some(Place { postgres, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a database, of a user who is no superuser; its URL.
    fn database(&self, name: &str, how: &str) -> String {
        let made = Command::new("psql")
            .args(["--quiet", "--no-psqlrc", "--dbname", &self.postgres.url()])
            .arg(format!("--command=CREATE ROLE {name} LOGIN"))
            .arg(format!("--command=CREATE DATABASE {name} OWNER {name} TEMPLATE template0 {how}"))
            .output()
            .expect("psql is where the server is");
        assert!(made.status.success(), "{made:?}");
        self.postgres.url().replace("/postgres", &format!("/{name}")).replace("//saveos@", &format!("//{name}@"))
    }
}

const USUAL: &str = "ENCODING 'UTF8' LOCALE 'C'";

/// Runs the program; whether it did, and what it said.
fn run(url: Option<&str>, arguments: &[&str], paths: &[(&str, &Path)]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saveos-server"));
    command.args(arguments).env_remove("SAVEOS_DATABASE_URL").envs(url.map(|url| ("SAVEOS_DATABASE_URL", url)));
    for (option, path) in paths {
        command.arg(option).arg(path);
    }
    let output = command.output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn an_installation_moves_to_postgresql_and_back_and_keeps_everything() {
    let Some(place) = Place::new() else { return };
    let Some(mut server) = Server::in_a_file() else { return };
    let boxes = server.fleet(2);
    server.until("all is acknowledged", || boxes.iter().all(|one| one.level().waiting == 0).then_some(()));
    let tree = server.admin_get("/api/v1/nodes");
    server.stop();
    let (data, backup) = (server.data(), place.path("backup"));
    let done = |(well, said): (bool, String)| assert!(well, "{said}");
    done(run(None, &["backup"], &[("--data", &data), ("--to", &backup)]));
    let url = place.database("moved", USUAL);
    let moved = place.path("moved");
    done(run(Some(&url), &["restore"], &[("--from", &backup), ("--data", &moved)]));
    assert!(!moved.join("saveos.sqlite").exists(), "nobody could take it for the truth");
    done(run(Some(&url), &["doctor"], &[("--data", &moved)]));
    let superuser = url.replace("//moved@", "//saveos@");
    let (well, said) = run(Some(&superuser), &["doctor"], &[("--data", &moved)]);
    assert!(!well && said.contains("WRONG the user of the database: it is a superuser"), "{said}");

    // Over something that is there nothing is written, and a folder that lost its variable starts no second truth.
    let (well, said) = run(Some(&url), &["restore"], &[("--from", &backup), ("--data", &place.path("again"))]);
    assert!(!well && said.contains("not empty") && !place.path("again/config.json").exists(), "{said}");
    let (well, said) = run(None, &["run"], &[("--data", &moved)]);
    assert!(!well && said.contains("SAVEOS_DATABASE_URL") && said.lines().count() == 1, "{said}");
    let (well, said) = run(Some(&url), &["run"], &[("--data", &data)]);
    assert!(!well && said.contains("in its data folder"), "{said}");

    server.take_up(&moved, &url);
    server.start();
    assert_eq!(server.sign_in(ADMIN, &server.password()).get("/api/v1/nodes"), tree);
    boxes
        .iter()
        .for_each(|one| one.tell(saveos_protocol::fact::Body::Key(saveos_protocol::fact::KeyState::WordsShown)));
    server.until("boxes go on", || boxes.iter().all(|one| one.level().waiting == 0).then_some(()));
    server.compare(&boxes);
    let facts = server.facts();

    // And back, while it runs.
    let (again, back) = (place.path("backup-of-postgres"), place.path("back"));
    done(run(Some(&url), &["backup"], &[("--data", &moved), ("--to", &again)]));
    server.stop();
    done(run(None, &["restore"], &[("--from", &again), ("--data", &back)]));
    done(run(None, &["doctor"], &[("--data", &back)]));
    let db = rusqlite::Connection::open(back.join("saveos.sqlite")).expect("a database");
    let count = |table: &str| -> u64 {
        db.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).expect("a table")
    };
    assert_eq!((count("fact"), count("appliance"), count("account")), (facts.len() as u64, 2, 1));
}

#[test]
fn a_database_that_cannot_be_used_is_refused_in_one_line_that_says_why() {
    let Some(place) = Place::new() else { return };
    let refused = |url: &str, word: &str| {
        let data = place.path("data");
        let words = ["init", "--host", "localhost", "--organisation", "A test", "--admin", ADMIN];
        let (well, said) = run(Some(url), &words, &[("--data", &data)]);
        assert!(!well && said.contains(word), "{word}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!data.join("config.json").exists() && !said.contains("geheim"), "{said}");
    };
    refused("postgresql://saveos:geheim@127.0.0.1:1/saveos", "Connection refused");
    refused("postgresql://saveos:geheim@db.invalid/saveos", "sslmode=require");
    refused("mysql://saveos:geheim@localhost/saveos", "postgresql://user:password@host/name");
    refused(&place.postgres.url().replace("/postgres", "/nowhere"), "does not exist");
    refused(
        &place.database("sorted", "ENCODING 'UTF8' LOCALE 'C' ICU_LOCALE 'en' LOCALE_PROVIDER 'icu'"),
        "LOCALE 'C'",
    );
    refused(&place.database("ascii", "ENCODING 'SQL_ASCII' LOCALE 'C'"), "UTF8");

    // A newer release was here: it says from which step on one may work on it.
    let (url, data) = (place.database("newer", USUAL), place.path("newer"));
    let words = ["init", "--json", "--host", "localhost", "--organisation", "A test", "--admin", ADMIN];
    assert!(run(Some(&url), &words, &[("--data", &data)]).0);
    let sql = |text: &str| {
        let done = Command::new("psql").args(["-qX", "-d", &url, "-c", text]).output().expect("it runs");
        assert!(done.status.success(), "{done:?}");
    };
    sql(
        "INSERT INTO refinery_schema_history SELECT 900, name, applied_on, checksum FROM refinery_schema_history LIMIT 1",
    );
    let doctor = || run(Some(&url), &["doctor"], &[("--data", &data)]);
    // Another installation is made nowhere over it.
    let (well, said) = run(Some(&url), &words, &[("--data", &place.path("other"))]);
    assert!(!well && said.contains("not empty") && doctor().0, "{said}");
    assert!(doctor().0, "it only added: {}", doctor().1);
    let backup = run(Some(&url), &["backup"], &[("--data", &data), ("--to", &place.path("half"))]);
    assert!(!backup.0 && backup.1.contains("step 900"), "what it does not know it would leave out: {}", backup.1);
    sql("INSERT INTO compatible (step) VALUES (900)");
    let (well, said) = doctor();
    assert!(!well && said.contains("step 900") && said.contains("start the release"), "{said}");
    let (well, said) = run(Some(&url), &["run"], &[("--data", &data)]);
    assert!(!well && said.contains("step 900") && said.lines().count() == 1, "{said}");
}
