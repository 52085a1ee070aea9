//! Whether an offer still stands, asked at the last moment: what was halted while the box fetched, or while it heard nothing, restarts
//! nobody any more. No answer is no.

use saveos_protocol::id::DeviceId;
use saveos_protocol::text::Mark;
use serde::Deserialize;
use std::time::Duration;
use url::Url;

/// Whom to ask.
pub(crate) struct Asked {
    pub(crate) agent: ureq::Agent,
    /// The control plane: `…/api/v1/` is below it.
    pub(crate) server: Url,
    pub(crate) device: DeviceId,
    /// What the offer is known by.
    pub(crate) token: Mark,
}

#[derive(Deserialize)]
struct Answer {
    stands: bool,
}

const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST: u64 = 4096;

impl Asked {
    /// Why the box must wait, if it must.
    pub(crate) fn why_not(&self) -> Option<String> {
        let url = match self.server.join(&format!("api/v1/go/{}/{}", self.device, self.token)) {
            Ok(url) => url,
            Err(error) => return Some(error.to_string()),
        };
        let request = self.agent.get(url.as_str()).config().timeout_global(Some(PATIENCE)).build();
        match request.call() {
            Ok(response) => {
                let said = response.into_body().into_with_config().limit(LONGEST).read_to_vec();
                match said.ok().and_then(|said| serde_json::from_slice::<Answer>(&said).ok()) {
                    Some(Answer { stands: true }) => None,
                    Some(Answer { stands: false }) => Some("the offer does not stand any more".to_owned()),
                    None => Some("the control plane says something else".to_owned()),
                }
            }
            // One that is older than this question takes an offer back by its document alone.
            Err(ureq::Error::StatusCode(404)) => None,
            Err(error) => Some(format!("the control plane does not answer: {error}")),
        }
    }
}

#[cfg(test)]
mod tests;
