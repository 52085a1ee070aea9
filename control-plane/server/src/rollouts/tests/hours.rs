//! Boxes that may restart in a part of the day only: who stands elsewhere in the tree has other hours.

use super::*;
use crate::policy::tree;
use saveos_protocol::shadow::Window;

/// It is 11:46 in London on a day in winter.
const BEGIN: u64 = 100_000;

/// Boxes of a site in London whose organisation restarts from 13:00 to 14:00; those of one in Berlin have a policy of their own,
/// with the same hours.
async fn with_windows(store: &Store, is_urgent: bool) {
    let write = store.write(move |tx| {
        for (node, parent, path) in [("o", None, "/o/"), ("s", Some("o"), "/o/s/"), ("b", Some("o"), "/o/b/")] {
            let sql = "INSERT INTO node (id, parent, path, kind, name, made_ms) VALUES ($1, $2, $3, 'site', $1, 0)";
            tx.execute(sql, &values![node, parent, path])?;
        }
        tx.execute("UPDATE appliance SET node = 'b' WHERE id < $1", &values![device(20)])?;
        for (node, path, zone) in [("o", "/o/", "Europe/London"), ("b", "/o/b/", "Europe/Berlin")] {
            let window = Window { from: "13:00".parse().expect("a time"), to: "14:00".parse().expect("a time") };
            let mut policy = policy::Policy { restart_window: Some(window), ..policy::Policy::default() };
            policy.backup.time_zone = zone.parse().expect("a zone");
            tree::set(tx, (node, path), &policy, at(0)).map_err(|_| StoreError::Damaged("a policy"))?;
        }
        if is_urgent {
            let policy = Policy { at_once: true, ..Policy::default() };
            let json = serde_json::to_string(&policy).expect("JSON");
            tx.execute("UPDATE rollout SET policy = $1", &values![json])?;
        }
        Ok::<_, StoreError>(())
    });
    write.await.expect("it is written");
}

/// Turns each ten minutes; who was offered it until then.
async fn offered(store: &Store, until: u64) -> Vec<DeviceId> {
    let mut known = None;
    for second in (BEGIN..until).step_by(600) {
        let heard = store.write(move |tx| tx.execute("UPDATE appliance SET heard_ms = $1", &values![at(second)]));
        heard.await.expect("it is written");
        known = turned(store, known, at(second)).await.known;
    }
    let known = known.expect("it is under way");
    (0..40).map(device).filter(|&device| known.rollout.attempt(device).is_some()).collect()
}

#[tokio::test]
async fn a_box_is_offered_it_when_its_window_opens_where_it_stands() {
    let (_folder, store) = given(40).await;
    with_windows(&store, false).await;
    // Berlin is an hour ahead: 12:00 in London.
    assert_eq!(offered(&store, BEGIN + 10 * 60).await, []);
    let berlin = offered(&store, BEGIN + 60 * 60).await;
    assert!(!berlin.is_empty() && berlin.iter().all(|one| *one < device(20)), "{berlin:?}");
    let both = offered(&store, BEGIN + 2 * 3600).await;
    assert!(both.iter().any(|one| *one >= device(20)), "{both:?}");
    let says = async |number: u8| {
        let read = store.read(move |tx| standing(tx, device(number), &ears(), None, at(BEGIN)));
        let standing = read.await.expect("readable").expect("there is a rollout");
        serde_json::to_value(standing).expect("JSON")
    };
    let waits = (0..40).filter(|number| !both.contains(&device(*number)));
    let mut closed = 0;
    for number in waits {
        let said = says(number).await;
        if said["why"] == "closed" {
            closed += 1;
            let minutes = if number < 20 { 14 } else { 74 };
            let opens = said["at_ms"].as_u64().expect("it says when");
            assert_eq!((opens - at(BEGIN).as_millis()).div_ceil(60_000), minutes, "{number}");
        }
    }
    assert!(closed > 0, "a member of the open ring waits for its window");
}

#[tokio::test]
async fn what_cannot_wait_is_offered_at_any_time_and_says_so_to_the_box() {
    let (_folder, store) = given(40).await;
    with_windows(&store, true).await;
    let offered = offered(&store, BEGIN + 30 * 60).await;
    assert!(!offered.is_empty());
    let device = offered[0];
    let read = store.read(move |tx| first(tx, "SELECT desired FROM appliance WHERE id = $1", &values![device]));
    let row = read.await.expect("readable").expect("a box");
    let desired: saveos_protocol::shadow::Desired =
        serde_json::from_str(row.text(0).expect("text")).expect("a document");
    assert!(desired.release.is_some_and(|release| release.at_once) && desired.restart_window.is_some());
}
