//! What is remembered of an update. It lies in the daemon's database, on the data partition that both slots share, and every change
//! of it is committed before the next thing is done: after a cut the state machine goes on from what is written here.

use crate::db::{self, DbError};
use rusqlite::Connection;
pub(crate) use saveos_bootctl::Slot as SlotName;
use saveos_protocol::hex::{BootId, Digest};
use saveos_protocol::id::DiskId;
use saveos_protocol::shadow::{ReleaseTarget, UpdateFailure, UpdateReport, UpdateState};
use saveos_protocol::text::{Mark, Release, Text};
use saveos_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

/// So many releases that failed are remembered; the oldest is forgotten first.
const REMEMBERED: usize = 16;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// A bundle of a lower security epoch is refused. It rises when a release is confirmed, and never falls.
    pub(crate) epoch: u32,
    /// The update under way.
    pub(crate) attempt: Option<Attempt>,
    /// Releases that failed here, the newest last: not tried again until they are offered with another token.
    pub(crate) failed: Vec<Failed>,
    /// How the last update ended.
    pub(crate) last: Option<UpdateReport>,
    /// What is known of the running slot.
    #[serde(default)]
    pub(crate) here: Written,
    /// What lies in the other slot and ran there, until something is written over it: the way back, and not a byte of it to fetch.
    #[serde(default)]
    pub(crate) spare: Option<Spare>,
}

/// What is known of a slot beside the name of its release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// The bundle that it was written from, where an update wrote it.
    pub(crate) sha256: Option<Digest>,
    /// It was found healthy, and has not shown that its backups work.
    pub(crate) unproved: bool,
}

/// A system that ran before the one that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spare {
    pub(crate) slot: SlotName,
    pub(crate) release: Release,
    pub(crate) written: Written,
}

impl Spare {
    /// Whether it is what the signed metadata says of a release.
    pub(crate) fn holds(&self, release: &Release, sha256: &Digest) -> bool {
        self.release == *release && self.written.sha256.as_ref().is_none_or(|own| own == sha256)
    }
}

/// An update under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// What was offered.
    pub(crate) offer: ReleaseTarget,
    /// How far it is.
    pub(crate) step: Step,
    /// In this step since then.
    pub(crate) since: Timestamp,
    /// So often this step failed,
    pub(crate) failures: u32,
    /// for this reason,
    pub(crate) why: Option<(UpdateFailure, Text)>,
    /// What it waits for, where that is nobody's fault,
    #[serde(default)]
    pub(crate) held: Option<Text>,
    /// and it is not tried again before.
    pub(crate) not_before: Timestamp,
    /// Starts of the daemon in the new system; once that is kept, those after which it did not last.
    pub(crate) starts: u32,
}

/// What the signed metadata says of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bundle {
    /// Below the repository's targets.
    pub(crate) path: String,
    pub(crate) length: u64,
    pub(crate) sha256: Digest,
    pub(crate) epoch: u32,
}

/// What the box could do before it was restarted into another system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    /// In which slot it ran.
    pub(crate) slot: SlotName,
    /// Which release that is,
    #[serde(default)]
    pub(crate) release: Option<Release>,
    /// and what else is known of it.
    #[serde(default)]
    pub(crate) written: Written,
    /// When it was about to leave it.
    pub(crate) ts: Timestamp,
    /// The control plane had been heard within the hour.
    pub(crate) connected: bool,
    /// Disks that were plugged in.
    pub(crate) disks: Vec<DiskId>,
    /// A backup had worked in it.
    pub(crate) backed_up: bool,
}

/// How far an update is. Each is written down before what it stands for is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub(crate) enum Step {
    /// Its metadata is to be read.
    Offered,
    /// The bundle comes.
    Fetching { bundle: Bundle },
    /// The bundle is here and whole; it is to be written to the other slot, which is bad from now on.
    Installing { bundle: Bundle },
    /// The slot was written and read back, and starts when the box is idle. It is to be armed.
    Installed { bundle: Bundle, before: Before },
    /// Armed by a system that ran in this boot, which is to be restarted.
    Trying { bundle: Bundle, before: Before, boot: BootId },
    /// It proved its health and is kept, but not yet by a backup.
    Soaking { bundle: Bundle, before: Before },
    /// It failed, and the box goes back to the slot before.
    Leaving { before: Before, reason: UpdateFailure, text: Text },
}

/// A release that failed here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) release: Release,
    pub(crate) ring_token: Option<Mark>,
}

const NOTE: &str = "update";

impl Journal {
    /// As it was written last. One that cannot be read is begun anew: the slots themselves say what runs.
    pub(crate) fn read(db: &Connection) -> Result<Journal, DbError> {
        let Some(json) = db::note(db, NOTE)? else { return Ok(Journal::default()) };
        Ok(serde_json::from_str(&json).unwrap_or_else(|error| {
            tracing::error!(%error, "the journal of updates is not understood");
            Journal::default()
        }))
    }

