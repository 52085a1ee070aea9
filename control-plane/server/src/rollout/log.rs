//! What happened in a rollout, and what that adds up to. The log only grows; the rollout is its fold, and whoever has the log and
//! the policy can compute every decision again.

use super::offer::Offer;
use super::plan::Grounds;
use super::policy::{Policy, RingIndex};
use saveos_protocol::id::DeviceId;
use saveos_protocol::text::Release;
use saveos_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet, hash_map};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, by the clock of the control plane.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A ring opened.
    Opened {
        /// Which.
        ring: RingIndex,
        /// Where it ends in each hardware.
        strata: Vec<Stratum>,
        /// What was known then.
        grounds: Grounds,
    },
    /// A box was offered the release.
    Offered {
        /// Which.
        device: DeviceId,
        /// As a member of this ring.
        ring: RingIndex,
        /// What it is.
        hardware: u16,
        /// What it ran then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runs: Option<Release>,
    },
    /// A box was offered another release, over which it comes to this one.
    Through {
        /// Which.
        device: DeviceId,
        /// The other release.
        release: Release,
    },
    /// A box said how far it is.
    Reported {
        /// Which.
        device: DeviceId,
        /// So far.
        stage: Stage,
    },
    /// What a box of this release stored does not read back as it was written.
    Damaged {
        /// Which.
        device: DeviceId,
    },
    /// A person agreed that a ring opens when it may.
    Approved {
        /// Which.
        ring: RingIndex,
        /// Who.
        by: String,
    },
    /// A person wants no further offers for now.
    Paused {
        /// Who.
        by: String,
    },
    /// And now again.
    Resumed {
        /// Who.
        by: String,
    },
    /// It stopped for good: what comes after is another rollout.
    Halted {
        /// Why.
        grounds: Grounds,
    },
    /// It halted, and a person wants those that run it back on what they ran before.
    Recalled {
        /// Who.
        by: String,
        /// What boxes may go back to.
        to: Vec<Release>,
    },
    /// Every ring is through. Boxes that come late are still offered the release.
    Finished {
        /// What was known then.
        grounds: Grounds,
    },
}

impl From<Offer> for Event {
    fn from(Offer { device, ring, hardware }: Offer) -> Event {
        Event::Offered { device, ring, hardware, runs: None }
    }
}

/// A ring in one hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stratum {
    /// Which.
    pub hardware: u16,
    /// The highest rank that is in the ring or in one before.
    pub last: u64,
    /// Boxes up to there when it opened; 0: nobody is in it.
    pub members: u32,
}

/// How far a box is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Nothing was heard yet.
    Offered,
    /// It fetches or installs.
    Working,
    /// It would fetch or install and cannot for now: the network, or a signature.
    Hindered,
    /// It is about to restart into the release, or tries it.
    Armed,
    /// It runs the release and found itself healthy.
    Passed,
    /// It also took a good backup.
    Confirmed,
    /// The release failed on it.
    Failed,
    /// It never came so far as to start the release.
    NotInstalled,
}

impl Stage {
    /// It will not come to run the release.
    pub fn is_bad(self) -> bool {
        matches!(self, Stage::Failed | Stage::NotInstalled)
    }
}

/// One box that was offered the release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// As a member of this ring.
    pub ring: RingIndex,
    /// What it is.
    pub hardware: u16,
    /// How far it is,
    pub stage: Stage,
    /// since then.
    pub since: Timestamp,
    /// When it was offered.
    pub offered: Timestamp,
    /// When it was first found healthy.
    pub passed: Option<Timestamp>,
    /// What it ran before, by its place among [`Rollout::ran_before`]'s.
    pub(super) before: Option<u16>,
}

/// A release that is taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recalled {
    /// Since then,
    pub at: Timestamp,
    /// by whom,
    pub by: String,
    /// to these.
    pub to: Vec<Release>,
}

/// A ring that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Since then.
    pub at: Timestamp,
    /// Where it ends in each hardware.
    pub strata: Vec<Stratum>,
}

/// How a rollout stands.
#[derive(Clone, Debug)]
pub struct Rollout {
    pub(super) policy: Policy,
    pub(super) rings: Vec<Opened>,
    pub(super) attempts: Vec<Attempt>,
    by_device: HashMap<DeviceId, u32>,
    pub(super) approved: HashSet<RingIndex>,
    pub(super) paused: Option<String>,
    pub(super) damaged: Option<DeviceId>,
    pub(super) halted: Option<Grounds>,
    pub(super) finished: bool,
    pub(super) recalled: Option<Recalled>,
    /// What boxes ran when they were offered the release: few releases, many boxes.
    ran: Vec<Release>,
}

