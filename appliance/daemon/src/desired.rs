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
        escrow: desired.escrow.map(|escrow| escrow.key),
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::policy::Rules;
    use aws_lc_rs::signature::Ed25519KeyPair;
    use saveos_protocol::V1;
    use saveos_protocol::enrol::Floor;
    use saveos_protocol::fact::Fact;
    use saveos_protocol::hex::Digest;
    use saveos_protocol::shadow::{NewDisk, OnPlug, Retention, Uplink};
    use saveos_protocol::unit::Seconds;
    use std::time::Duration;

    /// An enrolled box, and the command key that it obeys.
    pub(crate) struct Given {
        pub(crate) folder: tempfile::TempDir,
        pub(crate) db: Connection,
        pub(crate) enrolment: Enrolment,
        pub(crate) key: Ed25519KeyPair,
        pub(crate) in_force: InForce,
        pub(crate) now: Moment,
    }

    pub(crate) fn given() -> Given {
        let folder = tempfile::tempdir().expect("a folder");
        let now = crate::clock::now();
        let identity = Identity::open(folder.path(), &now).expect("an identity");
        let mut db = db::open(folder.path()).expect("a database");
        outbox::begin(&mut db, &identity, &now).expect("a stream");
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let uplink = Uplink {
            brokers: vec!["mqtts://localhost:8883".parse().expect("a URL")],
            server: "https://localhost:8443".parse().expect("a URL"),
            ca_sha256: [Digest([1; 32])].into(),
            heartbeat: Seconds::from(60),
        };
        let pem = "-----BEGIN X-----\n-----END X-----\n";
        let enrolment = Enrolment {
            v: V1,
            device: identity.device,
            ts: now.ts,
            owner: "a test".parse().expect("a text"),
            certificates: pem.parse().expect("PEM"),
            authorities: pem.parse().expect("PEM"),
            uplink,
            command_key: sign::public_half(&key),
            floor: Floor::default(),
            escrow: None,
        };
        let rules = Rules { version: DesiredVersion::ZERO, policy: Policy::cautious(), escrow: None, heartbeat: None };
        Given { folder, db, enrolment, key, in_force: InForce::new(rules), now }
    }

    impl Given {
        /// The first document, changed.
        pub(crate) fn document(&self, ver: u32, change: impl FnOnce(&mut Desired)) -> Desired {
            let mut desired = Desired::at_enrolment(&self.enrolment);
            desired.ver = DesiredVersion::from(ver);
            desired.backup.on_plug = OnPlug::Backup;
            desired.new_disk = NewDisk::Backup;
            desired.retention = Retention { last: 7, daily: 14, ..Retention::default() };
            change(&mut desired);
            desired
        }

        pub(crate) fn take(&mut self, desired: &Desired) -> bool {
            let json = saveos_protocol::encode(desired).expect("it fits");
            let place = (self.folder.path(), &mut self.db);
            take(place, &self.enrolment, &json, &self.in_force, &self.now).expect("it can be written")
        }

        pub(crate) fn version(&self) -> u64 {
            let kept = load(self.folder.path(), &self.enrolment).expect("readable");
            assert!(
                kept.ver == DesiredVersion::ZERO || kept.ver == self.in_force.get().version,
                "on the disk and in force"
            );
            self.in_force.get().version.get()
        }

        fn refusals(&self) -> Vec<u64> {
            let facts = outbox::waiting(&self.db, 0, 100).expect("facts");
            let bodies = facts.iter().map(|(.., json)| saveos_protocol::decode::<Fact>(json).expect("a fact").body);
            bodies
                .filter_map(|body| if let Body::PolicyRefused(no) = body { Some(no.version.get()) } else { None })
                .collect()
        }
    }

    #[test]
    fn what_is_newer_holds_and_is_there_after_a_restart() {
        let mut given = given();
        assert!(!given.take(&given.document(1, |_| {})));
        assert_eq!(given.version(), 1);
        assert_eq!(given.in_force.get().policy.new_disk, NewDisk::Backup);
        assert!(!given.take(&given.document(1, |desired| desired.retention.daily = 20)), "not newer");
        assert_eq!(given.in_force.get().policy.retention.daily, 14);
        let again = load(given.folder.path(), &given.enrolment).expect("readable");
        assert_eq!(rules(&again).expect("a document").policy.retention.daily, 14);
        let moved =
            given.document(2, |desired| desired.uplink.brokers.push("mqtts://other:8883".parse().expect("a URL")));
        assert!(given.take(&moved), "the broker is another one");
    }

    #[test]
    fn what_weakens_stays_out_until_the_command_key_signs_it_and_is_told_once() {
        let mut given = given();
        given.take(&given.document(1, |_| {}));
        let mut weaker = given.document(2, |desired| desired.retention.daily = 3);
        for _ in 0..3 {
            given.take(&weaker);
        }
        assert_eq!((given.version(), given.refusals()), (1, vec![2]));
        let until = given.now.ts.after(Duration::from_secs(3600));
        let thief = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("a key");
        sign::sign(&mut weaker, given.enrolment.device, until, &thief).expect("signed");
        given.take(&weaker);
        assert_eq!(given.version(), 1);
        sign::sign(&mut weaker, given.enrolment.device, until, &given.key).expect("signed");
        given.take(&weaker);
        assert_eq!((given.version(), given.in_force.get().policy.retention.daily), (2, 3));
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let mut given = given();
        given.take(&given.document(1, |_| {}));
        let nowhere = given.document(2, |desired| desired.backup.time_zone = "Mars/Base".parse().expect("a form"));
        let nothing = given.document(3, |desired| desired.retention = Retention::default());
        let often = given.document(4, |desired| desired.uplink.heartbeat = Seconds::from(1));
        for desired in [nowhere, nothing, often] {
            given.take(&desired);
        }
        let place = (given.folder.path(), &mut given.db);
        take(place, &given.enrolment, b"nonsense", &given.in_force, &given.now).expect("nothing is written");
        assert_eq!((given.version(), given.refusals()), (1, vec![]));
    }

    #[test]
    fn a_damaged_document_counts_as_none() {
        let mut given = given();
        given.take(&given.document(1, |_| {}));
        files::write_secret(given.folder.path(), FILE, "{").expect("room");
        let kept = load(given.folder.path(), &given.enrolment).expect("readable");
        assert_eq!(kept, Desired::at_enrolment(&given.enrolment));
    }
}
