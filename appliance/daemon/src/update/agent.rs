//! The update agent at work: looks with the daemon's loop, writes the journal, and does one deed at a time on a thread of its own.

use super::advance::{Backups, Deed, Outcome, Running, Seen};
use super::download::Download;
use super::gate::{Gate, Vital};
use super::go::Asked;
use super::journal::{Bundle, Journal, SlotName, Spare, Step};
use super::metadata::{Marks, Source};
use super::slots::{Slots, read_small};
use crate::clock::Moment;
use crate::db::{self, DbError};
use crate::enrol;
use crate::queue;
use crate::wishes::Wishes;
use rusqlite::Connection;
use saveos_protocol::hex::Digest;
use saveos_protocol::id::{DeviceId, DiskId};
use saveos_protocol::shadow::{Firmware, ReleaseTarget, Slot, UpdateFailure};
use saveos_protocol::text::{Mark, Release, Text};
use saveos_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use url::Url;

/// A box with two slots, and where its releases come from.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Folder in which the system says which slot runs, of which release, and for which machine it was made.
    pub(crate) system: PathBuf,
    /// The root metadata that came with the system.
    pub(crate) root: PathBuf,
    /// None: the control plane that the box is enrolled with.
    pub(crate) releases: Option<Url>,
    pub(crate) slots: Slots,
    /// What a system that never became healthy said last, kept by the guard of its trial.
    pub(crate) last_words: PathBuf,
    /// A new system that is not healthy by then is left.
    pub(crate) patience: Duration,
}

/// What the daemon sees in a turn.
pub(crate) struct Look<'a> {
    pub(crate) offer: Option<ReleaseTarget>,
    pub(crate) busy: bool,
    /// Why the box may not restart now.
    pub(crate) no_restart: Option<Text>,
    pub(crate) disks: Vec<DiskId>,
    /// The control plane was heard within the hour, by this daemon.
    pub(crate) connected: bool,
    /// Whether the repository opens.
    pub(crate) store: &'a dyn Fn() -> bool,
    pub(crate) device: DeviceId,
    /// The control plane of the enrolment, and its authorities.
    pub(crate) server: &'a dyn Fn() -> Option<(Url, String)>,
}

/// The agent.
pub(crate) struct Agent {
    /// None: this is no box with slots.
    slotted: Option<Slotted>,
    journal: Journal,
    folder: PathBuf,
    data: PathBuf,
    gate: Gate,
    started: Instant,
    on_trial: Option<bool>,
    store: (bool, Option<Instant>),
    /// When it looks next, and when it may ask about slots again that did not answer.
    next_turn: Instant,
    next_look: Instant,
    work: Option<AtWork>,
}

struct Slotted {
    settings: Settings,
    release: Release,
    slot: SlotName,
    /// What the kernel checks the system by; an older image does not say.
    root_hash: Option<Digest>,
    compatible: String,
}

struct AtWork {
    deed: Deed,
    seen: Seen,
    cancel: Arc<AtomicBool>,
    thread: JoinHandle<(Outcome, Option<bool>)>,
}

/// How much of a bundle is here.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Fetched {
    bundle: Bundle,
    durable: u64,
    spent: u64,
}

const FETCHED: &str = "update_fetched";
const MARKS: &str = "update_marks";
/// Between two looks.
const TURN: Duration = Duration::from_secs(1);
/// Between two looks at the store while a new system is judged, and at slots that do not answer.
const AGAIN: Duration = Duration::from_secs(10);
/// Until whoever offered a release is asked again whether the offer stands.
const ASKED_AGAIN: Duration = Duration::from_secs(60);
const BUNDLE: &str = "bundle.raucb";

impl Agent {
    pub(crate) fn open(settings: Option<&Settings>, data: &Path, db: &Connection) -> Result<Agent, DbError> {
        let slotted = settings.and_then(|settings| {
            let slotted = Slotted::read(settings);
            if slotted.is_none() {
                tracing::error!(folder = %settings.system.display(), "the system does not say which slot runs: it is not updated");
            }
            slotted
        });
        let mut journal = Journal::read(db)?;
        if let Some(slotted) = slotted.as_ref().filter(|_| journal.attempt.is_some()) {
            journal.started(slotted.slot);
            journal.write(db)?;
        }
        let agent = Agent {
            gate: Gate::new(slotted.as_ref().map_or(Duration::ZERO, |slotted| slotted.settings.patience)),
            slotted,
            journal,
            folder: data.join("update"),
            data: data.to_owned(),
            started: Instant::now(),
            on_trial: None,
            store: (true, None),
            next_turn: Instant::now(),
            next_look: Instant::now(),
            work: None,
        };
        // The one before may have been ended between the two.
        agent.clean_up(db)?;
        Ok(agent)
    }

