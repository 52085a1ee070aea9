//! A desired document that takes something from the protection is refused whole without the command key; one that only
//! adds, or says the same in another order, never needs it.

#[path = "support/support.rs"]
mod support;

use proptest::prelude::*;
use saveos_protocol::encode;
use saveos_protocol::hex::{Digest, EscrowKey};
use saveos_protocol::id::DiskId;
use saveos_protocol::shadow::*;
use saveos_protocol::sign::{SignatureFault, receive, sign};
use saveos_protocol::time::{TimeOfDay, Timestamp, Weekday};
use saveos_protocol::unit::{Days, DesiredVersion, Percent, Seconds};
use std::collections::BTreeSet;
use std::time::Duration;
use support::{command_key, command_pair, desired, device, disk, enrolment, now};

fn times() -> impl Strategy<Value = TimeOfDay> {
    (0u16..24, 0u16..60).prop_map(|(hour, minute)| TimeOfDay::new(hour, minute).expect("a time"))
}

fn window() -> impl Strategy<Value = Window> {
    (times(), times()).prop_filter_map("ends apart", |(from, to)| (from != to).then_some(Window { from, to }))
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let days = prop::collection::btree_set(prop::sample::select(Weekday::ALL), 1..=7);
    (days, prop::collection::btree_set(times(), 1..=24)).prop_map(|(days, times)| Schedule { days, times })
}

fn backup() -> impl Strategy<Value = BackupPolicy> {
    let on_plug = prop::sample::select(OnPlug::ALL);
    let parts =
        (on_plug, prop::option::of(schedule()), prop::option::of(window()), prop::collection::vec(window(), 0..3));
    parts.prop_map(|(on_plug, schedule, window, quiet)| {
        let time_zone = "Europe/Berlin".parse().expect("a zone");
        BackupPolicy { on_plug, time_zone, schedule, window, quiet }
    })
}

fn retention() -> impl Strategy<Value = Retention> {
    let parts = (1u32..50, 0u32..50, 0u32..50, 0u32..50, 0u32..50, 0u32..50);
    parts.prop_map(|(last, hourly, daily, weekly, monthly, yearly)| Retention {
        last,
        hourly,
        daily,
        weekly,
        monthly,
        yearly,
    })
}

fn days() -> impl Strategy<Value = Option<Days>> {
    prop::option::of((1u32..400).prop_map(Days::from))
}

fn verify() -> impl Strategy<Value = VerifyPolicy> {
    (0u8..=100, days(), days(), days()).prop_map(|(sample, sample_every, full_every, restore_test_every)| {
        VerifyPolicy {
            sample: Percent::new(sample).expect("a percentage"),
            sample_every,
            full_every,
            restore_test_every,
        }
    })
}

fn disks() -> impl Strategy<Value = Vec<DiskPolicy>> {
    let entry = (prop::sample::select(Role::ALL), prop::option::of(backup()), prop::option::of(retention()));
    prop::collection::vec(entry, 0..5).prop_map(|entries| {
        let entries = entries.into_iter().enumerate();
        entries
            .map(|(at, (role, backup, retention))| DiskPolicy {
                disk: disk(at as u8),
                role,
                name: None,
                backup,
                retention,
            })
            .collect()
    })
}

fn document() -> impl Strategy<Value = Desired> {
    (backup(), retention(), prop::sample::select(NewDisk::ALL), verify(), disks()).prop_map(
        |(backup, retention, new_disk, verify, disks)| Desired {
            backup,
            retention,
            new_disk,
            verify,
            disks,
            ..desired()
        },
    )
}

/// Makes a policy stronger somewhere, or leaves it.
fn stronger_backup(policy: &mut BackupPolicy, by: usize) {
    match by % 5 {
        0 => policy.on_plug = OnPlug::Backup,
        1 => {
            let mut schedule =
                policy.schedule.take().unwrap_or(Schedule { days: BTreeSet::new(), times: BTreeSet::new() });
            schedule.days.extend([Weekday::Sunday, Weekday::Monday]);
            schedule.times.insert(TimeOfDay::new(3, 0).expect("a time"));
            policy.schedule = Some(schedule);
        }
        2 => policy.window = None,
        3 => policy.quiet.clear(),
        _ => {}
    }
}

