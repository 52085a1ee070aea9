//! A box in memory that the state machine looks after: two slots, releases of every kind, and cuts between any two steps. What holds
//! in it: it ends, a release that is bad ends on the slot before, and nothing is restarted while a job runs.

use super::advance::{Backups, Deed, Health, Outcome, Running, SOAK, Seen};
use super::journal::{Bundle, Journal, SlotName, Step};
use proptest::prelude::*;
use saveos_protocol::hex::{BootId, Digest};
use saveos_protocol::shadow::{ReleaseTarget, UpdateFailure, UpdateState};
use saveos_protocol::text::Text;
use saveos_protocol::time::Timestamp;
use std::time::Duration;

/// What becomes of a release on this box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    /// Good, and no disk is plugged in.
    GoodAndIdle,
    Refused,
    NeverStarts,
    Unhealthy,
    /// Its daemon starts again and again.
    Crashes,
    NoBackup,
    /// Healthy, and hangs soon after it was kept, again and again.
    Hangs,
}

const TRIES: u8 = 3;

struct World {
    kind: Kind,
    /// What is on the disk.
    kept: Journal,
    /// What the daemon holds.
    journal: Journal,
    now: Timestamp,
    boot: u8,
    slot: SlotName,
    first: SlotName,
    trial: Option<SlotName>,
    left: [u8; 2],
    releases: [&'static str; 2],
    busy: bool,
    /// It is outside the restart window,
    closed: bool,
    /// and the offer does not care.
    at_once: bool,
    offered: bool,
    /// The offer stands.
    stands: bool,
    /// What is offered.
    wanted: &'static str,
    /// What the metadata says of it.
    bundle: Bundle,
    restarts: u32,
    installs: u32,
    fetches: u32,
}

fn other(slot: SlotName) -> SlotName {
    if slot == SlotName::A { SlotName::B } else { SlotName::A }
}

fn bundle() -> Bundle {
    Bundle { path: "qemu/2.0.0.raucb".to_owned(), length: 10, sha256: Digest([2; 32]), epoch: 5 }
}

impl World {
    fn new(kind: Kind) -> World {
        World {
            kind,
            kept: Journal::default(),
            journal: Journal::default(),
            now: Timestamp::saturating(1_800_000_000_000),
            boot: 1,
            slot: SlotName::A,
            first: SlotName::A,
            trial: None,
            left: [TRIES, 0],
            releases: ["1.0.0", "0.9.0"],
            busy: false,
            closed: false,
            at_once: false,
            offered: true,
            stands: true,
            wanted: "2.0.0",
            bundle: bundle(),
            restarts: 0,
            installs: 0,
            fetches: 0,
        }
    }

    fn is_new(&self) -> bool {
        self.releases[self.slot as usize] == "2.0.0"
    }

    fn offer(&self) -> ReleaseTarget {
        ReleaseTarget { release: self.wanted.parse().expect("a release"), ring_token: None, at_once: self.at_once }
    }

    fn seen(&self) -> Seen {
        let health = match self.kind {
            Kind::Unhealthy if self.is_new() => Health::Bad(Text::cut("no disk is there any more")),
            Kind::Crashes if self.is_new() => Health::Unknown,
            _ => Health::Good,
        };
        let backups = match self.kind {
            Kind::GoodAndIdle | Kind::Hangs => Backups::default(),
            Kind::NoBackup if self.is_new() => Backups { good: 0, failed: 2 },
            _ => Backups { good: 1, failed: 0 },
        };
        Seen {
            offer: self.offered.then(|| self.offer()),
            running: Running {
                release: self.releases[self.slot as usize].parse().expect("a release"),
                slot: self.slot,
                boot: BootId([self.boot; 16]),
            },
            up: Duration::from_secs(60),
            on_trial: Some(self.trial == Some(self.slot)),
            busy: self.busy,
            no_restart: self.closed.then(|| Text::cut("it restarts at night")),
            health,
            connected: true,
            disks: Vec::new(),
            backups,
            backed_up: true,
            last_words: None,
        }
    }