    /// What runs and how sure we are of it, for the control plane.
    pub(crate) fn firmware(&self) -> Firmware {
        let Some(slotted) = &self.slotted else {
            let release = crate::machine::release();
            return Firmware { release, root_hash: None, slot: Slot::None, update: None };
        };
        // Until the slots were asked, the journal says it.
        let judged = self.journal.attempt.as_ref().is_some_and(|attempt| match &attempt.step {
            Step::Trying { before, .. } | Step::Leaving { before, .. } => before.slot != slotted.slot,
            _ => false,
        });
        let slot = if self.on_trial.unwrap_or(judged) { Slot::Trial } else { Slot::Good };
        let (release, root_hash) = (slotted.release.clone(), slotted.root_hash);
        Firmware { release, root_hash, slot, update: self.journal.report() }
    }

    /// Whether no job may begin.
    pub(crate) fn holds_jobs(&self, now: &Moment) -> bool {
        self.running(now).is_some_and(|running| self.journal.holds_jobs(&running, now.ts))
    }

    /// Has what is being done end, and lets go of it: it is done again after the next start. Whether nothing is under way any more.
    pub(crate) fn rest(&mut self) -> bool {
        if let Some(work) = &self.work {
            work.cancel.store(true, Ordering::Relaxed);
        }
        // Whatever came of it, root answers no order of it any more.
        drop(self.work.take_if(|work| work.thread.is_finished()));
        self.work.is_none()
    }

    /// Whether it is time for a look; never on a box without slots.
    pub(crate) fn is_due(&mut self) -> bool {
        let due = self.slotted.is_some() && self.next_turn <= Instant::now();
        if due {
            self.next_turn = Instant::now() + TURN;
        }
        due
    }

    /// One look, and the next deed where one is due.
    pub(crate) fn turn(
        &mut self,
        db: &Connection,
        look: &Look<'_>,
        now: &Moment,
        wishes: &Wishes,
    ) -> Result<(), DbError> {
        if let Some(work) = &self.work
            && !work.thread.is_finished()
        {
            let called_off =
                self.journal.attempt.as_ref().is_some_and(|attempt| look.offer.as_ref() != Some(&attempt.offer));
            if called_off && matches!(work.deed, Deed::Fetch(_)) {
                work.cancel.store(true, Ordering::Relaxed);
            }
            return Ok(());
        }
        self.end_deed(db, now, wishes)?;
        let Some(seen) = self.seen(db, look, now)? else { return Ok(()) };
        let before = self.journal.clone();
        let deed = self.journal.advance(&seen, now.ts);
        if self.journal != before {
            self.journal.write(db)?;
            self.clean_up(db)?;
        }
        match deed {
            None => {}
            Some(Deed::Restart) => {
                let done = match wishes.reboot() {
                    Ok(true) => Outcome::Done,
                    Ok(false) => Outcome::Failed(UpdateFailure::NotArmed, Text::cut("nobody restarts this box")),
                    Err(error) => Outcome::Failed(UpdateFailure::NotArmed, Text::cut(&error.to_string())),
                };
                self.journal.ended(&Deed::Restart, done, &seen, now.ts);
                self.journal.write(db)?;
            }
            Some(Deed::Look) if self.next_look > Instant::now() => {}
            Some(deed) => self.begin(deed, seen, look)?,
        }
        Ok(())
    }

    /// A deed is asked to end, not waited for: it may be in the middle of a request, and jobs have to be ended too. It is done again
    /// after the next start.
    pub(crate) fn finish(&mut self) {
        if let Some(work) = self.work.take() {
            work.cancel.store(true, Ordering::Relaxed);
        }
    }

    fn running(&self, now: &Moment) -> Option<Running> {
        let slotted = self.slotted.as_ref()?;
        Some(Running { release: slotted.release.clone(), slot: slotted.slot, boot: now.boot })
    }