fn stronger(mut document: Desired, steps: &[usize]) -> Desired {
    for &by in steps {
        match by % 8 {
            0 => document.retention.daily += 1,
            1 => document.retention.last += 3,
            2 => document.new_disk = NewDisk::Backup,
            3 => document.verify.full_every = Some(Days::from(1)),
            4 => document.verify.sample = Percent::WHOLE,
            5 => document.uplink.brokers.insert(0, "mqtts://other.example".parse().expect("a URL")),
            6 => {
                for entry in &mut document.disks {
                    entry.role = if entry.role == Role::Ignored { Role::Source } else { entry.role };
                    entry.retention.iter_mut().for_each(|own| own.yearly += 1);
                    entry.backup.iter_mut().for_each(|own| stronger_backup(own, by / 8));
                }
            }
            _ => stronger_backup(&mut document.backup, by / 8),
        }
    }
    document
}

proptest! {
    #[test]
    fn a_document_does_not_weaken_itself_in_another_order(document in document(), turn in 0usize..5) {
        let mut other = document.clone();
        other.disks.reverse();
        if !other.disks.is_empty() {
            let turn = turn % other.disks.len();
            other.disks.rotate_left(turn);
        }
        other.backup.quiet.reverse();
        other.uplink.brokers.reverse();
        other.uplink.heartbeat = Seconds::from(77);
        other.release = None;
        prop_assert_eq!(weakens(&document, &other), vec![]);
    }

    #[test]
    fn what_is_stronger_never_weakens(document in document(), steps in prop::collection::vec(0usize..40, 0..6)) {
        // A disk with its own copy of the box's policy says the same as one without, until the box's changes.
        let new = stronger(document.clone(), &steps);
        prop_assert_eq!(weakens(&document, &new), vec![]);
    }

    #[test]
    fn of_two_retentions_at_least_one_way_weakens(left in document(), other in retention()) {
        let right = Desired { retention: other, ..left.clone() };
        let ways = [weakens(&left, &right), weakens(&right, &left)];
        prop_assert_eq!(ways.iter().all(Vec::is_empty), left.retention == other);
    }
}

/// The sample, changed, must give exactly this.
fn found(change: impl FnOnce(&mut Desired)) -> Vec<Weakening> {
    let mut new = desired();
    change(&mut new);
    weakens(&desired(), &new)
}

