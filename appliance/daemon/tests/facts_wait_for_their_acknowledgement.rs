//! Promise: a fact stays on the box until the control plane says that it has it on disk. Brokers may die, freeze or forget;
//! the box may die; everything arrives, and what was acknowledged is not sent again.

mod support;

use saveos_protocol::birth::Presence;
use saveos_protocol::command::{Action, Command, Report, State};
use saveos_protocol::fact::{Body, Fact};
use saveos_protocol::hex::BootId;
use saveos_protocol::id::CommandId;
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::{Down, Up};
use saveos_protocol::{Topic, V1, decode};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use support::control_plane::ControlPlane;
use support::{Appliance, EAGER, disk};

#[test]
fn what_was_not_acknowledged_comes_again_and_nothing_else() {
    let Some(mut control) = ControlPlane::new() else { return };
    let mut appliance = Appliance::new(Some(EAGER));
    appliance.start();
    let device = control.enrol(&appliance);
    let ingest = control.ingest();
    appliance.plug("disk.img", &disk(1, 1));
    let mut got: Vec<Fact> = Vec::new();
    while !got.iter().any(|fact| matches!(fact.body, Body::JobEnded(_))) {
        got.push(ingest.fact());
    }
    let numbers: Vec<u64> = got.iter().map(|fact| fact.n.get()).collect();
    assert_eq!(numbers, (1..=got.len() as u64).collect::<Vec<_>>(), "in order, without holes");
    assert_eq!(got, appliance.facts());

    ingest.acknowledge(device, &got[2]);
    let waiting = |appliance: &Appliance| appliance.ask("status")["outbox"]["waiting"].as_u64();
    let left = got.len() as u64 - 3;
    appliance.until("the acknowledgement", |appliance| (waiting(appliance)? == left).then_some(()));
    // The broker dies and forgets; the box dies, too.
    control.kill_broker();
    appliance.kill();
    appliance.start();
    control.start_broker();
    let again: Vec<Fact> = (0..left).map(|_| ingest.fact()).collect();
    assert_eq!(again, got[3..], "those that were not acknowledged");
    ingest.acknowledge(device, &appliance.facts().pop().expect("facts"));
    appliance.until("everything is acknowledged", |appliance| (waiting(appliance)? == 0).then_some(()));
}

/// An idle box has no fact for days, and its system is judged after an update by whether it is heard as before.
#[test]
fn a_box_that_has_nothing_to_tell_knows_that_it_is_heard() {
    let Some(mut control) = ControlPlane::new() else { return };
    let mut appliance = Appliance::new(Some(EAGER));
    appliance.start();
    control.enrol(&appliance);
    let connected = |appliance: &Appliance| appliance.ask("status")["connected"].as_bool();
    // Nobody acknowledges anything here: the broker alone is there.
    appliance.until("it is heard", |appliance| connected(appliance)?.then_some(()));
    control.kill_broker();
    appliance.kill();
    appliance.start();
    assert_eq!(connected(&appliance), Some(false), "what the daemon before heard does not count");
    control.start_broker();
    appliance.until("it is heard again", |appliance| connected(appliance)?.then_some(()));
}

#[test]
fn backups_go_on_while_broker_and_box_are_killed_and_all_of_it_arrives() {
    let Some(mut control) = ControlPlane::new() else { return };
    let mut appliance = Appliance::new(Some(EAGER));
    appliance.start();
    let device = control.enrol(&appliance);
    let ingest = control.ingest();
    let mut ledger: BTreeMap<u64, Fact> = BTreeMap::new();
    for round in 0..6u64 {
        appliance.plug(&format!("disk-{round}.img"), &disk(10 + round, 1));
        let done = round as usize + 1;
        match round % 3 {
            0 => control.kill_broker(),
            1 => appliance.kill(),
            _ => {}
        }
        if round % 3 == 1 {
            appliance.start();
        }
        appliance.until("a backup", |appliance| (appliance.jobs("done").len() == done).then_some(()));
        if round % 3 == 0 {
            control.start_broker();
        }
    }
    let all = appliance.facts();
    while ledger.len() < all.len() {
        let fact = ingest.fact();
        if let Some(before) = ledger.insert(fact.n.get(), fact.clone()) {
            assert_eq!(before, fact, "a number names one fact");
        }
        // As ingest does: everything up to the first hole.
        let whole = ledger.keys().zip(1..).take_while(|(n, expected)| *n == expected).count() as u64;
        if let Some(last) = ledger.get(&whole) {
            ingest.acknowledge(device, last);
        }
    }
    assert_eq!(ledger.into_values().collect::<Vec<_>>(), all);
    appliance.until("all is acknowledged", |appliance| {
        (appliance.ask("status")["outbox"]["waiting"].as_u64()? == 0).then_some(())
    });
}

