//! What the daemon tells its panel in a turn, and what it does when somebody holds the button.

use super::{Daemon, RunError, health};
use crate::clock::Moment;
use crate::disks;
use crate::panel::thread::{self, Handle};
use crate::panel::{Asks, Claim, Deed, Disk, DiskState, Language, Need, Panel, Seen, Unconfirmed, Working};
use crate::plan::Held;
use crate::queue::{self, State};
use crate::status::{Answer, Question};
use saveos_hal::button::NOTHING;
use saveos_protocol::fact::{FailureReason, SmartVerdict};
use saveos_protocol::shadow::UpdateState;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Between two looks at the box, when nobody touches the button.
const LOOK: Duration = Duration::from_secs(1);
/// For so long a box says that a disk was pulled too early; then it is for the control plane to remember.
const PULLED: Duration = Duration::from_secs(24 * 3600);

/// A panel at work.
pub(super) struct AtPanel {
    panel: Panel,
    handle: Handle,
    began: Instant,
    next: Instant,
    /// A job ran at the last look.
    worked: bool,
}

impl AtPanel {
    /// None: this box has none, or its file is no good. That is no reason not to back up.
    pub(super) fn open(file: Option<&Path>, language: Language) -> Option<AtPanel> {
        let panel = Panel::new(language);
        let handle = thread::start(file?, panel.silent());
        let handle = handle.inspect_err(|error| {
            tracing::error!(error = error as &dyn std::error::Error, "the box goes on without its panel");
        });
        let now = Instant::now();
        Some(AtPanel { panel, handle: handle.ok()?, began: now, next: now, worked: false })
    }

    /// Whether it can be found by its lights.
    pub(super) fn has_lights(&self) -> bool {
        self.handle.has_lights()
    }

    /// Whether no work should begin.
    pub(super) fn is_too_hot(&self) -> bool {
        self.handle.cooled().too_hot
    }

    pub(super) fn finish(self) {
        self.handle.finish();
    }
}

impl Daemon {
    pub(super) fn look_at_panel(&mut self, now: &Moment) -> Result<(), RunError> {
        let Some(mut at_panel) = self.panel.take() else { return Ok(()) };
        let done = self.attend(&mut at_panel, now);
        self.panel = Some(at_panel);
        done
    }

    fn attend(&mut self, at_panel: &mut AtPanel, now: &Moment) -> Result<(), RunError> {
        let gestures = at_panel.handle.gestures();
        let held = at_panel.handle.held();
        // Whoever holds it for long reads along; and nobody pulls a disk in the second after its backup began.
        let worked = std::mem::replace(&mut at_panel.worked, self.running.is_some());
        let news = !gestures.is_empty() || held.is_some_and(|held| held >= NOTHING) || worked != at_panel.worked;
        if !news && Instant::now() < at_panel.next {
            return Ok(());
        }
        at_panel.next = Instant::now() + LOOK;
        let at = at_panel.began.elapsed();
        for gesture in gestures {
            let seen = self.seen(&at_panel.handle, now)?;
            if let Some(deed) = at_panel.panel.press(gesture, &seen, at) {
                self.do_deed(&deed)?;
            }
        }
        let seen = self.seen(&at_panel.handle, now)?;
        at_panel.handle.show(at_panel.panel.view(&seen, held, at));
        Ok(())
    }

    fn do_deed(&mut self, deed: &Deed) -> Result<(), RunError> {
        let question = match deed {
            Deed::Approve(asks) => Question::Approve { job: asks.job.to_string(), serial: asks.serial.clone() },
            Deed::Backup(disk) => Question::Backup { disk: disk.to_string() },
            Deed::WordsShown => Question::Words,
            Deed::Confirm(words) => Question::Confirm { words: words.clone() },
            Deed::Reset(level) => {
                self.reset.want(*level);
                return Ok(());
            }
        };
        if let Answer::Refused { why } = self.reply(question)? {
            tracing::warn!(why, "what was asked for at the panel is not done");
        }
        Ok(())
    }

