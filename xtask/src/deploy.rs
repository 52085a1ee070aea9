//! `cargo xtask deploy` and `cargo xtask rollback`: put a build of the control plane on one of our environments, ask whether it works
//! there, and take it back if it does not. docs/runbooks/deploy.md says how people use it.

mod compose;
mod cut_over;
mod kubectl;
mod processes;

/// What tests compare with the files of compose and Kubernetes.
#[cfg(test)]
pub(crate) use {compose::AROUND, kubectl::LABEL};

use crate::environment::{self, Environment, Runs, Tag};
use crate::shell::root;
use crate::smoke::Asker;
use anyhow::{Context, bail, ensure};
use compose::Compose;
use cut_over::{Outcome, Place, Report};
use kubectl::Kubectl;
use processes::Processes;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The task.
pub(crate) fn deploy(words: &[&str]) -> anyhow::Result<()> {
    put("deploy", words, |_, _| Ok(()))
}

/// The task: only to what is older than what serves.
pub(crate) fn rollback(words: &[&str]) -> anyhow::Result<()> {
    put("rollback", words, |serves, to| match serves.iter().filter_map(Tag::version).min() {
        Some(now) if to.version().is_some_and(|to| to >= now) => {
            bail!("{now} serves, and {to} is not older: deploy it")
        }
        _ => Ok(()),
    })
}

fn put(task: &str, words: &[&str], may: impl Fn(&[Tag], &Tag) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let (name, to, json) = match words {
        ["--env", name, "--version", to] => (*name, *to, None),
        ["--env", name, "--version", to, "--json", file] => (*name, *to, Some(*file)),
        _ => bail!("cargo xtask {task} --env local|staging|production --version BUILD [--json FILE]"),
    };
    let environment = environment::named(name)?;
    let to: Tag = to.parse()?;
    fits(&environment, &to)?;
    let asker = Asker::new(name, &environment)?;
    let mut place: Box<dyn Place> = match &environment.runs {
        Runs::Processes(ports) => Box::new(Processes::new(&environment, ports)),
        Runs::Compose(_) => Box::new(Compose::new(&environment)),
        Runs::Kubectl(cluster) => Box::new(Kubectl::new(&environment, cluster)?),
    };
    let serves = place.serves()?;
    may(&serves, &to)?;
    let report = cut_over::cut_over(place.as_mut(), &|tag| asker.ask(tag.version(), None), &to);
    // A release before that does not know the word, or a place that is broken: what became of it is told all the same.
    if let Err(why) = place.write_down(&report.words()) {
        println!("it is not on the dashboard of deployments: {why:#}");
    }
    if let Some(file) = json {
        let mut out = std::fs::File::create(file).with_context(|| format!("could not write {file}"))?;
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    }
    told(name, &report)
}

/// Whether such a build may go there.
fn fits(environment: &Environment, to: &Tag) -> anyhow::Result<()> {
    let released = to.version().is_some_and(|version| !version.is_prerelease());
    ensure!(released || !environment.stable, "{to} is no release, or a prerelease: it does not go there");
    Ok(())
}

/// What a person reads at the end; everything but `Serves` is a failure.
fn told(name: &str, report: &Report) -> anyhow::Result<()> {
    let Report { to, why, also, .. } = report;
    let why = why.as_deref().unwrap_or_default();
    let before = report.from.as_deref().unwrap_or("nothing");
    let back = report.back_s.unwrap_or_default();
    match report.outcome {
        Outcome::Serves => {
            println!("{to} serves in {name}, after {:.0} s; before it: {before}", report.forward_s);
            Ok(())
        }
        Outcome::Refused => bail!("{to} is not put in {name}, nothing was changed: {why}"),
        Outcome::TakenBack => bail!("{to} does not work in {name}: {why}; {before} serves again, after {back:.0} s"),
        Outcome::Broken => bail!(
            "{name} IS BROKEN: {to} does not work: {why}; and the way back to {before}: {}",
            also.as_deref().unwrap_or_default()
        ),
    }
}

/// Programs of others, run with an environment; tests answer in their place.
trait Tools {
    /// Runs it and gives what it printed.
    fn call(&mut self, words: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<String>;
    /// Since some moment.
    fn now(&self) -> Duration;
    /// Nothing, for a second.
    fn wait(&mut self);
}

/// The programs themselves.
struct Real(Instant);

impl Tools for Real {
    fn call(&mut self, words: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<String> {
        let (program, arguments) = words.split_first().context("a program")?;
        println!("$ {}", words.join(" "));
        let mut command = std::process::Command::new(program);
        command.args(arguments).envs(environment.iter().copied()).current_dir(root());
        let output = command.output().with_context(|| format!("could not start {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        ensure!(output.status.success(), "{} ended with {}: {last}", words.join(" "), output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait(&mut self) {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Builds in the names of images, each once, in their order.
fn builds(images: &str) -> anyhow::Result<Vec<Tag>> {
    let mut all: Vec<Tag> = Vec::new();
    for image in images.split_whitespace() {
        let (_, tag) = image.rsplit_once(':').with_context(|| format!("`{image}` has no tag"))?;
        let tag = tag.parse()?;
        if !all.contains(&tag) {
            all.push(tag);
        }
    }
    Ok(all)
}

/// Below `control-plane/deploy`, from the root of the tree.
fn file(path: &str) -> String {
    Path::new("control-plane/deploy").join(path).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
