//! Presence, live events and recovery points as a person sees them, while boxes and server come and go.

mod support;

use saveos_fleet_sim::Appliance;
use saveos_protocol::fact::{
    BackupSummary, Body, Bus, DiskIdentity, DiskSeen, End, JobEnded, JobResult, JobStarted, KeyState, SnapshotState,
    StoreCapacity, StoreLevel, Trigger, Work,
};
use saveos_protocol::hex::{RepositoryId, SnapshotId, WriterId};
use saveos_protocol::id::{DiskId, JobId};
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{Bytes, Count, Millis};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use support::{Person, Server};

/// Follows the live events: number, kind, data.
fn follow(server: &Server, person: &Person, last: Option<u64>) -> Receiver<(Option<u64>, String, Value)> {
    let (sender, events) = channel();
    let (place, token) = (server.place(), person.token.clone());
    let begun = std::sync::Arc::new(std::sync::Barrier::new(2));
    let there = Arc::clone(&begun);
    std::thread::spawn(move || {
        let stream = place.stream("/api/v1/events", &token, last).expect("a stream");
        there.wait();
        let (mut id, mut kind) = (None, String::new());
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            match line.split_once(": ") {
                Some(("id", text)) => id = text.parse().ok(),
                Some(("event", text)) => kind = text.to_owned(),
                Some(("data", text)) => {
                    let data = serde_json::from_str(text).expect("JSON");
                    if sender.send((id.take(), std::mem::take(&mut kind), data)).is_err() {
                        return;
                    }
                }
                _ => {}
            }
        }
    });
    begun.wait();
    events
}

fn backed_up(disk: DiskId, draw: u8, command: Option<saveos_protocol::id::CommandId>) -> [Body; 2] {
    let job = JobId::from_parts(Timestamp::saturating(1), [draw; 10]);
    let trigger = command.map_or(Trigger::Plug, |command| Trigger::Command { command });
    let summary = BackupSummary {
        snapshot: SnapshotId([draw; 32]),
        previous: None,
        repository: RepositoryId([1; 16]),
        writer: WriterId([2; 16]),
        sequence: Count::from(u32::from(draw)),
        state: SnapshotState::Complete,
        bytes_read: Bytes::from(10),
        bytes_new: Bytes::from(10),
        bytes_stored: Bytes::from(10),
        hole_bytes: Bytes::ZERO,
        holes: Default::default(),
        hole_files: None,
        used: Default::default(),
        left_out_bytes: Bytes::ZERO,
        notes: Default::default(),
    };
    let (duration, result) = (Millis::from(5), JobResult::Backup(End::Done(summary)));
    [
        Body::JobStarted(JobStarted { job, work: Work::Backup, disk: Some(disk), trigger, resumed: false }),
        Body::JobEnded(JobEnded { job, disk: Some(disk), duration, result }),
    ]
}

fn seen(disk: DiskId) -> Body {
    let (identity, size_bytes) = (DiskIdentity::default(), Bytes::from(10));
    Body::DiskSeen(DiskSeen { disk, identity, bus: Bus::Usb, size_bytes, new: true })
}

