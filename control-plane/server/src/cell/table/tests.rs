//! Where new boxes go, and what is refused, on either engine.

use super::*;
use crate::policy;
use crate::store::Store;
use saveos_protocol::hex::{CommandKey, Digest};
use saveos_protocol::id::{NodeId, OrganisationId};
use saveos_protocol::shadow::{Desired, Uplink};
use saveos_protocol::unit::{DesiredVersion, Seconds};
use saveos_protocol::{decode, encode};

fn at(seconds: u64) -> Timestamp {
    Timestamp::saturating(seconds * 1000)
}

fn config() -> Config {
    Config {
        node: NodeId::from_parts(at(1), [1; 10]),
        organisation: OrganisationId::from_parts(at(1), [2; 10]),
        name: "A test".parse().expect("a name"),
        host: "cp.example".to_owned(),
        bind: [127, 0, 0, 1].into(),
        https_port: 8443,
        mqtt_port: 8883,
        command_key: CommandKey([0; 32]),
        engine: crate::store::Engine::Postgresql,
        mail: None,
        allowed_networks: Vec::new(),
        broker_queue: crate::config::broker_queue(),
        release_line_mbit: None,
    }
}

fn cell(name: &str) -> Cell {
    name.parse().expect("a name")
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_parts(at(1), [number; 10])
}

fn north() -> At {
    At { host: "north.example".to_owned(), port: 8884 }
}

/// A box as enrolment writes it, in that cell.
fn enrol(tx: &mut dyn Tx, number: u8, cell: &Cell) -> Result<(), StoreError> {
    let uplink = Uplink {
        brokers: brokers(tx, &config(), cell)?,
        server: "https://cp.example".parse().expect("an address"),
        ca_sha256: [Digest([0; 32])].into(),
        heartbeat: Seconds::saturating(60),
    };
    let desired = policy::desired(&policy::Policy::default(), uplink, DesiredVersion::from(4), at(0));
    let desired = String::from_utf8(encode(&desired).expect("it fits")).expect("JSON");
    let sql = "INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial, until_ms,
        desired, desired_ver, applied_ver, cell) VALUES ($1, 's', $1, $1, '', '1.0.0', 1, '', 1, $2, 4, 6, $3)";
    tx.execute(sql, &values![device(number), desired, cell]).map(drop)
}

async fn given() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::for_test(folder.path()).await;
    (folder, store)
}

#[tokio::test]
async fn a_new_box_goes_to_the_open_cell_with_the_fewest() {
    let (_folder, store) = given().await;
    let went = store.write(|tx| {
        let mut went = Vec::new();
        add(tx, &cell("north"), &north(), at(1))?;
        for number in 0..7 {
            match number {
                2 => open(tx, &cell("north"), true)?,
                5 => open(tx, &cell("main"), false)?,
                _ => {}
            }
            let cell = for_new(tx)?;
            enrol(tx, number, &cell)?;
            went.push(cell.to_string());
        }
        Ok::<_, NotDone>(went)
    });
    let went = went.await.expect("room");
    assert_eq!(went, ["main", "main", "north", "north", "main", "north", "north"], "no box before it is open");
}

#[tokio::test]
async fn boxes_are_told_of_their_broker_and_know_the_first_one_as_well() {
    let (_folder, store) = given().await;
    let told = store.write(|tx| {
        add(tx, &cell("north"), &north(), at(1))?;
        (0..3).try_for_each(|number| enrol(tx, number, &cell("main")))?;
        let said = move_boxes(tx, &config(), (&cell("main"), &cell("north")), 2, at(9))?;
        assert!(move_boxes(tx, &config(), (&cell("north"), &cell("north")), 9, at(9))?.is_empty(), "they are there");
        Ok::<_, NotDone>((said, list(tx, &config())?))
    });
    let (said, cells) = told.await.expect("room");
    let documents: Vec<Desired> = said.iter().map(|(_, json)| decode(json).expect("a document")).collect();
    assert_eq!(documents.len(), 2);
    for document in documents {
        let brokers: Vec<String> = document.uplink.brokers.iter().map(ToString::to_string).collect();
        assert_eq!(brokers, ["mqtts://north.example:8884", "mqtts://cp.example:8883"]);
        assert_eq!(document.ver, DesiredVersion::from(7), "newer than what the box has");
    }
    let counts: Vec<(String, u64, bool)> =
        cells.iter().map(|one| (one.cell.to_string(), one.boxes, one.is_open)).collect();
    assert_eq!(counts, [("main".to_owned(), 1, true), ("north".to_owned(), 2, false)]);
    assert_eq!(cells[1].at, north());
}

#[tokio::test]
async fn what_would_leave_boxes_alone_is_refused_and_changes_nothing() {
    let (_folder, store) = given().await;
    let refused =
        async |work: fn(&mut dyn Tx) -> Result<(), NotDone>| store.write(work).await.expect_err("it is refused");
    store.write(|tx| add(tx, &cell("north"), &north(), at(1))).await.expect("room");
    assert!(matches!(refused(|tx| add(tx, &cell("north"), &north(), at(1))).await, NotDone::Taken(_)));
    assert!(matches!(refused(|tx| open(tx, &cell("main"), false)).await, NotDone::LastOpen));
    assert!(matches!(refused(|tx| open(tx, &cell("south"), true)).await, NotDone::Unknown(_)));
    assert!(matches!(refused(|tx| remove(tx, &cell("south"))).await, NotDone::Unknown(_)));
    assert!(matches!(refused(|tx| remove(tx, &cell("main"))).await, NotDone::IsMain));
    for host in ["", "two words", "a/b", "a@b"] {
        let at = At { host: host.to_owned(), port: 1 };
        let added = store.write(move |tx| add(tx, &cell("south"), &at, self::at(1))).await;
        assert!(matches!(added, Err(NotDone::Host(_))), "{host}");
    }
    let moved = |tx: &mut dyn Tx| move_boxes(tx, &config(), (&cell("main"), &cell("south")), 1, at(1)).map(drop);
    assert!(matches!(refused(moved).await, NotDone::Unknown(_)));
    // Neither one that belongs there nor one that was heard there last.
    store.write(|tx| enrol(tx, 1, &cell("north"))).await.expect("room");
    assert!(matches!(refused(|tx| remove(tx, &cell("north"))).await, NotDone::InUse { boxes: 1, .. }));
    let heard = store.write(|tx| tx.execute("UPDATE appliance SET cell = 'main', heard_in = 'north'", &[]));
    heard.await.expect("room");
    assert!(matches!(refused(|tx| remove(tx, &cell("north"))).await, NotDone::InUse { boxes: 1, .. }));
    // Who is revoked comes no more, and is not looked for in a cell that is gone.
    store.write(|tx| tx.execute("UPDATE appliance SET revoked_ms = 1", &[])).await.expect("room");
    store.write(|tx| remove(tx, &cell("north"))).await.expect("nobody uses it");
    let left = store.read(|tx| Ok::<_, StoreError>((names(tx)?, first(tx, "SELECT heard_in FROM appliance", &[])?)));
    let (names, row) = left.await.expect("readable");
    assert_eq!(
        (names, row.expect("a box").text(0).expect("a name").to_owned()),
        (vec![Cell::main()], "main".to_owned())
    );
}
