//! Two control planes over one database, and what a server that was ended finds again.

use super::*;
use crate::cell::ears::Ear;
use crate::policy;
use saveos_protocol::encode;
use saveos_protocol::fact::{End, JobResult, VerifySummary, VerifyVerdict};
use saveos_protocol::hex::Digest;
use saveos_protocol::shadow::Uplink;
use saveos_protocol::unit::{Bytes, Count, DesiredVersion, Seconds};

fn at(seconds: u64) -> Timestamp {
    Timestamp::saturating(1_800_000_000_000 + seconds * 1000)
}

fn device(number: u8) -> DeviceId {
    DeviceId::from_parts(at(0), [number; 10])
}

fn uplink() -> Uplink {
    Uplink {
        brokers: vec!["mqtts://cp.example:8883".parse().expect("an address")],
        server: "https://cp.example".parse().expect("an address"),
        ca_sha256: [Digest([0; 32])].into(),
        heartbeat: Seconds::saturating(60),
    }
}

/// Boxes that were heard a moment ago, of two kinds of hardware that have no numbers yet, and a rollout.
async fn given(boxes: u8) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::for_test(folder.path()).await;
    let desired = policy::desired(&policy::Policy::default(), uplink(), DesiredVersion::ZERO, at(0));
    let desired = String::from_utf8(encode(&desired).expect("it fits")).expect("JSON");
    let write = store.write(move |tx| {
        for number in 0..boxes {
            let model = if number % 2 == 0 { "one" } else { "two" };
            let hardware = format!(r#"{{"model":"{model}","memory_bytes":1}}"#);
            let sql = "INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial, until_ms,
                desired, desired_ver, applied_ver, heard_ms) VALUES ($1, 's', $1, $1, $2, '1.0.0', 1, '', 1, $3, 0, 0, $4)";
            tx.execute(sql, &values![device(number), hardware, desired.as_str(), at(100_000)])?;
        }
        let sql = "INSERT INTO rollout (id, release_name, policy, salt, made_ms, made_by) VALUES ($1, '2.0.0', $2, $3, $4, 'anna')";
        let policy = serde_json::to_string(&Policy::default()).expect("JSON");
        tx.execute(sql, &values![RolloutId::from_parts(at(0), [1; 10]), policy, "07".repeat(32), at(0)])?;
        Ok::<_, StoreError>(())
    });
    write.await.expect("it is written");
    (folder, store)
}

fn ears() -> Ears {
    Ear { connected: true, deaf: None }.into()
}

async fn turned(store: &Store, known: Option<Known>, now: Timestamp) -> Turned {
    turn(store, known, ears(), None, now).await.expect("a turn")
}

#[tokio::test]
async fn no_ring_opens_before_all_hardware_has_a_number() {
    let (_folder, store) = given(40).await;
    let first = turned(&store, None, at(100_000)).await;
    assert!(first.known.as_ref().is_some_and(|known| known.rollout.rings().is_empty()));
    let second = turned(&store, first.known, at(100_001)).await;
    let known = second.known.expect("it is under way");
    let members: Vec<u32> = known.rollout.rings()[0].strata.iter().map(|stratum| stratum.members).collect();
    assert_eq!(members, [5, 5], "of both");
}

