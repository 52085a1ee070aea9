//! The boxes of a rollout, as the engine sees them: where each stands, what it is, and whether it can be reached.

use super::{Known, rollout_of};
use crate::cell::ears::Ears;
use crate::fleet::{self, Target};
use crate::policy::hours::HoursOfNodes;
use crate::presence::Presence;
use crate::store::{StoreError, Tx, first, values};
use saveos_protocol::id::DeviceId;
use saveos_protocol::shadow::Hardware;
use saveos_protocol::text::Release;
use saveos_protocol::time::Timestamp;
use saveos_server::rollout::{Beside, Candidate, Hours, RingIndex, Rollout, Routes, Step, Way, Wish};
use std::collections::{BTreeMap, HashMap};

/// Tags that say what is to be done with a box, beside those of rings; people give them.
const FIRST: &str = "canary";
const NEVER: &str = "hold";

/// All boxes.
pub(super) struct Fleet {
    /// Those of which rings have their share: all but those that are held or pinned.
    pub(super) members: Vec<Candidate>,
    /// Those of an open ring that were not offered the release and do not run it.
    pub(super) waiting: Vec<Candidate>,
    /// Those that must run another release first, of an open ring, and can be reached.
    pub(super) steps: Vec<Step>,
    /// Boxes by what they run,
    pub(super) running: BTreeMap<Release, u32>,
    /// and by the release that they were offered as a step.
    pub(super) under_way: BTreeMap<Release, u32>,
    /// Names by number.
    pub(super) hardware: Vec<String>,
    /// Some have no number yet, and are nowhere above.
    pub(super) unnumbered: bool,
}

impl Fleet {
    pub(super) fn read(
        tx: &mut dyn Tx,
        known: &Known,
        rollout: &Rollout,
        (ears, routes): (&Ears, Option<&Routes>),
        now: Timestamp,
    ) -> Result<Fleet, StoreError> {
        let names = names(tx)?;
        let step = known.step_token();
        let mut hours = match rollout.policy().at_once {
            true => None,
            false => Some(HoursOfNodes::read(tx, now)?),
        };
        let mut ways = Ways { routes, known: HashMap::new() };
        let (mut members, mut waiting, mut unnumbered) = (Vec::new(), Vec::new(), false);
        let (mut steps, mut running, mut under_way) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for target in fleet::for_rollouts(tx, ears, now)? {
            // Enrolment wrote it: what cannot be read is no box that a release is for.
            let Some(model) = model(&target.hardware) else { continue };
            let hours = hours.as_mut().map_or(Ok(Hours::ANY), |hours| hours.of(&target.node))?;
            let Some(candidate) = candidate(known, &target, (&model, &names), hours) else {
                unnumbered = true;
                continue;
            };
            let Ok(runs) = target.firmware.parse::<Release>() else { continue };
            let way = ways.find(&runs, &known.release);
            let is_done = rollout.attempt(target.device).is_some() || runs == known.release;
            *running.entry(runs).or_default() += 1;
            if candidate.wish == Wish::Never {
                continue;
            }
            members.push(candidate);
            match way {
                _ if is_done => {}
                Way::Direct => waiting.push(candidate),
                Way::Through(through) if target.offered.as_deref() == Some(&step) => {
                    *under_way.entry(through).or_default() += 1;
                }
                Way::Through(through) if candidate.reachable && hours.open && rollout.ring_of(&candidate).is_some() => {
                    steps.push(Step { candidate, through });
                }
                Way::Through(_) | Way::None => {}
            }
        }
        Ok(Fleet { members, waiting, steps, running, under_way, hardware: names, unnumbered })
    }
}

/// Ways to a release: a fleet runs few releases, and many boxes each.
struct Ways<'a> {
    routes: Option<&'a Routes>,
    known: HashMap<Release, Way>,
}

impl Ways<'_> {
    fn find(&mut self, running: &Release, to: &Release) -> Way {
        // What is published elsewhere, the boxes alone know.
        let Some(routes) = self.routes else { return Way::Direct };
        if let Some(way) = self.known.get(running) {
            return way.clone();
        }
        let way = routes.way(running, to);
        self.known.insert(running.clone(), way.clone());
        way
    }
}