#[test]
fn a_frozen_broker_is_noticed_and_left() {
    let Some(mut control) = ControlPlane::new() else { return };
    let mut appliance = Appliance::new(None);
    appliance.start();
    control.enrol(&appliance);
    let ingest = control.ingest();
    ingest.fact();
    control.signal_broker(rustix::process::Signal::STOP);
    // No FIN, no RST: only a heartbeat that nobody takes tells.
    appliance.until("the watchdog", |appliance| appliance.log().contains("took no heartbeat").then_some(()));
    control.signal_broker(rustix::process::Signal::CONT);
    appliance.until("a second session", |appliance| {
        (appliance.log().matches("the uplink is up").count() >= 2).then_some(())
    });
    control.kill_broker();
}

#[test]
fn a_box_is_born_before_it_speaks_and_its_will_names_the_session() {
    let Some(control) = ControlPlane::new() else { return };
    let ingest = control.ingest();
    let mut appliance = Appliance::new(None);
    appliance.start();
    let device = control.enrol(&appliance);
    let birth = ingest.wait("a birth", |arrived| {
        assert_eq!(arrived.topic, Topic::Up(device, Up::State), "nothing comes before it");
        match decode(&arrived.payload) {
            Ok(Presence::Here(birth)) => Some(birth),
            other => panic!("{other:?}"),
        }
    });
    let key = appliance.ask("status");
    assert_eq!(key["device"], device.to_string());
    assert_ne!(birth.boot, BootId([0; 16]));
    appliance.kill();
    let will = ingest.wait("a will", |arrived| match decode(&arrived.payload) {
        Ok(Presence::Gone(departure)) if arrived.topic == Topic::Up(device, Up::State) => Some(departure),
        _ => None,
    });
    assert!(will.ends(&birth));
}

#[test]
fn a_command_is_done_once_and_what_was_lost_is_sent_again() {
    let Some(control) = ControlPlane::new() else { return };
    let mut appliance = Appliance::new(None);
    appliance.start();
    let device = control.enrol(&appliance);
    let ingest = control.ingest();
    appliance.plug("disk.img", &disk(4, 1));
    let disk =
        appliance.until("the disk", |appliance| appliance.ask("disks")["disks"][0]["id"].as_str().map(str::to_owned));
    // A command is not kept by the broker for who has not subscribed yet.
    ingest.fact();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let command = |disk: &str, random| Command {
        v: V1,
        id: CommandId::from_parts(Timestamp::saturating(now), [random; 10]),
        action: Action::StartBackup { disk: disk.parse().expect("a disk") },
        exp: Timestamp::saturating(now + 600_000),
        idem: "one-intent".parse().expect("a key"),
        sig: None,
    };
    let asked = command(&disk, 1);
    let mut answers = Vec::new();
    for _ in 0..2 {
        ingest.say(Topic::Down(device, Down::Command), &asked);
        answers.push(ingest.wait("a report", |arrived| {
            let is_it = arrived.topic == Topic::Up(device, Up::Result(asked.id));
            is_it.then(|| decode::<Report>(&arrived.payload).expect("a report").state)
        }));
    }
    assert!(matches!(answers[0], State::Accepted { job: Some(_) }), "{answers:?}");
    assert_eq!(answers[0], answers[1], "the same job");
    appliance.until("a backup", |appliance| appliance.jobs("done").pop());
    assert_eq!(appliance.ask("jobs")["jobs"].as_array().map(Vec::len), Some(1));

    // Everything is acknowledged; then the control plane is restored from an older backup.
    let last = appliance.facts().pop().expect("facts");
    ingest.acknowledge(device, &last);
    let waiting = |appliance: &Appliance| appliance.ask("status")["outbox"]["waiting"].as_u64();
    appliance.until("all is acknowledged", |appliance| (waiting(appliance)? == 0).then_some(()));
    ingest.want(device, &last, 2);
    appliance.until("it waits again", |appliance| (waiting(appliance)? == last.n.get() - 1).then_some(()));
    let all = appliance.facts();
    let mut missing: BTreeMap<u64, &Fact> = all[1..].iter().map(|fact| (fact.n.get(), fact)).collect();
    while !missing.is_empty() {
        let fact = ingest.fact();
        assert_eq!(&fact, &all[fact.n.get() as usize - 1]);
        missing.remove(&fact.n.get());
    }
}

#[test]
fn a_box_whose_name_another_one_uses_says_so() {
    let Some(control) = ControlPlane::new() else { return };
    let ingest = control.ingest();
    let mut one = Appliance::new(None);
    one.start();
    control.enrol(&one);
    ingest.fact();
    one.stop();
    // Its disk was cloned, and the clone is switched on, too.
    let mut other = Appliance::new(None);
    let copied = std::process::Command::new("cp").arg("-a").args([one.data(), other.data()]).status();
    assert!(copied.expect("cp").success());
    one.start();
    other.start();
    let told = |appliance: &Appliance| {
        let facts = appliance.facts().into_iter();
        facts.filter(|fact| matches!(fact.body, Body::SameIdTwice(_))).count()
    };
    one.until("one of them notices", |one| (told(one) + told(&other) > 0).then_some(()));
}
