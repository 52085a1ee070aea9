//! Where one box stands: the release it is offered, its ring, and why it was not offered it yet.

use super::{Known, begin, fleet, log, recall};
use crate::cell::ears::Ears;
use crate::fleet::for_rollout;
use crate::policy::hours::RestartHours;
use crate::policy::tree::Policies;
use crate::store::{StoreError, Tx, first};
use saveos_protocol::id::DeviceId;
use saveos_protocol::time::Timestamp;
use saveos_server::rollout::{Hours, RingIndex, Routes, Way, Wish};

/// Why a box is where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// It runs the release.
    Runs,
    /// It was offered the release, and is on the way.
    Offered,
    /// The release failed on it, or could not be installed.
    Failed,
    /// Its ring is open: it is its turn by then, if it is online.
    Due,
    /// It is its turn, and it is not online.
    Away,
    /// It is its turn, when its restart window opens.
    Closed,
    /// Its ring is not open yet.
    RingClosed,
    /// What it runs is too old: first it goes to another release.
    Steps,
    /// What it runs is too old, and no release that there is leads on.
    NoWay,
    /// Its people hold it back.
    Held,
    /// It is offered another release by hand.
    Pinned,
    /// The release is taken back: it goes to what it ran before.
    CalledBack,
    /// The release halted.
    Halted,
}

/// Where a box stands in the newest rollout.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "ReleaseStanding")]
pub(crate) struct Standing {
    release: String,
    /// The name of its ring.
    ring: Option<String>,
    why: Why,
    /// The release to which it goes first, or back.
    through: Option<String>,
    /// When the offers of its ring end, when its restart window opens, or when it was offered the release.
    at_ms: Option<Timestamp>,
}

/// Of the newest rollout, if there ever was one.
pub(crate) fn of(
    tx: &mut dyn Tx,
    device: DeviceId,
    ears: &Ears,
    routes: Option<&Routes>,
    now: Timestamp,
) -> Result<Option<Standing>, StoreError> {
    let sql = "SELECT id, release_name, policy, salt, said FROM rollout ORDER BY id DESC LIMIT 1";
    let Some(row) = first(tx, sql, &[])? else { return Ok(None) };
    let mut known = begin(&row, row.parse(0)?)?;
    for entry in log(tx, known.id, 0)? {
        known.rollout.apply(&entry);
    }
    let Some(target) = for_rollout(tx, device, ears, now)? else { return Ok(None) };
    let names = fleet::names(tx)?;
    let candidate = fleet::model(&target.hardware)
        .and_then(|model| fleet::candidate(&known, &target, (&model, &names), Hours::ANY));
    // Nobody looked at it yet: in a few seconds it has a place.
    let Some(candidate) = candidate else { return Ok(None) };
    let rollout = &known.rollout;
    let release = known.release.to_string();
    let opened = rollout.ring_of(&candidate);
    let attempt = rollout.attempt(device);
    let ring = attempt.map(|attempt| attempt.ring).or(opened).or_else(|| rollout.ring_to_come(&candidate));
    let way = match (routes, target.firmware.parse()) {
        (Some(routes), Ok(running)) => routes.way(&running, &known.release),
        _ => Way::Direct,
    };
    let hours = match known.rollout.policy().at_once {
        true => None,
        false => RestartHours::of(&Policies::read(tx)?.of(&target.node)?).filter(|hours| !hours.at(now).open),
    };
    let back = recall::called(&known, &target);
    let (why, at_ms) = match (attempt, candidate.wish) {
        _ if back.is_some() => (Why::CalledBack, rollout.recalled().map(|recalled| recalled.at)),
        _ if target.firmware == release => (Why::Runs, None),
        (Some(attempt), _) if attempt.stage.is_bad() => (Why::Failed, Some(attempt.since)),
        _ if rollout.halted().is_some() => (Why::Halted, None),
        (_, Wish::Never) if fleet::is_pinned(&target) => (Why::Pinned, None),
        (_, Wish::Never) => (Why::Held, None),
        (Some(attempt), _) => (Why::Offered, Some(attempt.offered)),
        (None, _) => match opened {
            _ if way == Way::None => (Why::NoWay, None),
            Some(_) if !candidate.reachable => (Why::Away, None),
            Some(_) if hours.is_some() => (Why::Closed, hours.map(|hours| hours.opens(now))),
            Some(_) if matches!(way, Way::Through(_)) => (Why::Steps, None),
            Some(ring) => (Why::Due, known.end_of(ring)),
            None => (Why::RingClosed, None),
        },
    };
    let name = ring.and_then(|ring| rollout.policy().ring(ring)).map(|ring| ring.name.clone());
    let through = match way {
        Way::Through(through) if why == Why::Steps => Some(through.to_string()),
        _ => back.map(|back| back.to_string()),
    };
    Ok(Some(Standing { release, ring: name, why, through, at_ms }))
}

impl Known {
    /// When the offers of a ring end.
    fn end_of(&self, ring: RingIndex) -> Option<Timestamp> {
        let opened = self.rollout.rings().get(usize::from(ring.0))?.at;
        Some(opened.after(self.rollout.policy().ring(ring)?.spread))
    }
}
