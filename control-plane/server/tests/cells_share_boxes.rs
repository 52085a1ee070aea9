//! A second broker beside the first: new boxes go there, its end makes nobody deaf to the others, and its boxes come and go without a
//! fact lost.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use saveos_fleet_sim::{Appliance, Told};
use saveos_protocol::Topic;
use saveos_protocol::topic::Down;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::Person;
use support::parts::Parts;
use support::ports::free_port;
use support::traffic::something;

const NORTH: &str = "ingest:north";

/// A box that is where its desired document says.
fn join(parts: &Parts, person: &Person, site: &str) -> Arc<Appliance> {
    let (identity, enrolment) = parts.server.enrolled(person, site);
    let appliance = Appliance::new(identity, Duration::from_secs(1));
    appliance.follow_brokers();
    parts.server.runtime.spawn(Arc::clone(&appliance).run(enrolment));
    appliance
}

/// What `cell list` says of one of them.
#[track_caller]
fn cell(parts: &Parts, name: &str) -> Value {
    let (done, said) = parts.server.command(&["cell", "list", "--json"]);
    assert!(done, "{said}");
    let cells: Vec<Value> = serde_json::from_str(&said).expect("JSON");
    cells.into_iter().find(|cell| cell["name"] == name).expect("it is listed")
}

#[track_caller]
fn does(parts: &Parts, arguments: &[&str]) {
    let (done, said) = parts.server.command(&[&["cell"], arguments].concat());
    assert!(done, "{said}");
}

#[track_caller]
fn is_refused(parts: &Parts, arguments: &[&str], because: &str) {
    let (done, said) = parts.server.command(&[&["cell"], arguments].concat());
    assert!(!done && said.contains(because), "{said}");
}

/// Boxes of which `one` is heard in that cell.
fn heard_in(parts: &Parts, boxes: &[Arc<Appliance>], cell: &str) -> bool {
    boxes.iter().all(|one| {
        let device = one.identity().device;
        parts.server.db().one(&format!("SELECT heard_in FROM appliance WHERE id = '{device}' AND heard_ms > 0")) == cell
    })
}

fn tell_all(boxes: &[Arc<Appliance>], size: u64) {
    boxes.iter().for_each(|one| one.tell(something(size)));
}

#[track_caller]
fn settle(parts: &Parts, boxes: &[Arc<Appliance>]) {
    parts.server.until("all is acknowledged", || boxes.iter().all(|one| one.level().waiting == 0).then_some(()));
}

fn is_online(person: &Person, one: &Arc<Appliance>) -> bool {
    person.get(&format!("/api/v1/appliances/{}", one.identity().device))["presence"] == "online"
}

struct North {
    port: String,
    state: tempfile::TempDir,
}

impl North {
    fn begin(&self, parts: &mut Parts) {
        let state = self.state.path().to_str().expect("a path");
        parts.begin_as("north-broker", &["--role", "broker", "--cell", "north", "--state", state]);
        for name in ["north-one", "north-two"] {
            parts.begin_as(name, &["--role", "worker", "--cell", "north"]);
        }
    }

    /// Its host is gone, with all that ran there.
    fn die(&self, parts: &mut Parts) {
        for name in ["north-broker", "north-one", "north-two"] {
            parts.kill(name);
        }
        let pid = std::fs::read_to_string(self.state.path().join("broker/pid")).expect("it ran");
        let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("a process");
        kill_process(pid, Signal::KILL).expect("it runs");
    }
}