#[test]
fn every_way_to_weaken_is_named() {
    let (source, store, third) = (disk(3), disk(8), disk(77));
    let (old, other) = (EscrowKey([0xE5; 32]), EscrowKey([0xE6; 32]));
    let none: Option<DiskId> = None;
    assert_eq!(
        found(|new| new.retention.daily = 1),
        [Weakening::RetentionReduced { disk: none, rule: RetentionRule::Daily, from: 14, to: 1 }]
    );
    assert_eq!(
        found(|new| new.disks[0].retention = None),
        [Weakening::RetentionReduced { disk: Some(source), rule: RetentionRule::Yearly, from: 10, to: 2 }]
    );
    assert_eq!(found(|new| new.backup.schedule = None), [Weakening::ScheduleOff { disk: none }]);
    let fewer = |new: &mut Desired| new.backup.schedule.as_mut().expect("one").days = [Weekday::Sunday].into();
    assert_eq!(found(fewer), [Weakening::FewerRuns { disk: none, from: 4, to: 2 }]);
    assert_eq!(found(|new| new.backup.on_plug = OnPlug::Wait), [Weakening::PlugOff { disk: none }]);
    let at = |hour, minute| TimeOfDay::new(hour, minute).expect("a time");
    assert_eq!(
        found(|new| new.backup.window = Some(Window { from: at(1, 0), to: at(1, 5) })),
        [Weakening::HoursClosed { disk: none, from_minutes: 1260, to_minutes: 5 }]
    );
    assert_eq!(
        found(|new| new.new_disk = NewDisk::Ignore),
        [Weakening::NewDisks { from: NewDisk::Ask, to: NewDisk::Ignore }]
    );
    assert_eq!(found(|new| new.disks[0].role = Role::Ignored), [Weakening::SourceRemoved { disk: source }]);
    assert_eq!(
        found(|new| new.disks[0].role = Role::Store),
        [Weakening::SourceRemoved { disk: source }, Weakening::StoreAdded { disk: source }]
    );
    assert_eq!(found(|new| new.disks.truncate(1)), [Weakening::StoreRemoved { disk: store }]);
    let add = DiskPolicy { disk: third, role: Role::Store, name: None, backup: None, retention: None };
    assert_eq!(found(|new| new.disks.push(add)), [Weakening::StoreAdded { disk: third }]);
    assert_eq!(found(|new| new.verify.full_every = None), [Weakening::CheckOff { check: Check::Full }]);
    assert_eq!(
        found(|new| new.verify.restore_test_every = Some(Days::from(60))),
        [Weakening::CheckRarer { check: Check::RestoreTest, from_days: Days::from(30), to_days: Days::from(60) }]
    );
    let (five, one) = (Percent::new(5).expect("5 %"), Percent::new(1).expect("1 %"));
    assert_eq!(
        found(|new| new.verify.sample = one),
        [Weakening::SampleSmaller { from_percent: five, to_percent: one }]
    );
    assert_eq!(found(|new| new.escrow = None), [Weakening::EscrowRemoved { key: old }]);
    assert_eq!(
        found(|new| new.escrow = Some(Escrow { key: other })),
        [Weakening::EscrowChanged { from: old, to: other }]
    );
    let server = |new: &mut Desired| new.uplink.server = "https://elsewhere.example".parse().expect("a URL");
    assert_eq!(found(server), [Weakening::ServerChanged]);
    let pin = Digest([0xCB; 32]);
    assert_eq!(found(|new| new.uplink.ca_sha256.extend([pin])), [Weakening::CaAdded { sha256: pin }]);
    assert_eq!(
        found(|new| new.uplink.ca_sha256 = [pin].into()),
        [Weakening::CaAdded { sha256: pin }, Weakening::CaRemoved { sha256: Digest([0xCA; 32]) }]
    );
}

#[test]
fn a_server_cannot_let_itself_in_where_no_escrow_was_agreed() {
    let mut enrolment = enrolment();
    enrolment.escrow = None;
    let first = Desired::at_enrolment(&enrolment);
    let key = EscrowKey([0xEE; 32]);
    let mut new = Desired { escrow: None, ..desired() };
    new.disks.clear();
    assert_eq!(weakens(&first, &new), []);
    new.escrow = Some(Escrow { key });
    assert_eq!(weakens(&first, &new), [Weakening::EscrowAdded { key }]);
}

#[test]
fn every_weakening_is_a_sentence() {
    let weakening = Weakening::RetentionReduced { disk: None, rule: RetentionRule::Daily, from: 14, to: 1 };
    assert_eq!(weakening.to_string(), "keeps 1 daily snapshots instead of 14");
    let disk = disk(3);
    let weakening = Weakening::ScheduleOff { disk: Some(disk) };
    assert_eq!(weakening.to_string(), format!("turns the schedule off for {disk}"));
}

fn judge(current: &Desired, new: &Desired, now: Option<Timestamp>) -> Admission {
    let bytes = encode(new).expect("it fits");
    admit(current, receive(&bytes).expect("a document"), device(), &command_key(), now)
}

