//! How this box becomes one of a fleet and stays it: shows its claim code, asks until somebody has typed it, keeps what it is
//! given, and asks for the next certificate in time. Backups never wait for any of it.
//!
//! | the server says | the box |
//! |---|---|
//! | waiting | asks again, not sooner than told |
//! | issued | checks, keeps, connects |
//! | refused, for now | asks again with a new nonce |
//! | refused | says so, asks again after an hour: a person may have typed the code anew |

mod https;
mod request;

use crate::clock;
use crate::files;
use crate::identity::Identity;
use crate::trust::{Trust, TrustError};
pub(crate) use https::{Https, HttpsError, client};
use saveos_protocol::enrol::{EnrolReply, Refusal, RenewReply};
use saveos_protocol::text::WebUrl;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where to enrol, and whom to believe that it is there.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) url: WebUrl,
    /// The authority of the server's certificate, in PEM.
    pub(crate) authority: PathBuf,
}

/// Why it did not work this time.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// What we were given, or have.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A file.
    #[error(transparent)]
    File(#[from] files::FileError),
    /// The server's authority is not there.
    #[error("there is no file {0} with the server's authority")]
    NoAuthority(PathBuf),
    /// The way to the server.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The request could not be made.
    #[error(transparent)]
    Request(#[from] request::RequestError),
    /// No.
    #[error("the server refuses: {0}")]
    Refused(#[source] Refusal),
}

/// What to do next, and when.
enum Next {
    /// Ask again.
    After(Duration),
    /// There is nowhere to ask.
    Never,
}

/// A box that is refused, or a certificate that is good for long.
const HOUR: Duration = Duration::from_secs(3600);
/// A server that does not answer: a fleet that waits for it asks it twice a minute.
const RETRY: Duration = Duration::from_secs(30);

/// Enrols and renews until `stop`, on a thread of its own.
pub(crate) fn start(
    data: PathBuf,
    server: Option<Server>,
    identity: Arc<Identity>,
    stop: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let work = move || {
        while !stop.load(Ordering::Relaxed) {
            let wait = match step(&data, server.as_ref(), &identity, &stop) {
                Ok(Next::After(wait)) => wait,
                Ok(Next::Never) => return,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "not enrolled, or not renewed");
                    match error {
                        Trouble::Refused(refusal) if !refusal.is_transient() => HOUR,
                        _ => RETRY,
                    }
                }
            };
            pause(wait, &stop);
        }
    };
    // Nobody waits for it: a request that hangs ends by its own timeout, and the process need not.
    std::thread::Builder::new().name("enrol".to_owned()).spawn(work).map(drop)
}

fn pause(wait: Duration, stop: &AtomicBool) {
    let until = Instant::now() + wait;
    while Instant::now() < until && !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(200).min(wait));
    }
}

fn step(data: &Path, server: Option<&Server>, identity: &Identity, stop: &AtomicBool) -> Result<Next, Trouble> {
    match (Trust::read(data, identity.device, &identity.public)?, server) {
        (Some(trust), _) if clock::now().ts < trust.renew_from() => Ok(Next::After(HOUR)),
        (Some(trust), _) => renew(data, &trust, identity),
        (None, Some(server)) => enrol(data, server, identity, stop),
        (None, None) => Ok(Next::Never),
    }
}

fn enrol(data: &Path, server: &Server, identity: &Identity, stop: &AtomicBool) -> Result<Next, Trouble> {
    let authority = files::read_secret(&server.authority)?;
    let authority = authority.ok_or_else(|| Trouble::NoAuthority(server.authority.clone()))?;
    let https = Https::new(&server.url, &authority)?;
    tracing::info!(server = %server.url, claim_code = %identity.claim_code(), "waits for its claim");
    let mut nonce = https.challenge()?.nonce;
    while !stop.load(Ordering::Relaxed) {
        match https.post("enrol", &request::enrol(identity, nonce)?)? {
            EnrolReply::Waiting { nonce: next, wait, .. } => {
                nonce = next;
                pause(wait.duration().clamp(Duration::from_secs(1), HOUR), stop);
            }
            EnrolReply::Refused(refused) => return Err(Trouble::Refused(refused.reason)),
            EnrolReply::Issued(enrolment) => {
                let trust = Trust::keep(data, enrolment, identity.device, &identity.public)?;
                tracing::info!(owner = %trust.enrolment.owner, "enrolled");
                break;
            }
        }
    }
    Ok(Next::After(HOUR))
}

/// Asks the server that enrolled us, with the same key; an expired certificate is no hindrance.
fn renew(data: &Path, trust: &Trust, identity: &Identity) -> Result<Next, Trouble> {
    let https = Https::new(&trust.enrolment.uplink.server, &trust.authorities)?;
    let nonce = https.challenge()?.nonce;
    match https.post("renew", &request::renew(identity, nonce)?)? {
        RenewReply::Issued(renewal) => {
            Trust::keep(data, trust.renewed(renewal), identity.device, &identity.public)?;
            tracing::info!("the certificate was renewed");
            Ok(Next::After(HOUR))
        }
        RenewReply::Refused(refused) => Err(Trouble::Refused(refused.reason)),
    }
}
