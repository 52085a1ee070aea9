//! The ring engine over fleets that do not exist: bad releases of every kind stop by themselves, good ones reach everybody, and
//! what other tools get wrong is named here test by test. More seeds and boxes: `cargo xtask bench rollout`.

#[path = "../benches/rollout/world.rs"]
mod world;

use saveos_protocol::id::DeviceId;
use saveos_server::rollout::{
    Action, Because, Beside, Candidate, Entry, Event, Grounds, Hours, Policy, Reach, RingIndex, Rollout, Salt, Share,
    Stage, Wish, decide, edges, offer, replay, tick,
};
use std::time::Duration;
use world::{Release, World};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const BOXES: u32 = 4_000;

fn run(seed: u64, release: Release) -> World {
    let mut world = World::new(seed, BOXES, Policy::default(), release);
    world.run(60 * DAY);
    world
}

fn halted(world: &World) -> &Because {
    world.rollout.halted().and_then(|grounds| grounds.because.first()).expect("it halted")
}

#[test]
fn a_release_that_fails_is_halted_in_its_first_ring() {
    for seed in 0..20 {
        let world = run(seed, Release { fails: 0.3, ..Release::GOOD });
        assert!(matches!(halted(&world), Because::Failures { .. }), "{:?}", halted(&world));
        assert_eq!(world.rollout.rings().len(), 1);
    }
}

#[test]
fn a_release_that_bricks_silently_is_halted_by_the_second_box() {
    for seed in 0..20 {
        let world = run(seed, Release { bricks: 1.0, ..Release::GOOD });
        let Because::Silence { lost, .. } = halted(&world) else { panic!("{:?}", halted(&world)) };
        // Four start together; two that are lost within one tick are both in the count.
        assert!((2..=4).contains(lost) && world.rollout.attempts().len() <= 4, "{lost}");
    }
}

#[test]
fn a_release_that_fails_after_a_day_and_a_half_is_caught_by_the_soak() {
    for seed in 0..5 {
        let world = run(seed, Release { late: (0.5, 36 * HOUR), ..Release::GOOD });
        assert!(matches!(halted(&world), Because::Failures { .. }));
        assert_eq!(world.rollout.rings().len(), 1, "the second ring never opened");
    }
}

#[test]
fn one_bad_hardware_revision_is_seen_in_the_first_ring() {
    for seed in 0..5 {
        let world = run(seed, Release { fails: 1.0, only: Some(2), ..Release::GOOD });
        assert!(matches!(halted(&world), Because::Failures { .. }));
        assert_eq!(world.rollout.rings().len(), 1);
    }
}

#[test]
fn a_good_release_reaches_everybody_once_though_boxes_fail_and_are_unplugged_all_the_same() {
    for seed in 0..5 {
        let mut world = run(seed, Release::GOOD);
        assert!(world.rollout.is_finished(), "{:?}", world.decision);
        // Some were away all the while, and come home.
        let end = world.now.after(25 * DAY);
        while world.now < end {
            world.step();
        }
        let offers = world.offers();
        assert!(offers.values().all(|&count| count == 1), "nobody is offered it twice");
        assert_eq!(offers.len(), BOXES as usize, "and nobody is forgotten");
    }
}

/// Bottlerocket's waves count from the beginning of the fleet and not of the wave: 40 to 60 % of it falls due at one moment.
#[test]
fn offers_of_a_late_ring_are_spread_over_its_own_time() {
    let mut world = World::new(7, 40_000, Policy::default(), Release::GOOD);
    world.run(60 * DAY);
    for ring in 0..world.rollout.rings().len() as u8 {
        let peak = world.peak_to_mean(RingIndex(ring)).expect("a ring");
        assert!(peak <= 1.3, "ring {ring}: {peak}");
    }
    // As even as that: of a late ring half are offered it in the first half of its time, and not as fast as may be.
    let (opened, spread) = (world.rollout.rings()[2].at, world.rollout.policy().rings[2].spread);
    let after = |attempt: &&saveos_server::rollout::Attempt| attempt.offered.since(opened);
    let ring = world.rollout.attempts().iter().filter(|attempt| attempt.ring == RingIndex(2));
    let within: Vec<Duration> = ring.map(|attempt| after(&attempt)).filter(|&after| after < spread).collect();
    let early = within.iter().filter(|&&after| after < spread / 2).count() as f64 / within.len() as f64;
    assert!((0.45..0.55).contains(&early), "{early}");
}