#[test]
fn a_cell_takes_boxes_loses_its_broker_and_gives_them_back() {
    let Some(mut parts) = Parts::new() else { return };
    let person = parts.server.admin();
    let site = parts.server.site(&person, "a site");
    let of_main: Vec<_> = (0..3).map(|_| join(&parts, &person, &site)).collect();
    let north = North { port: free_port().to_string(), state: tempfile::tempdir().expect("a folder") };

    // What makes no sense is refused, and a process of a cell that nobody added does not start.
    is_refused(&parts, &["close", "main"], "new boxes would have nowhere to go");
    is_refused(&parts, &["remove", "main"], "cannot be removed");
    is_refused(&parts, &["open", "south"], "there is no cell `south`");
    is_refused(&parts, &["add", "south", "--host", "not a host"], "no name of a host");
    is_refused(&parts, &["add", "South", "--host", "localhost"], "small letters");
    let (done, said) = parts.server.command(&["run", "--role", "worker", "--cell", "south", "--replica", "lost"]);
    assert!(!done && said.contains("there is no cell `south`"), "{said}");
    let (done, said) = parts.server.command(&["run", "--cell", "south", "--replica", "lost"]);
    assert!(!done && said.contains("the API is of no cell"), "{said}");

    does(&parts, &["add", "north", "--host", "localhost", "--port", &north.port]);
    north.begin(&mut parts);
    parts.server.until("the new cell is heard", || (cell(&parts, "north")["connected"] == true).then_some(()));
    is_refused(&parts, &["add", "north", "--host", "elsewhere"], "already");
    assert_eq!(cell(&parts, "north")["open"], false, "no box goes where nobody hears it");
    does(&parts, &["open", "north"]);
    // The emptier one has them, until it has as many.
    let of_north: Vec<_> = (0..3).map(|_| join(&parts, &person, &site)).collect();
    tell_all(&of_main, 1);
    tell_all(&of_north, 1);
    settle(&parts, &of_main);
    settle(&parts, &of_north);
    assert!(heard_in(&parts, &of_main, "main") && heard_in(&parts, &of_north, "north"));
    assert_eq!((cell(&parts, "main")["boxes"].clone(), cell(&parts, "north")["boxes"].clone()), (json!(3), json!(3)));
    is_refused(&parts, &["remove", "north"], "3 boxes belong to `north`");

    // A command, and the end of trust, through a replica that is of no cell.
    let path = |one: &Arc<Appliance>, what: &str| format!("/api/v1/appliances/{}{what}", one.identity().device);
    let (status, made) = person.ask("POST", &path(&of_north[0], "/commands"), &json!({ "type": "rescan", "args": {} }));
    assert_eq!(status, 202, "{made}");
    let is_command = |told: &Told| matches!(told.topic, Topic::Down(_, Down::Command));
    parts.server.until("the box is told", || of_north[0].told().iter().any(is_command).then_some(()));
    let begun = Instant::now();
    let (status, said) = person.ask("POST", &path(&of_north[2], "/revoke"), &Value::Null);
    assert_eq!(status, 200, "{said}\n{}", parts.server.log());
    println!("a box of the other cell was cut off after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(5));
    parts.server.until("it is off", || (!of_north[2].is_online()).then_some(()));
    let of_north = &of_north[..2];

    // The worker that hears it dies: the other one of that cell takes over, and the first cell notices nothing.
    let (first, of_the_first) = (parts.holds(NORTH).expect("it is heard"), parts.hears());
    parts.kill(first);
    tell_all(of_north, 2);
    settle(&parts, of_north);
    assert!(parts.holds(NORTH) != Some(first) && parts.hears() == of_the_first);
    parts.begin_as(first, &["--role", "worker", "--cell", "north"]);

    // All of it dies: its boxes go to the first cell, and everybody is online.
    north.die(&mut parts);
    tell_all(of_north, 3);
    tell_all(&of_main, 3);
    settle(&parts, &of_main);
    settle(&parts, of_north);
    assert!(heard_in(&parts, of_north, "main"));
    assert!(of_main.iter().chain(of_north).all(|one| is_online(&person, one)));
    let told = of_north[0].told().iter().filter(|told| is_command(told)).count();
    let (status, made) = person.ask("POST", &path(&of_north[0], "/commands"), &json!({ "type": "rescan", "args": {} }));
    assert_eq!(status, 202, "{made}");
    parts.server.until("the box is told where it is", || {
        (of_north[0].told().iter().filter(|told| is_command(told)).count() > told).then_some(())
    });
    // Nobody can say that a box is locked out of a broker that does not answer.
    let (status, _) = person.ask("POST", &path(&of_main[2], "/revoke"), &Value::Null);
    assert_eq!(status, 503);
    let of_main = &of_main[..2];

    // It comes back: what was written meanwhile holds there before anybody is let in. Then all go there, and back.
    north.begin(&mut parts);
    parts.server.until("it is heard again", || (parts.holds(NORTH).is_some()).then_some(()));
    let all: Vec<_> = of_main.iter().chain(of_north).cloned().collect();
    does(&parts, &["move", "--from", "main", "--to", "north"]);
    for one in of_north {
        one.unplug();
    }
    parts.server.until("all of the first are in the other", || heard_in(&parts, of_main, "north").then_some(()));
    tell_all(of_main, 4);
    settle(&parts, of_main);
    does(&parts, &["close", "north"]);
    does(&parts, &["move", "--from", "north", "--to", "main"]);
    parts.server.until("all are back", || heard_in(&parts, of_main, "main").then_some(()));
    tell_all(of_main, 5);
    settle(&parts, of_main);
    assert_eq!(cell(&parts, "north")["boxes"], 0);
    parts
        .server
        .compare_those(&all, |entry| all.iter().any(|one| one.ledger().iter().any(|own| own.stream == entry.stream)));
    does(&parts, &["remove", "north"]);
    assert_eq!(parts.server.db().one("SELECT COUNT(*) FROM cell"), "1");
}
