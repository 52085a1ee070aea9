//! The line to the control plane: facts go up until they are acknowledged, commands come down. Backups never wait for it.
//!
//! A thread of its own with its own connection to the database, which is all that it shares with the daemon (facts wait in the
//! outbox, a command becomes a row of the queue), so a broker that hangs hangs nobody. Without credentials it waits for some.

mod cuts;
#[cfg(test)]
mod hostile;
mod orders;
mod session;

use crate::clock;
use crate::db::{self, DbError};
use crate::desired::DesiredError;
use crate::identity::random;
use crate::outbox::{self, OutboxError};
use crate::policy::InForce;
use crate::trust::{Trust, TrustError};
use crate::wishes::Wishes;
use cuts::Cuts;
use saveos_protocol::fact::{Body, SameIdTwice, StreamBirth};
use saveos_protocol::heartbeat::Progress;
use saveos_protocol::hex::DeviceKey;
use saveos_protocol::id::DeviceId;
use saveos_protocol::reconnect::{GOOD, LONGEST_WAIT, wait_after};
use saveos_protocol::shadow::Reported;
use saveos_protocol::text::Release;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::Percent;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A fact that had to be written.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// What we say does not fit.
    #[error("a message could not be written")]
    Encode(#[from] saveos_protocol::EncodeError),
    /// What enrolment gave.
    #[error("the enrolment does not hold")]
    Trust(#[from] TrustError),
    /// A desired document.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// A broker's address that is none.
    #[error("{0} is no address of a broker")]
    Address(String),
    /// The desired document names other brokers.
    #[error("the control plane has moved")]
    Moved,
    /// The connection, soon after it stood.
    #[error("the connection was cut a moment after it stood")]
    Cut(#[source] Box<rumqttc::ConnectionError>),
    /// The connection.
    #[error("the connection broke")]
    Connection(#[source] Box<rumqttc::ConnectionError>),
    /// The broker took a message and did not say so in time.
    #[error("the broker took no heartbeat in time")]
    Silent,
    /// Nobody takes our messages any more.
    #[error("the client ended")]
    Ended,
}

/// What the line needs.
pub(crate) struct Line {
    pub(crate) data: PathBuf,
    pub(crate) device: DeviceId,
    pub(crate) birth: StreamBirth,
    /// The device's key, PKCS#8 in PEM.
    pub(crate) key: Zeroizing<String>,
    /// Its public half, as a certificate must hold it.
    pub(crate) public: DeviceKey,
    /// How often it says that it lives, whatever the control plane wants.
    pub(crate) heartbeat: Option<Duration>,
    /// What the daemon does at the moment.
    pub(crate) progress: Arc<Mutex<Option<Progress>>>,
    /// When the broker last took a heartbeat. A fact may be far from the next, and its acknowledgement with it; a beat never is.
    pub(crate) answered: Arc<Mutex<Option<Instant>>>,
    /// How full the store is.
    pub(crate) room: Arc<Mutex<Option<Percent>>>,
    /// What the box is; none before the first look.
    pub(crate) reported: Arc<Mutex<Option<Reported>>>,
    /// The release of the system that runs.
    pub(crate) release: Release,
    /// The command that asks disks for their health.
    pub(crate) smartctl: String,
    /// The command that reads the box's log.
    pub(crate) journalctl: String,
    /// What commands want that is no job.
    pub(crate) wishes: Arc<Wishes>,
    /// Where a desired document goes.
    pub(crate) rules: Arc<InForce>,
}

/// How often a box looks at its clock that is behind.
const UNSURE: Duration = Duration::from_secs(5);
/// How often a box without credentials looks for some.
const LOOK: Duration = Duration::from_secs(2);

/// Keeps the line up until `stop`.
pub(crate) fn start(line: Line, stop: Arc<AtomicBool>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("uplink".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(keep_up(&line, &stop)),
            Err(error) => tracing::error!(%error, "no uplink"),
        }
    })
}

async fn keep_up(line: &Line, stop: &AtomicBool) {
    let (mut tries, mut cuts) = (0u32, Cuts::default());
    while !stop.load(Ordering::Relaxed) {
        let trust = match Trust::read(&line.data, line.device, &line.public) {
            Ok(Some(trust)) => trust,
            Ok(None) => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no uplink");
                pause(LONGEST_WAIT, stop).await;
                continue;
            }
        };
        if clock::now().ts < trust.valid.0 {
            tracing::warn!(now = %clock::now().ts, "the clock is before our certificate: none can be judged; waits for the time");
            pause(UNSURE, stop).await;
            continue;
        }
        let begun = tokio::time::Instant::now();
        match session::run(line, &trust, tries, stop).await {
            Ok(()) => return,
            Err(LineError::Cut(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, tries, "the uplink was cut");
                if let Some(told) = cuts.add(std::time::Instant::now()) {
                    tell_of_cuts(line, told);
                }
            }
            // Whatever TLS says of certificates, the identity stays: an expired list of revoked ones looks like an expired one.
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, tries, "the uplink is down"),
        }
        tries = if begun.elapsed() >= GOOD { 0 } else { tries.saturating_add(1) };
        pause(wait_after(tries, random().unwrap_or([u8::MAX])), stop).await;
    }
}

/// What the control plane's clock said last.
pub(crate) fn heard(db: &rusqlite::Connection) -> Result<Option<Timestamp>, DbError> {
    Ok(db::note(db, session::HEARD)?.and_then(|text| text.parse().ok()).map(Timestamp::saturating))
}

fn tell_of_cuts(line: &Line, told: SameIdTwice) {
    tracing::error!(cuts = told.cuts.get(), "another box seems to use our name");
    let written = db::connect(&line.data)
        .map_err(LineError::from)
        .and_then(|mut db| Ok(outbox::append_alone(&mut db, &clock::now(), Body::SameIdTwice(told))?));
    if let Err(error) = written {
        tracing::error!(error = &error as &dyn std::error::Error, "a fact could not be written");
    }
}

async fn pause(wait: Duration, stop: &AtomicBool) {
    let until = tokio::time::Instant::now() + wait;
    while tokio::time::Instant::now() < until && !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