    fn seen(&mut self, db: &Connection, look: &Look<'_>, now: &Moment) -> Result<Option<Seen>, DbError> {
        let Some(running) = self.running(now) else { return Ok(None) };
        let connected = look.connected;
        let attempt = self.journal.attempt.as_ref();
        let before = attempt.and_then(|attempt| match &attempt.step {
            Step::Trying { before, .. } | Step::Installed { before, .. } if before.slot != running.slot => Some(before),
            _ => None,
        });
        if before.is_some() || self.on_trial == Some(true) {
            let due = self.store.1.is_none_or(|at| at.elapsed() >= AGAIN);
            if due {
                self.store = ((look.store)(), Some(Instant::now()));
            }
        }
        let vital = Vital { connected, disks: &look.disks, store: self.store.0 };
        let health = self.gate.look(vital, before, (self.started.elapsed(), now.uptime.duration()));
        let backups = match attempt {
            Some(attempt) => queue::backups_since(db, attempt.since)?,
            None => Backups::default(),
        };
        let backed_up = queue::backups_since(db, Timestamp::saturating(0))?.good > 0;
        let (offer, busy, disks) = (look.offer.clone(), look.busy, look.disks.clone());
        let (last_words, no_restart) = (self.last_words(), look.no_restart.clone());
        let on_trial = self.on_trial;
        let up = self.started.elapsed();
        Ok(Some(Seen {
            offer,
            running,
            up,
            on_trial,
            busy,
            no_restart,
            health,
            connected,
            disks,
            backups,
            backed_up,
            last_words,
        }))
    }

    /// Read where a system that was tried did not stay.
    fn last_words(&self) -> Option<Text> {
        let slotted = self.slotted.as_ref()?;
        let came_back = self.journal.attempt.as_ref().is_some_and(|attempt| match &attempt.step {
            Step::Trying { before, .. } => before.slot == slotted.slot,
            _ => false,
        });
        let bytes = came_back.then(|| read_small(&slotted.settings.last_words)).flatten()?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        (!text.is_empty()).then(|| Text::cut(&text))
    }

    fn begin(&mut self, deed: Deed, seen: Seen, look: &Look<'_>) -> Result<(), DbError> {
        let Some(slotted) = &self.slotted else { return Ok(()) };
        let cancel = Arc::new(AtomicBool::new(false));
        let slots = slotted.settings.slots.clone();
        let source = match deed {
            Deed::Read(_) | Deed::Fetch(_) => slotted.source((look.server)(), self.journal.spare.clone()),
            _ => Err(String::new()),
        };
        let token = self.journal.attempt.as_ref().and_then(|attempt| attempt.offer.ring_token.clone());
        let asked = match (&deed, token) {
            (Deed::Arm, Some(token)) => asked(look, token),
            // Nobody took part in it who could be asked.
            _ => Ok(None),
        };
        let (data, folder) = (self.data.clone(), self.folder.clone());
        let (own_deed, own_cancel) = (deed.clone(), Arc::clone(&cancel));
        let work = move || {
            let stopped = || own_cancel.load(Ordering::Relaxed);
            match (&own_deed, source) {
                (Deed::Read(offer), Ok(source)) => (read(&source, offer, &data), None),
                (Deed::Fetch(bundle), Ok(source)) => (fetch(&source, bundle, &folder, &data, &stopped), None),
                (Deed::Read(_) | Deed::Fetch(_), Err(text)) => {
                    (Outcome::Failed(UpdateFailure::Download, Text::cut(&text)), None)
                }
                (deed, _) => match asked.map(|asked| asked.and_then(|asked| asked.why_not())) {
                    Ok(None) => slots.order(deed, &stopped),
                    Ok(Some(text)) | Err(text) => (Outcome::Held(ASKED_AGAIN, Text::cut(&text)), None),
                },
            }
        };
        match std::thread::Builder::new().name("update".to_owned()).spawn(work) {
            Ok(thread) => self.work = Some(AtWork { deed, seen, cancel, thread }),
            Err(error) => tracing::error!(%error, "no thread for an update"),
        }
        Ok(())
    }

    fn end_deed(&mut self, db: &Connection, now: &Moment, wishes: &Wishes) -> Result<(), DbError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let (done, on_trial) = work.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.on_trial = on_trial.or(self.on_trial);
        if work.deed == Deed::Look {
            self.next_look = Instant::now() + AGAIN;
        }
        let before = self.journal.clone();
        let abandoned = work.deed == Deed::Abandon && done == Outcome::Done;
        self.journal.ended(&work.deed, done, &work.seen, now.ts);
        if self.journal != before {
            self.journal.write(db)?;
            self.clean_up(db)?;
        }
        if abandoned && let Err(error) = wishes.reboot() {
            tracing::error!(%error, "the box could not be restarted into the slot before");
        }
        Ok(())
    }

    /// A bundle that nobody needs any more makes room for backups; what is offered again later has a budget of its own.
    fn clean_up(&self, db: &Connection) -> Result<(), DbError> {
        if self.journal.attempt.as_ref().is_some_and(|attempt| attempt.bundle().is_some()) {
            return Ok(());
        }
        db::forget_note(db, FETCHED)?;
        match std::fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "an old bundle stays");
            }
            _ => {}
        }
        Ok(())
    }
}

