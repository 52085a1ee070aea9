//! A backup that was made while boxes reported becomes a control plane again, and boxes fill what it misses.

mod support;

use saveos_protocol::fact::{Body, KeyState};
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
    std::fs::remove_file(data.join("authority.key")).expect("it was there");
    assert!(doctor().1.contains("the authority's key is missing"), "{}", doctor().1);
    std::fs::remove_file(data.join("config.json")).expect("it was there");
    assert!(doctor().1.contains("run `saveos-server init` first"), "{}", doctor().1);
}
