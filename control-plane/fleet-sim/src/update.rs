//! A box that takes the release it is offered, in seconds instead of minutes, and reports as the real one does.

use crate::identity::random;
use saveos_protocol::V1;
use saveos_protocol::fact::{FactNumber, KeyState};
use saveos_protocol::hex::BootId;
use saveos_protocol::id::StreamId;
use saveos_protocol::shadow::{
    Applied, Desired, Firmware, Hardware, ReleaseTarget, Reported, Slot, UpdateFailure, UpdateReport, UpdateState,
    Version,
};
use saveos_protocol::text::Release;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{Bytes, DesiredVersion, Millis};
use std::collections::BTreeMap;

/// What becomes of a release on a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs, and is confirmed.
    Good,
    /// No start of it comes as far as its daemon: the box is back on the release before.
    Rotten,
    /// The box says that all went well, and runs the release before.
    Boast,
}

/// The agent of one box.
#[derive(Debug)]
pub(crate) struct Agent {
    running: Release,
    fates: BTreeMap<String, Fate>,
    offer: Option<ReleaseTarget>,
    done: Option<ReleaseTarget>,
    state: Option<UpdateReport>,
    applied: Applied,
    reports: u64,
    told: bool,
}

/// What the line is to do.
pub(crate) enum Turn {
    /// Nothing.
    Rest,
    /// Say this.
    Say(Box<Reported>),
    /// End: the box restarts.
    Restart,
}

impl Agent {
    pub(crate) fn new(running: Release) -> Agent {
        let applied = Applied { ver: DesiredVersion::ZERO, refused: None };
        Agent { running, fates: BTreeMap::new(), offer: None, done: None, state: None, applied, reports: 0, told: true }
    }

    /// From now on the box has an agent.
    pub(crate) fn expect(&mut self, release: &str, fate: Fate) {
        self.fates.insert(release.to_owned(), fate);
    }

    pub(crate) fn running(&self) -> Release {
        self.running.clone()
    }

    /// A document came.
    pub(crate) fn read(&mut self, desired: &Desired) {
        if desired.ver <= self.applied.ver {
            return;
        }
        self.applied.ver = desired.ver;
        self.told = false;
        self.offer = desired.release.clone().filter(|offer| offer.release != self.running);
        if self.offer != self.done {
            self.state = None;
        }
    }

    /// The next step, and what to say.
    pub(crate) fn turn(&mut self, stream: StreamId, now: Timestamp) -> Turn {
        if self.fates.is_empty() {
            return Turn::Rest;
        }
        if !self.told {
            self.told = true;
            return Turn::Say(Box::new(self.report(stream, now)));
        }
        let Some(offer) = self.offer.clone().filter(|offer| self.done.as_ref() != Some(offer)) else {
            return Turn::Rest;
        };
        let fate = self.fates.get(&offer.release.to_string()).copied().unwrap_or(Fate::Good);
        let (state, reason) = match (self.state.as_ref().map(|report| report.state), fate) {
            (None, _) => (UpdateState::Fetching, None),
            (Some(UpdateState::Fetching), _) => (UpdateState::Trying, None),
            (Some(UpdateState::Trying), Fate::Rotten) => (UpdateState::Failed, Some(UpdateFailure::NotStarted)),
            (Some(UpdateState::Trying), _) => (UpdateState::Soaking, None),
            (_, _) => (UpdateState::Confirmed, None),
        };
        let over = matches!(state, UpdateState::Failed | UpdateState::Confirmed);
        let restarts = state == UpdateState::Soaking && fate == Fate::Good;
        self.state = Some(UpdateReport { release: offer.release.clone(), state, since: now, reason, text: None });
        self.told = false;
        if over {
            self.done = Some(offer.clone());
        }
        if restarts {
            self.running = offer.release;
            return Turn::Restart;
        }
        Turn::Rest
    }

    fn report(&mut self, stream: StreamId, now: Timestamp) -> Reported {
        self.reports += 1;
        Reported {
            v: V1,
            ver: Version { stream, n: FactNumber::saturating(self.reports) },
            ts: now,
            boot: BootId(random()),
            uptime: Millis::from(1),
            firmware: Firmware {
                release: self.running.clone(),
                root_hash: None,
                slot: Slot::Good,
                update: self.state.clone(),
            },
            hardware: Hardware {
                model: "simulated".parse().expect("a mark"),
                serial: None,
                memory_bytes: Bytes::saturating(1 << 30),
            },
            disks: Default::default(),
            stores: Default::default(),
            key: KeyState::WordsConfirmed,
            desired: self.applied.clone(),
            errors: Default::default(),
        }
    }
}
