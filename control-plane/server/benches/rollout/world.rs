//! A fleet that does not exist, with a clock that jumps: boxes take offers, fail, fall silent and come back as a seed says. What is
//! decided is decided by the real engine; the world only plays the boxes.

use saveos_protocol::id::DeviceId;
use saveos_protocol::time::Timestamp;
use saveos_server::rollout::{
    Action, Beside, Candidate, Decision, Entry, Event, Hours, Policy, RingIndex, Rollout, Salt, Stage, Wish, edges,
    tick,
};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How a release is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release {
    /// It fails so often in its trial and says so.
    pub(crate) fails: f64,
    /// It bricks a box so often, which then says nothing.
    pub(crate) bricks: f64,
    /// It fails so often, so long after it was found healthy.
    pub(crate) late: (f64, Duration),
    /// Only on this hardware; elsewhere it is good.
    pub(crate) only: Option<u16>,
}

/// A good release fails on this share all the same.
pub(crate) const USUAL: f64 = 0.005;
/// This share of boxes is unplugged in its trial, by somebody who knows of nothing.
pub(crate) const UNPLUGGED: f64 = 0.003;

impl Release {
    pub(crate) const GOOD: Release = Release { fails: 0.0, bricks: 0.0, late: (0.0, HOUR), only: None };
}

/// Shares of the hardware of a fleet: two usual ones and a rare one.
const HARDWARE: [f64; 3] = [0.70, 0.29, 0.01];
/// This part of a fleet is away when a rollout begins, and comes within so long a time.
const AWAY: (f64, Duration) = (0.10, Duration::from_secs(20 * 24 * 3600));

/// Random numbers (Steele, Lea and Flood's splitmix64): a seed is a world.
pub(crate) struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn falls(&mut self, chance: f64) -> bool {
        self.part() < chance
    }

    fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + (most - least).mul_f64(self.part())
    }
}

/// A box.
struct Box_ {
    candidate: Candidate,
    returns: Timestamp,
}

/// The world.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) rollout: Rollout,
    pub(crate) log: Vec<Entry>,
    /// What was decided last.
    pub(crate) decision: Option<Decision>,
    dice: Dice,
    release: Release,
    boxes: Vec<Box_>,
    /// Members of open rings that were not offered the release.
    waiting: Vec<u32>,
    numbers: HashMap<DeviceId, u32>,
    to_come: BinaryHeap<Reverse<(Timestamp, u32, Reported)>>,
}

/// A stage in an order of its own, for the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reported {
    Working,
    Armed,
    Passed,
    Confirmed,
    Failed,
}

impl World {
    pub(crate) fn new(seed: u64, count: u32, policy: Policy, release: Release) -> World {
        policy.check().expect("a policy that makes sense");
        let now = Timestamp::saturating(1_800_000_000_000);
        let mut dice = Dice(seed);
        let mut salt = [0; 32];
        salt.chunks_mut(8).for_each(|part| part.copy_from_slice(&dice.bits().to_be_bytes()));
        let salt = Salt::new(&salt);
        let boxes: Vec<Box_> = (0..count)
            .map(|number| {
                let mut random = [0; 10];
                random[6..].copy_from_slice(&number.to_be_bytes());
                let device = DeviceId::from_parts(now, random);
                let kind = dice.part();
                let hardware = if kind < HARDWARE[0] { 0 } else { 1 + u16::from(kind >= HARDWARE[0] + HARDWARE[1]) };
                let away = if dice.falls(AWAY.0) { dice.between(HOUR, AWAY.1) } else { Duration::ZERO };
                let place = salt.place(device);
                let wish = Wish::AsPlaced;
                Box_ {
                    candidate: Candidate { device, place, hardware, wish, reachable: false, hours: Hours::ANY },
                    returns: now.after(away),
                }
            })
            .collect();
        let numbers = boxes.iter().zip(0..).map(|(one, number)| (one.candidate.device, number)).collect();
        World {
            now,
            rollout: Rollout::new(policy),
            log: Vec::new(),
            decision: None,
            dice,
            release,
            boxes,
            waiting: Vec::new(),
            numbers,
            to_come: BinaryHeap::new(),
        }
    }

    /// Until the rollout has halted or every ring is through, or for so long.
    pub(crate) fn run(&mut self, longest: Duration) {
        let end = self.now.after(longest);
        while self.now < end && self.rollout.halted().is_none() && !self.rollout.is_finished() {
            self.step();
        }
    }

