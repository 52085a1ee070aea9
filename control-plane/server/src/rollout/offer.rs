//! Whom the open rings offer the release now. Spread over the time of the ring and relative to its own members, because offers at
//! an absolute place in the fleet all fall due at once in a late ring.
//!
//! At most, of: the part of the ring that is due by now; a fifth more than the mean rate within any twenty-fourth of the spread;
//! what the line carries; and a quarter of those that already run the release, so that a bad one never reaches many before the first
//! verdicts are in.

use super::log::Rollout;
use super::place::Place;
use super::policy::{Ring, RingIndex, Share};
use super::tally::Tally;
use saveos_protocol::id::DeviceId;
use saveos_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many may be on trial before anybody passed.
const FIRST: u32 = 4;
/// Then one for so many that passed: a bad release has shown itself on most of those that it can still harm.
const PASSED_A_PLACE: u32 = 4;
/// The rate of offers is held to a fifth more than its mean.
const MOST_OF_MEAN: f64 = 1.2;

/// The time within which that holds.
pub(super) fn window(ring: &Ring) -> Duration {
    ring.spread / 24
}

/// A box, for a rollout.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Which.
    pub device: DeviceId,
    /// Where it stands in this rollout.
    pub place: Place,
    /// What it is.
    pub hardware: u16,
    /// What its people want.
    pub wish: Wish,
    /// It would hear an offer now.
    pub reachable: bool,
    /// When it may restart.
    pub hours: Hours,
}

/// When a box may restart into another release: an offer outside would only keep others waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// Now.
    pub open: bool,
    /// Such a part of the day.
    pub share: Share,
}

impl Hours {
    /// At any time.
    pub const ANY: Hours = Hours { open: true, share: Share::ALL };
}

/// What people want of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// What its place says.
    AsPlaced,
    /// To be in this ring.
    In(RingIndex),
    /// No release of a rollout: held, or pinned to another.
    Never,
}

/// A box to be offered the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which.
    pub device: DeviceId,
    /// As a member of this ring.
    pub ring: RingIndex,
    /// What it is.
    pub hardware: u16,
}

/// Members of open rings that were not offered the release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Per hardware, in its order, those that could be.
    pub waiting: Vec<(u16, u32)>,
    /// Per hardware, those that will be in their restart windows.
    #[serde(default)]
    pub closed: Vec<(u16, u32)>,
    /// Those that cannot be reached.
    pub away: u32,
}

impl Reach {
    /// Of one hardware, those that can be offered it now or within a day.
    pub(super) fn willing(&self, hardware: u16) -> u32 {
        self.waiting.iter().chain(&self.closed).filter(|one| one.0 == hardware).map(|one| one.1).sum()
    }
}

/// Whom to offer the release, and who else there is. Whether anything may be offered at all, [`super::decide`] says.
pub fn offer(rollout: &Rollout, fleet: &[Candidate], now: Timestamp) -> (Vec<Offer>, Reach) {
    let mut reach = Reach::default();
    let mut there: BTreeMap<u16, u32> = BTreeMap::new();
    let mut closed: BTreeMap<u16, u32> = BTreeMap::new();
    let mut waiting: Vec<Vec<(u64, Offer)>> = vec![Vec::new(); rollout.rings.len()];
    // Of each ring, the parts of the day in which its boxes may restart, summed up.
    let mut hours = vec![0.0; rollout.rings.len()];
    for candidate in fleet {
        let Some(ring) = rollout.ring_of(candidate) else { continue };
        if rollout.attempt(candidate.device).is_some() {
            continue;
        }
        if !candidate.reachable {
            reach.away += 1;
            continue;
        }
        if !candidate.hours.open {
            *closed.entry(candidate.hardware).or_default() += 1;
            continue;
        }
        *there.entry(candidate.hardware).or_default() += 1;
        hours[usize::from(ring.0)] += candidate.hours.share.as_rate();
        let offer = Offer { device: candidate.device, ring, hardware: candidate.hardware };
        waiting[usize::from(ring.0)].push((candidate.place.start, offer));
    }
    (reach.waiting, reach.closed) = (there.into_iter().collect(), closed.into_iter().collect());
    if waiting.iter().all(Vec::is_empty) {
        return (Vec::new(), reach);
    }
    let tally = Tally::take(rollout, now);
    let slow_start = (tally.all.passed / PASSED_A_PLACE).max(FIRST);
    let mut room = slow_start.min(rollout.policy.in_flight).saturating_sub(tally.all.in_flight);
    let mut offers = Vec::new();
    for (ring, mut waiting) in waiting.into_iter().enumerate() {
        let there = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
        let part_of_day = if there == 0 { 1.0 } else { hours[ring] / f64::from(there) };
        let due = rollout.due(ring, (there, part_of_day), tally.offers[ring], now).min(room) as usize;
        // A start that two boxes share is settled by name.
        let order = |one: &(u64, Offer)| (one.0, one.1.device);
        if due < waiting.len() {
            waiting.select_nth_unstable_by_key(due, order);
            waiting.truncate(due);
        }
        waiting.sort_unstable_by_key(order);
        room -= u32::try_from(waiting.len()).unwrap_or(room);
        offers.extend(waiting.into_iter().map(|(_, offer)| offer));
    }
    (offers, reach)
}