#[test]
fn a_restart_makes_nobody_offline_and_a_pulled_plug_is_seen() {
    let Some(mut server) = Server::new() else { return };
    let boxes = server.fleet(2);
    let admin = server.admin();
    let presence = |appliance: &Arc<Appliance>| {
        let seen = admin.get(&format!("/api/v1/appliances/{}", appliance.identity().device));
        seen["presence"].as_str().expect("a word").to_owned()
    };
    let site = server.site(&admin, "another");
    let (never, _) = server.enrolled(&admin, &site);
    server.until("both are online", || boxes.iter().all(|one| presence(one) == "online").then_some(()));
    assert_eq!(admin.get(&format!("/api/v1/appliances/{}", never.device))["presence"], "never");

    boxes[1].unplug();
    server.until("its will is read", || (presence(&boxes[1]) == "late").then_some(()));

    // A night without a server: what was silent then is no evidence, and nobody comes alive by it either.
    server.stop();
    let night = Duration::from_secs(3 * 3600).as_millis() as i64;
    let db = server.db();
    db.run(&format!("UPDATE appliance SET heard_ms = heard_ms - {night}, gone_ms = gone_ms - {night}"));
    db.run(&format!("UPDATE counter SET value = value - {night} WHERE name = 'heard_ms'"));
    drop(db);
    boxes[0].unplug();
    server.start();
    // A broker that ends sends the wills of all who are connected; they are read some time after the start.
    assert_ne!(presence(&boxes[0]), "offline", "it was heard until the night began");
    server.until("the will is read that the ending broker sent", || (presence(&boxes[0]) == "late").then_some(()));
    assert_eq!(presence(&boxes[1]), "late");
    assert_eq!(admin.get(&format!("/api/v1/appliances/{}", never.device))["presence"], "never");
}

#[test]
fn a_backup_is_seen_live_and_protects_when_it_can_be_opened() {
    let Some(server) = Server::new() else { return };
    let one = server.fleet(1).remove(0);
    let admin = server.admin();
    let device = one.identity().device;
    let disk = DiskId::from_parts(Timestamp::saturating(1), [1; 10]);
    let see = || admin.get(&format!("/api/v1/appliances/{device}"));
    let reasons = || see()["disks"][0]["not_protected"].clone();
    server.until("it is heard", || (see()["not_protected"] == json!(["no_disk"])).then_some(()));

    let live = follow(&server, &admin, None);
    one.tell(seen(disk));
    server.until("the disk is seen", || (reasons() == json!(["no_recovery_point", "not_recoverable"])).then_some(()));
    backed_up(disk, 1, None).into_iter().for_each(|body| one.tell(body));
    server.until("it is backed up", || (reasons() == json!(["not_recoverable"])).then_some(()));
    one.tell(Body::Key(KeyState::WordsConfirmed));
    server.until("it is protected", || (see()["protected"] == json!(true)).then_some(()));

    let mut kinds = Vec::new();
    let mut last = 0;
    while kinds.last().map(String::as_str) != Some("key") {
        let (id, kind, data) = live.recv_timeout(Duration::from_secs(20)).expect("an event");
        assert_eq!(data["device"], json!(device));
        if let Some(id) = id {
            assert!(id > last, "numbers rise");
            last = id;
            kinds.push(kind);
        }
    }
    assert_eq!(kinds, ["disk_seen", "job_started", "job_ended", "key"]);
    // Whoever was away gets what he missed, once, and then what comes.
    let again = follow(&server, &admin, Some(last - 2));
    one.tell(Body::Key(KeyState::WordsShown));
    let ids: Vec<u64> =
        (0..3).map(|_| again.recv_timeout(Duration::from_secs(20)).expect("an event").0.expect("a number")).collect();
    assert_eq!(ids[..2], [last - 1, last]);
    assert!(ids[2] > last);
    backed_up(disk, 2, None).into_iter().for_each(|body| one.tell(body));
    let path = format!("/api/v1/appliances/{device}/recovery-points?limit=1");
    let newest = server.until("there is another recovery point", || {
        let page = admin.get(&path);
        (page["items"][0]["snapshot"] == json!(SnapshotId([2; 32]))).then_some(page)
    });
    let next = newest["next"].as_str().expect("a cursor");
    let older = admin.get(&format!("{path}&after={next}"));
    assert_eq!(older["items"][0]["snapshot"], json!(SnapshotId([1; 32])), "the newest come first");
    assert_eq!(admin.ask("GET", &format!("{path}&after=x"), &Value::Null).0, 400);
    server.until("it is not recoverable any more", || (reasons() == json!(["not_recoverable"])).then_some(()));
}