    /// The next tick.
    pub(crate) fn step(&mut self) {
        while let Some(&Reverse((at, number, what))) = self.to_come.peek().filter(|next| next.0.0 <= self.now) {
            self.to_come.pop();
            let stage = match what {
                Reported::Working => Stage::Working,
                Reported::Armed => Stage::Armed,
                Reported::Passed => Stage::Passed,
                Reported::Confirmed => Stage::Confirmed,
                Reported::Failed => Stage::Failed,
            };
            let device = self.boxes[number as usize].candidate.device;
            self.write(at, Event::Reported { device, stage });
        }
        let now = self.now;
        let there: Vec<Candidate> = self
            .waiting
            .iter()
            .map(|&number| {
                let one = &self.boxes[number as usize];
                Candidate { reachable: one.returns <= now, ..one.candidate }
            })
            .collect();
        let fleet = || self.boxes.iter().map(|one| (one.candidate.hardware, one.candidate.place));
        let (decision, events) = tick(&self.rollout, &there, &|ring| edges(ring, fleet()), &Beside::default(), now);
        let offered = decision.action == Action::Offer && !events.is_empty();
        for event in events {
            if let Event::Offered { device, .. } = &event {
                self.take_up(*device);
            }
            self.write(now, event);
        }
        if let Action::Open(_) = decision.action {
            let is_waiting = |number: &u32| {
                let candidate = &self.boxes[*number as usize].candidate;
                self.rollout.ring_of(candidate).is_some() && self.rollout.attempt(candidate.device).is_none()
            };
            self.waiting = (0..self.boxes.len() as u32).filter(is_waiting).collect();
        } else if offered {
            let (rollout, boxes) = (&self.rollout, &self.boxes);
            self.waiting.retain(|&number| rollout.attempt(boxes[number as usize].candidate.device).is_none());
        }
        let is_busy = there.iter().any(|one| one.reachable) || !matches!(decision.action, Action::Offer | Action::Hold);
        self.decision = Some(decision);
        self.now = now.after(match self.rollout.attempts().len() {
            ..200 if is_busy => MINUTE,
            _ if is_busy => 5 * MINUTE,
            _ => HOUR / 2,
        });
    }

    fn write(&mut self, at: Timestamp, event: Event) {
        let entry = Entry { at, event };
        self.rollout.apply(&entry);
        self.log.push(entry);
    }

    /// A box takes the offer: its fate is thrown.
    fn take_up(&mut self, device: DeviceId) {
        let number = self.numbers[&device];
        let bad = self.release.only.is_none_or(|only| only == self.boxes[number as usize].candidate.hardware);
        let release = if bad { self.release } else { Release::GOOD };
        let dice = &mut self.dice;
        let begins = self.now.after(dice.between(Duration::ZERO, MINUTE));
        let armed = begins.after(dice.between(2 * MINUTE, 15 * MINUTE));
        let healthy = armed.after(dice.between(3 * MINUTE, 8 * MINUTE));
        // On the virtual bench a rotten release was left after 229 s, one that hangs after 400 s, and a good one healthy after 187 s.
        let given_up = armed.after(dice.between(3 * MINUTE, 10 * MINUTE));
        let mut come = |at, what| self.to_come.push(Reverse((at, number, what)));
        come(begins, Reported::Working);
        come(armed, Reported::Armed);
        if dice.falls(release.bricks) {
            return;
        }
        if dice.falls(1.0 - (1.0 - release.fails) * (1.0 - USUAL)) {
            come(given_up, Reported::Failed);
            return;
        }
        let unplugged = if dice.falls(UNPLUGGED) { dice.between(HOUR, 48 * HOUR) } else { Duration::ZERO };
        let healthy = healthy.after(unplugged);
        come(healthy, Reported::Passed);
        if dice.falls(release.late.0) {
            come(healthy.after(release.late.1), Reported::Failed);
        } else {
            come(healthy.after(dice.between(HOUR, 30 * HOUR)), Reported::Confirmed);
        }
    }

    /// Who was offered the release, and how often.
    pub(crate) fn offers(&self) -> HashMap<DeviceId, u32> {
        let mut offers = HashMap::new();
        for entry in &self.log {
            if let Event::Offered { device, .. } = &entry.event {
                *offers.entry(*device).or_default() += 1;
            }
        }
        offers
    }

    /// The busiest twenty-fourth of a ring's spread, by the mean.
    pub(crate) fn peak_to_mean(&self, ring: RingIndex) -> Option<f64> {
        let opened = self.rollout.rings().get(usize::from(ring.0))?.at;
        let spread = self.rollout.policy().ring(ring)?.spread;
        let mut bins = [0u32; 24];
        for attempt in self.rollout.attempts().iter().filter(|attempt| attempt.ring == ring) {
            let at = attempt.offered.since(opened).as_secs_f64() / spread.as_secs_f64() * 24.0;
            if let Some(bin) = bins.get_mut(at as usize) {
                *bin += 1;
            }
        }
        let mean = f64::from(bins.iter().sum::<u32>()) / 24.0;
        Some(f64::from(*bins.iter().max()?) / mean)
    }
}
