//! The daemon: looks at the disks, plans, does one job at a time on a thread of its own, answers who asks, tells systemd that
//! it lives. Everything that must outlive it is in the database before the next step.

mod answers;
mod at_work;
mod health;
mod keys;
mod panel;
mod plugging;
mod report;
mod reset;
mod room;
mod update;

use crate::clock::{self, Moment};
use crate::db::{self, DbError};
use crate::desired::{self, DesiredError};
use crate::disks::{self, Found, Watch};
use crate::enrol::{self, Server};
use crate::identity::{Identity, IdentityError};
use crate::notify;
use crate::outbox::{self, OutboxError};
use crate::panel::Language;
use crate::plan::{self, Held, Plan};
use crate::policy::{InForce, Policy, PolicyError, Rules};
use crate::queue::{self, Job};
use crate::status;
use crate::told;
use crate::trust::Trust;
use crate::update::agent::{self, Agent};
use crate::uplink::{self, Line};
use crate::vault::{Vault, VaultError, Words};
use crate::wishes::Wishes;
use crate::work::{self, Bench, Meter, Stop};
use at_work::{AtWork, Pace};
use panel::AtPanel;
use reset::Reset;
use rusqlite::{Connection, params};
use saveos_engine::lease::LeaseKind;
use saveos_engine::repository::RepositoryError;
use saveos_protocol::fact::{Body, End, Failure, FailureReason, JobResult, SnapshotFound, Work};
use saveos_protocol::heartbeat::Progress;
use saveos_protocol::hex::EscrowKey;
use saveos_protocol::id::{DiskId, StreamId};
use saveos_protocol::shadow::Reported;
use saveos_protocol::text::{Text, WebUrl};
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{DesiredVersion, Percent};
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Why it could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A fact.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// Who we are.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The repository's key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The repository.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The desired document.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// A folder or the socket.
    #[error("could not use {path}")]
    Path {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) data: PathBuf,
    /// A folder of images; none: the sockets of this machine.
    pub(crate) disks: Option<PathBuf>,
    pub(crate) smartctl: String,
    pub(crate) journalctl: String,
    /// The parts that a person sees and touches.
    pub(crate) board: Option<PathBuf>,
    /// Of the display.
    pub(crate) language: Language,
    /// What to make for a restart of the box.
    pub(crate) reboot: Option<PathBuf>,
    pub(crate) repository: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) policy: Option<PathBuf>,
    /// None: the system has no slots.
    pub(crate) update: Option<agent::Settings>,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) server: Option<Server>,
}

/// Between two looks at disks, clock and socket.
const TURN: Duration = Duration::from_millis(200);
/// A disk counts when it was the same at two looks; a third for a folder that is slow. Jobs wait for that.
const FIRST_LOOKS: u32 = 3;

/// Runs until `stop` is set.
pub(crate) fn run(places: &Places, stop: &Arc<AtomicBool>) -> Result<(), RunError> {
    let mut daemon = Daemon::start(places, stop)?;
    notify::say("READY=1");
    let watchdog = notify::watchdog();
    let mut fed = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        daemon.turn()?;
        if watchdog.is_some_and(|every| fed.elapsed() >= every) && daemon.moves() {
            notify::say("WATCHDOG=1");
            fed = Instant::now();
        }
        std::thread::sleep(TURN);
    }
    notify::say("STOPPING=1");
    daemon.finish()
}

struct Daemon {
    db: Connection,
    data: PathBuf,
    identity: Arc<Identity>,
    /// Where it is claimed.
    server: Option<WebUrl>,
    bench: Arc<Bench>,
    stream: StreamId,
    watch: Watch,
    /// Disks that say the same of themselves as one that is plugged in.
    twins: Vec<Found>,
    smartctl: String,
    health: health::Health,
    wishes: Arc<Wishes>,
    listener: UnixListener,
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    running: Option<AtWork>,
    words: Option<Words>,
    /// The escrow key that could not be taken, so that it is not tried at every turn.
    unsealed: Option<Option<EscrowKey>>,
    held: BTreeMap<DiskId, Held>,
    uplink: Option<JoinHandle<()>>,
    looks: u32,
    /// For the uplink: how far the running job is.
    progress: Arc<Mutex<Option<Progress>>>,
    answered: Arc<Mutex<Option<Instant>>>,
    /// For the uplink: how full the store is.
    room: Arc<Mutex<Option<Percent>>>,
    store_is_full: bool,
    next_room: Instant,
    /// For the uplink: what the box is.
    reported: Arc<Mutex<Option<Reported>>>,
    next_report: Instant,
    agent: Agent,
    panel: Option<AtPanel>,
    reset: Reset,
    /// The turn before.
    last: Moment,
}

