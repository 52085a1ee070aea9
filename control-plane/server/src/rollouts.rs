//! Rollouts in the database: what boxes report becomes their log, and what the engine decides becomes offers.
//!
//! Each turn reads, decides, and writes what was decided only if nobody wrote in between; so two control planes may turn at once.
//! An offer and the line of the log that tells of it are one transaction.

mod fleet;
mod recall;
mod report;
mod standing;

use crate::cell::ears::Ears;
use crate::ingest::Outgoing;
use crate::policy::tree::{self, NotSet};
use crate::releases::Catalogue;
use crate::store::{Row, Store, StoreError, Tx, first, values};
use fleet::Fleet;
pub(crate) use recall::{Progress, progress};
use saveos_protocol::hex::Digest;
use saveos_protocol::id::{DeviceId, RolloutId};
use saveos_protocol::shadow::ReleaseTarget;
use saveos_protocol::text::{Mark, Release};
use saveos_protocol::time::Timestamp;
use saveos_server::rollout::{
    Action, Because, Decision, Entry, Event, Policy, Rollout, Salt, Stage, edges, steps, tick,
};
pub(crate) use standing::{Standing, of as standing};
use std::borrow::Cow;
use std::time::Duration;

/// Reports are looked at again for so long: a transaction may become visible after its time.
const OVERLAP: Duration = Duration::from_secs(60);
/// Behind the name of a rollout: what it offers is another release, over which a box comes to its own.
const STEP: &str = ".step";
/// Behind the name of a rollout: what it offers is what the box ran before.
const BACK: &str = ".back";

/// Why a turn did not end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody else decided meanwhile: the next turn sees it.
    #[error("another control plane wrote to the log of {0}")]
    Overtaken(RolloutId),
}

/// A rollout that is under way, as far as its log was read.
pub(crate) struct Known {
    pub(crate) id: RolloutId,
    release: Release,
    salt: Salt,
    /// Lines of the log that are in `rollout`.
    lines: u64,
    pub(crate) rollout: Rollout,
    /// When reports were looked at last.
    looked: Timestamp,
    said: String,
}

/// What a look came to.
#[derive(Default)]
pub(crate) struct Turned {
    /// For the next look.
    pub(crate) known: Option<Known>,
    /// What boxes are to be told.
    pub(crate) said: Vec<Outgoing>,
    /// Something was written: the next look is worth while soon.
    pub(crate) happened: bool,
}

/// What to write.
struct Turn {
    known: Known,
    events: Vec<Event>,
    decision: Decision,
    hardware: Vec<String>,
    unnumbered: bool,
}

impl Turn {
    fn is_idle(&self) -> bool {
        let said = self.words().is_ok_and(|words| words == self.known.said);
        self.events.is_empty() && !self.unnumbered && said && self.known.rollout.halted().is_none()
    }

    /// What is said of it, as it is stored.
    fn words(&self) -> Result<String, StoreError> {
        let because = self.decision.because.iter();
        let words: Vec<String> = because.map(|one| one.worded(&self.hardware).to_string()).collect();
        serde_json::to_string(&words).map_err(|_| StoreError::Damaged("words"))
    }
}

/// One look at the rollout that is under way.
pub(crate) async fn turn(
    store: &Store,
    known: Option<Known>,
    ears: Ears,
    catalogue: Option<Catalogue>,
    now: Timestamp,
) -> Result<Turned, TurnError> {
    let look = move |tx: &mut dyn Tx| look(tx, known, &ears, catalogue.as_ref(), now);
    let Some(turn) = store.read(look).await? else { return Ok(Turned::default()) };
    // Most looks find nothing to write, and the one writer has other things to do.
    if turn.is_idle() {
        return Ok(Turned { known: Some(turn.known), ..Turned::default() });
    }
    store.write(move |tx| write(tx, turn, now)).await
}

