//! The state machine: what to do next about an update. It only decides; the agent writes the journal down, then does it.
//!
//! ```text
//! offered → fetching → installing → installed → trying ─→ soaking → confirmed
//!    each can wait and be tried again              └→ leaving ←┘ → failed: the slot before runs
//! ```
//!
//! Where the other slot holds what is offered, because it ran there, nothing is fetched or installed: the way from `offered` leads
//! straight to `installed`. An offer that is withdrawn ends an update that was not armed yet. A cut leaves the journal at a step whose deed was done, half
//! done or not done; every deed may be done twice.

use super::journal::{Attempt, Before, Bundle, Journal, SlotName, Spare, Step, Written};
use saveos_protocol::hex::BootId;
use saveos_protocol::id::DiskId;
use saveos_protocol::shadow::{ReleaseTarget, UpdateFailure, UpdateReport, UpdateState};
use saveos_protocol::text::{Release, Text};
use saveos_protocol::time::Timestamp;
use std::time::Duration;

/// How the box is, as far as an update cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What the control plane, or whoever stands in for it, wants.
    pub(crate) offer: Option<ReleaseTarget>,
    /// What runs.
    pub(crate) running: Running,
    /// How long the daemon has run.
    pub(crate) up: Duration,
    /// The running slot is on trial; `None` while nobody has looked.
    pub(crate) on_trial: Option<bool>,
    /// A job runs.
    pub(crate) busy: bool,
    /// Why the box may not restart now; an offer that cannot wait does not ask.
    pub(crate) no_restart: Option<Text>,
    /// Whether the running system does what the one before did.
    pub(crate) health: Health,
    /// The control plane was heard within the hour.
    pub(crate) connected: bool,
    /// Disks that are plugged in.
    pub(crate) disks: Vec<DiskId>,
    /// Backups that ended since the step began,
    pub(crate) backups: Backups,
    /// and whether one ever worked.
    pub(crate) backed_up: bool,
    /// What a system said last that did not stay.
    pub(crate) last_words: Option<Text>,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) release: Release,
    pub(crate) slot: SlotName,
    pub(crate) boot: BootId,
}

/// The verdict of the health gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It is too early to say.
    Unknown,
    Good,
    /// Not good by the end of its time.
    Bad(Text),
}

/// How backups ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backups {
    pub(crate) good: u32,
    pub(crate) failed: u32,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Read the metadata of the offered release.
    Read(ReleaseTarget),
    /// Fetch what is missing of a bundle.
    Fetch(Bundle),
    /// Write it to the other slot, and read it back.
    Install,
    /// Make the other slot the next to start.
    Arm,
    /// Restart the box.
    Restart,
    /// The running slot proved itself.
    Keep,
    /// The running slot must not start again.
    Abandon,
    /// Ask whether the running slot is on trial.
    Look,
}

/// How a deed ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Of [`Deed::Read`].
    Known(Bundle),
    /// Of the others.
    Done,
    /// A part of it, until the network broke.
    Cut(Text),
    /// Not for so long, and for this reason; that is nobody's fault.
    Held(Duration, Text),
    /// Not, and why; the same may work later.
    Failed(UpdateFailure, Text),
    /// Not, and it never will with these bytes.
    Hopeless(UpdateFailure, Text),
}

/// The first and the longest wait between two tries.
const WAITS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));
/// So often a slot is written, or armed.
const TRIES: u32 = 3;
/// So often the daemon of a new system may start before it is healthy.
const STARTS: u32 = 8;
/// So often in a row a system that was kept may start and not last, before it is left.
const SHORT_RUNS: u32 = 5;
/// It lasted.
const LASTED: Duration = Duration::from_secs(3600);
/// So long jobs are held up by a restart that was asked for.
const HELD: Duration = Duration::from_secs(600);
/// So long a healthy system waits for its first good backup.
pub(crate) const SOAK: Duration = Duration::from_secs(48 * 3600);