/// hawkBit starts the next group when this one is complete, whatever came of it; a group of which nobody answers counts for nothing.
#[test]
fn a_ring_that_is_complete_and_not_successful_does_not_open_the_next() {
    // Nothing halts, so only what is shown can open a ring.
    let lenient = || Policy { false_halts: Share::millionths(1), ..Policy::default() };
    for release in [Release { fails: 0.2, ..Release::GOOD }, Release { bricks: 0.2, ..Release::GOOD }] {
        let mut world = World::new(3, BOXES, lenient(), release);
        world.run(20 * DAY);
        assert_eq!(world.rollout.rings().len(), 1);
        let because = match world.rollout.halted() {
            Some(grounds) => &grounds.because,
            None => &world.decision.as_ref().expect("it decided").because,
        };
        let tells = |because: &Because| {
            matches!(
                because,
                Because::Unsure { .. } | Because::Failures { .. } | Because::Silence { .. } | Because::Suspected { .. }
            )
        };
        assert!(because.iter().any(tells), "{because:?}");
    }
}

#[test]
fn the_log_gives_the_same_decisions_and_a_log_that_was_touched_does_not() {
    let world = run(11, Release { fails: 0.05, ..Release::GOOD });
    let text = serde_json::to_string(&world.log).expect("JSON");
    let mut log: Vec<Entry> = serde_json::from_str(&text).expect("a log");
    let again = replay(world.rollout.policy(), &log).expect("the same decisions");
    assert_eq!(again.halted(), world.rollout.halted());
    assert_eq!(again.attempts(), world.rollout.attempts());
    let failed = |entry: &Entry| matches!(entry.event, Event::Reported { stage: Stage::Failed, .. });
    let at = log.iter().position(failed).expect("a failure");
    log.remove(at);
    assert_eq!(replay(world.rollout.policy(), &log).err(), Some(log.len() - 1), "the halt does not follow any more");
}

/// A fleet by hand: ids, places, and a policy of two rings.
struct Few {
    rollout: Rollout,
    fleet: Vec<Candidate>,
    now: saveos_protocol::time::Timestamp,
}

impl Few {
    fn new(count: u8, change: impl Fn(&mut Policy)) -> Few {
        let mut policy = Policy::default();
        policy.rings.drain(1..4);
        policy.rings[0].up_to = Share::percent(30);
        change(&mut policy);
        assert_eq!(policy.check(), Ok(()));
        let now = saveos_protocol::time::Timestamp::saturating(1_800_000_000_000);
        let salt = Salt::new(&[3; 32]);
        let candidate = |number: u8| {
            let device = DeviceId::from_parts(now, [number; 10]);
            Candidate {
                device,
                place: salt.place(device),
                hardware: 0,
                wish: Wish::AsPlaced,
                reachable: true,
                hours: Hours::ANY,
            }
        };
        Few { rollout: Rollout::new(policy), fleet: (0..count).map(candidate).collect(), now }
    }

    fn tell(&mut self, event: Event) {
        self.rollout.apply(&Entry { at: self.now, event });
    }

    fn tick(&mut self, beside: &Beside) -> (Action, Vec<Because>) {
        let fleet: Vec<(u16, _)> = self.fleet.iter().map(|one| (one.hardware, one.place)).collect();
        let edges = |ring: &_| edges(ring, fleet.iter().copied());
        let (decision, events) = tick(&self.rollout, &self.fleet, &edges, beside, self.now);
        events.into_iter().for_each(|event| self.tell(event));
        (decision.action, decision.because)
    }

