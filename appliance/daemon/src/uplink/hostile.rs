//! Ransom: whoever holds server and broker, and not the command key, does his worst for a hundred days. Not one snapshot is let
//! go that the owner's own policy would have kept.

use super::orders;
use crate::desired::tests::{Given, given};
use crate::floor::tests::snapshot;
use crate::wishes::Wishes;
use crate::{floor, queue};
use aws_lc_rs::signature::Ed25519KeyPair;
use saveos_engine::snapshot::{Snapshot, SnapshotId, State as Taken};
use saveos_protocol::V1;
use saveos_protocol::command::{Action, Command, Extent, State};
use saveos_protocol::hex::{self, Digest};
use saveos_protocol::id::{CommandId, DiskId};
use saveos_protocol::shadow::{Desired, DesiredVersion, DiskPolicy, NewDisk, OnPlug, Role};
use saveos_protocol::sign;
use saveos_protocol::time::Timestamp;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Documents that take something away.
fn weaker(given: &Given, ver: u32) -> Vec<Desired> {
    let disk = DiskId::from_parts(Timestamp::saturating(1), [1; 10]);
    let ignored = DiskPolicy { disk, role: Role::Ignored, name: None, backup: None, retention: None };
    vec![
        given.document(ver, |desired| (desired.retention.last, desired.retention.daily) = (1, 0)),
        given.document(ver, |desired| desired.backup.on_plug = OnPlug::Wait),
        given.document(ver, |desired| desired.new_disk = NewDisk::Ignore),
        given.document(ver, |desired| desired.disks.push(ignored)),
    ]
}

/// Everything that can destroy.
fn worst(here: &[(SnapshotId, Snapshot)]) -> Vec<Action> {
    let disk = DiskId::from_parts(Timestamp::saturating(1), [1; 10]);
    let mark = || "WX11".parse().expect("a mark");
    let all: Vec<hex::SnapshotId> = here.iter().rev().take(32).map(|(id, _)| hex::SnapshotId(id.0)).collect();
    let restore = Action::Restore { snapshot: hex::SnapshotId([1; 32]), extent: Extent::Disk { target: mark() } };
    vec![
        Action::Prune { store: None },
        Action::Forget { snapshots: all },
        restore,
        Action::MakeStore { disk, serial: mark() },
        Action::Wipe { serial: mark() },
        Action::ApplyDesired { ver: DesiredVersion::from(9u32), sha256: Digest([1; 32]) },
    ]
}

fn order(given: &mut Given, action: Action, number: u32, key: Option<&Ed25519KeyPair>) -> State {
    let now = crate::clock::now().ts;
    let mut random = [0; 10];
    random[..4].copy_from_slice(&number.to_be_bytes());
    let idem = format!("worst-{number}").parse().expect("a key");
    let exp = now.after(Duration::from_secs(600));
    let mut command = Command { v: V1, id: CommandId::from_parts(now, random), action, exp, idem, sig: None };
    if let Some(key) = key {
        sign::sign(&mut command, given.enrolment.device, exp, key).expect("it can be signed");
    }
    let json = saveos_protocol::encode(&command).expect("it fits");
    let (device, command_key) = (given.enrolment.device, given.enrolment.command_key);
    let report = orders::take(&mut given.db, (device, &command_key), &Wishes::default(), &json)
        .expect("room")
        .expect("an answer")
        .1;
    report.state
}

fn names(snapshots: &[(SnapshotId, Snapshot)]) -> Vec<SnapshotId> {
    snapshots.iter().map(|(id, _)| *id).collect()
}

#[test]
fn a_hundred_days_without_the_command_key_cost_no_snapshot() {
    let mut given = given();
    assert!(!given.take(&given.document(1, |_| {})));
    let owner = given.in_force.get().policy.clone();
    let stranger = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("a key");
    let mut honest: Vec<(SnapshotId, Snapshot)> = Vec::new();
    let mut hostile = honest.clone();
    let begun = i64::try_from(given.now.ts.as_millis() / 1000).expect("before the year 292 million");
    let mut number = 0;
    for day in 0..100u32 {
        let time = begun + i64::from(day) * 86_400;
        let tonight = snapshot(u64::from(day) + 1, time, Taken::Complete);
        honest.push(tonight.clone());
        hostile.push(tonight);
        for (nth, mut desired) in weaker(&given, 2 + day).into_iter().enumerate() {
            if nth % 2 == 1 {
                let until = given.now.ts.after(DAY);
                sign::sign(&mut desired, given.enrolment.device, until, &stranger).expect("it can be signed");
            }
            given.take(&desired);
            assert_eq!(given.version(), 1, "day {day}, document {nth}");
        }
        for action in worst(&hostile) {
            for key in [None, Some(&stranger)] {
                number += 1;
                let state = order(&mut given, action.clone(), number, key);
                assert!(matches!(state, State::Rejected { .. }), "day {day}: {action:?}: {state:?}");
            }
        }
        let in_force = given.in_force.get();
        let lost = floor::decide(&hostile, &|_| in_force.policy.retention, time).forget;
        hostile.retain(|(id, _)| !lost.contains(id));
        let old = floor::decide(&honest, &|_| owner.retention, time).forget;
        honest.retain(|(id, _)| !old.contains(id));
        assert_eq!(names(&hostile), names(&honest), "day {day}");
        given.now.ts = given.now.ts.after(DAY);
    }
    assert_eq!(queue::all(&given.db, 10).expect("readable"), [], "nothing was queued");
    assert!(honest.len() >= 14, "{}", honest.len());
}

#[test]
fn the_holder_of_the_key_can_what_others_cannot() {
    let mut given = given();
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let state = order(&mut given, Action::Prune { store: None }, 1, Some(&key));
    assert!(matches!(state, State::Accepted { job: Some(_) }), "{state:?}");
}
