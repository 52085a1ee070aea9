//! Where the broker is and what proves that we may talk to it: one file, written whole by who enrolled the box.

use super::LineError;
use crate::files;
use saveos_protocol::text::{BrokerUrl, Pem};
use serde::Deserialize;
use std::path::Path;

/// As the file has it. The key is not in it: it never leaves its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    broker: BrokerUrl,
    /// Who may sign the broker's certificate.
    pub(super) ca: Pem,
    /// Ours.
    pub(super) certificate: Pem,
}

const FILE: &str = "uplink.json";

impl Credentials {
    /// `None` while the box is not enrolled.
    pub(super) fn read(data: &Path) -> Result<Option<Credentials>, LineError> {
        let text = files::read_secret(&data.join(FILE)).map_err(|error| LineError::Credentials(error.to_string()))?;
        let parse = |text: &str| serde_json::from_str(text).map_err(|error| LineError::Credentials(error.to_string()));
        text.as_deref().map(|text| parse(text)).transpose()
    }

    /// Host and port.
    pub(super) fn address(&self) -> Result<(String, u16), LineError> {
        let rest = self.broker.strip_prefix("mqtts://").unwrap_or_default();
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').unwrap_or((rest, "8883"));
        let port = port.parse().map_err(|_| LineError::Credentials(format!("{} has no port", self.broker)))?;
        Ok((host.trim_matches(['[', ']']).to_owned(), port))
    }
}
