//! What boxes say about an update, as stages of a rollout. A box is believed when it runs the release, not when it says that the
//! update went well.

use super::{Known, OVERLAP};
use crate::store::{StoreError, Tx, values};
use saveos_protocol::decode;
use saveos_protocol::fact::{End, JobResult, VerifyVerdict};
use saveos_protocol::hex::Digest;
use saveos_protocol::id::DeviceId;
use saveos_protocol::shadow::{Firmware, Reported, UpdateFailure, UpdateState};
use saveos_protocol::text::Release;
use saveos_protocol::time::Timestamp;
use saveos_server::rollout::{Event, Stage};
use std::collections::BTreeSet;

/// What boxes with an offer said since the last look.
pub(super) fn news(
    tx: &mut dyn Tx,
    known: &Known,
    roots: Option<&BTreeSet<Digest>>,
    now: Timestamp,
) -> Result<Vec<Event>, StoreError> {
    let since = known.looked.before(OVERLAP);
    // Only of boxes that have the offer, and have read it: an older report may tell of another try of the same release.
    let sql = "SELECT a.id, a.desired_ver, r.json FROM appliance a JOIN reported r ON r.device = a.id
        WHERE r.received_ms >= $1 AND a.offered = $2 AND a.revoked_ms IS NULL";
    let mut events = Vec::new();
    for row in tx.query(sql, &values![since, known.token().to_string()])? {
        let device: DeviceId = row.parse(0)?;
        let Some(attempt) = known.rollout.attempt(device) else { continue };
        // It was read when it came. What a newer server took holds up that box, and not the fleet.
        let Ok(reported) = decode::<Reported>(row.text(2)?.as_bytes()) else { continue };
        if reported.desired.ver.get() < row.number(1)? {
            continue;
        }
        match stage(&reported.firmware, &known.release, roots) {
            Some(stage) if stage != attempt.stage && attempt.stage != Stage::Failed => {
                events.push(Event::Reported { device, stage });
            }
            _ => {}
        }
    }
    // An order by name would read every box instead of those that said something.
    events.sort_by_key(|event| match event {
        Event::Reported { device, .. } => Some(*device),
        _ => None,
    });
    events.extend(damage(tx, known, since.min(now))?);
    Ok(events)
}

/// How far a box is with a release. Whose system has another root hash than the ones that were signed, if they were, runs something
/// else, whatever it calls that.
fn stage(firmware: &Firmware, release: &Release, roots: Option<&BTreeSet<Digest>>) -> Option<Stage> {
    let is_signed = roots.is_none_or(|roots| firmware.root_hash.as_ref().is_some_and(|own| roots.contains(own)));
    let runs = firmware.release == *release && is_signed;
    let update = firmware.update.as_ref().filter(|update| update.release == *release);
    let Some(update) = update else {
        // It runs it, and its agent has nothing to say: it was put there by hand.
        return runs.then_some(Stage::Confirmed);
    };
    let hindered = update.reason.is_some();
    Some(match update.state {
        UpdateState::Offered | UpdateState::Fetching | UpdateState::Installing | UpdateState::Installed if hindered => {
            Stage::Hindered
        }
        UpdateState::Offered | UpdateState::Fetching | UpdateState::Installing | UpdateState::Installed => {
            Stage::Working
        }
        UpdateState::Trying | UpdateState::Leaving => Stage::Armed,
        UpdateState::Soaking if runs => Stage::Passed,
        UpdateState::Confirmed if runs => Stage::Confirmed,
        // It says that all went well and runs something else.
        UpdateState::Soaking | UpdateState::Confirmed => Stage::Failed,
        UpdateState::Failed => match update.reason {
            Some(UpdateFailure::NotStarted | UpdateFailure::Unhealthy | UpdateFailure::NoBackup) => Stage::Failed,
            _ => Stage::NotInstalled,
        },
        UpdateState::Unknown => return None,
    })
}