    fn seen(&self, handle: &Handle, now: &Moment) -> Result<Seen, RunError> {
        let rows = disks::all(&self.db)?;
        let serial = |id| {
            let row = rows.iter().find(|row| Some(row.id) == id);
            row.map(|row| row.identity.serial.as_ref().map_or_else(|| row.id.to_string(), ToString::to_string))
        };
        let asks =
            queue::oldest_asking(&self.db)?.and_then(|job| Some(Asks { job: job.id, serial: serial(job.disk)? }));
        let working = self.running.as_ref().map(|at_work| {
            let (done, total) =
                (at_work.meter.done.load(Ordering::Relaxed), at_work.meter.total.load(Ordering::Relaxed));
            let percent = (done.min(total) * 100).checked_div(total).unwrap_or(0);
            Working {
                work: at_work.job.work,
                serial: serial(at_work.job.disk),
                percent: u8::try_from(percent).unwrap_or(100),
            }
        });
        let mut disks = Vec::new();
        let mut needs = Vec::new();
        for row in rows.iter().filter(|row| row.path.is_some()) {
            let own = serial(Some(row.id)).unwrap_or_default();
            let state = self.state_of(row)?;
            if state == DiskState::Failed {
                needs.push(Need::BackupFailed { serial: own.clone() });
            }
            if health::verdict(&self.db, row.id)? == SmartVerdict::Failing {
                needs.push(Need::DiskFails { serial: own.clone() });
            }
            disks.push(Disk { id: row.id, serial: own, state });
        }
        for row in rows.iter().filter(|row| row.path.is_none()) {
            if self.was_pulled(row, now)? {
                needs.push(Need::Pulled { serial: serial(Some(row.id)).unwrap_or_default() });
            }
        }
        let (cooled, recoverable) = (handle.cooled(), self.is_recoverable()?);
        let rest = [
            (self.store_is_full, Need::StoreFull),
            (cooled.too_hot, Need::TooHot),
            (cooled.stalled, Need::FanStands),
            (self.clock_is_behind()?, Need::ClockBehind),
            (!recoverable, Need::NotRecoverable),
        ];
        needs.extend(rest.into_iter().filter(|(is, _)| *is).map(|(_, need)| need));
        let update = self.agent.firmware().update.map(|update| update.state);
        let busy = [UpdateState::Installing, UpdateState::Installed, UpdateState::Trying, UpdateState::Leaving];
        let words = self.words.as_ref();
        Ok(Seen {
            asks,
            working,
            updating: update.is_some_and(|state| busy.contains(&state)) && self.agent.holds_jobs(now),
            needs,
            disks,
            words: words
                .map(|words| Unconfirmed { phrase: Zeroizing::new(words.phrase().to_owned()), asked: words.asked() }),
            claim: self.claim(),
            sought: self.wishes.is_sought(),
            version: self.agent.firmware().release.to_string(),
            resets: self.reset.is_possible(),
            restarts: self.reset.is_under_way(),
        })
    }

    fn state_of(&self, row: &disks::Row) -> Result<DiskState, RunError> {
        let (_, open) = queue::of_disk(&self.db, row.id)?;
        if open {
            return Ok(DiskState::Busy);
        }
        let last = queue::last_backup(&self.db, row.id)?.map(|job| job.state);
        Ok(match (self.held.get(&row.id), last) {
            (Some(Held::NoPolicy), _) => DiskState::Unknown,
            (Some(Held::NotASource), _) => DiskState::Idle,
            (_, Some(State::Failed)) => DiskState::Failed,
            (Some(Held::OutsideWindow), _) => DiskState::Waits,
            (_, Some(_)) => DiskState::BackedUp,
            (_, None) => DiskState::Idle,
        })
    }

    /// Whether it was pulled in the middle of a backup, not long ago: the person who did that is still near.
    fn was_pulled(&self, row: &disks::Row, now: &Moment) -> Result<bool, RunError> {
        let last = queue::last_backup(&self.db, row.id)?;
        let gone = FailureReason::DiskGone.as_str();
        Ok(last.is_some_and(|job| {
            job.outcome.is_some_and(|outcome| outcome.starts_with(gone))
                && job.ended.is_some_and(|ended| now.ts.since(ended) < PULLED)
        }))
    }

    fn claim(&self) -> Option<Claim> {
        let server = self.server.as_ref().filter(|_| self.owner().is_none())?;
        let host = server.to_string();
        let host = host.trim_start_matches("https://").trim_end_matches('/').to_owned();
        Some(Claim { code: self.identity.claim_code().to_string(), host })
    }
}
