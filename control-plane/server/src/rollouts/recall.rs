//! A release that is taken back: its boxes are told to start what they ran before, some in each turn. Who was told holds an offer of
//! another name, so a server that ends in the middle goes on where it was.

use super::{BACK, Known, Told, offer};
use crate::ingest::Outgoing;
use crate::store::{StoreError, Tx, values};
use saveos_protocol::decode;
use saveos_protocol::id::{DeviceId, RolloutId};
use saveos_protocol::shadow::{ReleaseTarget, Reported, UpdateState};
use saveos_protocol::text::Release;
use saveos_protocol::time::Timestamp;
use saveos_server::rollout::Rollout;

/// So many documents are written in one turn: other writers wait meanwhile.
const AT_ONCE: usize = 200;

/// How far the boxes are that were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "RecallProgress")]
pub(crate) struct Progress {
    /// They were told, and have no other offer since.
    told: u32,
    /// Of them, those that run what they ran before,
    back: u32,
    /// and those on which that failed.
    failed: u32,
    /// They run the release and stay on it: what they ran before is no way back.
    stay: u32,
}

/// Tells some of those who are to go back and were not told; nobody once all were.
pub(super) fn next(tx: &mut dyn Tx, known: &Known, now: Timestamp) -> Result<Vec<Option<Outgoing>>, StoreError> {
    if known.rollout.recalled().is_none() {
        return Ok(Vec::new());
    }
    let rows = tx.query(
        "SELECT id FROM appliance WHERE offered = $1 AND revoked_ms IS NULL",
        &values![known.token().to_string()],
    )?;
    let devices: Vec<DeviceId> = rows.iter().map(|row| row.parse(0)).collect::<Result<_, _>>()?;
    let back = devices.into_iter().filter_map(|device| Some((device, known.rollout.goes_back(device)?.clone())));
    let mut said = Vec::new();
    for (device, release) in back.take(AT_ONCE) {
        let target = ReleaseTarget { release, ring_token: Some(known.back_token()), at_once: true };
        said.push(match offer(tx, device, Some(target), now)? {
            Told::Said(document) => document,
            // It keeps what it has, and the log of the server says why; it is not told again and again.
            Told::NotMade => {
                tx.execute("UPDATE appliance SET offered = NULL WHERE id = $1", &values![device])?;
                None
            }
        });
    }
    Ok(said)
}

/// Where those are that were told.
pub(crate) fn progress(tx: &mut dyn Tx, id: RolloutId, rollout: &Rollout) -> Result<Progress, StoreError> {
    let sql = "SELECT a.id, a.firmware, r.json FROM appliance a LEFT JOIN reported r ON r.device = a.id
        WHERE a.offered = $1 AND a.revoked_ms IS NULL";
    let mut progress = Progress { stay: rollout.stay(), ..Progress::default() };
    for row in tx.query(sql, &values![format!("{id}{BACK}")])? {
        progress.told += 1;
        let Some(release) = rollout.goes_back(row.parse(0)?) else { continue };
        if row.text(1)? == release.to_string() {
            progress.back += 1;
        } else if row.maybe_text(2)?.is_some_and(|json| failed(json, release)) {
            progress.failed += 1;
        }
    }
    Ok(progress)
}

fn failed(json: &str, release: &Release) -> bool {
    let reported = decode::<Reported>(json.as_bytes()).ok().and_then(|reported| reported.firmware.update);
    reported.is_some_and(|update| update.release == *release && update.state == UpdateState::Failed)
}

/// What a box is called back to and does not run yet.
pub(super) fn called(known: &Known, target: &crate::fleet::Target) -> Option<Release> {
    let is_told = target.offered.as_deref() == Some(known.back_token().as_ref());
    let back = known.rollout.goes_back(target.device).filter(|back| is_told && target.firmware != back.to_string());
    back.cloned()
}
