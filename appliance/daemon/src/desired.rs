//! The desired document: taken whole or not at all, on the disk before it acts, in force until a newer one is taken.
//!
//! | document | what happens |
//! |---|---|
//! | newer, weakens nothing or is signed | written, then in force |
//! | weakens and is not signed | stays out; one fact (`policy_refused`) a version |
//! | makes no sense, or names a time zone that nobody knows | stays out; logged |
//! | not newer | nothing: retained documents come again with every subscription |

use crate::clock::Moment;
use crate::db::{self, DbError};
use crate::files::{self, FileError};
use crate::outbox::{self, OutboxError};
use crate::policy::{InForce, Policy, Rules};
use rusqlite::Connection;
use saveos_protocol::enrol::Enrolment;
use saveos_protocol::fact::{Body, PolicyRefused};
use saveos_protocol::shadow::{Admission, Desired, admit};
use saveos_protocol::sign;
use saveos_protocol::unit::DesiredVersion;
use std::path::Path;

/// What went wrong with ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DesiredError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The fact of a refusal.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// It could not be written.
    #[error("the desired document could not be written")]
    Encode(#[from] saveos_protocol::EncodeError),
}

const FILE: &str = "desired.json";

/// The document in force; before the first one, what enrolment says. A damaged file counts as none: what it held comes again
/// from the broker, and what enrolment says keeps every snapshot until then.
pub(crate) fn load(data: &Path, enrolment: &Enrolment) -> Result<Desired, DesiredError> {
    let Some(text) = files::read_secret(&data.join(FILE))? else { return Ok(Desired::at_enrolment(enrolment)) };
    Ok(saveos_protocol::decode(text.as_bytes()).unwrap_or_else(|error| {
        tracing::error!(%error, "the desired document is damaged");
        Desired::at_enrolment(enrolment)
    }))
}

/// Its rules for the daemon; `None` before the first document.
pub(crate) fn rules(desired: &Desired) -> Option<Rules> {
    (desired.ver > DesiredVersion::ZERO).then(|| Rules {
        version: desired.ver,
        policy: Policy::of(desired),
        heartbeat: Some(desired.uplink.heartbeat.duration()),
    })
}

/// Takes a document from the broker; whether it names other places to report to than the one before.
pub(crate) fn take(
    (data, db): (&Path, &mut Connection),
    enrolment: &Enrolment,
    payload: &[u8],
    in_force: &InForce,
    now: &Moment,
) -> Result<bool, DesiredError> {
    let received = match sign::receive::<Desired>(payload) {
        Ok(received) => received,
        Err(error) => {
            tracing::warn!(%error, "a desired document is not understood");
            return Ok(false);
        }
    };
    let current = load(data, enrolment)?;
    let version = received.document().ver;
    match admit(&current, received, enrolment.device, &enrolment.command_key, Some(now.ts)) {
        Admission::Old => Ok(false),
        Admission::Faulty(fault) => {
            tracing::warn!(%version, %fault, "a desired document makes no sense");
            Ok(false)
        }
        Admission::Refused { weakenings, fault } => {
            tracing::warn!(%version, %fault, "a desired document that weakens is not signed");
            let refused = PolicyRefused { version, weakenings: weakenings.into_iter().collect(), signature: fault };
            tell_once(db, refused, now)?;
            Ok(false)
        }
        Admission::Apply(desired) => {
            if let Err(zone) = Policy::of(&desired).check_zones() {
                tracing::warn!(%version, %zone, "a desired document names a time zone that nobody knows");
                return Ok(false);
            }
            let json = saveos_protocol::encode(&desired)?;
            files::write_secret(data, FILE, &String::from_utf8_lossy(&json))?;
            if let Some(rules) = rules(&desired) {
                in_force.set(rules);
            }
            tracing::info!(%version, "a desired document is in force");
            Ok(desired.uplink.brokers != current.uplink.brokers)
        }
    }
}

/// One fact a version, however often the broker repeats it.
fn tell_once(db: &mut Connection, refused: PolicyRefused, now: &Moment) -> Result<(), DesiredError> {
    const TOLD: &str = "desired_refused";
    let version = refused.version.get().to_string();
    if db::note(db, TOLD)?.as_deref() == Some(version.as_str()) {
        return Ok(());
    }
    let step = db.transaction().map_err(DbError::from)?;
    db::set_note(&step, TOLD, &version)?;
    outbox::append(&step, now, Body::PolicyRefused(refused))?;
    step.commit().map_err(DbError::from)?;
    Ok(())
}