    /// An hour; whoever was offered the release runs it.
    fn pass(&mut self) -> (Action, Vec<Because>) {
        let said = self.tick(&Beside::default());
        for device in self.fleet.iter().map(|one| one.device).collect::<Vec<_>>() {
            if self.rollout.attempt(device).is_some_and(|attempt| attempt.passed.is_none()) {
                self.tell(Event::Reported { device, stage: Stage::Confirmed });
            }
        }
        self.now = self.now.after(HOUR);
        said
    }

    fn offered(&self) -> Vec<usize> {
        let is_offered = |at: &usize| self.rollout.attempt(self.fleet[*at].device).is_some();
        (0..self.fleet.len()).filter(is_offered).collect()
    }
}

#[test]
fn three_boxes_go_through_two_rings_and_it_takes_as_long_as_the_soaks() {
    let mut few = Few::new(3, |_| ());
    let begun = few.now;
    assert_eq!(few.pass().0, Action::Open(RingIndex(0)));
    for _ in 0..40 {
        few.pass();
    }
    assert!(few.rollout.rings().len() == 1 && !few.offered().is_empty() && few.offered().len() < 3);
    while !few.rollout.is_finished() {
        few.pass();
        assert!(few.now.since(begun) < 10 * DAY, "{:?}", few.tick(&Beside::default()));
    }
    assert_eq!(few.offered(), [0, 1, 2]);
    assert!(few.now.since(begun) >= 2 * 2 * DAY);
}

#[test]
fn who_is_held_is_never_offered_it_and_who_wants_to_be_in_a_ring_is_offered_it_in_that_ring() {
    let mut few = Few::new(20, |_| ());
    for at in 0..20 {
        few.fleet[at].wish = match at {
            0 | 1 => Wish::In(RingIndex(0)),
            2 | 3 => Wish::In(RingIndex(1)),
            _ => Wish::Never,
        };
    }
    few.pass();
    let to_come = |few: &Few, at: usize| few.rollout.ring_to_come(&few.fleet[at]);
    assert_eq!((few.rollout.rings().len(), to_come(&few, 2), to_come(&few, 4)), (1, Some(RingIndex(1)), None));
    for _ in 0..24 {
        few.pass();
    }
    assert_eq!((few.rollout.rings().len(), few.offered()), (1, vec![0, 1]));
    for _ in 0..200 {
        few.pass();
    }
    assert_eq!(few.offered(), [0, 1, 2, 3]);
}

/// One that counted boxes outside their windows as away would be through before those that restart at night were asked.
#[test]
fn boxes_are_offered_it_in_their_restart_windows_and_a_ring_waits_for_them() {
    // The first ring is sure of the release, by the boxes that restart at any time, hours before the windows of the others open.
    let mut few = Few::new(240, |policy| {
        policy.rings[0].up_to = Share::percent(90);
        (policy.rings[0].soak, policy.rings[0].spread) = (HOUR, HOUR);
    });
    let begun = few.now;
    let at_night = |at: &usize| at % 2 == 1;
    while !few.rollout.is_finished() || few.offered().len() < 240 {
        let open = (14..17).contains(&(few.now.since(begun).as_secs() / 3600 % 24));
        for at in (0..240).filter(at_night) {
            few.fleet[at].hardware = 1;
            few.fleet[at].hours = Hours { open, share: Share::millionths(125_000) };
        }
        let before = few.offered();
        let (_, because) = few.pass();
        let new = few.offered().into_iter().filter(|at| !before.contains(at));
        assert!(open || new.filter(at_night).count() == 0);
        let told = because.iter().find(|because| matches!(because, Because::Offering { closed: 1.., .. }));
        assert!(told.is_none_or(|because| because.to_string().contains("not before their restart window")));
        if few.rollout.rings().len() == 2 {
            assert!(
                few.offered().iter().filter(|at| at_night(at)).count() >= 5,
                "the first ring did not wait for them"
            );
        }
        assert!(few.now.since(begun) < 4 * DAY, "{because:?}");
    }
    assert_eq!(few.offered().len(), 240, "nobody is forgotten");
}

