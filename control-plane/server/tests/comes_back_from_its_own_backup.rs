//! A backup that was made while boxes reported becomes a control plane again, and boxes fill what it misses.

mod support;

use saveos_protocol::fact::{Body, KeyState};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use support::Server;

fn run(server: &Server, arguments: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saveos-server"));
    command.args(arguments).envs(server.environment.iter().cloned());
    for (option, path) in paths {
        command.arg(option).arg(path);
    }
    command.output().expect("it starts")
}

fn put(path: &Path, text: &str) {
    std::fs::File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("room");
}

#[test]
fn boxes_fill_what_a_backup_misses() {
    let Some(mut server) = Server::new() else { return };
    let boxes = server.fleet(2);
    let data = server.data();
    let (backup, elsewhere) = (data.with_extension("backup"), data.with_extension("lost"));
    let tell =
        |count: usize| (0..count).for_each(|_| boxes.iter().for_each(|one| one.tell(Body::Key(KeyState::WordsShown))));
    tell(10);
    server.until("all is acknowledged", || boxes.iter().all(|one| one.level().waiting == 0).then_some(()));
    let made = run(&server, &["backup"], &[("--data", &data), ("--to", &backup)]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    tell(10);
    server.until("all is acknowledged", || boxes.iter().all(|one| one.level().waiting == 0).then_some(()));

    // Over something that is there nothing is written.
    let again = run(&server, &["backup"], &[("--data", &data), ("--to", &backup)]);
    let over = run(&server, &["restore"], &[("--from", &backup), ("--data", &data)]);
    assert!(!again.status.success() && !over.status.success());

    server.stop();
    rustix::fs::rename(&data, &elsewhere).expect("room");
    server.move_to_a_new_database();
    let restored = run(&server, &["restore"], &[("--from", &backup), ("--data", &data)]);
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert!(run(&server, &["doctor"], &[("--data", &data)]).status.success());
    server.start();
    server.until("what is missing comes", || (server.facts().len() == 2 * 21).then_some(()));
    server.until("all is acknowledged", || boxes.iter().all(|one| one.level().waiting == 0).then_some(()));
    server.compare(&boxes);
    // The same people, the same passwords.
    server.admin();
}

/// As the runbook has it every night, and once a quarter back.
#[test]
fn a_backup_that_was_encrypted_on_the_way_comes_back() {
    let Some(mut server) = Server::new() else { return };
    let data = server.data();
    let (key, kept) = (data.with_extension("identity"), data.with_extension("kept"));
    let program = Path::new(env!("CARGO_BIN_EXE_saveos-server"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/backup.sh");
    let run = |server: &Server, data: &Path, text: &str| {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", text, "bash"]).arg(data).arg(&key).arg(&kept).arg(&script);
        let path = [program.parent().expect("a folder"), Path::new("/usr/bin"), Path::new("/bin")];
        command.env("PATH", std::env::join_paths(path).expect("a path")).envs(server.environment.iter().cloned());
        let output = command.output().expect("it starts");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let files = || {
        let found = std::fs::read_dir(&kept).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut found: Vec<_> = found.collect();
        found.sort();
        found
    };
    let tree = server.admin_get("/api/v1/nodes");
    let before = r#"mkdir "$3"; age-keygen -o "$2" 2>/dev/null; age-keygen -y "$2" >"$2.recipients"
        touch -d "40 days ago" "$3/saveos-2020-01-01T00-00-00Z.tar.age""#;
    assert!(run(&server, &data, before).0);
    let night = r#""$4" "$1" "$2.recipients" "$3" 30"#;
    let (well, said) = run(&server, &data.with_extension("nowhere"), night);
    assert!(!well && said.contains("is not set up"), "{said}");
    assert_eq!(files().len(), 1, "what is old stays while there is nothing new, and nothing half is left");
    let (well, said) = run(&server, &data, night);
    assert!(well, "{said}");
    let [sealed] = files().try_into().expect("the new one, and the old one no more");
    let bytes = std::fs::read(&sealed).expect("it was written");
    assert!(bytes.len() > 100_000 && !bytes.windows(11).any(|window| window == b"PRIVATE KEY"), "{}", bytes.len());

    server.stop();
    rustix::fs::rename(&data, data.with_extension("lost")).expect("room");
    server.move_to_a_new_database();
    let back = r#"age --decrypt -i "$2" "$3"/*.age | saveos-server restore --from - --data "$1""#;
    // Cut off on its way, it is no backup, and nothing is made of it.
    let half = std::fs::File::options().write(true).open(&sealed).expect("a file");
    half.set_len(bytes.len() as u64 - 70_000).expect("it shrinks");
    assert!(!run(&server, &data, back).0 && !data.join("config.json").exists());
    std::fs::File::create(&sealed).and_then(|mut file| std::io::Write::write_all(&mut file, &bytes)).expect("room");
    let (well, said) = run(&server, &data, back);
    assert!(well, "{said}");
    server.start();
    assert_eq!(server.admin_get("/api/v1/nodes"), tree);
}

#[test]
fn a_doctor_says_what_is_wrong() {
    let Some(mut server) = Server::new() else { return };
    server.stop();
    let data = server.data();
    let doctor = || {
        let output = run(&server, &["doctor"], &[("--data", &data)]);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(doctor().0, "{}", doctor().1);
    server.db().run("UPDATE audit SET who = 'nobody' WHERE n = 1");
    let (well, said) = doctor();
    assert!(!well && said.contains("changed at row 1"), "{said}");
    // A doctor that is newer than the database leaves it as it is.
    let db = server.db();
    let last = "(SELECT MAX(version) FROM refinery_schema_history)";
    db.run(&format!("CREATE TABLE forgotten AS SELECT * FROM refinery_schema_history WHERE version = {last}"));
    db.run("DELETE FROM refinery_schema_history WHERE version IN (SELECT version FROM forgotten)");
    let before = db.one("SELECT COUNT(*) FROM refinery_schema_history");
    let (well, said) = doctor();
    assert!(!well && said.contains("`saveos-server migrate`"), "{said}");
    assert_eq!(db.one("SELECT COUNT(*) FROM refinery_schema_history"), before);
    db.run("INSERT INTO refinery_schema_history SELECT * FROM forgotten");
    db.run("DROP TABLE forgotten");
    drop(db);

    // What is dated and what belongs together: the program that runs says it in the same words, and starts nothing.
    let [key, good] =
        ["authority.key", "authority.pem"].map(|name| std::fs::read_to_string(data.join(name)).expect("it was made"));
    let own = rcgen::KeyPair::from_pem(&key).expect("a key");
    let mut dated = rcgen::CertificateParams::default();
    (dated.not_before, dated.not_after) = (rcgen::date_time_ymd(2016, 1, 1), rcgen::date_time_ymd(2026, 1, 1));
    let mut early = dated.clone();
    (early.not_before, early.not_after) = (rcgen::date_time_ymd(2126, 1, 1), rcgen::date_time_ymd(2136, 1, 1));
    let other = rcgen::KeyPair::generate().expect("a key");
    for (pem, wrong) in [
        (dated.self_signed(&own), "the authority's certificate ended on 2026-01-01"),
        (early.self_signed(&own), "set the clock"),
        (rcgen::CertificateParams::default().self_signed(&other), "is not of its key"),
    ] {
        put(&data.join("authority.pem"), &pem.expect("a certificate").pem());
        let (well, said) = doctor();
        assert!(!well && said.contains(wrong), "{said}");
        let output = run(&server, &["run"], &[("--data", &data)]);
        let said = String::from_utf8_lossy(&output.stderr);
        let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(!output.status.success() && error.contains(wrong), "{said}");
    }
    put(&data.join("authority.pem"), &good);

    std::fs::remove_file(data.join("authority.key")).expect("it was there");
    assert!(doctor().1.contains("the authority's key is missing"), "{}", doctor().1);
    std::fs::remove_file(data.join("config.json")).expect("it was there");
    assert!(doctor().1.contains("run `saveos-server init` first"), "{}", doctor().1);
}
