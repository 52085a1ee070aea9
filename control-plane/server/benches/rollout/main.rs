//! The ring engine over fleets that do not exist: how soon bad releases of every kind are halted, how often good ones are by
//! mistake, how even the offers are, and what a decision costs. Asked for by
//! `cargo xtask bench rollout [SEEDS] [RELEASE]`; the second word picks the releases whose name begins with it.

mod world;

use saveos_protocol::id::DeviceId;
use saveos_protocol::time::Timestamp;
use saveos_server::rollout::{Policy, RingIndex, Stage, replay};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::{Release, World};

const HOUR: Duration = Duration::from_secs(3600);
const BOXES: u32 = 100_000;

fn main() {
    let words: Vec<String> = std::env::args().filter(|word| !word.starts_with('-')).collect();
    let seeds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(100);
    // The first word is the program.
    let only = words.iter().skip(1).find(|word| word.parse::<u64>().is_err());
    let is_asked = |name: &str| only.is_none_or(|only| name.starts_with(only.as_str()));
    println!("{BOXES} boxes, {seeds} seeds; 0.5 % fail and 0.3 % are unplugged whatever the release\n");
    println!("{:<36}{:>8}{:>16}{:>16}{:>10}{:>8}", "release", "halted", "verdicts", "offered", "hours", "rings");
    let of = |fails, bricks, late, only| Release { fails, bricks, late: (late, 36 * HOUR), only };
    for (name, release) in [
        ("30 % fail", of(0.30, 0.0, 0.0, None)),
        ("10 % fail", of(0.10, 0.0, 0.0, None)),
        ("5 % fail", of(0.05, 0.0, 0.0, None)),
        ("2 % fail", of(0.02, 0.0, 0.0, None)),
        ("all fall silent", of(0.0, 1.0, 0.0, None)),
        ("10 % fall silent", of(0.0, 0.10, 0.0, None)),
        ("all of a rare hardware fail", of(1.0, 0.0, 0.0, Some(2))),
        ("all of a rare hardware fall silent", of(0.0, 1.0, 0.0, Some(2))),
        ("20 % fail after 36 h", of(0.0, 0.0, 0.20, None)),
    ] {
        if is_asked(name) {
            show(name, &sample(seeds, release, |_| ()));
        }
    }
    if is_asked("good") {
        good(seeds);
    }
    cost();
}

/// A release that is no worse than usual, to the end of all rings.
fn good(seeds: u64) {
    let peaks = std::sync::Mutex::new(Vec::new());
    let good = sample(seeds, Release::GOOD, |world| {
        let rings = 0..world.rollout.rings().len() as u8;
        let highest = rings.filter_map(|ring| world.peak_to_mean(RingIndex(ring))).fold(0.0, f64::max);
        // A ring that was halted has a part of its spread only, and no mean.
        if world.rollout.is_finished() {
            peaks.lock().expect("nobody panics").push(highest);
        }
        replay(world.rollout.policy(), &world.log).expect("the log gives the decisions again");
        assert!(world.offers().values().all(|&count| count == 1), "a box was offered it twice");
    });
    show("good", &good);
    let peak = peaks.lock().expect("nobody panics").iter().copied().fold(0.0, f64::max);
    println!("\nbusiest twenty-fourth of a spread by the mean, the worst of all rings and seeds: {peak:.2}");
}

/// How one rollout ended.
struct Ended {
    halted: bool,
    verdicts: usize,
    offered: usize,
    hours: f64,
    rings: usize,
}

fn sample(seeds: u64, release: Release, look: impl Fn(&World) + Sync) -> Vec<Ended> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut ended = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return ended;
            }
            let mut world = World::new(seed, BOXES, Policy::default(), release);
            let began = world.now;
            world.run(90 * 24 * HOUR);
            look(&world);
            ended.push(Ended {
                halted: world.rollout.halted().is_some(),
                verdicts: verdicts(&world),
                offered: world.rollout.attempts().len(),
                hours: world.now.since(began).as_secs_f64() / 3600.0,
                rings: world.rollout.rings().len(),
            });
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a world that ends")).collect()
    })
}

/// Attempts that ended, lost ones among them.
fn verdicts(world: &World) -> usize {
    let lost_after = world.rollout.policy().lost_after;
    let told = |stage: Stage, since: Timestamp| match stage {
        Stage::Passed | Stage::Confirmed | Stage::Failed => true,
        Stage::Armed => world.now.since(since) >= lost_after,
        _ => false,
    };
    world.rollout.attempts().iter().filter(|attempt| told(attempt.stage, attempt.since)).count()
}

fn show(name: &str, ended: &[Ended]) {
    let halted = ended.iter().filter(|one| one.halted).count();
    let spread = |pick: fn(&Ended) -> f64| {
        let mut all: Vec<f64> = ended.iter().map(pick).collect();
        all.sort_by(f64::total_cmp);
        let at = |part: f64| all[((all.len() - 1) as f64 * part) as usize];
        (at(0.5), at(0.95))
    };
    let (verdicts, most_verdicts) = spread(|one| one.verdicts as f64);
    let (offered, most_offered) = spread(|one| one.offered as f64);
    let rings = ended.iter().map(|one| one.rings).max().unwrap_or(0);
    println!(
        "{name:<36}{:>8}{:>16}{:>16}{:>10.1}{rings:>8}",
        format!("{halted}/{}", ended.len()),
        format!("{verdicts} ≤ {most_verdicts}"),
        format!("{offered} ≤ {most_offered}"),
        spread(|one| one.hours).0,
    );
}

/// One tick over a million boxes, half of them with an attempt.
fn cost() {
    use saveos_server::rollout::{Beside, Candidate, Entry, Event, Hours, Rollout, Salt, Wish, edges, tick};
    let salt = Salt::new(&[9; 32]);
    let now = Timestamp::saturating(1_800_000_000_000);
    let policy = Policy::default();
    let name = |number: u64| {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        (DeviceId::from_parts(now, random), u16::from(number.is_multiple_of(100)))
    };
    let fleet: Vec<(DeviceId, u16)> = (0..1_000_000).map(name).collect();
    let begun = Instant::now();
    let candidates: Vec<Candidate> = fleet
        .iter()
        .map(|&(device, hardware)| {
            let place = salt.place(device);
            Candidate { device, place, hardware, wish: Wish::AsPlaced, reachable: true, hours: Hours::ANY }
        })
        .collect();
    let places = begun.elapsed();
    let begun = Instant::now();
    let all = || candidates.iter().map(|one| (one.hardware, one.place));
    let strata = edges(&policy.rings[3], all());
    let opening = begun.elapsed();
    let mut rollout = Rollout::new(policy.clone());
    for ring in 0..4 {
        let strata = edges(&policy.rings[usize::from(ring)], all());
        let opened = Event::Opened { ring: RingIndex(ring), strata, grounds: Default::default() };
        rollout.apply(&Entry { at: now, event: opened });
    }
    for one in &candidates[..500_000] {
        let device = one.device;
        let ring = RingIndex(2);
        rollout.apply(&Entry { at: now, event: Event::Offered { device, ring, hardware: one.hardware, runs: None } });
        rollout.apply(&Entry { at: now, event: Event::Reported { device, stage: Stage::Passed } });
    }
    let begun = Instant::now();
    let (decision, events) = tick(&rollout, &candidates, &|_| strata.clone(), &Beside::default(), now.after(HOUR));
    println!(
        "a million boxes, one core: places {:.2} s, a ring opens {:.2} s, a tick {:.2} s ({:?}, {} offers)",
        places.as_secs_f64(),
        opening.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        decision.action,
        events.len()
    );
}