impl Rollout {
    /// Nothing happened yet.
    pub fn new(policy: Policy) -> Rollout {
        Rollout {
            policy,
            rings: Vec::new(),
            attempts: Vec::new(),
            by_device: HashMap::new(),
            approved: HashSet::new(),
            paused: None,
            damaged: None,
            halted: None,
            finished: false,
            recalled: None,
            ran: Vec::new(),
        }
    }

    /// Adds what happened.
    pub fn apply(&mut self, entry: &Entry) {
        match &entry.event {
            Event::Opened { ring, strata, .. } if usize::from(ring.0) == self.rings.len() => {
                self.rings.push(Opened { at: entry.at, strata: strata.clone() });
            }
            // A ring opens once.
            Event::Opened { .. } => {}
            Event::Offered { device, ring, hardware, runs } => {
                let before = runs.as_ref().and_then(|runs| self.number(runs));
                self.begin(*device, *ring, *hardware, before, entry.at);
            }
            // No attempt of this release.
            Event::Through { .. } => {}
            Event::Reported { device, stage } => self.report(*device, *stage, entry.at),
            Event::Damaged { device } => self.damaged = self.damaged.or(Some(*device)),
            Event::Approved { ring, .. } => drop(self.approved.insert(*ring)),
            Event::Paused { by } => self.paused = Some(by.clone()),
            Event::Resumed { .. } => self.paused = None,
            Event::Halted { grounds } => self.halted = Some(grounds.clone()),
            Event::Finished { .. } => self.finished = true,
            Event::Recalled { by, to } => {
                self.recalled.get_or_insert(Recalled { at: entry.at, by: by.clone(), to: to.clone() });
            }
        }
    }

    fn number(&mut self, runs: &Release) -> Option<u16> {
        let at = self.ran.iter().position(|ran| ran == runs).unwrap_or_else(|| {
            self.ran.push(runs.clone());
            self.ran.len() - 1
        });
        u16::try_from(at).ok()
    }

    fn begin(&mut self, device: DeviceId, ring: RingIndex, hardware: u16, before: Option<u16>, at: Timestamp) {
        let next = u32::try_from(self.attempts.len()).expect("a fleet has less than 2^32 boxes");
        // Who was offered the release once is not offered it again by this rollout.
        if let hash_map::Entry::Vacant(place) = self.by_device.entry(device) {
            place.insert(next);
            let stage = Stage::Offered;
            self.attempts.push(Attempt { ring, hardware, stage, since: at, offered: at, passed: None, before });
        }
    }

    fn report(&mut self, device: DeviceId, stage: Stage, at: Timestamp) {
        let Some(attempt) = self.by_device.get(&device).and_then(|&at| self.attempts.get_mut(at as usize)) else {
            return;
        };
        if attempt.stage == Stage::Failed || attempt.stage == stage {
            return;
        }
        attempt.stage = stage;
        attempt.since = at;
        if matches!(stage, Stage::Passed | Stage::Confirmed) {
            attempt.passed = attempt.passed.or(Some(at));
        }
    }

    /// How far a box is that was offered the release.
    pub fn attempt(&self, device: DeviceId) -> Option<&Attempt> {
        self.by_device.get(&device).and_then(|&at| self.attempts.get(at as usize))
    }

    /// Everybody who was offered the release, in that order.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// What a box ran when it was offered the release.
    pub fn ran_before(&self, attempt: &Attempt) -> Option<&Release> {
        attempt.before.and_then(|at| self.ran.get(usize::from(at)))
    }

    /// The rings that are open.
    pub fn rings(&self) -> &[Opened] {
        &self.rings
    }

    /// Why it stopped for good.
    pub fn halted(&self) -> Option<&Grounds> {
        self.halted.as_ref()
    }

    /// Since when it is taken back, and by whom.
    pub fn recalled(&self) -> Option<&Recalled> {
        self.recalled.as_ref()
    }

    /// Who wants no further offers for now.
    pub fn paused(&self) -> Option<&str> {
        self.paused.as_deref()
    }

    /// A person agreed to a ring.
    pub fn is_approved(&self, ring: RingIndex) -> bool {
        self.approved.contains(&ring)
    }

    /// Every ring is through.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// What it goes by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
}