#[tokio::test]
async fn of_two_that_decide_at_once_one_is_overtaken_and_nobody_is_offered_it_twice() {
    let (_folder, store) = given(40).await;
    let mut one = None;
    for second in 0..3 {
        one = turned(&store, one, at(100_000 + second)).await.known;
    }
    let both = {
        let look = |known| {
            let store = store.clone();
            async move {
                store
                    .read(move |tx| look(tx, known, &ears(), None, at(100_003)))
                    .await
                    .expect("readable")
                    .expect("a turn")
            }
        };
        [look(one).await, look(None).await]
    };
    let offered = |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Offered { .. })).count();
    assert!(both.iter().all(|turn| offered(&turn.events) == offered(&both[0].events)), "both decide the same");
    let [first, second] = both;
    let ended = [first, second].map(|turn| {
        let store = store.clone();
        async move { store.write(move |tx| write(tx, turn, at(100_003))).await }
    });
    let [first, second] = ended;
    let said = first.await.expect("it is written").said;
    assert!(matches!(second.await, Err(TurnError::Overtaken(_))) || said.is_empty());
    // A server that starts anew finds what was decided, and goes on.
    let anew = turned(&store, None, at(103_600)).await.known.expect("it is under way");
    let again = store.read(|tx| log(tx, RolloutId::from_parts(at(0), [1; 10]), 0)).await.expect("a log");
    let told: Vec<DeviceId> = again
        .iter()
        .filter_map(|entry| match entry.event {
            Event::Offered { device, .. } => Some(device),
            _ => None,
        })
        .collect();
    let mut once = told.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!((once.len(), told.len()), (told.len(), anew.rollout.attempts().len()));
    assert!(!told.is_empty());
    saveos_server::rollout::replay(anew.rollout.policy(), &again).expect("its log gives its decisions again");
}

#[tokio::test]
async fn a_box_whose_repository_does_not_read_back_halts_it_and_offers_are_taken_back() {
    let (_folder, store) = given(40).await;
    let mut known = None;
    for second in 0..4 {
        let now = at(100_000 + second * 7200);
        let heard = store.write(move |tx| tx.execute("UPDATE appliance SET heard_ms = $1", &values![now])).await;
        assert_eq!(heard.expect("room"), 40);
        known = turned(&store, known, now).await.known;
    }
    let known = known.expect("it is under way");
    let id = known.id;
    let offered: Vec<DeviceId> = (0..40).map(device).filter(|&one| known.rollout.attempt(one).is_some()).collect();
    assert!(offered.len() > 1, "{offered:?}");
    let first = offered[0];
    let write = store.write(move |tx| {
        let entry = Entry { at: at(130_000), event: Event::Reported { device: first, stage: Stage::Passed } };
        let lines = lines(tx, id)?;
        append(tx, id, lines, &entry)?;
        let sql =
            "INSERT INTO job (device, id, work, state, ended_ms, result) VALUES ($1, 'job', 'verify', 'done', $2, $3)";
        let summary = VerifySummary {
            repository: "00000000000000000000000000000000".parse().expect("a name"),
            verdict: VerifyVerdict::Damaged,
            snapshots: Count::saturating(1),
            chunks: Count::saturating(1),
            bytes: Bytes::saturating(1),
            problems: Default::default(),
            affected: Default::default(),
        };
        let result = serde_json::to_string(&JobResult::Verify(End::Done(summary))).expect("JSON");
        tx.execute(sql, &values![first, at(130_001), result])?;
        Ok::<_, StoreError>(())
    });
    write.await.expect("it is written");
    let halted = turned(&store, Some(known), at(130_002)).await;
    assert!(halted.known.is_none());
    // All that were offered it and have not restarted into it, and not the one that runs it.
    assert_eq!(halted.said.len(), offered.len() - 1);
    let rows = store.read(|tx| tx.query("SELECT said, ended_ms FROM rollout", &[])).await.expect("readable");
    assert!(rows[0].text(0).expect("words").contains("does not read back"), "{:?}", rows[0].text(0));
    assert!(rows[0].maybe_time(1).expect("a time").is_some());
}

/// Everything that was offered after some hours in which all boxes are there.
async fn after_hours(store: &Store, hours: u64) -> Known {
    let mut known = None;
    for step in 0..hours * 2 {
        let now = at(100_000 + step * 1800);
        let heard = store.write(move |tx| tx.execute("UPDATE appliance SET heard_ms = $1", &values![now])).await;
        heard.expect("room");
        known = turned(store, known, now).await.known;
    }
    known.expect("it is under way")
}

async fn change(store: &Store, number: u8, column: &'static str, value: &'static str) {
    let write = store.write(move |tx| tx.execute(column, &values![value, device(number)])).await;
    assert_eq!(write.expect("room"), 1);
}