impl Journal {
    /// What is to be done now. The journal may have changed: it is written down first.
    pub(crate) fn advance(&mut self, seen: &Seen, now: Timestamp) -> Option<Deed> {
        self.take_up(seen, now);
        if !self.attempt.as_ref().is_some_and(|attempt| attempt.is_armed(seen)) && seen.on_trial != Some(false) {
            return keep_what_works(seen);
        }
        let attempt = self.attempt.as_mut()?;
        let rested = attempt.is_rested(now);
        let moved = match attempt.step.clone() {
            Step::Offered => return rested.then(|| Deed::Read(attempt.offer.clone())),
            Step::Fetching { bundle } => return rested.then_some(Deed::Fetch(bundle)),
            Step::Installing { .. } => return (rested && !seen.busy).then_some(Deed::Install),
            Step::Installed { bundle, before } if seen.running.slot != before.slot => {
                // It was armed, and the power was cut before that was written down.
                let boot = seen.running.boot;
                attempt.enter(Step::Trying { bundle, before, boot }, now);
                return self.advance_trial(seen, now);
            }
            Step::Installed { bundle, .. } => {
                if !rested || seen.busy || attempt.waits_for_its_time(seen) {
                    return None;
                }
                attempt.step = Step::Installed { bundle, before: Before::of(seen, &self.here, now) };
                return Some(Deed::Arm);
            }
            Step::Trying { before, boot, .. } if seen.running.boot == boot && seen.running.slot == before.slot => {
                return (rested && !seen.busy && !attempt.waits_for_its_time(seen)).then_some(Deed::Restart);
            }
            Step::Trying { .. } => return self.advance_trial(seen, now),
            Step::Soaking { bundle, before } => self.advance_soak(seen, &bundle, &before, now),
            Step::Leaving { before, reason, text } if seen.running.slot == before.slot => {
                self.fail(reason, text, now);
                true
            }
            Step::Leaving { .. } => return (rested && !seen.busy).then_some(Deed::Abandon),
        };
        if moved { self.advance(seen, now) } else { None }
    }

    /// An update begins, goes on, or is called off.
    fn take_up(&mut self, seen: &Seen, now: Timestamp) {
        if self.attempt.is_none() && self.spare.as_ref().is_some_and(|spare| spare.slot == seen.running.slot) {
            // Somebody went back by hand: what the slots hold is not known any more.
            (self.here, self.spare) = (Written::default(), None);
        }
        let wanted = seen.offer.as_ref().filter(|offer| offer.release != seen.running.release);
        let may_begin = wanted.is_some_and(|offer| !self.is_quarantined(offer));
        match (&mut self.attempt, wanted) {
            // Called back before its first backup: that need not be waited for.
            (Some(attempt), Some(offer)) if may_begin && attempt.soaks_beside(self.spare.as_ref(), &offer.release) => {
                tracing::info!(release = %offer.release, "the release before is wanted back");
                self.attempt = Some(Attempt::of(offer.clone(), now));
            }
            (Some(attempt), _) if attempt.is_armed(seen) => {}
            (Some(attempt), Some(offer)) if attempt.offer == *offer => {}
            (_, Some(offer)) if may_begin => {
                tracing::info!(release = %offer.release, "a release is offered");
                self.attempt = Some(Attempt::of(offer.clone(), now));
            }
            (attempt, _) => {
                if let Some(attempt) = attempt.take() {
                    tracing::info!(release = %attempt.offer.release, "the release is offered no more");
                }
            }
        }
    }

    /// After the restart.
    fn advance_trial(&mut self, seen: &Seen, now: Timestamp) -> Option<Deed> {
        let attempt = self.attempt.as_mut()?;
        let Step::Trying { before, .. } = attempt.step.clone() else { return None };
        if seen.running.slot == before.slot {
            let (reason, text) = match &seen.last_words {
                Some(words) => (UpdateFailure::Unhealthy, words.clone()),
                None if attempt.starts > 0 => (
                    UpdateFailure::Unhealthy,
                    Text::cut("its daemon ran, and the box went down before it was found healthy"),
                ),
                None => (UpdateFailure::NotStarted, Text::cut("no start of it came as far as its daemon")),
            };
            self.fail(reason, text, now);
            return None;
        }
        if seen.running.release != attempt.offer.release {
            let text = format!("its slot holds {}", seen.running.release);
            attempt.enter(Step::Leaving { before, reason: UpdateFailure::NotStarted, text: Text::cut(&text) }, now);
            return self.advance(seen, now);
        }
        let text = match &seen.health {
            Health::Good => return attempt.is_rested(now).then_some(Deed::Keep),
            Health::Bad(text) => text.clone(),
            Health::Unknown if attempt.starts > STARTS => {
                Text::cut(&format!("its daemon was started {} times and never healthy", attempt.starts))
            }
            // So that it is reported as what it is.
            Health::Unknown => return seen.on_trial.is_none().then_some(Deed::Look),
        };
        attempt.enter(Step::Leaving { before, reason: UpdateFailure::Unhealthy, text }, now);
        self.advance(seen, now)
    }