#[test]
fn few_try_it_before_some_passed_and_then_a_quarter_of_those() {
    let mut few = Few::new(250, |policy| {
        policy.rings[0].spread = Duration::from_secs(1);
        policy.rings[0].up_to = Share::percent(90);
    });
    few.tick(&Beside::default());
    few.now = few.now.after(HOUR);
    few.tick(&Beside::default());
    let first = few.offered();
    assert_eq!(first.len(), 4);
    few.tick(&Beside::default());
    assert_eq!(few.offered(), first, "until somebody passed");
    for _ in 0..8 {
        few.pass();
    }
    let passed = few.offered().len();
    assert!(passed >= 32, "{passed}");
    few.tick(&Beside::default());
    assert_eq!(few.offered().len(), passed + passed / 4);
}

#[test]
fn a_ring_waits_for_each_hardware_however_many_of_another_have_soaked() {
    let mut few = Few::new(120, |_| ());
    few.fleet[..20].iter_mut().for_each(|one| one.hardware = 1);
    for _ in 0..24 * 5 {
        few.tick(&Beside::default());
        for one in few.fleet.clone() {
            let stage = if one.hardware == 1 { Stage::Working } else { Stage::Confirmed };
            let is_new = few.rollout.attempt(one.device).is_some_and(|attempt| attempt.stage == Stage::Offered);
            if is_new {
                few.tell(Event::Reported { device: one.device, stage });
            }
        }
        few.now = few.now.after(HOUR);
    }
    // They went offline before they restarted: nobody waits for them. They are back: the ring does.
    let slow: Vec<DeviceId> = few.fleet[..20].iter().map(|one| one.device).collect();
    for &device in slow.iter().filter(|&&device| few.rollout.attempt(device).is_some()).collect::<Vec<_>>() {
        few.rollout.apply(&Entry { at: few.now, event: Event::Reported { device, stage: Stage::Hindered } });
        few.rollout.apply(&Entry { at: few.now, event: Event::Reported { device, stage: Stage::Working } });
    }
    let (_, because) = few.tick(&Beside::default());
    let waits = |because: &Because| matches!(because, Because::Soaking { hardware: 1, soaked: 0, .. });
    assert!(because.iter().any(waits), "{because:?}");
}

#[test]
fn a_paused_rollout_offers_nothing_until_it_goes_on_and_a_ring_waits_for_its_approval() {
    let mut few = Few::new(20, |policy| policy.rings[1].approval = true);
    few.pass();
    few.tell(Event::Paused { by: "anna".into() });
    assert_eq!(few.pass(), (Action::Hold, vec![Because::ByHand { by: "anna".into() }]));
    assert_eq!(few.offered(), [0usize; 0]);
    few.tell(Event::Resumed { by: "anna".into() });
    for _ in 0..24 * 10 {
        few.pass();
    }
    assert_eq!(few.pass(), (Action::Offer, vec![Because::Approval { ring: RingIndex(1) }]));
    few.tell(Event::Approved { ring: RingIndex(1), by: "anna".into() });
    assert_eq!(few.pass().0, Action::Open(RingIndex(1)));
}

#[test]
fn one_box_whose_data_do_not_read_back_halts_it_at_once_and_for_good() {
    let mut few = Few::new(20, |_| ());
    (0..5).for_each(|_| drop(few.pass()));
    let device = few.fleet[3].device;
    few.tell(Event::Damaged { device });
    let damaged = vec![Because::Damaged { device }];
    assert_eq!(few.pass(), (Action::Halt, damaged.clone()));
    let before = few.offered();
    assert_eq!(few.pass(), (Action::Nothing, damaged));
    assert_eq!(few.offered(), before);
}

