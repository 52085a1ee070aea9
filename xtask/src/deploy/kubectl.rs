//! Puts a release on a Kubernetes. Its own rolling update replaces pods one by one; what is added here is the order of parts, the step of
//! the schema before them, and that a rollout which does not end is a failure with a reason.

use super::cut_over::Place;
use super::{Real, Tools, builds, file};
use crate::container::IMAGE;
use crate::environment::{Cluster, Environment, Part, Tag};
use anyhow::{Context, bail};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Label of everything in `deploy/k8s`: which part it is of, or `base`, or `migrate`.
pub(crate) const LABEL: &str = "saveos.com/part";
/// In s, until all pods of a part are replaced and ready.
const PATIENCE: u64 = 180;

/// A namespace.
pub(super) struct Kubectl<T = Real> {
    cluster: Cluster,
    /// Cells beside the first.
    cells: Vec<String>,
    tools: T,
    /// Where the overlay with a tag is written.
    folder: PathBuf,
    /// Who gets in.
    config: Option<Secret>,
}

/// A file that only we read, for as long as it is needed.
struct Secret(PathBuf);

impl Secret {
    fn write(path: PathBuf, text: &str) -> anyhow::Result<Secret> {
        let mut file = File::options().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(Secret(path))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Kubectl {
    /// By the kubeconfig of whoever deploys, or the one that SAVEOS_KUBECONFIG holds.
    pub(super) fn new(environment: &Environment, cluster: &Cluster) -> anyhow::Result<Kubectl> {
        let folder = crate::shell::root().join("target/deploy").join(&cluster.namespace);
        std::fs::create_dir_all(&folder)?;
        let config = match std::env::var("SAVEOS_KUBECONFIG") {
            Ok(text) => Some(Secret::write(folder.join("kubeconfig"), &text)?),
            Err(_) => None,
        };
        let cells = environment.cells.keys().cloned().collect();
        Ok(Kubectl { cluster: cluster.clone(), cells, tools: Real(Instant::now()), folder, config })
    }
}

impl<T: Tools> Kubectl<T> {
    #[cfg(test)]
    pub(super) fn with(cluster: Cluster, cells: &[&str], tools: T, folder: PathBuf) -> Kubectl<T> {
        let cells = cells.iter().map(|cell| (*cell).to_owned()).collect();
        Kubectl { cluster, cells, tools, folder, config: None }
    }

    fn call(&mut self, words: &[&str]) -> anyhow::Result<String> {
        let Cluster { context, namespace } = self.cluster.clone();
        let all = [&["kubectl", "--context", &context, "--namespace", &namespace][..], words].concat();
        let config = self.config.as_ref().map(|Secret(path)| path.to_string_lossy().into_owned());
        let environment: Vec<(&str, &str)> = config.iter().map(|path| ("KUBECONFIG", path.as_str())).collect();
        self.tools.call(&all, &environment)
    }

    /// What the overlay says of that part, with images of that build.
    fn apply(&mut self, part: &str, tag: &Tag) -> anyhow::Result<()> {
        let overlay = crate::shell::root().join(file("k8s/overlays")).join(&self.cluster.namespace);
        // Kustomize wants a path from the file.
        let up = "../".repeat(self.folder.strip_prefix(crate::shell::root()).map_or(0, |rest| rest.iter().count()));
        let overlay = match overlay.strip_prefix(crate::shell::root()) {
            Ok(rest) if !up.is_empty() => format!("{up}{}", rest.display()),
            _ => overlay.display().to_string(),
        };
        let text = format!("resources: [{overlay}]\nimages: [{{ name: {IMAGE}, newTag: '{tag}' }}]\n");
        let path = self.folder.join("kustomization.yaml");
        File::create(&path)?.write_all(text.as_bytes())?;
        let folder = self.folder.to_string_lossy().into_owned();
        self.call(&["apply", "--kustomize", &folder, "--selector", &format!("{LABEL}={part}")]).map(drop)
    }
}

/// Of the first cell, then of the others; the API is of none.
fn workloads(part: Part, cells: &[String]) -> Vec<String> {
    let (kind, cells) = match part {
        Part::Api => ("deployment", &[][..]),
        Part::Worker => ("deployment", cells),
        Part::Broker => ("statefulset", cells),
    };
    let others = cells.iter().map(|cell| format!("{kind}/{part}-{cell}"));
    std::iter::once(format!("{kind}/{part}")).chain(others).collect()
}

impl<T: Tools> Place for Kubectl<T> {
    fn serves(&mut self) -> anyhow::Result<Vec<Tag>> {
        // Not of pods: one that is on its way out is of what served before.
        let images = "jsonpath={.items[*].spec.template.spec.containers[0].image}";
        let which = format!("{LABEL} in (api, worker, broker)");
        builds(&self.call(&["get", "deployments,statefulsets", "--selector", &which, "--output", images])?)
    }

    fn migrate(&mut self, tag: &Tag) -> anyhow::Result<()> {
        self.apply("base", tag)?;
        // What a job runs cannot be changed, so the last one goes.
        self.call(&["delete", "job", "migrate", "--ignore-not-found", "--wait"])?;
        self.apply("migrate", tag)?;
        let end = self.tools.now() + Duration::from_secs(PATIENCE);
        loop {
            let state = "jsonpath={.status.succeeded}/{.status.failed}";
            let state = self.call(&["get", "job", "migrate", "--output", state])?;
            match state.trim().split_once('/').context("a state")? {
                ("1", _) => return Ok(()),
                (_, "" | "0") if self.tools.now() < end => self.tools.wait(),
                _ => {
                    let said = self.call(&["logs", "job/migrate", "--tail", "1"]).unwrap_or_default();
                    bail!("the step of the schema did not end well: {}", said.trim());
                }
            }
        }
    }

    fn replace(&mut self, part: Part, tag: &Tag) -> anyhow::Result<()> {
        self.apply(&part.to_string(), tag)?;
        let patience = format!("{PATIENCE}s");
        for workload in workloads(part, &self.cells.clone()) {
            self.call(&["rollout", "status", &workload, "--timeout", &patience])?;
        }
        Ok(())
    }

    fn write_down(&mut self, words: &[String]) -> anyhow::Result<()> {
        let exec = ["exec", "deployment/worker", "--", "saveos-server"];
        let words: Vec<&str> = exec.into_iter().chain(words.iter().map(String::as_str)).collect();
        self.call(&words).map(drop)
    }

    fn now(&self) -> Duration {
        self.tools.now()
    }
}
