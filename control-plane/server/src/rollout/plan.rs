//! What a rollout does next, and why. Every answer carries the numbers it was made from; a rollout that waits says for what.
//!
//! A release is judged by the boxes that tried it, not by those that were offered it: who passed or failed, and who fell silent in
//! its trial. What kept a box from trying it at all is told apart, because that says nothing about the release.

use super::because::Because;
use super::log::{Attempt, Entry, Event, Rollout, Stage, Stratum};
use super::offer::{Candidate, Reach, offer};
use super::policy::{Policy, Ring, RingIndex};
use super::statistics::{self, FAILURES, SILENCES, Worse};
use super::tally::{Counts, Tally};
use saveos_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Of what may be halted by mistake, the part for failures, for silence, and for what cannot be installed.
const PARTS: (f64, f64, f64) = (0.6, 0.3, 0.1);
/// Of that, the part for all hardware together; the rest is split over each.
const TOGETHER: f64 = 0.7;
/// Boxes that cannot install a good release: worn flash, a full disk.
const USUALLY_NOT_INSTALLED: f64 = 0.01;
/// So many boxes that cannot fetch it are more than a bad line.
const MANY_HINDERED: u32 = 5;
/// A share of boxes with failed backups as high as this by chance is not called worse.
const BY_CHANCE: f64 = 0.01;
/// Boxes that have not ended it by then are told of.
const LONG_AGO: Duration = Duration::from_secs(90 * 86_400);
/// We want to be so sure that a ring is good.
const DOUBT: f64 = 0.05;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open this ring.
    Open(RingIndex),
    /// Stop for good.
    Halt,
    /// Every ring is through.
    Finish,
    /// Let the open rings offer the release to those who are due.
    Offer,
    /// Offer it to nobody for now.
    Hold,
    /// It ended.
    Nothing,
}

/// What to do, and why; of what waits, for what.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What.
    pub action: Action,
    /// Why.
    pub because: Vec<Because>,
}

/// Boxes, and those of them with a failed backup since the ring opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// Of those that run the release.
    pub with: (u32, u32),
    /// Of those that do not.
    pub without: (u32, u32),
}

/// What a decision was made from, beside the log, and what was said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Grounds {
    /// Who could be reached then.
    pub reach: Reach,
    /// How backups went then.
    pub beside: Beside,
    /// Why.
    pub because: Vec<Because>,
}

/// What is to be written to the log at `now`. `waiting` may leave out boxes that no open ring has or that were offered the release;
/// `edges` finds where a ring ends in the whole fleet.
pub fn tick(
    rollout: &Rollout,
    waiting: &[Candidate],
    edges: &dyn Fn(&Ring) -> Vec<Stratum>,
    beside: &Beside,
    now: Timestamp,
) -> (Decision, Vec<Event>) {
    let (offers, reach) = offer(rollout, waiting, now);
    let decision = decide(rollout, &reach, beside, now);
    let grounds = || Grounds { reach: reach.clone(), beside: *beside, because: decision.because.clone() };
    let events = match decision.action {
        Action::Open(ring) => {
            let strata = rollout.policy.ring(ring).map(edges).unwrap_or_default();
            vec![Event::Opened { ring, strata, grounds: grounds() }]
        }
        Action::Halt => vec![Event::Halted { grounds: grounds() }],
        Action::Finish => vec![Event::Finished { grounds: grounds() }],
        Action::Offer => offers.into_iter().map(Event::from).collect(),
        Action::Hold | Action::Nothing => Vec::new(),
    };
    (decision, events)
}

/// Whether every decision in a log is what its own past gives; else the first that is not.
pub fn replay(policy: &Policy, log: &[Entry]) -> Result<Rollout, usize> {
    let mut rollout = Rollout::new(policy.clone());
    for (at, entry) in log.iter().enumerate() {
        let decided = match &entry.event {
            Event::Opened { ring, grounds, .. } => Some((Action::Open(*ring), grounds)),
            Event::Halted { grounds } if !by_hand(grounds) => Some((Action::Halt, grounds)),
            Event::Finished { grounds } => Some((Action::Finish, grounds)),
            _ => None,
        };
        if let Some((action, grounds)) = decided {
            let again = decide(&rollout, &grounds.reach, &grounds.beside, entry.at);
            if again != (Decision { action, because: grounds.because.clone() }) {
                return Err(at);
            }
        }
        rollout.apply(entry);
    }
    Ok(rollout)
}