    /// As U-Boot, the initramfs and the guard of a trial do it.
    fn start_box(&mut self) {
        loop {
            self.boot = self.boot.wrapping_add(1);
            self.restarts += 1;
            let slot = if self.left[self.first as usize] > 0 { self.first } else { other(self.first) };
            assert!(self.left[slot as usize] > 0, "a rescue");
            if self.trial == Some(slot) {
                self.left[slot as usize] -= 1;
            }
            self.slot = slot;
            if !(self.is_new() && self.kind == Kind::NeverStarts) {
                break;
            }
        }
        self.start_daemon();
    }

    fn start_daemon(&mut self) {
        self.journal = self.kept.clone();
        self.journal.started(self.slot);
        self.kept = self.journal.clone();
    }

    /// One turn of the daemon, up to a cut: 0 before the journal is written, 1 before the deed, 2 after it, 3 none.
    fn turn(&mut self, cut: u8) {
        if self.kind == Kind::Crashes && self.is_new() {
            self.start_daemon();
        }
        let seen = self.seen();
        let deed = self.journal.advance(&seen, self.now);
        if cut == 0 {
            return self.start_box();
        }
        self.kept = self.journal.clone();
        let Some(deed) = deed else {
            // The watchdog ends it.
            if self.kind == Kind::Hangs && self.is_new() {
                self.start_box();
            }
            return;
        };
        if cut == 1 {
            return self.start_box();
        }
        let done = match &deed {
            Deed::Read(_) if self.kind == Kind::Refused => {
                Outcome::Failed(UpdateFailure::Refused, Text::cut("it is signed by nobody"))
            }
            Deed::Read(_) => Outcome::Known(self.bundle.clone()),
            Deed::Look => Outcome::Done,
            Deed::Fetch(_) => {
                self.fetches += 1;
                Outcome::Done
            }
            Deed::Install => {
                assert!(!self.busy, "a job is slowed down");
                assert!(self.trial != Some(self.slot), "the slot that proved itself is overwritten");
                self.installs += 1;
                self.left[other(self.slot) as usize] = 0;
                self.first = self.slot;
                self.releases[other(self.slot) as usize] = self.wanted;
                Outcome::Done
            }
            Deed::Arm | Deed::Restart if self.closed && !self.at_once => panic!("a box restarts outside its window"),
            Deed::Arm if !self.stands => Outcome::Held(Duration::from_secs(60), Text::cut("it was halted")),
            Deed::Arm => {
                let slot = other(self.slot);
                (self.first, self.trial) = (slot, Some(slot));
                self.left[slot as usize] = TRIES;
                Outcome::Done
            }
            Deed::Keep => {
                (self.first, self.trial) = (self.slot, None);
                self.left[self.slot as usize] = TRIES;
                Outcome::Done
            }
            Deed::Restart => {
                assert!(!self.busy, "a job is interrupted");
                return self.start_box();
            }
            Deed::Abandon => {
                assert!(!self.busy, "a job is interrupted");
                self.left[self.slot as usize] = 0;
                self.first = other(self.slot);
                self.trial = None;
                return self.start_box();
            }
        };
        if cut == 2 {
            return self.start_box();
        }
        self.journal.ended(&deed, done, &seen, self.now);
        self.kept = self.journal.clone();
    }

    /// Turns, each cut somewhere or not, beside a job or not, so many seconds apart; then the box is idle.
    fn live(&mut self, steps: Vec<(u8, bool, u64)>) {
        for (cut, busy, seconds) in steps {
            (self.busy, self.closed) = (busy, seconds % 3 == 0);
            self.now = self.now.after(Duration::from_secs(seconds));
            self.turn(cut);
        }
        (self.busy, self.closed) = (false, false);
    }

    fn ended(&self) -> bool {
        self.journal.attempt.is_none() && self.journal.last.is_some()
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Good),
        Just(Kind::GoodAndIdle),
        Just(Kind::Refused),
        Just(Kind::NeverStarts),
        Just(Kind::Unhealthy),
        Just(Kind::Crashes),
        Just(Kind::NoBackup),
        Just(Kind::Hangs),
    ]
}

