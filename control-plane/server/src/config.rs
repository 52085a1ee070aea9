//! What `init` decided and `run` needs: one file, checked once. Everything else is in the database.

use crate::files::{self, FileError};
use crate::notify::{Mail, MailFault};
use crate::store::{Database, DatabaseError, Engine};
use ipnet::IpNet;
use saveos_protocol::hex::CommandKey;
use saveos_protocol::id::{NodeId, OrganisationId};
use saveos_protocol::text::{BrokerUrl, Text, WebUrl};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::Path;

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is none.
    #[error("{0} is not set up: run `saveos-server init` first")]
    Missing(String),
    /// It says something that nobody understands.
    #[error("the config is not understood")]
    Json(#[from] serde_json::Error),
    /// The host makes no address.
    #[error("`{0}` is no name of a host")]
    Host(String),
    /// The mail relay.
    #[error(transparent)]
    Mail(#[from] MailFault),
}

const FILE: &str = "config.json";

/// The config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// This installation among others.
    pub(crate) node: NodeId,
    /// The top of the tree.
    pub(crate) organisation: OrganisationId,
    /// What it is called.
    pub(crate) name: Text,
    /// The name or address under which boxes and browsers find us.
    pub(crate) host: String,
    /// The address to listen on.
    pub(crate) bind: IpAddr,
    /// Port of the API.
    pub(crate) https_port: u16,
    /// Port of the broker.
    pub(crate) mqtt_port: u16,
    /// Public half of the command key: boxes pin it at enrolment.
    pub(crate) command_key: CommandKey,
    /// What the database lives in.
    #[serde(default, skip_serializing_if = "is_sqlite")]
    pub(crate) engine: Engine,
    /// The relay that takes our mail; none: nobody is told by mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mail: Option<Mail>,
    /// Networks that are not public and that a webhook may lead to nevertheless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_networks: Vec<IpNet>,
    /// Messages that the broker keeps for a server that is away or slow; what comes beyond is thrown away, and boxes tell it again.
    #[serde(default = "broker_queue")]
    pub(crate) broker_queue: NonZeroU32,
    /// The line on which bundles go out to boxes, in Mbit/s: no more fetch at once than it carries. None: as many as ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) release_line_mbit: Option<NonZeroU32>,
}

fn is_sqlite(engine: &Engine) -> bool {
    *engine == Engine::Sqlite
}

/// 20 s of 5,000 boxes.
pub(crate) fn broker_queue() -> NonZeroU32 {
    NonZeroU32::new(100_000).expect("it is not zero")
}

impl Config {
    /// Reads it.
    pub(crate) fn read(data: &Path) -> Result<Config, ConfigError> {
        let text = files::read(&data.join(FILE))?;
        let text = text.ok_or_else(|| ConfigError::Missing(data.display().to_string()))?;
        let config: Config = serde_json::from_str(&text)?;
        config.check()?;
        Ok(config)
    }

    /// Whether `data` holds one already.
    pub(crate) fn exists(data: &Path) -> bool {
        data.join(FILE).exists()
    }

    /// Writes it: the last step of `init`, so that a half-made folder is none.
    pub(crate) fn write(&self, data: &Path) -> Result<(), ConfigError> {
        self.check()?;
        Ok(files::write(&data.join(FILE), &serde_json::to_string_pretty(self)?)?)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.mail.as_ref().map_or(Ok(()), Mail::check)?;
        let urls = url("https", &self.host, self.https_port).parse::<WebUrl>().is_ok()
            && url("mqtts", &self.host, self.mqtt_port).parse::<BrokerUrl>().is_ok();
        let plain = self.host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
        if urls && plain && !self.host.is_empty() { Ok(()) } else { Err(ConfigError::Host(self.host.clone())) }
    }

    /// The database, if it is not in the data folder.
    pub(crate) fn database(&self) -> Result<Option<Database>, DatabaseError> {
        match (self.engine, Database::of_environment()?) {
            (Engine::Sqlite, None) => Ok(None),
            (Engine::Postgresql, Some(database)) => Ok(Some(database)),
            (Engine::Postgresql, None) => Err(DatabaseError::Unset),
            (Engine::Sqlite, Some(_)) => Err(DatabaseError::Unwanted),
        }
    }

    /// Whether several processes can share it.
    pub(crate) fn is_shared(&self) -> bool {
        self.engine == Engine::Postgresql
    }

    /// Writes down where it lives.
    pub(crate) fn lives_in(&mut self, database: Option<&Database>) {
        self.engine = if database.is_some() { Engine::Postgresql } else { Engine::Sqlite };
    }

    /// Where the API is.
    pub(crate) fn server(&self) -> WebUrl {
        url("https", &self.host, self.https_port).parse().expect("the host was checked on read")
    }

    /// Where the broker is.
    pub(crate) fn broker(&self) -> BrokerUrl {
        url("mqtts", &self.host, self.mqtt_port).parse().expect("the host was checked on read")
    }
}

/// The address of a port of ours.
pub(crate) fn url(scheme: &str, host: &str, port: u16) -> String {
    format!("{scheme}://{host}:{port}")
}