fn look(
    tx: &mut dyn Tx,
    known: Option<Known>,
    ears: &Ears,
    catalogue: Option<&Catalogue>,
    now: Timestamp,
) -> Result<Option<Turn>, StoreError> {
    let sql = "SELECT id, release_name, policy, salt, said FROM rollout WHERE ended_ms IS NULL ORDER BY id LIMIT 1";
    let Some(row) = first(tx, sql, &[])? else { return Ok(None) };
    let id: RolloutId = row.parse(0)?;
    let mut known = match known.filter(|known| known.id == id) {
        Some(known) => known,
        None => begin(&row, id)?,
    };
    for entry in log(tx, id, known.lines)? {
        known.rollout.apply(&entry);
        known.lines += 1;
    }
    let mut events = report::news(tx, &known, catalogue.and_then(|all| all.roots.get(&known.release)), now)?;
    // A decision sees what boxes said.
    let mut rollout = Cow::Borrowed(&known.rollout);
    for event in &events {
        rollout.to_mut().apply(&Entry { at: now, event: event.clone() });
    }
    let fleet = Fleet::read(tx, &known, &rollout, (ears, catalogue.map(|all| &all.routes)), now)?;
    let beside = fleet::backups(tx, &rollout)?;
    let within = || fleet.members.iter().map(|one| (one.hardware, one.place));
    // A ring that opened now would miss the hardware that has no number.
    let (decision, decided) = match fleet.unnumbered {
        true => (Decision { action: Action::Hold, because: Vec::new() }, Vec::new()),
        false => tick(&rollout, &fleet.waiting, &|ring| edges(ring, within()), &beside, now),
    };
    events.extend(decided);
    if !matches!(decision.action, Action::Hold | Action::Halt) && rollout.halted().is_none() {
        let steps = steps(fleet.steps, &fleet.running, &fleet.under_way, rollout.policy().in_flight);
        events.extend(steps.into_iter().map(|(device, release)| Event::Through { device, release }));
    }
    drop(rollout);
    known.looked = now;
    let (hardware, unnumbered) = (fleet.hardware, fleet.unnumbered);
    Ok(Some(Turn { known, events, decision, hardware, unnumbered }))
}

fn begin(row: &Row, id: RolloutId) -> Result<Known, StoreError> {
    let policy: Policy = serde_json::from_str(row.text(2)?).map_err(|_| StoreError::Damaged("a rollout's policy"))?;
    let salt: Digest = row.parse(3)?;
    Ok(Known {
        id,
        release: row.parse(1)?,
        salt: Salt::new(&salt.0),
        lines: 0,
        rollout: Rollout::new(policy),
        looked: Timestamp::default(),
        said: row.text(4)?.to_owned(),
    })
}

/// The rollout of an offer, if it is one of a rollout.
fn rollout_of(token: &str) -> Option<RolloutId> {
    let name = [STEP, BACK].iter().find_map(|suffix| token.strip_suffix(suffix));
    name.unwrap_or(token).parse().ok()
}

/// Whether what was offered under a token is to go on: what a person offered does, until it is taken back, and every way back.
pub(crate) fn goes_on(tx: &mut dyn Tx, token: &str) -> Result<bool, StoreError> {
    let Some(id) = rollout_of(token).filter(|_| !token.ends_with(BACK)) else { return Ok(true) };
    Ok(first(tx, "SELECT 1 FROM rollout WHERE id = $1 AND ended_ms IS NULL", &values![id])?.is_some())
}

/// What stands in the log behind the first `lines`.
pub(crate) fn log(tx: &mut dyn Tx, id: RolloutId, lines: u64) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT n, at_ms, event FROM rollout_log WHERE rollout = $1 AND n > $2 ORDER BY n";
    let rows = tx.query(sql, &values![id, lines])?;
    let entry = |(row, n): (&Row, u64)| {
        if row.number(0)? != n {
            return Err(StoreError::Damaged("a rollout's log has a gap"));
        }
        let event = serde_json::from_str(row.text(2)?).map_err(|_| StoreError::Damaged("a rollout's log"))?;
        Ok(Entry { at: row.time(1)?, event })
    };
    rows.iter().zip(lines + 1..).map(entry).collect()
}

/// Writes a line behind `lines`, if that is where the log ends.
pub(crate) fn append(tx: &mut dyn Tx, id: RolloutId, lines: u64, entry: &Entry) -> Result<(), StoreError> {
    let event = serde_json::to_string(&entry.event).map_err(|_| StoreError::Damaged("an event"))?;
    let sql = "INSERT INTO rollout_log (rollout, n, at_ms, event) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, &values![id, lines + 1, entry.at, event])?;
    Ok(())
}

/// Lines of a log.
pub(crate) fn lines(tx: &mut dyn Tx, id: RolloutId) -> Result<u64, StoreError> {
    let row = first(tx, "SELECT COALESCE(MAX(n), 0) FROM rollout_log WHERE rollout = $1", &values![id])?;
    row.map_or(Ok(0), |row| row.number(0))
}