/// A box that runs the release and whose repository does not read back.
fn damage(tx: &mut dyn Tx, known: &Known, since: Timestamp) -> Result<Option<Event>, StoreError> {
    let sql = "SELECT device, ended_ms, result FROM job WHERE ended_ms >= $1 AND work = 'verify'";
    for row in tx.query(sql, &values![since])? {
        let device: DeviceId = row.parse(0)?;
        let passed = known.rollout.attempt(device).and_then(|attempt| attempt.passed);
        if !passed.is_some_and(|passed| row.time(1).is_ok_and(|ended| ended >= passed)) {
            continue;
        }
        let result = row.maybe_json(2)?.map(serde_json::from_value::<JobResult>);
        if let Some(Ok(JobResult::Verify(End::Done(summary)))) = result
            && summary.verdict == VerifyVerdict::Damaged
        {
            return Ok(Some(Event::Damaged { device }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use saveos_protocol::shadow::{Slot, UpdateReport};

    fn told(running: &str, state: UpdateState, reason: Option<UpdateFailure>) -> Option<Stage> {
        let release: Release = "2.0.0".parse().expect("a release");
        let update = UpdateReport { release: release.clone(), state, since: Timestamp::default(), reason, text: None };
        let running = running.parse().expect("a release");
        stage(&Firmware { release: running, root_hash: None, slot: Slot::Good, update: Some(update) }, &release, None)
    }

    /// hawkBit counts what a client says as success, and the box may run the old image.
    #[test]
    fn who_says_that_it_went_well_and_runs_the_old_release_has_failed() {
        assert_eq!(told("1.0.0", UpdateState::Confirmed, None), Some(Stage::Failed));
        assert_eq!(told("1.0.0", UpdateState::Soaking, None), Some(Stage::Failed));
        assert_eq!(told("2.0.0", UpdateState::Soaking, None), Some(Stage::Passed));
        assert_eq!(told("2.0.0", UpdateState::Confirmed, None), Some(Stage::Confirmed));
    }

    /// So that a box which starts the old slot, or a system that somebody changed, under the new name is not counted.
    #[test]
    fn whose_root_hash_is_none_of_the_signed_ones_does_not_run_the_release() {
        let signed = BTreeSet::from([Digest([1; 32]), Digest([2; 32])]);
        let told = |own: Option<u8>, roots: Option<&BTreeSet<Digest>>, state: UpdateState| {
            let release: Release = "2.0.0".parse().expect("a release");
            let update =
                UpdateReport { release: release.clone(), state, since: Timestamp::default(), reason: None, text: None };
            let root_hash = own.map(|own| Digest([own; 32]));
            stage(
                &Firmware { release: release.clone(), root_hash, slot: Slot::Good, update: Some(update) },
                &release,
                roots,
            )
        };
        use UpdateState::{Confirmed, Soaking, Trying};
        assert_eq!(told(Some(2), Some(&signed), Soaking), Some(Stage::Passed));
        assert_eq!(told(Some(3), Some(&signed), Soaking), Some(Stage::Failed));
        assert_eq!(told(None, Some(&signed), Confirmed), Some(Stage::Failed), "it does not say");
        assert_eq!(told(Some(3), None, Confirmed), Some(Stage::Confirmed), "nobody signed one");
        assert_eq!(told(Some(3), Some(&signed), Trying), Some(Stage::Armed));
    }

    #[test]
    fn what_kept_a_box_from_trying_is_no_failure_of_the_release() {
        use UpdateFailure::{Damaged, Download, Install, NoBackup, NotArmed, NotStarted, Refused, Unhealthy};
        for (reason, expected) in [
            (Refused, Stage::NotInstalled),
            (Download, Stage::NotInstalled),
            (Damaged, Stage::NotInstalled),
            (Install, Stage::NotInstalled),
            (NotArmed, Stage::NotInstalled),
            (NotStarted, Stage::Failed),
            (Unhealthy, Stage::Failed),
            (NoBackup, Stage::Failed),
        ] {
            assert_eq!(told("1.0.0", UpdateState::Failed, Some(reason)), Some(expected), "{reason}");
        }
        assert_eq!(told("1.0.0", UpdateState::Fetching, Some(Download)), Some(Stage::Hindered));
        assert_eq!(told("1.0.0", UpdateState::Fetching, None), Some(Stage::Working));
    }
}