#[test]
fn foreign_events_are_not_shown() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let (one, other) = (server.fleet(1).remove(0), server.fleet(1).remove(0));
    let nodes = admin.get("/api/v1/nodes");
    let site = admin.get(&format!("/api/v1/appliances/{}", one.identity().device))["site"].clone();
    assert!(nodes.to_string().contains(site.as_str().expect("a site")));
    let (status, made) =
        admin.ask("POST", "/api/v1/accounts", &json!({ "email": "v@example.org", "node": site, "role": "viewer" }));
    assert_eq!(status, 201);
    let viewer = server.sign_in("v@example.org", made["password"].as_str().expect("a password"));
    let events = follow(&server, &viewer, Some(0));
    let disk = DiskId::from_parts(Timestamp::saturating(1), [1; 10]);
    (0..5).for_each(|_| other.tell(seen(disk)));
    server.until("the other is heard", || (other.level().waiting == 0).then_some(()));
    one.tell(seen(disk));
    loop {
        let (_, kind, data) = events.recv_timeout(Duration::from_secs(20)).expect("an event");
        assert_eq!(data["device"], json!(one.identity().device));
        if kind == "disk_seen" {
            break;
        }
    }
    let list = viewer.get("/api/v1/appliances");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    // Filters find what is there, and nothing of others.
    let found = |query: &str| viewer.ask("GET", &format!("/api/v1/appliances?{query}"), &Value::Null);
    let count = |query: &str| found(query).1["items"].as_array().map(Vec::len);
    let own = site.as_str().expect("a site");
    for (query, expected) in [
        (format!("node={own}&presence=online&protected=false&sort=-heard"), 1),
        ("presence=never".to_owned(), 0),
        ("protected=true".to_owned(), 0),
        ("name=no%20such%20box".to_owned(), 0),
    ] {
        assert_eq!(count(&query), Some(expected), "{query}");
    }
    let foreign = admin.get(&format!("/api/v1/appliances/{}", other.identity().device))["site"].clone();
    assert_eq!(found(&format!("node={}", foreign.as_str().expect("a site"))).0, 404);
    for nonsense in
        ["presence=asleep", "sort=colour", "protected=perhaps", "limit=501", "colour=red", "sort=heard&after=x"]
    {
        assert_eq!(found(nonsense).0, 400, "{nonsense}");
    }
    assert_eq!(found(&format!("name={}", "x".repeat(55_000))).0, 422, "longer than any name");
    // Who has signed out sees nothing more.
    assert_eq!(viewer.ask("POST", "/api/v1/logout", &Value::Null).0, 204);
    let ended = std::time::Instant::now();
    while events.recv_timeout(Duration::from_secs(20)).is_ok() {
        assert!(ended.elapsed() < Duration::from_secs(20), "it still follows");
    }
    assert_eq!(events.recv_timeout(Duration::ZERO), Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_policy_holds_below_its_node_and_weakens_nobody_without_the_command_key() {
    let Some(server) = Server::new() else { return };
    let boxes = [server.fleet(1).remove(0), server.fleet(1).remove(0)];
    let admin = server.admin();
    let see = |one: &Arc<Appliance>| admin.get(&format!("/api/v1/appliances/{}", one.identity().device));
    let applied = |one: &Arc<Appliance>| see(one)["applied"].as_u64().expect("a number");
    server.until("both have their first document", || boxes.iter().all(|one| applied(one) == 1).then_some(()));
    let policy = |daily: u32| {
        json!({
            "backup": { "on_plug": "backup", "time_zone": "Europe/Berlin", "quiet": [] },
            "retention": { "last": 7, "daily": daily, "weekly": 8, "monthly": 12 },
            "new_disk": "backup", "verify": { "sample_percent": 10, "sample_every_days": 7, "full_every_days": 30, "restore_test_every_days": 30 },
            "heartbeat_s": 10,
        })
    };
    let site = see(&boxes[0])["site"].as_str().expect("a site").to_owned();
    let (own, top) = (format!("/api/v1/nodes/{site}/policy"), format!("/api/v1/nodes/{}/policy", server.organisation));
    assert_eq!(admin.get(&own)["inherited"], json!(true));

    assert_eq!(admin.ask("PUT", &own, &policy(30)), (200, json!({ "boxes": 1 })));
    server.until("the box has it", || (applied(&boxes[0]) == 2).then_some(()));
    assert_eq!(applied(&boxes[1]), 1, "the other site's box has not");
    // The top's policy does not reach a box that has a nearer one.
    assert_eq!(admin.ask("PUT", &top, &policy(20)), (200, json!({ "boxes": 1 })));
    server.until("the other box has it", || (applied(&boxes[1]) == 2).then_some(()));
    assert_eq!(applied(&boxes[0]), 2);

    let (status, problem) = admin.ask("PUT", &own, &policy(29));
    assert_eq!((status, &problem["type"]), (422, &json!("urn:saveos:problem:signature-required")));
    assert_eq!(admin.get(&own)["policy"]["retention"]["daily"], json!(30), "nothing was changed");
    let (status, _) = admin.ask("PUT", &own, &json!({ "backup": {} }));
    assert_eq!(status, 400);
    // With it, one box may be weakened: by a document that this very box takes.
    let device = boxes[0].identity().device;
    let path = format!("/api/v1/appliances/{device}/desired");
    let mut weaker = admin.get(&path);
    weaker["retention"]["daily"] = json!(3);
    weaker["ver"] = json!(9);
    assert_eq!(admin.ask("PUT", &path, &weaker).0, 422, "not signed");
    let signed = server.sign("desired", device, weaker);
    let foreign = format!("/api/v1/appliances/{}/desired", boxes[1].identity().device);
    assert_eq!(admin.ask("PUT", &foreign, &signed).0, 422, "signed for another box");
    assert_eq!(admin.ask("PUT", &path, &signed).0, 200);
    assert_eq!(admin.ask("PUT", &path, &signed).0, 412, "not newer");
    server.until("the box has it", || (applied(&boxes[0]) == 9).then_some(()));
    // A box that enrols later gets what holds at its site.
    let person = server.admin();
    let (_, enrolment) = server.enrolled(&person, &site);
    assert_eq!(enrolment.uplink.heartbeat.get(), 10);
}

#[test]
fn a_command_is_sent_once_again_after_a_wipe_and_ends_with_its_job() {
    let Some(mut server) = Server::new() else { return };
    let one = server.fleet(1).remove(0);
    let admin = server.admin();
    let device = one.identity().device;
    let disk = DiskId::from_parts(Timestamp::saturating(1), [1; 10]);
    one.tell(seen(disk));
    // After its birth: with a birth every command goes again that nobody has answered.
    server.until("it is born", || (one.level().waiting == 0).then_some(()));
    let path = format!("/api/v1/appliances/{device}/commands");
    let (status, made) = admin.ask("POST", &path, &json!({ "type": "start_backup", "args": { "disk": disk } }));
    assert_eq!(status, 202, "{made}");
    let destroys = json!({ "type": "prune", "args": {} });
    let (status, problem) = admin.ask("POST", &path, &destroys);
    assert!(status == 422 || status == 400, "{status} {problem}");
    let commands = || one.told().iter().filter(|told| told.topic.to_string().ends_with("/dn/cmd")).count();
    server.until("the command comes", || (commands() == 1).then_some(()));
    // A broker that lost its memory is told again: desired document, watermark, and what is still open.
    server.kill();
    server.wipe_broker();
    server.start();
    server.until("it comes again", || (commands() >= 2).then_some(()));
    let id = made["id"].as_str().expect("an id").parse().expect("an id");
    backed_up(disk, 3, Some(id)).into_iter().for_each(|body| one.tell(body));
    let ended = server.until("it has ended", || {
        let command = admin.get(&path)["items"][0].clone();
        (!command["ended_ms"].is_null()).then_some(command)
    });
    assert_eq!(ended["state"]["state"], "succeeded");
}

#[test]
fn a_dark_site_is_one_alert_that_a_restart_neither_tells_again_nor_forgets() {
    let Some(mut server) = Server::new() else { return };
    let boxes = server.fleet(4);
    let admin = server.admin();
    server.until("all are heard", || boxes.iter().all(|one| one.level().waiting == 0).then_some(()));
    boxes.iter().for_each(|one| one.unplug());
    server.until("their wills are read", || {
        let list = admin.get("/api/v1/appliances");
        let all = list["items"].as_array().expect("boxes").iter().all(|one| one["presence"] == "late");
        all.then_some(())
    });
    server.db().run("UPDATE appliance SET heard_ms = heard_ms - 16 * 60 * 1000");
    let alerts = || admin.get("/api/v1/alerts")["items"].as_array().expect("alerts").clone();
    let first = server.until("it is told", || alerts().first().cloned());
    assert_eq!(
        (first["rule"].as_str(), first["detail"].as_str()),
        (Some("site_dark"), Some("4 of 4 boxes are offline"))
    );
    let path = format!("/api/v1/alerts/{}/acknowledge", first["id"].as_str().expect("an id"));
    assert_eq!(admin.ask("POST", &path, &Value::Null).0, 204);

    server.stop();
    server.start();
    std::thread::sleep(Duration::from_secs(12));
    let after = alerts();
    assert_eq!(after.len(), 1, "{after:?}");
    assert_eq!((&after[0]["id"], &after[0]["acknowledged_by"]), (&first["id"], &json!(support::ADMIN)));

    server.db().run("UPDATE appliance SET heard_ms = heard_ms + 16 * 60 * 1000");
    server.until("it is over", || (!alerts()[0]["ended_ms"].is_null()).then_some(()));
    assert_eq!(alerts().len(), 1);
}

#[test]
fn a_store_that_will_be_full_is_told_of_in_time() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let one = server.fleet(1).remove(0);
    let path = format!("/api/v1/appliances/{}", one.identity().device);
    // A week in which each day took 10 of 1,000 GB, told of today at the latest.
    let db = server.db();
    let (now, day) = (one_now(), 86_400_000);
    for ago in 1..7_u64 {
        let sql = "INSERT INTO room_sample (device, disk, hour, at_ms, used_bytes)";
        let at = now - ago * day;
        let used = (940 - ago * 10) * 1_000_000_000;
        let (device, hour) = (one.identity().device, at / 3_600_000);
        db.run(&format!("{sql} VALUES ('{device}', '', {hour}, {at}, {used})"));
    }
    let bytes = |gb: u64| Bytes::saturating(gb * 1_000_000_000);
    let capacity = |level, free| {
        Body::StoreCapacity(StoreCapacity { disk: None, level, size_bytes: bytes(1000), free_bytes: bytes(free) })
    };
    one.tell(capacity(StoreLevel::Roomy, 60));
    let store =
        server.until("it is seen", || admin.get(&path)["stores"].as_array().and_then(|stores| stores.first().cloned()));
    let days = (store["full_ms"].as_u64().expect("a forecast") - now) / day;
    assert!((5..=6).contains(&days), "60 GB at 10 a day: {store}");
    let alerts = || admin.get("/api/v1/alerts")["items"].as_array().expect("alerts").clone();
    let alert = server.until("it is told", || alerts().first().cloned());
    assert_eq!(alert["rule"], "store_filling");
    assert!(alert["detail"].as_str().expect("a text").starts_with("the store will be full in "), "{alert}");
    // The level alone is enough.
    one.tell(capacity(StoreLevel::Full, 1));
    server.until("it is seen", || (admin.get(&path)["stores"][0]["level"] == "full").then_some(()));
    assert_eq!(alerts().len(), 1, "one store, one alert");
}

fn one_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.as_millis() as u64
}