#[test]
fn a_weaker_document_needs_the_command_key() {
    let current = desired();
    let mut weaker = Desired { ver: DesiredVersion::from(8), ..desired() };
    weaker.backup.schedule = None;
    let refused = |fault| Admission::Refused { weakenings: vec![Weakening::ScheduleOff { disk: None }], fault };
    assert_eq!(judge(&current, &weaker, Some(now())), refused(SignatureFault::Missing));

    let exp = now().after(Duration::from_secs(60));
    sign(&mut weaker, device(), exp, &command_pair(2)).expect("it can be signed");
    assert_eq!(judge(&current, &weaker, Some(now())), refused(SignatureFault::Wrong));

    sign(&mut weaker, device(), exp, &command_pair(1)).expect("it can be signed");
    assert_eq!(judge(&current, &weaker, Some(now())), Admission::Apply(weaker.clone()));
    assert_eq!(judge(&current, &weaker, None), refused(SignatureFault::ClockUnsure));
    assert_eq!(judge(&current, &weaker, Some(exp)), refused(SignatureFault::Expired));

    // A signature is for the document, not for the right to change it afterwards.
    let mut changed = weaker.clone();
    changed.retention.daily = 1;
    assert!(matches!(judge(&current, &changed, Some(now())), Admission::Refused { fault: SignatureFault::Wrong, .. }));
}

#[test]
fn a_stronger_document_needs_none_and_no_clock() {
    let stronger = Desired { ver: DesiredVersion::from(8), new_disk: NewDisk::Backup, ..desired() };
    assert_eq!(judge(&desired(), &stronger, None), Admission::Apply(stronger));
}

#[test]
fn a_refused_document_is_approved_by_its_digest_and_no_other_is() {
    let mut weaker = Desired { ver: DesiredVersion::from(8), escrow: None, ..desired() };
    let received = |document: &Desired| receive::<Desired>(&encode(document).expect("it fits")).expect("a document");
    let digest = received(&weaker).digest().expect("it has one spelling");
    let approve_it = |document: &Desired, ver: u32| approve(&desired(), received(document), ver.into(), digest);
    assert_eq!(approve_it(&weaker, 8), Admission::Apply(weaker.clone()));
    assert!(matches!(approve_it(&weaker, 9), Admission::Refused { fault: SignatureFault::Wrong, .. }));
    weaker.retention.last = 1;
    assert!(matches!(approve_it(&weaker, 8), Admission::Refused { fault: SignatureFault::Wrong, .. }));
}

#[test]
fn an_older_document_never_comes_back() {
    for ver in [0u32, 6, 7] {
        let old = Desired { ver: DesiredVersion::from(ver), new_disk: NewDisk::Backup, ..desired() };
        assert_eq!(judge(&desired(), &old, Some(now())), Admission::Old);
    }
}

#[test]
fn nonsense_is_refused_even_when_signed() {
    let judge_change = |change: fn(&mut Desired)| {
        let mut new = Desired { ver: DesiredVersion::from(8), ..desired() };
        change(&mut new);
        sign(&mut new, device(), now().after(Duration::from_secs(60)), &command_pair(1)).expect("it can be signed");
        match judge(&desired(), &new, Some(now())) {
            Admission::Faulty(fault) => fault,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(judge_change(|new| new.retention = Retention::default()), DesiredFault::KeepsNothing);
    assert_eq!(
        judge_change(|new| new.uplink.brokers.clear()),
        DesiredFault::Length { list: "brokers", len: 0, max: 4 }
    );
    assert_eq!(judge_change(|new| new.uplink.heartbeat = Seconds::from(1)), DesiredFault::Heartbeat(Seconds::from(1)));
    assert_eq!(judge_change(|new| new.disks[1].disk = new.disks[0].disk), DesiredFault::DiskTwice(disk(3)));
    assert_eq!(
        judge_change(|new| new.backup.window = Some(Window { from: midnight(), to: midnight() })),
        DesiredFault::EmptyWindow(midnight())
    );
    assert_eq!(judge_change(|new| new.restart_window = Some(until(0))), DesiredFault::EmptyWindow(midnight()));
    assert_eq!(judge_change(|new| new.restart_window = Some(until(29))), DesiredFault::ShortWindow(29));
}

/// From midnight on.
fn until(minute: u16) -> Window {
    Window { from: midnight(), to: TimeOfDay::new(0, minute).expect("a time") }
}

fn midnight() -> TimeOfDay {
    TimeOfDay::new(0, 0).expect("a time")
}