/// A job that has not moved for so long is stuck: a dead disk can hang in the kernel, and only a restart helps.
const STUCK: Duration = Duration::from_secs(900);

impl Daemon {
    fn start(places: &Places, stop: &Arc<AtomicBool>) -> Result<Daemon, RunError> {
        let now = clock::now();
        let path_error = |path: &PathBuf| {
            let path = path.clone();
            move |source| RunError::Path { path, source }
        };
        saveos_engine::storage::local::make_folder(&places.data).map_err(path_error(&places.data))?;
        // First: two daemons on one folder would queue everything twice.
        let listener = status::listen(&places.socket).map_err(path_error(&places.socket))?;
        let policy = places.policy.as_deref().map_or_else(|| Ok(Policy::cautious()), Policy::read)?;
        let identity = Arc::new(Identity::open(&places.data, &now)?);
        let rules = Arc::new(InForce::new(first_rules(&places.data, &identity, policy)?));
        let mut db = db::open(&places.data)?;
        let birth = outbox::begin(&mut db, &identity, &now)?;
        let vault = Vault::open(&places.data, &places.repository)?;
        tracing::info!(device = %identity.device, stream = %birth.stream, repository = %places.repository.display(), "started");
        disks::forget_places(&db)?;
        queue::wait_again(&db)?;
        let device = identity.device;
        let bench = Arc::new(Bench { vault, device, rules: Arc::clone(&rules) });
        let agent = Agent::open(places.update.as_ref(), &places.data, &db)?;
        let panel = AtPanel::open(places.board.as_deref(), places.language);
        let has_lights = panel.as_ref().is_some_and(AtPanel::has_lights);
        let mut daemon = Daemon {
            db,
            agent,
            panel,
            reset: Reset::new(places.update.as_ref().map(|update| update.slots.clone())),
            data: places.data.clone(),
            identity,
            server: places.server.as_ref().map(|server| server.url.clone()),
            bench,
            stream: birth.stream,
            watch: Watch::new(places.disks.as_deref(), &[&places.data, &places.repository]),
            twins: Vec::new(),
            smartctl: places.smartctl.clone(),
            health: health::Health::default(),
            wishes: Arc::new(Wishes::new(has_lights, places.reboot.clone())),
            listener,
            socket: places.socket.clone(),
            stop: Arc::clone(stop),
            running: None,
            words: None,
            unsealed: None,
            held: BTreeMap::new(),
            uplink: None,
            looks: 0,
            progress: Arc::default(),
            answered: Arc::default(),
            room: Arc::default(),
            store_is_full: false,
            next_room: Instant::now(),
            reported: Arc::default(),
            next_report: Instant::now(),
            last: now,
        };
        daemon.make_words(&now)?;
        daemon.tell_of_forgotten(&now)?;
        let line = Line {
            data: places.data.clone(),
            device,
            birth,
            key: daemon.identity.key_pem()?,
            public: daemon.identity.public,
            heartbeat: places.heartbeat,
            progress: Arc::clone(&daemon.progress),
            answered: Arc::clone(&daemon.answered),
            room: Arc::clone(&daemon.room),
            reported: Arc::clone(&daemon.reported),
            wishes: Arc::clone(&daemon.wishes),
            release: daemon.agent.firmware().release,
            smartctl: places.smartctl.clone(),
            journalctl: places.journalctl.clone(),
            rules,
        };
        let uplink = uplink::start(line, Arc::clone(stop));
        let enrolling = enrol::start(
            places.data.clone(),
            places.server.clone(),
            Arc::clone(&daemon.identity),
            Arc::clone(&daemon.stop),
        );
        enrolling.map_err(|source| RunError::Path { path: "a thread".into(), source })?;
        daemon.uplink = Some(uplink.map_err(|source| RunError::Path { path: "a thread".into(), source })?);
        Ok(daemon)
    }

