//! An installation in parts on one PostgreSQL: replicas of the API behind a load balancer, two workers, a broker. Whichever of them
//! dies, in the end the database holds what boxes told, each fact once, and people were answered.

mod support;

use saveos_fleet_sim::smoke::{self, Target};
use saveos_fleet_sim::{Appliance, Place, Told};
use saveos_protocol::Topic;
use saveos_protocol::topic::Down;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use support::ADMIN;
use support::parts::Parts;
use support::ports::free_port;
use support::traffic::{Traffic, something};

/// The data of live facts at one replica.
fn follow(place: &Place, token: &str, kind: &str) -> Receiver<Value> {
    let (sender, events) = channel();
    let stream = place.stream(&format!("/api/v1/events?kinds={kind}"), token, None).expect("a stream");
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some(data) = line.strip_prefix("data: ")
                && sender.send(serde_json::from_str(data).expect("JSON")).is_err()
            {
                return;
            }
        }
    });
    events
}

#[test]
fn whichever_part_dies_nothing_is_lost_and_nothing_counts_twice() {
    let Some(mut parts) = Parts::new() else { return };
    let boxes = parts.server.fleet(how_many());
    let settle = |parts: &Parts| {
        parts.server.until("all is acknowledged", || boxes.iter().all(|one| one.level().waiting == 0).then_some(()));
    };
    let admin = parts.server.admin();
    let traffic = Traffic::begin(&boxes, parts.server.place(), admin.token.clone());

    // A replica dies, another is told to end: the balancer has the other one.
    parts.kill("left");
    std::thread::sleep(Duration::from_millis(500));
    parts.begin("left");
    parts.ready();
    parts.stop("right");
    std::thread::sleep(Duration::from_millis(500));
    parts.begin("right");
    parts.ready();
    works(&parts, "after both replicas were replaced");

    // Nothing rests on Redis.
    parts.redis.kill();
    works(&parts, "without Redis");

    // The worker that hears ends: the other one hears at once. It dies: as soon as its lease is over.
    let first = parts.hears().expect("somebody hears");
    let begun = Instant::now();
    parts.stop(first);
    let second = parts.server.until("the other hears", || parts.hears().filter(|name| *name != first));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    parts.begin(first);
    settle_while_told(&parts, &boxes);
    let begun = Instant::now();
    parts.kill(second);
    parts.server.until("the first hears again", || parts.hears().filter(|name| *name == first));
    println!("a worker that was killed is replaced after {:?}", begun.elapsed());
    parts.begin(second);
    works(&parts, "after a worker was killed");

    // The database is restarted, and stays away for a while.
    parts.postgres.end().expect("it ends");
    std::thread::sleep(Duration::from_secs(3));
    parts.postgres.begin().expect("it starts");
    settle_while_told(&parts, &boxes);
    works(&parts, "after the database came back");

    parts.redis.begin();
    // The broker dies with all it has in memory.
    parts.kill("broker");
    parts.server.kill_broker();
    parts.begin("broker");
    settle_while_told(&parts, &boxes);
    works(&parts, "after the broker was killed");

    let answers = traffic.end();
    settle(&parts);
    // The boxes that ask whether all works told something as well.
    let streams: BTreeSet<_> = boxes.iter().flat_map(|one| one.ledger()).map(|entry| entry.stream).collect();
    parts.server.compare_those(&boxes, |entry| streams.contains(&entry.stream));
    let failed: Vec<&(u16, String)> = answers.iter().filter(|(status, _)| *status != 200).collect();
    println!("{} of {} answers say that the database is away", failed.len(), answers.len());
    assert!(answers.len() > 100, "{}", answers.len());
    // One person asks one thing at a time, and the database went away once.
    assert!(failed.len() <= 1 && failed.iter().all(|(status, _)| *status == 503), "{failed:?}");
}

/// Whoever asks from outside, as after a deployment, finds nothing wrong.
#[track_caller]
fn works(parts: &Parts, when: &str) {
    let target = Target {
        server: parts.server.url(""),
        authority: parts.server.authority(),
        email: ADMIN.to_owned(),
        password: parts.server.password(),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        site: None,
        route: None,
        metrics: None,
        budget: Duration::from_secs(5),
    };
    let checks = smoke::run(&target);
    let wrong: Vec<_> =
        checks.iter().filter(|check| check.outcome.is_err()).map(|check| (check.name, &check.outcome)).collect();
    assert!(wrong.is_empty(), "{when}: {wrong:?}\n{}", parts.server.log());
}

/// Six, or as many as a person wants to see: `SAVEOS_TEST_BOXES=2000`.
fn how_many() -> usize {
    std::env::var("SAVEOS_TEST_BOXES").map_or(6, |text| text.parse().expect("a number"))
}

/// For as long as boxes tell there is always something on its way; so it is what they had told a moment ago.
#[track_caller]
fn settle_while_told(parts: &Parts, boxes: &[Arc<Appliance>]) {
    let told: usize = boxes.iter().map(|one| one.ledger().len()).sum();
    parts.server.until("what was told is held", || {
        let held: usize = parts.server.db().one("SELECT COUNT(*) FROM fact").parse().expect("a number");
        (held >= told).then_some(())
    });
}

