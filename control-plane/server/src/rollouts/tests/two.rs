//! Two control planes beside each other through a whole rollout, each losing turns to the other, one of them ended now and then.

use super::*;
use proptest::prelude::*;
use saveos_protocol::shadow::Reported;

/// What a box says that runs the release.
fn confirmed(now: Timestamp) -> String {
    let golden = include_str!("../../../../protocol/golden/v1/reported.updating.json");
    let mut reported: serde_json::Value = serde_json::from_str(golden).expect("JSON");
    reported["desired"] = serde_json::json!({ "ver": 1_000_000 });
    reported["firmware"] = serde_json::json!({ "release": "2.0.0", "slot": "good",
        "update": { "release": "2.0.0", "state": "confirmed", "since": now } });
    let reported: Reported = serde_json::from_value(reported).expect("a report");
    String::from_utf8(encode(&reported).expect("it fits")).expect("JSON")
}

/// Every box that has the offer runs it an hour later, and is heard.
async fn boxes(store: &Store, now: Timestamp) {
    let json = confirmed(now);
    let write = store.write(move |tx| {
        tx.execute("UPDATE appliance SET heard_ms = $1", &values![now])?;
        let sql = "SELECT id FROM appliance WHERE offered IS NOT NULL AND firmware <> '2.0.0'";
        for row in tx.query(sql, &[])? {
            let device: DeviceId = row.parse(0)?;
            tx.execute("UPDATE appliance SET firmware = '2.0.0' WHERE id = $1", &values![device])?;
            let sql = "INSERT INTO reported (device, stream, n, received_ms, json) VALUES ($1, 's', 1, $2, $3)";
            tx.execute(sql, &values![device, now, json.as_str()])?;
        }
        Ok::<_, StoreError>(())
    });
    write.await.expect("it is written");
}

/// A turn that may lose to the other.
async fn try_turn(store: &Store, known: Option<Known>, now: Timestamp) -> (Option<Known>, bool) {
    match turn(store, known, ears(), None, now).await {
        Ok(turned) => (turned.known, false),
        Err(TurnError::Overtaken(_)) => (None, true),
        Err(error) => panic!("{error}"),
    }
}

/// Turns until nobody waits, by one control plane or two; `ended` says after which hours one begins anew. How often one was overtaken.
async fn conduct(store: &Store, two: bool, ended: &[bool]) -> u32 {
    let (mut one, mut other, mut overtaken) = (None, None, 0);
    for hour in 0..24 * 16 {
        let now = at(100_000 + hour * 3600);
        boxes(store, now).await;
        let beside = async {
            if two { try_turn(store, other.take(), now.after(Duration::from_millis(1))).await } else { (None, false) }
        };
        let ((first, lost), (second, lost_too)) = tokio::join!(try_turn(store, one.take(), now), beside);
        overtaken += u32::from(lost) + u32::from(lost_too);
        (one, other) = (first, second);
        if ended.get(hour as usize % ended.len().max(1)) == Some(&true) {
            one = None;
        }
    }
    overtaken
}

/// The log, checked: no gap, nobody twice, and each decision follows from what stands before it.
async fn checked(store: &Store) -> Rollout {
    let entries =
        store.read(|tx| log(tx, RolloutId::from_parts(at(0), [1; 10]), 0)).await.expect("a log without a gap");
    let mut told: Vec<DeviceId> = Vec::new();
    for entry in &entries {
        if let Event::Offered { device, .. } = entry.event {
            assert!(!told.contains(&device), "{device} is offered it twice");
            told.push(device);
        }
    }
    let policy = Policy::default();
    saveos_server::rollout::replay(&policy, &entries).expect("its log gives its decisions again")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn two_control_planes_come_to_the_same_end_as_one_and_each_transition_happens_once(
        ended in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        runtime().block_on(async {
            let (_folder, alone) = given(60).await;
            conduct(&alone, false, &[false]).await;
            let (_folder, shared) = given(60).await;
            let overtaken = conduct(&shared, true, &ended).await;
            let (alone, shared) = (checked(&alone).await, checked(&shared).await);
            assert_eq!(alone.rings().len(), shared.rings().len());
            assert_eq!((alone.attempts().len(), shared.attempts().len()), (60, 60), "nobody is forgotten");
            assert_eq!((alone.is_finished(), shared.is_finished()), (true, true));
            assert!(overtaken > 0, "they never met");
        });
    }
}
