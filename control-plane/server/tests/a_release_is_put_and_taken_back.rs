//! `cargo xtask deploy` with real processes in parts on one PostgreSQL, while boxes report and a person looks: a release is put in the
//! place of another; one that does not work, in whichever way, is taken back by nobody's hand; what cannot work is not put at all.

mod support;

use saveos_fleet_sim::Appliance;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::balancer::Balancer;
use support::bucket::Bucket;
use support::ports::free_row;
use support::postgres::Postgres;
use support::redis::Redis;
use support::traffic::Traffic;
use support::{ADMIN, Server};

const OURS: &str = env!("CARGO_PKG_VERSION");
/// Of the guide: a way back takes no longer.
const WAY_BACK_S: f64 = 180.0;

struct Installation {
    server: Server,
    _balancer: Balancer,
    _redis: Redis,
    _bucket: Bucket,
    // Last: what stands on it ends first.
    folder: tempfile::TempDir,
    _postgres: Postgres,
}

impl Installation {
    /// As in production: replicas behind HAProxy, PostgreSQL, Redis, a bucket. `None` where one of them is missing.
    fn new() -> Option<Installation> {
        let open = std::fs::Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().permissions(open).tempdir().expect("a folder");
        let Some(postgres) = Postgres::start(&folder.path().join("postgres")).expect("it starts") else {
            println!("SKIPPED: no postgresql");
            return None;
        };
        let (redis, bucket) = (Redis::start()?, Bucket::start()?);
        let (api, metrics) = (free_row(2), free_row(5));
        let balancer = Balancer::start(&[(api, metrics), (api + 1, metrics + 1)])?;
        let mut server = Server::in_parts(&postgres, balancer.port)?;
        server.environment.push(("SAVEOS_REDIS_URL", redis.url()));
        server.environment.extend(bucket.environment());
        server.environment.push(("SAVEOS_OBJECTS", "s3://releases/ours".to_owned()));
        let environments = format!(
            "here:\n  server: https://localhost:{}\n  expect: 2000\n  runs: {{ processes: {{ api: {api}, metrics: {metrics} }} }}\n  \
             parts: {{ api: 2, worker: 2, broker: 1 }}\n",
            balancer.port
        );
        put(&folder.path().join("environments.yml"), &environments);
        symlink(server.data(), folder.path().join("data")).expect("a folder");
        Some(Installation { server, _balancer: balancer, _redis: redis, _bucket: bucket, folder, _postgres: postgres })
    }

    /// Makes a build there is to put.
    fn release(&self, version: &str, script: Option<&str>) {
        let program = self.program(version);
        std::fs::create_dir_all(program.parent().expect("a folder")).expect("room");
        match script {
            None => symlink(ours("saveos-server"), program).expect("room"),
            Some(script) => {
                put(&program, script);
                std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
            }
        }
    }

    fn program(&self, version: &str) -> PathBuf {
        self.folder.path().join("releases").join(version).join("saveos-server")
    }