#[tokio::test]
async fn who_is_pinned_by_hand_is_left_alone_and_what_another_rollout_offered_is_no_pin() {
    let (_folder, store) = given(2).await;
    let offered = "UPDATE appliance SET offered = $1 WHERE id = $2";
    change(&store, 0, offered, "00112233aabbccdd").await;
    change(&store, 1, offered, "rollout-01m8n001vc6qtq6c4tsqwzc2cw").await;
    let known = after_hours(&store, 30).await;
    assert!(known.rollout.attempt(device(0)).is_none());
    assert!(known.rollout.attempt(device(1)).is_some());
}

#[tokio::test]
async fn a_box_whose_document_cannot_be_made_holds_up_itself_and_not_the_fleet() {
    let (_folder, store) = given(2).await;
    let desired = policy::desired(&policy::Policy::default(), uplink(), DesiredVersion::ZERO, at(0));
    let mut wrong = serde_json::to_value(&desired).expect("JSON");
    for kept in wrong["retention"].as_object_mut().expect("an object").values_mut() {
        *kept = serde_json::json!(0);
    }
    let wrong: &'static str = Box::leak(wrong.to_string().into_boxed_str());
    change(&store, 0, "UPDATE appliance SET desired = $1 WHERE id = $2", wrong).await;
    let known = after_hours(&store, 30).await;
    let stage = |number| known.rollout.attempt(device(number)).map(|attempt| attempt.stage);
    assert_eq!((stage(0), stage(1)), (Some(Stage::NotInstalled), Some(Stage::Offered)));
}

#[tokio::test]
async fn a_backup_that_failed_before_the_release_ran_says_nothing_about_it() {
    let (_folder, store) = given(2).await;
    let known = after_hours(&store, 30).await;
    let (mut rollout, ring) = (known.rollout.clone(), known.rollout.rings()[0].at);
    let later = move |seconds: u64| ring.after(Duration::from_secs(seconds));
    rollout.apply(&Entry { at: later(100), event: Event::Reported { device: device(0), stage: Stage::Passed } });
    for (job, when) in [("before", 50), ("after", 150)] {
        let write = store.write(move |tx| {
            let sql = "INSERT INTO job (device, id, work, state, ended_ms) VALUES ($1, $2, 'backup', 'failed', $3)";
            tx.execute(sql, &values![device(0), job, later(when)])
        });
        write.await.expect("room");
        let read = rollout.clone();
        let beside = store.read(move |tx| fleet::backups(tx, &read)).await.expect("readable");
        assert_eq!(beside.with, if job == "before" { (0, 0) } else { (1, 1) });
    }
}

#[tokio::test]
async fn a_tag_puts_a_box_into_its_ring_and_the_usual_one_into_the_first() {
    let (_folder, store) = given(40).await;
    let write = store.write(|tx| {
        let mut policy = Policy::default();
        policy.rings[3].tag = Some("lab".to_owned());
        let json = serde_json::to_string(&policy).expect("JSON");
        tx.execute("UPDATE rollout SET policy = $1", &values![json])?;
        for (number, tags) in [(0, ",lab,"), (1, ",canary,"), (2, ",canary,lab,"), (3, ",lab,hold,"), (4, ",labor,")] {
            tx.execute("UPDATE appliance SET tags = $1 WHERE id = $2", &values![tags, device(number)])?;
        }
        Ok::<_, StoreError>(())
    });
    write.await.expect("it is written");
    let mut known = None;
    for second in 0..3 {
        known = turned(&store, known, at(100_000 + second)).await.known;
    }
    let mut rings = Vec::new();
    for number in 0..4 {
        let read = store.read(move |tx| standing(tx, device(number), &ears(), None, at(100_003)));
        let standing = serde_json::to_value(read.await.expect("readable").expect("it stands somewhere")).expect("JSON");
        rings.push(standing["ring"].as_str().map(str::to_owned));
    }
    let expected = [Some("most"), Some("canary"), Some("most"), None];
    assert_eq!(rings, expected.map(|ring| ring.map(str::to_owned)));
}

mod hours;
mod recall;
mod steps;
mod two;