impl Rollout {
    /// The first open ring that a box is in.
    pub fn ring_of(&self, candidate: &Candidate) -> Option<RingIndex> {
        let is_in = |(at, ring): (usize, &super::log::Opened)| {
            let stratum = ring.strata.iter().find(|stratum| stratum.hardware == candidate.hardware);
            match stratum {
                Some(stratum) => stratum.members > 0 && candidate.place.rank <= stratum.last,
                // It was unknown when the ring opened.
                None => self.policy.rings.get(at).is_some_and(|ring| candidate.place.rank <= ring.up_to.last_rank()),
            }
        };
        let at = match candidate.wish {
            Wish::Never => None,
            Wish::In(ring) => Some(usize::from(ring.0)).filter(|at| *at < self.rings.len()),
            Wish::AsPlaced => self.rings.iter().enumerate().position(is_in),
        };
        at.and_then(|at| u8::try_from(at).ok()).map(RingIndex)
    }

    /// The ring that a box will be in, when none that is open has it; by the plain share, until the ring opens.
    pub fn ring_to_come(&self, candidate: &Candidate) -> Option<RingIndex> {
        let mut closed = self.policy.rings.iter().enumerate().skip(self.rings.len());
        let at = match candidate.wish {
            Wish::Never => None,
            Wish::In(wanted) => closed.find(|(at, _)| *at == usize::from(wanted.0)),
            Wish::AsPlaced => closed.find(|(_, ring)| candidate.place.rank <= ring.up_to.last_rank()),
        };
        at.and_then(|(at, _)| u8::try_from(at).ok()).map(RingIndex)
    }

    /// To how many of those who are there a ring may offer the release now. `so_far` and `lately` were. Boxes that may restart in
    /// a part of the day only have that part of the spread: else a ring would take as many days as the day has such parts.
    fn due(&self, ring: usize, (there, part_of_day): (u32, f64), (so_far, lately): (u32, u32), now: Timestamp) -> u32 {
        let (Some(opened), Some(rule)) = (self.rings.get(ring), self.policy.rings.get(ring)) else { return 0 };
        // Who is away leaves no gap at the end.
        let members = f64::from(there) + f64::from(so_far);
        let elapsed = now.since(opened.at).as_secs_f64();
        let spread = (rule.spread.as_secs_f64() * part_of_day).max(1.0);
        let rate = members / spread;
        // The first at once: a ring of one has a mean rate that is never reached.
        let by_now = if elapsed >= spread { u32::MAX } else { (rate * elapsed) as u32 + 1 };
        let within = (rate * MOST_OF_MEAN * window(rule).as_secs_f64()).ceil().max(1.0) as u32;
        by_now.saturating_sub(so_far).min(within.saturating_sub(lately))
    }
}
