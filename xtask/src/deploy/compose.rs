//! Puts a release on a host with `docker compose`. Compose itself takes all containers of a service away before it starts new ones; here
//! the new ones stand beside the old ones, and are healthy, before the old ones go.

use super::cut_over::Place;
use super::{Real, Tools, builds, file};
use crate::environment::{Environment, Part, Tag};
use std::time::{Duration, Instant};

/// What the parts stand on, and what leads to them; a release starts it where it does not run, and otherwise leaves it alone.
pub(crate) const AROUND: &[&str] =
    &["postgres", "redis", "objects", "proxy", "caddy", "prometheus", "alertmanager", "grafana"];

/// In s, until a container is healthy.
const PATIENCE: &str = "90";

/// A host.
pub(super) struct Compose<T = Real> {
    environment: Environment,
    tools: T,
    /// Where the files lie that containers mount, if the host is another one: SAVEOS_HOST_FOLDER.
    folder: Option<String>,
}

impl Compose {
    pub(super) fn new(environment: &Environment) -> Compose {
        let folder = std::env::var("SAVEOS_HOST_FOLDER").ok();
        Compose { environment: environment.clone(), tools: Real(Instant::now()), folder }
    }
}

impl<T: Tools> Compose<T> {
    #[cfg(test)]
    pub(super) fn with(environment: Environment, tools: T) -> Compose<T> {
        Compose { environment, tools, folder: None }
    }

    fn compose(&mut self, tag: &Tag, words: &[&str]) -> anyhow::Result<String> {
        self.call(&tag.to_string(), words)
    }

    fn call(&mut self, tag: &str, words: &[&str]) -> anyhow::Result<String> {
        let path = file("docker-compose.prod.yml");
        let mut all = vec!["docker", "compose", "--file", &path];
        if let Some(folder) = &self.folder {
            all.extend(["--project-directory", folder]);
        }
        self.tools.call(&[&all[..], words].concat(), &[("SAVEOS_TAG", tag)])
    }

    fn containers(&mut self, part: Part, tag: &Tag) -> anyhow::Result<Vec<String>> {
        let ids = self.compose(tag, &["ps", "--all", "--quiet", &part.to_string()])?;
        Ok(ids.split_whitespace().map(str::to_owned).collect())
    }

    fn remove(&mut self, ids: &[String]) -> anyhow::Result<()> {
        for id in ids {
            self.tools.call(&["docker", "stop", "--time", "20", id], &[])?;
            self.tools.call(&["docker", "rm", id], &[])?;
        }
        Ok(())
    }
}

impl<T: Tools> Place for Compose<T> {
    fn serves(&mut self) -> anyhow::Result<Vec<Tag>> {
        // Compose reads the whole file for that; the tag is looked at by nobody.
        builds(&self.call("none", &["ps", "--format", "{{.Image}}", "api", "worker", "broker"])?)
    }

    fn migrate(&mut self, tag: &Tag) -> anyhow::Result<()> {
        self.compose(tag, &["pull", "--quiet", "migrate"])?;
        let start = ["up", "--detach", "--no-recreate", "--no-deps", "--wait", "--wait-timeout", PATIENCE];
        self.compose(tag, &[&start[..], AROUND].concat())?;
        self.compose(tag, &["run", "--rm", "--no-deps", "--no-TTY", "migrate"]).map(drop)
    }

    fn replace(&mut self, part: Part, tag: &Tag) -> anyhow::Result<()> {
        let old = self.containers(part, tag)?;
        let service = part.to_string();
        let up = ["up", "--detach", "--no-deps", "--wait", "--wait-timeout", PATIENCE];
        // Two brokers would write the same folder: it is away for as long as it takes to start, and boxes come back to it.
        if part == Part::Broker {
            return self.compose(tag, &[&up[..], &["--force-recreate", &service]].concat()).map(drop);
        }
        let all = old.len() + usize::from(self.environment.count(part));
        let scale = format!("{service}={all}");
        let begun = self.compose(tag, &[&up[..], &["--no-recreate", "--scale", &scale, &service]].concat());
        if let Err(why) = begun {
            let new = self.containers(part, tag)?.into_iter().filter(|id| !old.contains(id)).collect::<Vec<_>>();
            self.remove(&new)?;
            return Err(why);
        }
        self.remove(&old)
    }

    fn write_down(&mut self, words: &[String]) -> anyhow::Result<()> {
        // In a container that is there, of whichever release.
        let exec = ["exec", "--no-TTY", "worker", "saveos-server"];
        let words: Vec<&str> = exec.into_iter().chain(words.iter().map(String::as_str)).collect();
        self.call("none", &words).map(drop)
    }

    fn now(&self) -> Duration {
        self.tools.now()
    }
}