proptest! {
    #[test]
    fn whatever_is_cut_an_update_ends_and_a_bad_one_ends_on_the_slot_before(
        kind in kinds(),
        steps in prop::collection::vec((0u8..4, any::<bool>(), 1u64..200), 0..60),
    ) {
        let mut world = World::new(kind);
        world.live(steps);
        for _ in 0..200 {
            if world.ended() {
                break;
            }
            world.now = world.now.after(SOAK / 40);
            world.turn(3);
        }
        let last = world.journal.last.clone();
        match kind {
            Kind::Refused => {
                prop_assert!(last.is_none() && world.installs == 0 && world.slot == SlotName::A, "{:?}", world.journal);
                prop_assert_eq!(world.journal.report().and_then(|report| report.reason), Some(UpdateFailure::Refused));
            }
            Kind::Good | Kind::GoodAndIdle => {
                // Cuts can use up the tries of a good one; then it failed, and is not tried again.
                let state = last.expect("it ended").state;
                prop_assert_eq!(state == UpdateState::Confirmed, world.is_new());
                prop_assert_eq!(world.journal.epoch, if world.is_new() { 5 } else { 0 });
            }
            _ => {
                let last = last.expect("it ended");
                let reason = match kind {
                    Kind::NeverStarts => UpdateFailure::NotStarted,
                    Kind::NoBackup => UpdateFailure::NoBackup,
                    _ => UpdateFailure::Unhealthy,
                };
                prop_assert_eq!(last.state, UpdateState::Failed);
                // Cuts can use up the tries before that shows.
                let cut_off = [UpdateFailure::NotStarted, UpdateFailure::Unhealthy].map(Some).contains(&last.reason);
                let may_be_cut_off = kind != Kind::NeverStarts && cut_off;
                prop_assert!(last.reason == Some(reason) || may_be_cut_off, "{:?}", last);
                prop_assert!(!world.is_new() && world.slot == SlotName::A && world.journal.epoch == 0);
            }
        }
        let (installs, restarts) = (world.installs, world.restarts);
        for _ in 0..100 {
            world.now = world.now.after(Duration::from_secs(3600));
            world.turn(3);
        }
        prop_assert_eq!((world.installs, world.restarts), (installs, restarts), "what failed is not installed again");
    }

    #[test]
    fn an_offer_that_is_withdrawn_before_the_restart_changes_nothing(turns in 0usize..6) {
        let mut world = World::new(Kind::Good);
        for _ in 0..turns {
            world.turn(3);
        }
        let armed = world.restarts > 0 || world.trial.is_some();
        world.offered = false;
        for _ in 0..20 {
            world.now = world.now.after(Duration::from_secs(60));
            world.turn(3);
        }
        prop_assert_eq!(world.is_new(), armed);
    }
}

proptest! {
    /// A halt is two things: the document without the offer, which a box may not hear for days, and a no to its question.
    #[test]
    fn a_halt_in_any_state_and_beside_any_cut_restarts_nobody_who_was_not_armed(
        before in prop::collection::vec((0u8..4, any::<bool>()), 0..12),
        is_heard in any::<bool>(),
        after in prop::collection::vec((0u8..4, any::<bool>(), 1u64..7200), 0..40),
    ) {
        let mut world = World::new(Kind::Good);
        for (cut, busy) in before {
            world.busy = busy;
            world.now = world.now.after(Duration::from_secs(60));
            world.turn(cut);
        }
        let was_armed = world.trial.is_some() || world.is_new();
        (world.stands, world.offered) = (false, !is_heard);
        for (cut, busy, seconds) in after {
            world.busy = busy;
            world.now = world.now.after(Duration::from_secs(seconds));
            world.turn(cut);
            prop_assert!(was_armed || world.trial.is_none() && !world.is_new(), "{:?}", world.journal);
        }
    }
}

