//! Boxes that fall silent, lose their line every second, have a wrong clock or a dying disk: each is shown as what it is, and a well
//! one beside them as well.

mod support;

use saveos_fleet_sim::{Ails, Appliance, dying_disk};
use saveos_protocol::fact::{Body, KeyState, SnapshotFound};
use saveos_protocol::hex::{RepositoryId, SnapshotId, WriterId};
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{Bytes, Count};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::Server;

const YEARS: Duration = Duration::from_secs(2 * 365 * 86_400);

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp::saturating(since.as_millis() as u64)
}

#[test]
fn each_is_shown_as_what_it_is() {
    let Some(server) = Server::new() else { return };
    let boxes = server.fleet(5);
    let admin = server.admin();
    let [well, silent, flapping, ahead, dying] = &boxes[..] else { panic!("five") };
    let see = |one: &Arc<Appliance>| admin.get(&format!("/api/v1/appliances/{}", one.identity().device));
    let presence = |one: &Arc<Appliance>| see(one)["presence"].as_str().expect("a word").to_owned();
    server.until("all are online", || boxes.iter().all(|one| presence(one) == "online").then_some(()));

    silent.suffer(Ails { silent: true, ..Ails::default() });
    flapping.suffer(Ails { flaps: Some(Duration::from_secs(1)), ..Ails::default() });
    ahead.suffer(Ails { ahead: YEARS, ..Ails::default() });
    let told = dying_disk(now());
    let Body::DiskSeen(disk) = &told[0] else { panic!("{told:?}") };
    let disk = disk.disk;
    told.clone().into_iter().for_each(|body| dying.tell(body));
    // The same disk, well, in the box with the wrong clock: a backup of today is one of today there, too.
    ahead.tell(told[0].clone());
    let summary = saveos_protocol::fact::BackupSummary {
        snapshot: SnapshotId([7; 32]),
        previous: None,
        repository: RepositoryId([1; 16]),
        writer: WriterId([2; 16]),
        sequence: Count::from(1),
        state: saveos_protocol::fact::SnapshotState::Complete,
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
    ahead.tell(Body::SnapshotFound(SnapshotFound { disk: Some(disk), taken: now().after(YEARS), summary }));
    ahead.tell(Body::Key(KeyState::WordsConfirmed));

    // Two minutes pass for the control plane.
    server.db().run("UPDATE appliance SET heard_ms = heard_ms - 130000");
    server.until("the silent one is late", || (presence(silent) == "late").then_some(()));
    server.until("the others are heard", || {
        [well, ahead, dying].iter().all(|one| presence(one) == "online").then_some(())
    });
    let mut seen = BTreeSet::new();
    let since = Instant::now();
    server.until("it flapped for a while", || {
        seen.insert(presence(flapping));
        (since.elapsed() > Duration::from_secs(8)).then_some(())
    });
    assert!(!seen.contains("offline") && seen.contains("online"), "{seen:?}");

    let newest = see(ahead)["disks"][0]["newest_ms"].as_u64().expect("a recovery point");
    assert!(newest <= now().as_millis(), "no backup is one of the day after tomorrow");
    assert_eq!(see(ahead)["protected"], true);
    assert_eq!(see(dying)["disks"][0]["health"]["verdict"], "failing");
    let alerts = server.until("the disk is told of", || {
        let alerts = admin.get("/api/v1/alerts")["items"].as_array().expect("alerts").clone();
        alerts.iter().any(|alert| alert["rule"] == "disk_failing").then_some(alerts)
    });
    let told: Vec<(&Value, &Value)> = alerts.iter().map(|alert| (&alert["rule"], &alert["device"])).collect();
    assert_eq!(told, [(&json!("disk_failing"), &json!(dying.identity().device))], "and of nothing else");

    // A deadline passes: the backup that was said to be of next year has been missed like any other.
    server.db().run("UPDATE recovery_point SET taken_ms = taken_ms - 400000000");
    server.db().run("UPDATE appliance SET protected_until_ms = NULL");
    ahead.tell(Body::Key(KeyState::WordsConfirmed));
    server.until("it is missed", || (see(ahead)["protected"] == false).then_some(()));
}