#[test]
fn what_is_done_at_one_replica_reaches_boxes_and_is_seen_at_the_other() {
    let Some(parts) = Parts::new() else { return };
    let boxes = parts.server.fleet(3);
    let [left, right] = parts.https.map(|port| parts.person_at(port));
    let path = |one: &Arc<Appliance>, what: &str| format!("/api/v1/appliances/{}{what}", one.identity().device);
    for person in [&left, &right] {
        parts.server.until("both replicas know that it is online", || {
            (person.get(&path(&boxes[0], ""))["presence"] == "online").then_some(())
        });
    }
    // A fact: every replica's browsers see it, whichever worker took it in.
    let seen = [&left, &right].map(|person| follow(person.place(), &person.token, "store_capacity"));
    boxes[0].tell(something(77));
    for events in seen {
        let event = events.recv_timeout(Duration::from_secs(10)).expect("an event");
        assert_eq!(event["body"]["size_bytes"], 77, "{event}");
    }
    // What is not kept is told in a moment as well.
    let seen = [&left, &right].map(|person| follow(person.place(), &person.token, "presence"));
    boxes[1].unplug();
    for events in seen {
        let event = events.recv_timeout(Duration::from_secs(10)).expect("an event");
        assert_eq!(event["kind"], "presence", "{event}");
    }
    // A command, from a process that has no session with the broker.
    let (status, made) = left.ask("POST", &path(&boxes[0], "/commands"), &json!({ "type": "rescan", "args": {} }));
    assert_eq!(status, 202, "{made}");
    let begun = Instant::now();
    let is_command = |told: &Told| matches!(told.topic, Topic::Down(_, Down::Command));
    parts.server.until("the box is told", || boxes[0].told().iter().any(is_command).then_some(()));
    println!("a command took {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(5), "not with the next time that commands are sent again");
    let listed = right.get(&path(&boxes[0], "/commands"));
    assert_eq!(listed["items"][0]["id"], made["id"], "{listed}");
    // The end of trust: the process with the broker cuts the session, and says so to the one that was asked.
    let begun = Instant::now();
    assert_eq!(left.ask("POST", &path(&boxes[2], "/revoke"), &Value::Null).0, 200);
    println!("a box was cut off after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(5));
    parts.server.until("it is off", || (!boxes[2].is_online()).then_some(()));
    let told = boxes[2].ledger().len();
    boxes[2].tell(something(78));
    std::thread::sleep(Duration::from_secs(2));
    let held: usize = parts.server.facts().len();
    assert!(boxes[2].level().waiting > 0 && held <= boxes[0].ledger().len() + boxes[1].ledger().len() + told, "{held}");
}

#[test]
fn passwords_are_guessed_no_faster_at_many_replicas() {
    let Some(mut parts) = Parts::new() else { return };
    let places = parts.https.map(|port| Place::new(&format!("https://localhost:{port}"), &parts.server.authority()));
    let wrong = |place: &Place, who: &str| {
        let body = json!({ "email": who, "password": "not the one that it is" }).to_string();
        let headers = [("content-type", "application/json")];
        place.request("POST", "/api/v1/login", &headers, body.as_bytes()).expect("an answer").0
    };
    let statuses: Vec<u16> = (0..6).map(|turn| wrong(&places[turn % 2], "one@example.org")).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429], "five, wherever they are made");
    // Without Redis a replica counts by itself, and still answers.
    parts.redis.kill();
    let statuses: Vec<u16> = (0..12).map(|turn| wrong(&places[turn % 2], "two@example.org")).collect();
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 2]].concat());
}

#[test]
fn behind_a_proxy_of_ours_wrong_passwords_are_those_of_whoever_asks() {
    let Some(mut parts) = Parts::new() else { return };
    let port = free_port();
    let behind = ["--role", "api", "--proxy", "127.0.0.1/32", "--https-port", &port.to_string()];
    parts.begin_as("third", &behind);
    let here = |port: u16| Place::new(&format!("https://localhost:{port}"), &parts.server.authority());
    let (behind, before) = (here(port), here(parts.https[0]));
    parts.server.until("it is ready", || {
        behind.request("GET", "/readyz", &[], b"").is_ok_and(|(status, _)| status == 200).then_some(())
    });
    // Each time another account, so that only the address counts.
    let mut names = 0;
    let mut wrong = |place: &Place, from: &str| {
        names += 1;
        let body = json!({ "email": format!("{names}@example.org"), "password": "not the one that it is" }).to_string();
        let headers = [("content-type", "application/json"), ("x-forwarded-for", from)];
        place.request("POST", "/api/v1/login", &headers, body.as_bytes()).expect("an answer").0
    };
    let statuses: Vec<u16> = (0..51).map(|_| wrong(&behind, "198.51.100.1, 203.0.113.9")).collect();
    assert_eq!(statuses, [[401; 50].as_slice(), &[429]].concat());
    assert_eq!(wrong(&behind, "203.0.113.10"), 401, "another person is not in the way of it");
    assert_eq!(wrong(&behind, "203.0.113.10, 203.0.113.9"), 429, "what he wrote himself is not believed");
    // Where no proxy is named nobody is believed: these all come from here, whatever they say.
    let statuses: Vec<u16> = (0..51).map(|turn| wrong(&before, &format!("203.0.113.{}", 100 + turn))).collect();
    assert_eq!(statuses, [[401; 50].as_slice(), &[429]].concat());
}