fn write(tx: &mut dyn Tx, turn: Turn, now: Timestamp) -> Result<Turned, TurnError> {
    let words = turn.words()?;
    let Turn { mut known, events, unnumbered, .. } = turn;
    if lines(tx, known.id)? != known.lines {
        return Err(TurnError::Overtaken(known.id));
    }
    if unnumbered {
        fleet::number_hardware(tx)?;
    }
    let mut said = Vec::new();
    for mut event in events {
        if let Event::Offered { device, runs, .. } = &mut event {
            *runs = fleet::running(tx, *device)?;
        }
        let entry = Entry { at: now, event };
        known.append(tx, &entry)?;
        let (device, target) = match &entry.event {
            Event::Offered { device, .. } => (*device, known.target()),
            Event::Through { device, release } => (*device, known.step(release)),
            _ => continue,
        };
        match offer(tx, device, Some(target), now)? {
            Told::Said(document) => said.extend(document),
            // One box whose document cannot be made holds up itself, and not the fleet.
            Told::NotMade => {
                let event = Event::Reported { device, stage: Stage::NotInstalled };
                known.append(tx, &Entry { at: now, event })?;
            }
        }
    }
    if words != known.said {
        tx.execute("UPDATE rollout SET said = $1 WHERE id = $2", &values![words.as_str(), known.id])?;
        known.said = words;
    }
    if known.rollout.halted().is_some() {
        said.extend(withdraw(tx, &known, now)?);
        let called = recall::next(tx, &known, now)?;
        if !called.is_empty() {
            said.extend(called.into_iter().flatten());
            return Ok(Turned { known: Some(known), said, happened: true });
        }
        tx.execute("UPDATE rollout SET ended_ms = $1 WHERE id = $2", &values![now, known.id])?;
        return Ok(Turned { known: None, said, happened: true });
    }
    Ok(Turned { known: Some(known), said, happened: true })
}

/// Takes the offer back from everybody who has not restarted into the release. Who did goes on: a trial ends by itself.
fn withdraw(tx: &mut dyn Tx, known: &Known, now: Timestamp) -> Result<Vec<Outgoing>, TurnError> {
    let (token, step) = (known.token().to_string(), known.step_token().to_string());
    let mut said = Vec::new();
    let sql = "SELECT id, offered FROM appliance WHERE offered IN ($1, $2) ORDER BY id";
    for row in tx.query(sql, &values![token, step.as_str()])? {
        let device: DeviceId = row.parse(0)?;
        let stage = known.rollout.attempt(device).map(|attempt| attempt.stage);
        let waits = matches!(stage, Some(Stage::Offered | Stage::Working | Stage::Hindered));
        // A step leads nowhere any more.
        if (waits || row.text(1)? == step)
            && let Told::Said(document) = offer(tx, device, None, now)?
        {
            said.extend(document);
        }
    }
    Ok(said)
}

/// What a box is to be told.
enum Told {
    /// This, or nothing new.
    Said(Option<Outgoing>),
    /// Its document would be none; the log of the server says why.
    NotMade,
}

fn offer(tx: &mut dyn Tx, device: DeviceId, target: Option<ReleaseTarget>, now: Timestamp) -> Result<Told, StoreError> {
    match tree::offer(tx, device, target, now) {
        Ok(document) => Ok(Told::Said(document)),
        Err(NotSet::Store(error)) => Err(error),
        Err(why @ (NotSet::Faulty(_) | NotSet::TimeZone(_) | NotSet::Weakens(..) | NotSet::TooLarge)) => {
            tracing::error!(%device, ?why, "the document of a box cannot be changed");
            Ok(Told::NotMade)
        }
    }
}

impl Known {
    /// What an offer of this rollout is known by.
    fn token(&self) -> Mark {
        self.id.to_string().parse().expect("the name of a rollout is a mark")
    }

    /// What an offer of a release is known by, over which a box comes to this one.
    fn step_token(&self) -> Mark {
        format!("{}{STEP}", self.id).parse().expect("the name of a rollout and a word are a mark")
    }

    /// What the way back from it is known by.
    fn back_token(&self) -> Mark {
        format!("{}{BACK}", self.id).parse().expect("the name of a rollout and a word are a mark")
    }

    fn step(&self, through: &Release) -> ReleaseTarget {
        self.offered(through, self.step_token())
    }

    fn target(&self) -> ReleaseTarget {
        self.offered(&self.release, self.token())
    }

    fn offered(&self, release: &Release, token: Mark) -> ReleaseTarget {
        ReleaseTarget { release: release.clone(), ring_token: Some(token), at_once: self.rollout.policy().at_once }
    }

    /// Writes a line, and takes it in.
    fn append(&mut self, tx: &mut dyn Tx, entry: &Entry) -> Result<(), StoreError> {
        append(tx, self.id, self.lines, entry)?;
        self.tell(&entry.event);
        self.rollout.apply(entry);
        self.lines += 1;
        Ok(())
    }

    /// For a person at three in the morning.
    fn tell(&self, event: &Event) {
        let why = |because: &[Because]| because.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let (rollout, release) = (self.id, &self.release);
        match event {
            Event::Opened { ring, grounds, .. } => {
                tracing::info!(%rollout, %release, ring = ring.0, why = why(&grounds.because), "a ring opens");
            }
            Event::Halted { grounds } => tracing::warn!(%rollout, %release, why = why(&grounds.because), "halted"),
            Event::Recalled { by, .. } => tracing::warn!(%rollout, %release, by, "taken back"),
            Event::Finished { grounds } => tracing::info!(%rollout, %release, why = why(&grounds.because), "finished"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