    /// What became of it, and what a person read.
    fn task(&self, task: &str, version: &str) -> (Value, String) {
        let report = self.folder.path().join("report.json");
        let _ = std::fs::remove_file(&report);
        let mut command = Command::new(ours("xtask"));
        command.args([task, "--env", "here", "--version", version, "--json"]).arg(&report);
        command.env("SAVEOS_ENVIRONMENTS", self.folder.path().join("environments.yml"));
        command.env("SAVEOS_DEPLOY_FOLDER", self.folder.path());
        command.env("SAVEOS_SMOKE_PROGRAM", ours("saveos-smoke"));
        command.env("SAVEOS_SMOKE_AUTHORITY", self.server.data().join("authority.pem"));
        command.env("SAVEOS_SMOKE_EMAIL", ADMIN).env("SAVEOS_PASSWORD", self.server.password());
        let output = command.envs(self.server.environment.iter().cloned()).output().expect("it starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        println!("{said}");
        let Ok(text) = std::fs::read_to_string(&report) else { return (Value::Null, said) };
        let report: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(output.status.success(), report["outcome"] == "serves", "{report}");
        (report, said)
    }

    /// Every process: its name, its number, and the build that it is of.
    fn processes(&self) -> Vec<(String, u32, String)> {
        let entries = std::fs::read_dir(self.folder.path().join("run")).expect("it was put");
        let mut all: Vec<(String, u32, String)> = entries
            .map(|entry| {
                let path = entry.expect("readable").path();
                let text = std::fs::read_to_string(&path).expect("readable");
                let pid = text.split(' ').next().expect("a number").parse().expect("a number");
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
                let line = String::from_utf8_lossy(&line).into_owned();
                let program = Path::new(line.split('\0').next().expect("a program")).parent().expect("a folder");
                let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
                (name(&path), pid, name(program))
            })
            .collect();
        all.sort();
        all
    }

    fn is_all(&self, version: &str) {
        let all = self.processes();
        let names: Vec<&str> = all.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["api-1", "api-2", "broker-1", "worker-1", "worker-2"]);
        assert!(all.iter().all(|(.., build)| build == version), "{all:?}");
        let serves = std::fs::read_to_string(self.folder.path().join("serves")).expect("it was put");
        assert_eq!(serves.trim(), version);
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.folder.path().join("run")) else { return };
        for text in entries.flatten().flat_map(|entry| std::fs::read_to_string(entry.path())) {
            let pid = text.split(' ').next().unwrap_or_default();
            let _ = Command::new("kill").args(["-KILL", pid]).status();
        }
        self.server.kill_broker();
    }
}

/// A program of this tree, beside the server.
fn ours(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_saveos-server")).with_file_name(name);
    assert!(path.exists(), "cargo build --locked --workspace --bins");
    path
}

fn put(path: &Path, text: &str) {
    std::fs::File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("room");
}

#[test]
fn what_works_serves_and_what_does_not_is_taken_back_while_people_are_served() {
    let Some(here) = Installation::new() else { return };
    here.release(OURS, None);
    let (report, said) = here.task("deploy", OURS);
    assert_eq!((&report["outcome"], &report["from"]), (&"serves".into(), &Value::Null), "{report}");
    assert!(said.contains("there and back in"), "it was asked: {said}");
    here.is_all(OURS);

    let boxes = here.server.fleet(how_many());
    let admin = here.server.admin();
    let traffic = Traffic::begin(&boxes, here.server.place(), admin.token.clone());

    // The same program under a number that it does not have: all parts run it, and the question from outside finds it out.
    here.release("99.0.0", None);
    let (report, said) = here.task("deploy", "99.0.0");
    assert_eq!((&report["outcome"], &report["from"]), (&"taken_back".into(), &OURS.into()), "{report}");
    println!("taken back after {} s, noticed after {} s", report["back_s"], report["forward_s"]);
    assert!(report["back_s"].as_f64().expect("a time") < WAY_BACK_S, "{report}");
    assert!(said.contains(&format!("{OURS} runs, not 99.0.0; {OURS} serves again")), "{said}");
    here.is_all(OURS);

    // One that does not start: the first process tells it, and nobody else is touched.
    let before = here.processes();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = migrate ] && exit 0\n[ \"$1\" = probe ] && exec {} \"$@\"\necho 'no config of mine' >&2\nexit 3\n",
        ours("saveos-server").display()
    );
    here.release("99.0.1", Some(&script));
    let (report, said) = here.task("deploy", "99.0.1");
    assert_eq!(report["outcome"], "taken_back", "{report}");
    assert!(said.contains("no config of mine"), "the reason is its last word: {said}");
    here.is_all(OURS);
    assert_eq!(here.processes()[2..], before[2..], "no worker and no broker was touched");

    // A step of the schema that fails: it is there already, and the history forgot it.
    let before = here.processes();
    let db = here.server.db();
    let last = db.one("SELECT CAST(MAX(version) AS BIGINT) FROM refinery_schema_history");
    db.run(&format!("CREATE TABLE forgotten AS SELECT * FROM refinery_schema_history WHERE version = {last}"));
    db.run("DELETE FROM refinery_schema_history WHERE version IN (SELECT version FROM forgotten)");
    here.release("99.0.2", None);
    let (report, said) = here.task("deploy", "99.0.2");
    assert!(said.contains("already exists"), "{said}");
    assert_eq!(report["outcome"], "refused", "{report}");
    assert_eq!(here.processes(), before, "the old one serves");
    db.run("INSERT INTO refinery_schema_history SELECT * FROM forgotten");
    db.run("DROP TABLE forgotten");

    // What is not there, what is not older.
    assert_eq!(here.task("deploy", "98.0.0").0["outcome"], "refused");
    let (report, said) = here.task("rollback", "99.0.0");
    assert!(report.is_null() && said.contains("is not older"), "{said}");
    assert_eq!(here.processes(), before);

    // The same build once more, as after a new secret: every process is another.
    let (report, _) = here.task("deploy", OURS);
    assert_eq!(report["outcome"], "serves", "{report}");
    here.is_all(OURS);
    assert!(here.processes().iter().zip(&before).all(|(now, then)| now.1 != then.1));
    // For the dashboard; but for the one whose step of the schema was missing, where nothing can be written down.
    let kept = here
        .server
        .db()
        .rows("SELECT outcome, COUNT(*), COUNT(back_ms) FROM deployment GROUP BY outcome ORDER BY outcome");
    assert_eq!(kept, [["refused", "1", "0"], ["serves", "2", "0"], ["taken_back", "2", "2"]]);
    at_the_end(&here, traffic, &boxes);
}