/// What a box said last that it runs.
pub(super) fn running(tx: &mut dyn Tx, device: DeviceId) -> Result<Option<Release>, StoreError> {
    let row = first(tx, "SELECT firmware FROM appliance WHERE id = $1", &values![device])?;
    Ok(row.and_then(|row| row.parse(0).ok()))
}

/// The names of hardware, by number.
pub(super) fn names(tx: &mut dyn Tx) -> Result<Vec<String>, StoreError> {
    let rows = tx.query("SELECT model FROM hardware ORDER BY n", &[])?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}

/// What a box calls itself.
pub(super) fn model(hardware: &str) -> Option<String> {
    serde_json::from_str::<Hardware>(hardware).ok().map(|hardware| hardware.model.to_string())
}

/// A box as the engine sees it; none while its hardware has no number.
pub(super) fn candidate(
    known: &Known,
    target: &Target,
    (model, names): (&str, &[String]),
    hours: Hours,
) -> Option<Candidate> {
    let number = names.iter().position(|name| name == model)?;
    let has = |tag: &str| target.tags.split(',').any(|one| one == tag);
    let rings = &known.rollout.policy().rings;
    let own = rings.iter().position(|ring| ring.tag.as_deref().is_some_and(has));
    let own = own.or_else(|| has(FIRST).then_some(0)).and_then(|at| u8::try_from(at).ok());
    let wish = match own {
        _ if is_pinned(target) || has(NEVER) => Wish::Never,
        Some(ring) => Wish::In(RingIndex(ring)),
        None => Wish::AsPlaced,
    };
    Some(Candidate {
        device: target.device,
        place: known.salt.place(target.device),
        hardware: u16::try_from(number).ok()?,
        wish,
        reachable: target.presence == Presence::Online,
        hours,
    })
}

/// A person offers it a release by hand. What another rollout offered is no pin: the newer one takes its place.
pub(super) fn is_pinned(target: &Target) -> bool {
    target.offered.as_deref().is_some_and(|token| rollout_of(token).is_none())
}

/// Gives every hardware that boxes have a number.
pub(super) fn number_hardware(tx: &mut dyn Tx) -> Result<(), StoreError> {
    let sql = "SELECT DISTINCT hardware FROM appliance WHERE revoked_ms IS NULL ORDER BY hardware";
    for row in tx.query(sql, &[])? {
        let Some(model) = model(row.text(0)?) else { continue };
        let sql = "INSERT INTO hardware (n, model) SELECT COUNT(*), $1 FROM hardware WHERE 1 = 1
            ON CONFLICT (model) DO NOTHING";
        tx.execute(sql, &values![model])?;
    }
    Ok(())
}

/// How backups go since the newest ring opened, on boxes that run the release and on those that do not.
pub(super) fn backups(tx: &mut dyn Tx, rollout: &Rollout) -> Result<Beside, StoreError> {
    let Some(ring) = rollout.rings().last() else { return Ok(Beside::default()) };
    let sql = "SELECT device, state, ended_ms FROM job WHERE ended_ms >= $1 AND work = 'backup'";
    let mut failed: HashMap<DeviceId, bool> = HashMap::new();
    for row in tx.query(sql, &values![ring.at])? {
        let (device, ended) = (row.parse(0)?, row.time(2)?);
        // What failed before it ran the release says nothing about that.
        let since = rollout.attempt(device).and_then(|attempt| attempt.passed);
        if since.is_none_or(|since| ended >= since) {
            *failed.entry(device).or_default() |= row.text(1)? == "failed";
        }
    }
    let mut beside = Beside::default();
    for (device, failed) in failed {
        let bad = u32::from(failed);
        let side = match rollout.attempt(device) {
            Some(attempt) if attempt.passed.is_some() => &mut beside.with,
            // It may have failed with the one or the other.
            Some(_) => continue,
            None => &mut beside.without,
        };
        side.0 += 1;
        side.1 += bad;
    }
    Ok(beside)
}