    /// A snapshot that no fact told of: we died between its record and the outbox, or the outbox was lost.
    fn tell_of_forgotten(&mut self, now: &Moment) -> Result<(), RunError> {
        let repository = self.bench.vault.repository(LeaseKind::Reader, &now.boot.to_string())?;
        let writer = self.bench.vault.writer(&self.identity.device.to_string());
        let (snapshots, _) = repository.snapshots()?;
        for (id, snapshot) in snapshots.iter().filter(|(_, snapshot)| snapshot.writer == writer) {
            if queue::is_told(&self.db, &id.to_string())? {
                continue;
            }
            let found = SnapshotFound {
                disk: snapshot.name.parse().ok(),
                taken: Timestamp::saturating(u64::try_from(snapshot.time).unwrap_or(0).saturating_mul(1000)),
                summary: told::summary(self.bench.vault.id(), *id, snapshot),
            };
            let step = self.db.transaction().map_err(DbError::from)?;
            step.execute("INSERT OR IGNORE INTO told (snapshot) VALUES (?1)", params![id.to_string()])
                .map_err(DbError::from)?;
            outbox::append(&step, now, Body::SnapshotFound(found))?;
            step.commit().map_err(DbError::from)?;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<(), RunError> {
        let now = clock::now();
        self.look_at_disks(&now)?;
        self.end_job(&now)?;
        self.look_at_clock(&now)?;
        self.look_at_room(&now)?;
        self.look_at_health(&now)?;
        self.look_at_panel(&now)?;
        if self.looks < FIRST_LOOKS {
            self.answer();
            return Ok(());
        }
        self.end_asked_in_vain(&now)?;
        self.seal_to_escrow(&now)?;
        self.report(&now)?;
        let plan = self.plan(now.ts)?;
        for action in &plan.actions {
            let what = (action.work, action.disk);
            match &action.order {
                Some(order) => queue::order(&self.db, what, order, &action.trigger, now.ts)?,
                None => queue::add(&self.db, action.work, action.disk, &action.trigger, now.ts)?,
            };
        }
        self.held = plan.held.into_iter().collect();
        self.look_at_reset();
        if !self.reset.is_under_way() {
            self.look_at_update(&now)?;
        }
        if self.running.is_none()
            && !self.reset.is_under_way()
            && !self.agent.holds_jobs(&now)
            && !self.panel.as_ref().is_some_and(AtPanel::is_too_hot)
            && let Some(job) = queue::begin_next(&mut self.db, &now)?
        {
            self.begin(job)?;
        }
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = self.running.as_mut().map(AtWork::progress);
        self.answer();
        Ok(())
    }

    fn plan(&self, now: Timestamp) -> Result<Plan, RunError> {
        let mut state = plan::State::default();
        for row in disks::all(&self.db)? {
            if let (Some(plugged), Some(_)) = (row.plugged, &row.path) {
                let (asked, busy) = queue::of_disk(&self.db, row.id)?;
                state.disks.push(plan::Disk { id: row.id, plugged, asked, busy });
            }
        }
        state.last_backup = queue::of_work(&self.db, Work::Backup)?.done;
        state.verify = queue::of_work(&self.db, Work::Verify)?;
        state.full = queue::of_order(&self.db, &plan::full_verify())?;
        state.restore_test = queue::of_work(&self.db, Work::RestoreTest)?;
        state.prune = queue::of_work(&self.db, Work::Prune)?;
        Ok(plan::plan(&state, &self.bench.rules.get().policy, now))
    }

    fn begin(&mut self, job: Job) -> Result<(), RunError> {
        let disk = disks::all(&self.db)?.into_iter().find(|row| Some(row.id) == job.disk);
        let meter = Arc::new(Meter::default());
        let (bench, stop) = (Arc::clone(&self.bench), Arc::clone(&self.stop));
        let (own_job, own_meter) = (job.clone(), Arc::clone(&meter));
        let work = move || work::run(&own_job, disk.as_ref(), &bench, &own_meter, &|| stop.load(Ordering::Relaxed));
        let thread = std::thread::Builder::new().name("job".to_owned()).spawn(work);
        let thread = thread.map_err(|source| RunError::Path { path: "a thread".into(), source })?;
        let begun = Instant::now();
        let pace = Pace::begin(begun);
        self.running = Some(AtWork { job, meter, thread, begun, moved: (0, begun), pace });
        Ok(())
    }

    fn end_job(&mut self, now: &Moment) -> Result<(), RunError> {
        if !self.running.as_ref().is_some_and(|at_work| at_work.thread.is_finished()) {
            return Ok(());
        }
        let Some(at_work) = self.running.take() else { return Ok(()) };
        match at_work.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            Stop::Ended(result) => queue::end(&mut self.db, &at_work.job, *result, now)?,
            Stop::Interrupted => drop(queue::wait_again(&self.db)?),
        }
        // It may have filled or freed much.
        self.next_room = Instant::now();
        Ok(())
    }

    /// Somebody set it, its battery died, or somebody wants old snapshots gone.
    fn look_at_clock(&mut self, now: &Moment) -> Result<(), RunError> {
        let before = std::mem::replace(&mut self.last, *now);
        if let Some(jump) = clock::jump(&before, now) {
            tracing::warn!(before = %jump.before, after = %jump.after, "the clock jumped");
            outbox::append_alone(&mut self.db, now, Body::ClockJump(jump))?;
        }
        Ok(())
    }

    /// Nobody came to the box: what would have been overwritten stays.
    fn end_asked_in_vain(&mut self, now: &Moment) -> Result<(), RunError> {
        if let Some(job) = queue::asked_in_vain(&self.db, now.ts)? {
            let message = Text::cut("nobody confirmed at the box within an hour");
            let failure = Failure { reason: FailureReason::NotConfirmed, message };
            queue::end(&mut self.db, &job, JobResult::Restore(End::Failed(failure)), now)?;
        }
        Ok(())
    }

    /// Whether a watchdog should believe that we live: no job, or one that moved not long ago.
    fn moves(&mut self) -> bool {
        let Some(at_work) = &mut self.running else { return true };
        let moved = at_work.meter.moved();
        if moved != at_work.moved.0 {
            at_work.moved = (moved, Instant::now());
        }
        at_work.moved.1.elapsed() < STUCK
    }

    /// A clean end: the job stops at the next piece and waits for the next start.
    fn finish(mut self) -> Result<(), RunError> {
        if let Some(panel) = self.panel.take() {
            panel.finish();
        }
        self.agent.finish();
        if let Some(at_work) = self.running.take() {
            match at_work.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Stop::Ended(result) => queue::end(&mut self.db, &at_work.job, *result, &clock::now())?,
                Stop::Interrupted => drop(queue::wait_again(&self.db)?),
            }
        }
        // The last facts go up with the last words.
        if let Some(uplink) = self.uplink.take() {
            uplink.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        // Best effort: the next start removes a socket that nobody answers.
        let _ = std::fs::remove_file(&self.socket);
        Ok(())
    }
}

/// The control plane's document where there is one; before that, the policy of who has access to the box.
fn first_rules(data: &std::path::Path, identity: &Identity, policy: Policy) -> Result<Rules, RunError> {
    let own = Rules { version: DesiredVersion::ZERO, policy, escrow: None, heartbeat: None };
    match Trust::read(data, identity.device, &identity.public) {
        Ok(Some(trust)) => Ok(desired::rules(&desired::load(data, &trust.enrolment)?).unwrap_or(own)),
        Ok(None) => Ok(own),
        Err(error) => {
            // Backups go on with what is known; the uplink says the same and stays down.
            tracing::error!(error = &error as &dyn std::error::Error, "the enrolment does not hold");
            Ok(own)
        }
    }
}
