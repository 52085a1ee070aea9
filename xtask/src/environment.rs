//! Where the control plane runs: `control-plane/deploy/environments.yml`, read and judged. Whoever deploys, asks or draws reads it here.

use crate::shell::root;
use crate::version::number::Version;
use anyhow::{Context, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// An environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Environment {
    /// Where its API is.
    pub(crate) server: String,
    /// What a page of boxes may take, in ms.
    pub(crate) expect: u64,
    /// What starts its processes.
    #[serde(with = "serde_norway::with::singleton_map")]
    pub(crate) runs: Runs,
    /// Whether only a release that is no prerelease may go there.
    #[serde(default)]
    pub(crate) stable: bool,
    /// How many processes do what; workers and broker are those of the first cell.
    pub(crate) parts: BTreeMap<Part, u16>,
    /// Cells beside the first, with their workers: one hears, the others stand by.
    #[serde(default)]
    pub(crate) cells: BTreeMap<String, u16>,
}

/// What starts and ends processes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Runs {
    /// We ourselves, on this machine, with the first port of each kind.
    Processes(Ports),
    /// `docker compose`, on the host that DOCKER_HOST names.
    Compose(Nothing),
    /// `kubectl`, in this context and namespace.
    Kubectl(Cluster),
}

/// No more to be said.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// Ports on 127.0.0.1: a process takes the first of its kind, the next process the next.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ports {
    /// Of the API.
    pub(crate) api: u16,
    /// Of what says whether it is ready.
    pub(crate) metrics: u16,
}

/// A Kubernetes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// Context of the kubeconfig.
    pub(crate) context: String,
    /// Its namespace, and the overlay in `deploy/k8s/overlays`.
    pub(crate) namespace: String,
}

/// What a process does, as `saveos-server run --role` names it. In the order in which a release replaces them: whoever is
/// replaced first is noticed first and taken back first, and no box notices a broken API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    Api,
    Worker,
    Broker,
}

impl Part {
    pub(crate) const ALL: [Part; 3] = [Part::Api, Part::Worker, Part::Broker];
}

impl fmt::Display for Part {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Part::Api => "api",
            Part::Worker => "worker",
            Part::Broker => "broker",
        })
    }
}

impl Environment {
    /// How many processes do that.
    pub(crate) fn count(&self, part: Part) -> u16 {
        self.parts.get(&part).copied().unwrap_or(0)
    }

    fn judge(&self, name: &str) -> anyhow::Result<()> {
        if !self.server.starts_with("https://") || self.expect == 0 {
            bail!("{name}: a server is an https:// URL, and takes some time");
        }
        if self.count(Part::Api) == 0 || self.count(Part::Worker) == 0 || self.count(Part::Broker) != 1 {
            bail!("{name}: somebody serves, somebody hears, and there is one broker");
        }
        if !self.cells.is_empty() && !matches!(self.runs, Runs::Kubectl(_)) {
            bail!("{name}: one host has one cell");
        }
        if let Some((cell, _)) = self.cells.iter().find(|(_, workers)| **workers < 2) {
            bail!("{name}: nobody stands by for the worker of the cell {cell}");
        }
        Ok(())
    }
}

/// All of them, by name. SAVEOS_ENVIRONMENTS names another file, for installations that are not ours.
pub(crate) fn environments() -> anyhow::Result<BTreeMap<String, Environment>> {
    let ours = || root().join("control-plane/deploy/environments.yml");
    let path = std::env::var_os("SAVEOS_ENVIRONMENTS").map_or_else(ours, PathBuf::from);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    read(&text).with_context(|| path.display().to_string())
}

fn read(text: &str) -> anyhow::Result<BTreeMap<String, Environment>> {
    let all: BTreeMap<String, Environment> = serde_norway::from_str(text)?;
    all.iter().try_for_each(|(name, one)| one.judge(name))?;
    Ok(all)
}

/// One of them.
pub(crate) fn named(name: &str) -> anyhow::Result<Environment> {
    let mut all = environments()?;
    let known = all.keys().cloned().collect::<Vec<_>>().join(", ");
    all.remove(name).with_context(|| format!("no environment `{name}`: {known}"))
}

/// What a build is called: the number of a release, or `sha-` and the commit that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag(String);

impl Tag {
    /// The number, if it is a release.
    pub(crate) fn version(&self) -> Option<Version> {
        self.0.parse().ok()
    }
}

impl std::str::FromStr for Tag {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Tag> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let commit = text.strip_prefix("sha-").is_some_and(|sha| (7..=40).contains(&sha.len()) && sha.bytes().all(hex));
        if commit || text.parse::<Version>().is_ok() {
            return Ok(Tag(text.to_owned()));
        }
        bail!("`{text}` is no build: 1.2.3, 1.2.3-rc.4 or sha-0123abc")
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_environment_of_the_guide_is_there_and_what_people_pay_for_survives_a_machine() {
        let all = environments().expect("readable");
        assert_eq!(all.keys().collect::<Vec<_>>(), ["local", "production", "staging"]);
        let count = |name: &str, part| all[name].count(part);
        assert!(count("production", Part::Api) >= 3 && count("production", Part::Worker) >= 5);
        assert!(count("staging", Part::Api) >= 2 && count("staging", Part::Worker) >= 2);
        assert!(all["production"].stable && !all["staging"].stable);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let with =
            |more: &str| read(&format!("x: {{ server: 'https://x', expect: 1, runs: {{ compose: {{}} }}, {more} }}"));
        assert!(with("parts: { api: 1, worker: 1, broker: 1 }").is_ok());
        for wrong in [
            "parts: { api: 1, worker: 1, broker: 1, mixer: 1 }",
            "parts: { api: 1, worker: 1 }",
            "parts: { api: 0, worker: 1, broker: 1 }",
            "parts: { api: 1, worker: 1, broker: 2 }",
            "parts: { api: 1, worker: 1, broker: 1 }, more: 1",
            "parts: { api: 1, worker: 1, broker: 1 }, cells: { north: 2 }",
        ] {
            assert!(with(wrong).is_err(), "{wrong}");
        }
        let cells = |cells: &str| {
            let runs = "{ kubectl: { context: c, namespace: n } }";
            read(&format!(
                "x: {{ server: 'https://x', expect: 1, runs: {runs}, parts: {{ api: 1, worker: 1, broker: 1 }}, cells: {cells} }}"
            ))
        };
        assert!(cells("{ north: 2 }").is_ok() && cells("{ north: 1 }").is_err());
    }

    #[test]
    fn a_build_is_a_release_or_a_commit() {
        for right in ["1.2.3", "1.2.3-rc.4", "sha-0123abc"] {
            assert_eq!(right.parse::<Tag>().expect("a build").to_string(), right);
        }
        for wrong in ["", "latest", "v1.2.3", "1.2", "sha-", "sha-0123ABC", "sha-0123abc/../..", "1.2.3; rm", "--help"]
        {
            assert!(wrong.parse::<Tag>().is_err(), "{wrong}");
        }
    }
}