    /// Whether the soak is over.
    fn advance_soak(&mut self, seen: &Seen, bundle: &Bundle, before: &Before, now: Timestamp) -> bool {
        let Some(attempt) = &mut self.attempt else { return false };
        let over = now >= attempt.since.after(SOAK);
        if seen.up >= LASTED {
            attempt.starts = 0;
        }
        if seen.running.slot == before.slot {
            let text = Text::cut("it ran and was kept; then its slot could no longer be started");
            self.fail(UpdateFailure::NotStarted, text, now);
        } else if attempt.starts > SHORT_RUNS {
            let text = format!("it was kept, and went down {} times within an hour of its start", attempt.starts);
            let (before, text) = (before.clone(), Text::cut(&text));
            attempt.enter(Step::Leaving { before, reason: UpdateFailure::Unhealthy, text }, now);
        } else if seen.backups.good > 0 || over && (seen.backups.failed == 0 || !before.backed_up) {
            self.epoch = self.epoch.max(bundle.epoch);
            self.here.unproved = false;
            self.end(UpdateState::Confirmed, None, now);
        } else if over {
            let text = Text::cut(&format!("{} backups failed and none worked, as one had before", seen.backups.failed));
            let before = before.clone();
            attempt.enter(Step::Leaving { before, reason: UpdateFailure::NoBackup, text }, now);
        } else {
            return false;
        }
        true
    }

    /// A deed ended.
    pub(crate) fn ended(&mut self, deed: &Deed, done: Outcome, seen: &Seen, now: Timestamp) {
        let Some(attempt) = &mut self.attempt else { return };
        match (done, deed, attempt.step.clone()) {
            (Outcome::Known(bundle), Deed::Read(offer), Step::Offered) if attempt.offer == *offer => {
                if bundle.epoch < self.epoch {
                    let text = format!("its security epoch is {}, and this box is at {}", bundle.epoch, self.epoch);
                    attempt.wait(UpdateFailure::Refused, Text::cut(&text), now);
                } else if self.spare.as_ref().is_some_and(|spare| spare.holds(&offer.release, &bundle.sha256)) {
                    let before = Before::of(seen, &self.here, now);
                    attempt.enter(Step::Installed { bundle, before }, now);
                } else {
                    attempt.enter(Step::Fetching { bundle }, now);
                }
            }
            (Outcome::Done, Deed::Fetch(_), Step::Fetching { bundle }) => {
                // Overwritten from now on.
                self.spare = None;
                attempt.enter(Step::Installing { bundle }, now);
            }
            (Outcome::Done, Deed::Install, Step::Installing { bundle }) => {
                attempt.enter(Step::Installed { bundle, before: Before::of(seen, &self.here, now) }, now);
            }
            (Outcome::Done, Deed::Arm, Step::Installed { bundle, before }) => {
                attempt.enter(Step::Trying { bundle, before, boot: seen.running.boot }, now);
            }
            (Outcome::Done, Deed::Keep, Step::Trying { bundle, before, .. }) => {
                let is_back = |spare: &Spare| spare.slot == seen.running.slot && !spare.written.unproved;
                let unproved = !self.spare.as_ref().is_some_and(is_back);
                let (slot, written) = (before.slot, before.written.clone());
                self.spare = before.release.clone().map(|release| Spare { slot, release, written });
                self.here = Written { sha256: Some(bundle.sha256), unproved };
                attempt.enter(Step::Soaking { bundle, before }, now);
                // It has shown before that its backups work.
                if !unproved {
                    self.end(UpdateState::Confirmed, None, now);
                }
            }
            // Asked for; until it happens, it is asked for again.
            (Outcome::Done, Deed::Restart | Deed::Abandon, _) => attempt.not_before = now.after(WAITS.0),
            (Outcome::Cut(text), ..) => {
                attempt.failures = 0;
                attempt.wait(UpdateFailure::Download, text, now);
            }
            (Outcome::Held(wait, text), ..) => {
                tracing::info!(release = %attempt.offer.release, %text, "an update is held");
                attempt.held = Some(text);
                attempt.not_before = now.after(wait);
            }
            (Outcome::Failed(reason, text), _, step) => {
                attempt.wait(reason, text.clone(), now);
                let bounded = !matches!(step, Step::Offered | Step::Fetching { .. } | Step::Trying { .. });
                if bounded && attempt.failures >= TRIES {
                    self.fail(reason, text, now);
                }
            }
            (Outcome::Hopeless(reason, text), _, _) => self.fail(reason, text, now),
            _ => {}
        }
    }

