//! The boxes of a rollout, as the engine sees them: where each stands, what it is, and whether it can be reached.

use super::Known;
use crate::fleet;
use crate::ingest::Hearing;
use crate::presence::Presence;
use crate::store::{StoreError, Tx, values};
use saveos_protocol::id::DeviceId;
use saveos_protocol::shadow::Hardware;
use saveos_protocol::time::Timestamp;
use saveos_server::rollout::{Beside, Candidate, Rollout, Wish};
use std::collections::HashMap;

/// Tags that say what is to be done with a box; people give them.
const FIRST: &str = "canary";
const NEVER: &str = "hold";

/// All boxes.
pub(super) struct Fleet {
    /// Those of which rings have their share: all but those that are held or pinned.
    pub(super) members: Vec<Candidate>,
    /// Those of an open ring that were not offered the release and do not run it.
    pub(super) waiting: Vec<Candidate>,
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
        hearing: &Hearing,
        now: Timestamp,
    ) -> Result<Fleet, StoreError> {
        let rows = tx.query("SELECT n, model FROM hardware ORDER BY n", &[])?;
        let names = rows.iter().map(|row| Ok(row.text(1)?.to_owned())).collect::<Result<Vec<String>, StoreError>>()?;
        let numbers: HashMap<&str, u16> = names.iter().map(String::as_str).zip(0..).collect();
        let (own, release) = (known.token().to_string(), known.release.to_string());
        let (mut members, mut waiting, mut unnumbered) = (Vec::new(), Vec::new(), false);
        for box_ in fleet::for_rollouts(tx, hearing, now)? {
            let model = serde_json::from_str::<Hardware>(&box_.hardware).map(|hardware| hardware.model.to_string());
            // Enrolment wrote it: what cannot be read is no box that a release is for.
            let Ok(model) = model else { continue };
            let Some(&hardware) = numbers.get(model.as_str()) else {
                unnumbered = true;
                continue;
            };
            let pinned = box_.offered.as_deref().is_some_and(|token| token != own);
            let has = |tag: &str| box_.tags.split(',').any(|one| one == tag);
            let wish = match () {
                () if pinned || has(NEVER) => Wish::Never,
                () if has(FIRST) => Wish::First,
                () => Wish::AsPlaced,
            };
            let place = known.salt.place(box_.device);
            let reachable = box_.presence == Presence::Online;
            let candidate = Candidate { device: box_.device, place, hardware, wish, reachable };
            if wish != Wish::Never {
                members.push(candidate);
                if rollout.attempt(box_.device).is_none() && box_.firmware != release {
                    waiting.push(candidate);
                }
            }
        }
        Ok(Fleet { members, waiting, hardware: names, unnumbered })
    }
}

/// Gives every hardware that boxes have a number.
pub(super) fn number_hardware(tx: &mut dyn Tx) -> Result<(), StoreError> {
    let sql = "SELECT DISTINCT hardware FROM appliance WHERE revoked_ms IS NULL ORDER BY hardware";
    for row in tx.query(sql, &[])? {
        let Ok(hardware) = serde_json::from_str::<Hardware>(row.text(0)?) else { continue };
        let sql = "INSERT INTO hardware (n, model) SELECT COUNT(*), $1 FROM hardware WHERE 1 = 1
            ON CONFLICT (model) DO NOTHING";
        tx.execute(sql, &values![hardware.model.to_string()])?;
    }
    Ok(())
}

/// How backups go since the newest ring opened, on boxes that run the release and on those that do not.
pub(super) fn backups(tx: &mut dyn Tx, rollout: &Rollout) -> Result<Beside, StoreError> {
    let Some(ring) = rollout.rings().last() else { return Ok(Beside::default()) };
    let sql = "SELECT device, state FROM job WHERE ended_ms >= $1 AND work = 'backup'";
    let mut failed: HashMap<DeviceId, bool> = HashMap::new();
    for row in tx.query(sql, &values![ring.at])? {
        *failed.entry(row.parse(0)?).or_default() |= row.text(1)? == "failed";
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
