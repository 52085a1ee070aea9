//! Whether a process can do its part, asked from within its container, where nothing but this program is.

use std::net::SocketAddr;
use std::time::Duration;

/// Why it cannot, or why nobody knows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// It answers, and says so.
    #[error("it is not ready: {0}")]
    NotReady(String),
    /// It does not answer.
    #[error("nothing answers at {0}: is it started with `--metrics`?")]
    Silent(SocketAddr, #[source] Box<ureq::Error>),
}

/// An orchestrator asks again in seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks.
pub(crate) fn ask(at: SocketAddr) -> Result<(), ProbeError> {
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).proxy(None);
    let agent: ureq::Agent = config.build().into();
    let silent = |error| ProbeError::Silent(at, Box::new(error));
    let mut answer = agent.get(format!("http://{at}/readyz")).call().map_err(silent)?;
    if answer.status().is_success() {
        return Ok(());
    }
    let said = answer.body_mut().with_config().limit(1000).read_to_string().unwrap_or_default();
    Err(ProbeError::NotReady(said.trim().to_owned()))
}