    /// The daemon started in this slot: a new system whose daemon never lasts is no healthy one.
    pub(crate) fn started(&mut self, slot: SlotName) {
        let Some(attempt) = &mut self.attempt else { return };
        attempt.not_before = attempt.since;
        let is_new = match &attempt.step {
            Step::Trying { before, .. } | Step::Soaking { before, .. } => before.slot != slot,
            _ => false,
        };
        if is_new {
            attempt.starts = attempt.starts.saturating_add(1);
        }
    }

    /// Whether no job may begin: the box is about to be restarted. A restart that does not come holds no backup up for long.
    pub(crate) fn holds_jobs(&self, running: &Running, now: Timestamp) -> bool {
        let Some(attempt) = &self.attempt else { return false };
        let leaves = match &attempt.step {
            Step::Trying { before, boot, .. } => *boot == running.boot && before.slot == running.slot,
            Step::Leaving { .. } => true,
            _ => false,
        };
        leaves && now < attempt.since.after(HELD)
    }

    fn fail(&mut self, reason: UpdateFailure, text: Text, now: Timestamp) {
        if let Some(attempt) = &self.attempt {
            tracing::warn!(release = %attempt.offer.release, %reason, %text, "an update failed");
            if let Some(before) = attempt.step.before() {
                // It is what runs; what failed lies in the other slot.
                (self.here, self.spare) = (before.written.clone(), None);
            }
            let offer = attempt.offer.clone();
            self.quarantine(&offer);
        }
        self.end(UpdateState::Failed, Some((reason, text)), now);
    }

    fn end(&mut self, state: UpdateState, why: Option<(UpdateFailure, Text)>, now: Timestamp) {
        let Some(attempt) = self.attempt.take() else { return };
        tracing::info!(release = %attempt.offer.release, %state, "an update ended");
        let (reason, text) = why.unzip();
        self.last = Some(UpdateReport { release: attempt.offer.release, state, since: now, reason, text });
    }
}

/// A system that nobody offered, installed by hand: it is kept when it is healthy; its trial ends by itself when it is not.
fn keep_what_works(seen: &Seen) -> Option<Deed> {
    match (seen.on_trial, &seen.health) {
        (None, _) => Some(Deed::Look),
        (Some(true), Health::Good) => Some(Deed::Keep),
        _ => None,
    }
}

impl Before {
    fn of(seen: &Seen, written: &Written, now: Timestamp) -> Before {
        Before {
            slot: seen.running.slot,
            release: Some(seen.running.release.clone()),
            written: written.clone(),
            ts: now,
            connected: seen.connected,
            disks: seen.disks.clone(),
            backed_up: seen.backed_up,
        }
    }
}

impl Attempt {
    /// The boot state was changed for it: it cannot be called off any more. It may run though that was not written down.
    fn is_armed(&self, seen: &Seen) -> bool {
        match &self.step {
            Step::Trying { .. } | Step::Soaking { .. } | Step::Leaving { .. } => true,
            Step::Installed { before, .. } => before.slot != seen.running.slot,
            Step::Offered | Step::Fetching { .. } | Step::Installing { .. } => false,
        }
    }

    /// It was kept, and the slot before it holds this release.
    fn soaks_beside(&self, spare: Option<&Spare>, release: &Release) -> bool {
        matches!(self.step, Step::Soaking { .. }) && spare.is_some_and(|spare| spare.release == *release)
    }

    /// The box may not restart now. What it waits for is said once.
    fn waits_for_its_time(&mut self, seen: &Seen) -> bool {
        self.held = seen.no_restart.clone().filter(|_| !self.offer.at_once);
        self.held.is_some()
    }

    /// It may be tried again; a clock that went back holds nothing up.
    fn is_rested(&self, now: Timestamp) -> bool {
        now >= self.not_before || now < self.since
    }

    fn wait(&mut self, reason: UpdateFailure, text: Text, now: Timestamp) {
        tracing::warn!(release = %self.offer.release, %reason, %text, "an update waits to be tried again");
        self.failures = self.failures.saturating_add(1);
        self.why = Some((reason, text));
        let doubled = WAITS.0.saturating_mul(2u32.saturating_pow(self.failures - 1));
        self.not_before = now.after(doubled.min(WAITS.1));
    }
}