/// Up, back, and up again, while boxes report: ours in both places, or `SAVEOS_TEST_OLDER=/path/to/saveos-server` in one.
#[test]
fn one_release_and_another_take_each_others_place() {
    let older = std::env::var_os("SAVEOS_TEST_OLDER").map_or_else(|| ours("saveos-server"), PathBuf::from);
    let Some(here) = Installation::new() else { return };
    // Both may have the same number, as commits between two releases do: they are called after commits, and asked for no number.
    let (old, new) = ("sha-0000001", "sha-0000002");
    here.release(new, None);
    let script = format!(
        "#!/bin/sh\n# The first release has no such step.\n[ \"$1\" = migrate ] && exit 0\nexec {} \"$@\"\n",
        older.display()
    );
    here.release(old, Some(&script));
    let put = |tag: &str| {
        let (report, _) = here.task("deploy", tag);
        assert_eq!(report["outcome"], "serves", "{report}");
    };
    put(old);
    let boxes = here.server.fleet(how_many());
    let admin = here.server.admin();
    let traffic = Traffic::begin(&boxes, here.server.place(), admin.token.clone());
    [new, old, new].into_iter().for_each(put);
    at_the_end(&here, traffic, &boxes);
}

/// Four, or as many as a person wants to see: `SAVEOS_TEST_BOXES=2000`.
fn how_many() -> usize {
    std::env::var("SAVEOS_TEST_BOXES").map_or(4, |text| text.parse().expect("a number"))
}

/// No fact was lost or counts twice, and nobody was answered that something does not work.
fn at_the_end(here: &Installation, traffic: Traffic, boxes: &[Arc<Appliance>]) {
    let answers = traffic.end();
    here.server.until("all is acknowledged", || boxes.iter().all(|one| one.level().waiting == 0).then_some(()));
    // The box that asks whether all works told something as well.
    let streams: BTreeSet<_> = boxes.iter().flat_map(|one| one.ledger()).map(|entry| entry.stream).collect();
    here.server.compare_those(boxes, |entry| streams.contains(&entry.stream));
    let wrong: Vec<&(u16, String)> = answers.iter().filter(|(status, _)| *status != 200).collect();
    println!("{} answers, {} of them not 200", answers.len(), wrong.len());
    assert!(answers.len() > 20 && wrong.is_empty(), "{} answers: {wrong:?}", answers.len());
}
