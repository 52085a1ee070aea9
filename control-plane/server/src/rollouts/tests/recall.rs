//! A release is taken back in turns, and what else was said to a box meanwhile stands.

use super::*;
use saveos_server::rollout::{Grounds, RingIndex};

#[tokio::test]
async fn some_in_each_turn_also_by_a_server_that_starts_anew_and_who_has_another_offer_keeps_it() {
    let (_folder, store) = given(250).await;
    let id = RolloutId::from_parts(at(0), [1; 10]);
    let write = store.write(move |tx| {
        let mut entries = Vec::new();
        for number in 0..250 {
            let (device, runs) = (device(number), Some("1.0.0".parse().expect("a release")));
            entries.push(Event::Offered { device, ring: RingIndex(0), hardware: 0, runs });
            let stage = if number == 1 { Stage::Failed } else { Stage::Passed };
            entries.push(Event::Reported { device, stage });
        }
        entries.push(Event::Halted { grounds: Grounds::default() });
        entries.push(Event::Recalled { by: "anna".to_owned(), to: vec!["1.0.0".parse().expect("a release")] });
        for (lines, event) in (0..).zip(entries) {
            append(tx, id, lines, &Entry { at: at(10), event })?;
        }
        tx.execute("UPDATE appliance SET offered = $1, firmware = '2.0.0'", &values![id.to_string()])
    });
    assert_eq!(write.await.expect("room"), 250);
    change(&store, 0, "UPDATE appliance SET offered = $1 WHERE id = $2", "rollout-01m8n001vc6qtq6c4tsqwzc2cw").await;

    let told = turned(&store, None, at(100_000)).await;
    assert_eq!((told.said.len(), told.known.is_some()), (200, true));
    let told = turned(&store, None, at(100_001)).await;
    assert_eq!(
        (told.said.len(), told.known.is_some()),
        (48, true),
        "all but who has another offer, and whom it failed on"
    );
    let told = turned(&store, told.known, at(100_002)).await;
    assert_eq!((told.said.len(), told.known.is_some()), (0, false), "it has ended");
    let progress = || async {
        let read = store.read(move |tx| {
            let known =
                begin(&first(tx, "SELECT id, release_name, policy, salt, said FROM rollout", &[])?.expect("it"), id)?;
            let mut rollout = known.rollout;
            log(tx, id, 0)?.iter().for_each(|entry| rollout.apply(entry));
            recall::progress(tx, id, &rollout)
        });
        serde_json::to_value(read.await.expect("readable")).expect("JSON")
    };
    assert_eq!(progress().await, serde_json::json!({ "told": 248, "back": 0, "failed": 0, "stay": 0 }));
    let stands = |number| {
        let store = store.clone();
        async move {
            let read = store.read(move |tx| standing(tx, device(number), &ears(), None, at(100_003)));
            serde_json::to_value(read.await.expect("readable").expect("a rollout")).expect("JSON")
        }
    };
    let called = stands(2).await;
    assert_eq!((&called["why"], &called["through"]), (&"called_back".into(), &"1.0.0".into()), "{called}");
    assert_eq!(stands(1).await["why"], "runs", "nobody calls it back");
    change(&store, 2, "UPDATE appliance SET firmware = $1 WHERE id = $2", "1.0.0").await;
    assert_eq!(progress().await["back"], 1);
    assert_eq!(stands(2).await["why"], "halted", "it is back");
    let token = format!("{id}.back");
    let goes_on = store.read(move |tx| goes_on(tx, &token)).await.expect("readable");
    assert!(goes_on, "the way back is no offer that a halt takes back");
}
