//! What one process of an installation does: all of it, or in a cluster a part of it.
//!
//! ```text
//! api     serves people and boxes over HTTPS; as many as one likes, behind a load balancer
//! worker  one hears the boxes, one does what is due (alerts, rollouts, notices); the others wait to take over
//! broker  keeps the broker of the boxes running and tells it who is revoked
//! ```
//!
//! Processes of one installation share its keys, its config and its database, and nothing else.

use crate::cell::Cell;
use crate::config::Config;
use std::str::FromStr;

/// A part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// HTTPS for people and boxes.
    Api,
    /// Hears the boxes and does what is due.
    Worker,
    /// The broker and its rules.
    Broker,
}

/// Why a process cannot have its part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RolesError {
    /// Parts are processes, and processes share no file.
    #[error(
        "only an installation in PostgreSQL can be run in parts; without `--role` and `--cell` one process does it all"
    )]
    Alone,
    /// People are served beside it, not within it.
    #[error("with `--cell {0}` say `--role worker`, `--role broker`, or both: the API is of no cell")]
    NoApi(Cell),
    /// Nobody knows this process from another.
    #[error("the host has no name: say `--replica NAME`, another one for each process")]
    Nameless(#[source] rustix::io::Errno),
}

/// What this process does, as whom, and where the broker is.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    roles: Vec<Role>,
    /// Holds leases under this name.
    pub(crate) holder: String,
    /// Several processes share the database.
    pub(crate) shared: bool,
    /// Where the broker is, if it is not on this host.
    pub(crate) broker: Option<Reach>,
    /// Whose broker.
    pub(crate) cell: Cell,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl FromStr for Reach {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Reach, &'static str> {
        let (host, port) = text.rsplit_once(':').ok_or("no HOST:PORT")?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().map_err(|_| "the port is no number up to 65535")?;
        if host.is_empty() || port == 0 { Err("no HOST:PORT") } else { Ok(Reach { host: host.to_owned(), port }) }
    }
}

impl Part {
    /// As the command line says.
    pub(crate) fn of(arguments: &crate::args::Run, config: &Config) -> Result<Part, RolesError> {
        let shared = config.is_shared();
        let cell = arguments.cell.clone();
        if !shared && (!arguments.role.is_empty() || !cell.is_main()) {
            return Err(RolesError::Alone);
        }
        let holder = match (shared, &arguments.replica) {
            // It starts anew under its name and finds what it held.
            (false, _) => config.node.to_string(),
            (true, Some(name)) => format!("{}/{name}", config.node),
            (true, None) => format!("{}/{}", config.node, host().map_err(RolesError::Nameless)?),
        };
        let roles = match arguments.role.as_slice() {
            [] => vec![Role::Api, Role::Worker, Role::Broker],
            some => some.to_vec(),
        };
        let part = Part { roles, holder, shared, broker: arguments.broker.clone(), cell };
        // A process that hears its own cell shows browsers nothing of another's.
        if !part.cell.is_main() && part.does(Role::Api) {
            return Err(RolesError::NoApi(part.cell));
        }
        Ok(part)
    }

    /// Whether it does that.
    pub(crate) fn does(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

fn host() -> rustix::io::Result<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() || name == "(none)" { Err(rustix::io::Errno::NOENT) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_found_by_name_and_by_address() {
        let reach = |text: &str| text.parse::<Reach>().map(|reach| (reach.host, reach.port));
        assert_eq!(reach("broker.internal:8883"), Ok(("broker.internal".to_owned(), 8883)));
        assert_eq!(reach("10.0.0.7:8883"), Ok(("10.0.0.7".to_owned(), 8883)));
        assert_eq!(reach("[fd00::7]:8883"), Ok(("fd00::7".to_owned(), 8883)));
        for wrong in ["", "broker", ":8883", "broker:", "broker:0", "broker:70000", "broker:mqtt"] {
            assert!(reach(wrong).is_err(), "{wrong}");
        }
    }
}