impl Slotted {
    fn read(settings: &Settings) -> Option<Slotted> {
        let word = |name: &str| {
            String::from_utf8(read_small(&settings.system.join(name))?).ok().map(|text| text.trim().to_owned())
        };
        Some(Slotted {
            settings: settings.clone(),
            release: word("version")?.parse().ok()?,
            slot: word("slot")?.parse().ok()?,
            root_hash: word("root-hash").and_then(|word| word.parse().ok()),
            compatible: word("compatible")?,
        })
    }

    fn source(&self, server: Option<(Url, String)>, spare: Option<Spare>) -> Result<Source, String> {
        let root =
            std::fs::read(&self.settings.root).map_err(|error| format!("no root of trust for releases: {error}"))?;
        let (base, authority) = match (&self.settings.releases, server) {
            (Some(url), _) => (url.clone(), None),
            (None, Some((url, authority))) => {
                (url.join("releases/").map_err(|error| error.to_string())?, Some(authority))
            }
            (None, None) => return Err("the box has no control plane yet".to_owned()),
        };
        let agent = enrol::client(authority.as_deref()).map_err(|error| error.to_string())?;
        let (compatible, running) = (self.compatible.clone(), self.release.clone());
        Ok(Source { base, root, compatible, running, spare, agent })
    }
}

/// Whoever offered a release; nobody, where the policy is a file.
fn asked(look: &Look<'_>, token: Mark) -> Result<Option<Asked>, String> {
    let Some((server, authority)) = (look.server)() else { return Ok(None) };
    let agent = enrol::client(Some(&authority)).map_err(|error| error.to_string())?;
    Ok(Some(Asked { agent, server, device: look.device, token }))
}

fn read(source: &Source, offer: &ReleaseTarget, data: &Path) -> Outcome {
    let work = || {
        let db = db::connect(data)?;
        let kept = db::note(&db, MARKS)?;
        let mut marks: Marks = kept.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        let done = source.read(&offer.release, &mut marks);
        let json = serde_json::to_string(&marks).map_err(|_| DbError::Damaged("the marks of releases"))?;
        db::set_note(&db, MARKS, &json)?;
        Ok(done)
    };
    work().unwrap_or_else(failed)
}

fn fetch(source: &Source, bundle: &Bundle, folder: &Path, data: &Path, stopped: &dyn Fn() -> bool) -> Outcome {
    let Some(url) = source.url(bundle) else {
        return Outcome::Failed(UpdateFailure::Download, Text::cut("the bundle has no address"));
    };
    let work = || {
        let db = db::connect(data)?;
        let kept: Option<Fetched> = db::note(&db, FETCHED)?.and_then(|json| serde_json::from_str(&json).ok());
        let kept = kept.filter(|kept| kept.bundle == *bundle);
        let (durable, spent) = kept.map_or((0, 0), |kept| (kept.durable, kept.spent));
        if let Err(source) = saveos_engine::storage::local::make_folder(folder) {
            let text = format!("no folder for the bundle: {source}");
            return Ok(Outcome::Failed(UpdateFailure::Download, Text::cut(&text)));
        }
        let file = folder.join(BUNDLE);
        let download = Download { agent: &source.agent, url: url.as_str(), bundle, file: &file, durable, spent };
        let mut most = durable;
        let done = download.run(&mut |durable, spent| {
            most = most.max(durable);
            let fetched = Fetched { bundle: bundle.clone(), durable, spent };
            let noted = serde_json::to_string(&fetched).is_ok_and(|json| db::set_note(&db, FETCHED, &json).is_ok());
            noted && !stopped()
        });
        Ok(match done {
            Outcome::Failed(UpdateFailure::Download, text) if most > durable => Outcome::Cut(text),
            done => done,
        })
    };
    work().unwrap_or_else(failed)
}

fn failed(error: DbError) -> Outcome {
    Outcome::Failed(UpdateFailure::Download, Text::cut(&error.to_string()))
}