fn by_hand(grounds: &Grounds) -> bool {
    matches!(grounds.because.as_slice(), [Because::ByHand { .. }])
}

/// What a rollout does at `now`.
pub fn decide(rollout: &Rollout, reach: &Reach, beside: &Beside, now: Timestamp) -> Decision {
    let decided = |action, because| Decision { action, because };
    if let Some(grounds) = rollout.halted() {
        return decided(Action::Nothing, grounds.because.clone());
    }
    let tally = Tally::take(rollout, now);
    if let Some(because) = halts(rollout, &tally) {
        return decided(Action::Halt, vec![because]);
    }
    let held = holds(rollout, &tally);
    if !held.is_empty() {
        return decided(Action::Hold, held);
    }
    if rollout.finished {
        return decided(Action::Offer, unfinished(rollout, now).into_iter().collect());
    }
    let next = RingIndex(u8::try_from(rollout.rings.len()).unwrap_or(u8::MAX));
    let mut waits = match newest(rollout) {
        Some((ring, until)) => waits(rollout, ring, until, &tally, reach, beside, now),
        None => Vec::new(),
    };
    let rule = rollout.policy.ring(next);
    if rule.is_some_and(|ring| ring.approval) && !rollout.approved.contains(&next) {
        waits.push(Because::Approval { ring: next });
    }
    if !waits.is_empty() {
        return decided(Action::Offer, waits);
    }
    let shown = match tally.all.started() {
        0 => Because::First,
        of => {
            let failed = tally.all.failed + tally.all.lost;
            Because::Shown { failed, of, at_most: statistics::upper_bound(failed, of) }
        }
    };
    decided(if rule.is_some() { Action::Open(next) } else { Action::Finish }, vec![shown])
}

/// Who was offered it and never came to an end is not dropped without a word.
fn unfinished(rollout: &Rollout, now: Timestamp) -> Option<Because> {
    let is_old = |attempt: &&Attempt| {
        let ended = attempt.stage.is_bad() || attempt.stage == Stage::Confirmed;
        !ended && now.since(attempt.offered) >= LONG_AGO
    };
    let boxes = u32::try_from(rollout.attempts.iter().filter(is_old).count()).unwrap_or(u32::MAX);
    (boxes > 0).then_some(Because::Unfinished { boxes })
}

/// The newest open ring, and the end of its spread.
fn newest(rollout: &Rollout) -> Option<(&Ring, Timestamp)> {
    let opened = rollout.rings.last()?;
    let ring = rollout.policy.rings.get(rollout.rings.len() - 1)?;
    Some((ring, opened.at.after(ring.spread)))
}

/// Why it must stop. Of the boxes that started the release, those that are still in their trial count as if they would pass: so it
/// does not matter whether failures or successes are heard of first, and no order of arrival makes a halt likelier by mistake.
fn halts(rollout: &Rollout, tally: &Tally) -> Option<Because> {
    if let Some(device) = rollout.damaged {
        return Some(Because::Damaged { device });
    }
    let policy = &rollout.policy;
    let all = &tally.all;
    // Those of the whole fleet, from the beginning: a part that shrank as kinds are met would be spent more than once.
    let kinds = rollout.rings.first().map_or(0, |ring| ring.strata.len()).max(tally.by_hardware.len()).max(1) as f64;
    // Evidence from so much on is enough: its inverse is how often it is a mistake.
    let enough = |part: f64| 1.0 / (policy.false_halts.as_rate() * part);
    let alone = (1.0 - TOGETHER) / kinds;
    let groups = || {
        let each = tally.by_hardware.iter().map(move |(&hardware, &counts)| (Some(hardware), counts, alone));
        std::iter::once((None, *all, TOGETHER)).chain(each)
    };
    let look = |failed: u32, of: u32, usual: f64, worse: &Worse, part: f64| {
        let (evidence, enough) = (statistics::evidence(failed, of, usual, worse), enough(part));
        (evidence >= enough).then_some((evidence, enough))
    };
    let failures = |(hardware, counts, part): (Option<u16>, Counts, f64)| {
        let (failed, of) = (counts.failed, counts.started());
        let (evidence, enough) = look(failed, of, policy.usual_failures.as_rate(), &FAILURES, PARTS.0 * part)?;
        Some(Because::Failures { hardware, failed, of, evidence, enough })
    };
    let silence = |(hardware, counts, part): (Option<u16>, Counts, f64)| {
        let (lost, of) = (counts.lost, counts.started());
        let (evidence, enough) = look(lost, of, policy.usual_silence.as_rate(), &SILENCES, PARTS.1 * part)?;
        Some(Because::Silence { hardware, lost, of, evidence, enough })
    };
    let not_installed = || {
        let (failed, of) = (all.not_installed, all.offered);
        let (evidence, enough) = look(failed, of, USUALLY_NOT_INSTALLED, &FAILURES, PARTS.2)?;
        Some(Because::NotInstalled { failed, of, evidence, enough })
    };
    groups().find_map(failures).or_else(|| groups().find_map(silence)).or_else(not_installed)
}