#[test]
fn silent_boxes_are_waited_for_before_anybody_else_is_offered_it() {
    let mut few = Few::new(200, |_| ());
    few.tick(&Beside::default());
    few.now = few.now.after(3 * HOUR);
    few.tick(&Beside::default());
    let armed = few.offered();
    assert!((2..=4).contains(&armed.len()), "no more than four before anybody passed, not {}", armed.len());
    for &at in &armed {
        few.tell(Event::Reported { device: few.fleet[at].device, stage: Stage::Armed });
    }
    few.now = few.now.after(HOUR);
    let (action, because) = few.tick(&Beside::default());
    let silent = armed.len() as u32;
    assert_eq!((action, because), (Action::Hold, vec![Because::Suspected { silent, lost: 0, of: silent }]));
    // They come back: somebody had pulled the plug of a rack.
    for &at in &armed {
        few.tell(Event::Reported { device: few.fleet[at].device, stage: Stage::Passed });
    }
    assert_eq!(few.tick(&Beside::default()).0, Action::Offer);
}

#[test]
fn a_line_that_is_down_holds_the_offers_and_says_nothing_of_the_release() {
    let mut few = Few::new(200, |_| ());
    few.tick(&Beside::default());
    for device in few.fleet.iter().map(|one| one.device).take(6).collect::<Vec<_>>() {
        few.tell(Event::Offered { device, ring: RingIndex(0), hardware: 0, runs: None });
        few.tell(Event::Reported { device, stage: Stage::Hindered });
    }
    let hindered = vec![Because::Hindered { boxes: 6, of: 6 }];
    assert_eq!(few.tick(&Beside::default()), (Action::Hold, hindered));
    let device = few.fleet[0].device;
    few.tell(Event::Reported { device, stage: Stage::Working });
    few.tell(Event::Reported { device: few.fleet[1].device, stage: Stage::Passed });
    assert_eq!(few.tick(&Beside::default()).0, Action::Offer, "the line is back for some");
}

#[test]
fn backups_that_fail_more_often_than_beside_hold_the_next_ring_back() {
    let mut few = Few::new(100, |policy| policy.rings[0].soak = 90 * DAY);
    (0..24 * 6).for_each(|_| drop(few.pass()));
    let is_told = |because: &[Because]| because.iter().any(|one| matches!(one, Because::Backups { .. }));
    let (_, because) = few.tick(&Beside { with: (30, 9), without: (70, 1) });
    assert!(is_told(&because), "{because:?}");
    let (_, because) = few.tick(&Beside { with: (30, 2), without: (70, 3) });
    assert!(!is_told(&because), "{because:?}");
}

#[test]
fn every_decision_reads_as_a_sentence() {
    let empty = Rollout::new(Policy::default());
    let decision = decide(&empty, &Reach::default(), &Beside::default(), Default::default());
    assert_eq!(decision.action, Action::Open(RingIndex(0)));
    assert_eq!(decision.because[0].to_string(), "nothing was tried yet");
    let failures = Because::Failures { hardware: Some(2), failed: 3, of: 18, evidence: 371.6, enough: 250.4 };
    let words = "it failed on 3 of 18 boxes of hardware 2 that started it: 372 times likelier with a bad release, 250 is enough";
    assert_eq!(failures.to_string(), words);
    let grounds = Grounds { because: vec![failures], ..Grounds::default() };
    let text = serde_json::to_string(&grounds).expect("JSON");
    assert_eq!(serde_json::from_str::<Grounds>(&text).expect("grounds"), grounds);
    assert_eq!(offer(&empty, &[], Default::default()), (Vec::new(), Reach::default()));
}

/// Others drop a box that never answers from the numbers.
#[test]
fn who_never_came_to_an_end_is_told_of_after_90_days() {
    let mut few = Few::new(4, |_| ());
    few.tick(&Beside::default());
    for (at, stage) in (0..).zip([Stage::Confirmed, Stage::NotInstalled, Stage::Passed, Stage::Working]) {
        let device = few.fleet[at].device;
        few.tell(Event::Offered { device, ring: RingIndex(0), hardware: 0, runs: None });
        few.tell(Event::Reported { device, stage });
    }
    few.tell(Event::Finished { grounds: Grounds::default() });
    few.now = few.now.after(90 * DAY - HOUR);
    assert_eq!(few.tick(&Beside::default()), (Action::Offer, Vec::new()));
    few.now = few.now.after(HOUR);
    assert_eq!(few.tick(&Beside::default()), (Action::Offer, vec![Because::Unfinished { boxes: 2 }]));
}