    /// On the disk when this returns.
    pub(crate) fn write(&self, db: &Connection) -> Result<(), DbError> {
        let json = serde_json::to_string(self).map_err(|_| DbError::Damaged("the journal of updates"))?;
        db::set_note(db, NOTE, &json)
    }

    /// Whether a release failed here and nobody asked for it again.
    pub(crate) fn is_quarantined(&self, offer: &ReleaseTarget) -> bool {
        self.failed.iter().any(|failed| failed.release == offer.release && failed.ring_token == offer.ring_token)
    }

    /// It is not tried again.
    pub(super) fn quarantine(&mut self, offer: &ReleaseTarget) {
        self.failed.retain(|failed| failed.release != offer.release);
        self.failed.push(Failed { release: offer.release.clone(), ring_token: offer.ring_token.clone() });
        let surplus = self.failed.len().saturating_sub(REMEMBERED);
        self.failed.drain(..surplus);
    }

    /// What the control plane is told.
    pub(crate) fn report(&self) -> Option<UpdateReport> {
        let Some(attempt) = &self.attempt else { return self.last.clone() };
        let leaving = match &attempt.step {
            Step::Leaving { reason, text, .. } => Some((*reason, text.clone())),
            _ => None,
        };
        let (reason, text) = leaving.or_else(|| attempt.why.clone()).unzip();
        let text = text.or_else(|| attempt.held.clone());
        let state = attempt.step.state();
        Some(UpdateReport { release: attempt.offer.release.clone(), state, since: attempt.since, reason, text })
    }
}

impl Attempt {
    pub(super) fn of(offer: ReleaseTarget, now: Timestamp) -> Attempt {
        let (failures, why, held, starts) = (0, None, None, 0);
        Attempt { offer, step: Step::Offered, since: now, failures, why, held, not_before: now, starts }
    }

    /// The next step, with nothing behind it.
    pub(super) fn enter(&mut self, step: Step, now: Timestamp) {
        *self = Attempt { step, ..Attempt::of(self.offer.clone(), now) };
    }

    /// The bundle that belongs into the update folder.
    pub(crate) fn bundle(&self) -> Option<&Bundle> {
        match &self.step {
            Step::Fetching { bundle } | Step::Installing { bundle } => Some(bundle),
            _ => None,
        }
    }
}

impl Step {
    /// What was left, or is about to be.
    pub(super) fn before(&self) -> Option<&Before> {
        match self {
            Step::Installed { before, .. }
            | Step::Trying { before, .. }
            | Step::Soaking { before, .. }
            | Step::Leaving { before, .. } => Some(before),
            Step::Offered | Step::Fetching { .. } | Step::Installing { .. } => None,
        }
    }

    fn state(&self) -> UpdateState {
        match self {
            Step::Offered => UpdateState::Offered,
            Step::Fetching { .. } => UpdateState::Fetching,
            Step::Installing { .. } => UpdateState::Installing,
            Step::Installed { .. } => UpdateState::Installed,
            Step::Trying { .. } => UpdateState::Trying,
            Step::Soaking { .. } => UpdateState::Soaking,
            Step::Leaving { .. } => UpdateState::Leaving,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_again_and_what_is_not_understood_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = db::open(folder.path()).expect("a database");
        assert_eq!(Journal::read(&db).expect("readable"), Journal::default());
        let offer = ReleaseTarget { release: "2.0.0".parse().expect("a release"), ring_token: None, at_once: false };
        let mut journal = Journal { epoch: 3, ..Journal::default() };
        journal.attempt = Some(Attempt::of(offer.clone(), crate::clock::now().ts));
        journal.quarantine(&offer);
        journal.write(&db).expect("room");
        assert_eq!(Journal::read(&db).expect("readable"), journal);
        db::set_note(&db, NOTE, "{").expect("room");
        assert_eq!(Journal::read(&db).expect("readable"), Journal::default());
    }

    #[test]
    fn a_release_that_failed_is_not_tried_until_it_comes_with_another_token() {
        let mut journal = Journal::default();
        let offer = |release: &str, token: Option<&str>| ReleaseTarget {
            release: release.parse().expect("a release"),
            ring_token: token.map(|token| token.parse().expect("a mark")),
            at_once: false,
        };
        journal.quarantine(&offer("2.0.0", Some("one")));
        assert!(journal.is_quarantined(&offer("2.0.0", Some("one"))));
        assert!(
            !journal.is_quarantined(&offer("2.0.0", Some("two"))) && !journal.is_quarantined(&offer("2.0.1", None))
        );
        for patch in 0..REMEMBERED {
            journal.quarantine(&offer(&format!("3.0.{patch}"), None));
        }
        assert!(!journal.is_quarantined(&offer("2.0.0", Some("one"))) && journal.is_quarantined(&offer("3.0.0", None)));
    }
}