/// Why nobody is offered it for now.
fn holds(rollout: &Rollout, tally: &Tally) -> Vec<Because> {
    let all = &tally.all;
    let mut held = Vec::new();
    if let Some(by) = &rollout.paused {
        held.push(Because::ByHand { by: by.clone() });
    }
    if all.suspected > 0 {
        let (silent, of) = (all.lost + all.suspected, all.started());
        let evidence = statistics::evidence(silent, of, rollout.policy.usual_silence.as_rate(), &SILENCES);
        if evidence >= 1.0 / (rollout.policy.false_halts.as_rate() * PARTS.1 * TOGETHER) {
            held.push(Because::Suspected { silent: all.suspected, lost: all.lost, of });
        }
    }
    if all.hindered >= MANY_HINDERED && all.hindered * 2 > all.in_flight {
        held.push(Because::Hindered { boxes: all.hindered, of: all.in_flight });
    }
    held
}

/// What the newest ring has not shown yet.
fn waits(
    rollout: &Rollout,
    ring: &Ring,
    until: Timestamp,
    tally: &Tally,
    reach: &Reach,
    beside: &Beside,
    now: Timestamp,
) -> Vec<Because> {
    let mut waits = Vec::new();
    let closed: u32 = reach.closed.iter().map(|one| one.1).sum();
    let waiting = reach.waiting.iter().map(|one| one.1).sum::<u32>() + closed;
    let offered = tally.offers.get(rollout.rings.len() - 1).map_or(0, |offers| offers.0);
    if now < until && (waiting > 0 || offered == 0) {
        waits.push(Because::Offering { offered, waiting, away: reach.away, closed, until });
    }
    for stratum in rollout.rings.last().into_iter().flat_map(|opened| &opened.strata) {
        let counts = tally.by_hardware.get(&stratum.hardware).copied().unwrap_or_default();
        let soaked = tally.soaked.get(&stratum.hardware).copied().unwrap_or_default();
        let reachable = counts.offered + reach.willing(stratum.hardware);
        // Who failed will not soak, and who is away holds nobody up.
        let willing = reachable.saturating_sub(counts.failed + counts.lost + counts.not_installed + counts.idle);
        let needed = ring.minimum.max(1).min(stratum.members).min(willing);
        if soaked < needed {
            waits.push(Because::Soaking { hardware: stratum.hardware, soaked, needed });
        }
    }
    let failed = tally.all.failed + tally.all.lost;
    let of = tally.soaked.values().sum::<u32>() + failed;
    let sure = statistics::chance_of_at_most(failed, of, ring.worst.as_rate()) <= DOUBT;
    // A small ring cannot make us sure: then everybody must have soaked, and the share itself be low.
    let all_soaked = waiting == 0 && of + tally.all.not_installed + tally.all.idle >= tally.all.offered && of > 0;
    let is_low = f64::from(failed) <= ring.worst.as_rate() * f64::from(of);
    if !(sure || all_soaked && is_low) {
        waits.push(Because::Unsure { failed, of, at_most: statistics::upper_bound(failed, of), worst: ring.worst });
    }
    let ((of, bad), (other_of, other_bad)) = (beside.with, beside.without);
    let chance = statistics::chance_of_a_worse_share(bad, of, other_bad, other_of);
    if chance < BY_CHANCE {
        waits.push(Because::Backups { bad, of, other_bad, other_of, chance });
    }
    waits
}