#[test]
fn a_box_fetches_at_any_time_and_restarts_in_its_window_unless_the_offer_cannot_wait() {
    let mut world = World { closed: true, ..World::new(Kind::Good) };
    for _ in 0..20 {
        world.now = world.now.after(Duration::from_secs(60));
        world.turn(3);
    }
    let report = world.journal.report().expect("an update is under way");
    assert_eq!((report.state, world.installs, world.restarts), (UpdateState::Installed, 1, 0));
    assert_eq!((report.reason, report.text), (None, Some(Text::cut("it restarts at night"))));
    world.closed = false;
    world.turn(3);
    let report = world.journal.report().expect("an update is under way");
    assert_eq!((report.state, report.text), (UpdateState::Trying, None));
    let mut urgent = World { closed: true, at_once: true, ..World::new(Kind::Good) };
    for _ in 0..20 {
        urgent.now = urgent.now.after(Duration::from_secs(60));
        urgent.turn(3);
    }
    assert!(urgent.is_new());
}

#[test]
fn without_a_cut_a_good_release_is_installed_once_and_restarted_into_once() {
    let mut world = World::new(Kind::Good);
    for _ in 0..20 {
        world.turn(3);
    }
    assert!(world.ended() && world.is_new(), "{:?}", world.journal);
    assert_eq!((world.installs, world.restarts), (1, 1));
}

#[test]
fn a_release_of_a_lower_security_epoch_is_refused_before_a_byte_of_it_is_fetched() {
    let mut world = World::new(Kind::Good);
    world.journal.epoch = 6;
    for _ in 0..20 {
        world.turn(3);
        world.now = world.now.after(Duration::from_secs(3600));
    }
    let report = world.journal.report().expect("it waits");
    assert_eq!((report.state, report.reason), (UpdateState::Offered, Some(UpdateFailure::Refused)));
    assert_eq!((world.installs, world.restarts), (0, 0));
}

#[test]
fn what_is_held_restarts_nobody_and_goes_on_or_is_dropped() {
    for goes_on in [true, false] {
        let mut world = World::new(Kind::Good);
        world.stands = false;
        for _ in 0..500 {
            world.now = world.now.after(Duration::from_secs(60));
            world.turn(3);
        }
        // A day of it is no failure, and nothing was made the next to start.
        assert_eq!((world.installs, world.restarts, world.trial), (1, 0, None));
        let report = world.journal.report().expect("it waits");
        assert_eq!((report.state, report.reason), (UpdateState::Installed, None));
        (world.stands, world.offered) = (goes_on, goes_on);
        for _ in 0..20 {
            world.now = world.now.after(Duration::from_secs(60));
            world.turn(3);
        }
        assert_eq!((world.is_new(), world.journal.attempt.is_none()), (goes_on, true));
    }
}

#[test]
fn an_update_waits_while_a_job_runs() {
    let mut world = World::new(Kind::Good);
    world.busy = true;
    for _ in 0..50 {
        world.now = world.now.after(Duration::from_secs(60));
        world.turn(3);
    }
    assert_eq!((world.installs, world.restarts), (0, 0));
    assert_eq!(world.journal.report().expect("it waits").state, UpdateState::Installing);
}

#[test]
fn a_system_that_is_switched_off_now_and_then_is_not_left_for_that() {
    let mut world = World::new(Kind::GoodAndIdle);
    while !matches!(world.journal.attempt.as_ref().map(|attempt| &attempt.step), Some(Step::Soaking { .. })) {
        world.turn(3);
    }
    for _ in 0..10 {
        for _ in 0..4 {
            world.start_box();
        }
        // In between it runs for an hour.
        let seen = Seen { up: Duration::from_secs(3600), ..world.seen() };
        assert_eq!(world.journal.advance(&seen, world.now), None);
        world.kept = world.journal.clone();
    }
    world.now = world.now.after(SOAK);
    world.turn(3);
    assert!(world.ended() && world.is_new(), "{:?}", world.journal);
}

mod returns;
