//! `cargo xtask smoke --env NAME`: asks one of our environments, from outside, whether it does what it is for. Where they are, and how
//! large, `control-plane/deploy/environments.yml` says; who asks, the environment of the process: nothing secret is an argument.

use crate::shell::{root, run};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// An environment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Environment {
    /// Where its API is.
    server: String,
    /// What a page of boxes may take, in ms.
    expect: u64,
    /// How many processes do what.
    parts: Parts,
}

/// Processes by what they do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts {
    api: u32,
    worker: u32,
    broker: u32,
}

/// All of them, by name.
pub(crate) fn environments() -> anyhow::Result<BTreeMap<String, Environment>> {
    let text = std::fs::read_to_string(root().join("control-plane/deploy/environments.yml"))?;
    let all: BTreeMap<String, Environment> = serde_norway::from_str(&text).context("environments.yml")?;
    for (name, one) in &all {
        if !one.server.starts_with("https://") || one.expect == 0 {
            bail!("{name}: a server is an https:// URL, and takes some time");
        }
        let Parts { api, worker, broker } = one.parts;
        if api == 0 || worker == 0 || broker != 1 {
            bail!("{name}: somebody serves, somebody hears, and there is one broker");
        }
    }
    Ok(all)
}

/// The task.
pub(crate) fn run_task(words: &[&str]) -> anyhow::Result<()> {
    let (name, json) = match words {
        ["--env", name] => (*name, None),
        ["--env", name, "--json", file] => (*name, Some(*file)),
        _ => bail!("cargo xtask smoke --env local|staging|production [--json FILE]"),
    };
    let all = environments()?;
    let known: Vec<&str> = all.keys().map(String::as_str).collect();
    let environment = all.get(name).with_context(|| format!("no environment `{name}`: {}", known.join(", ")))?;
    let who =
        |variable: &str, what: &str| std::env::var(variable).with_context(|| format!("{variable} is not set: {what}"));
    let server = std::env::var("SAVEOS_SMOKE_SERVER").unwrap_or_else(|_| environment.server.clone());
    let authority = who("SAVEOS_SMOKE_AUTHORITY", "the file `authority.pem` of the environment")?;
    let email =
        who("SAVEOS_SMOKE_EMAIL", "an administrator, whose password is in SAVEOS_PASSWORD or SAVEOS_PASSWORD_FILE")?;
    run("cargo", &["build", "--locked", "--workspace", "--bin", "saveos-smoke"])?;
    let mut command = Command::new(root().join("target/debug/saveos-smoke"));
    command.args(["--server", &server, "--authority", &authority, "--email", &email]);
    command.args(["--budget", &environment.expect.to_string()]);
    for (variable, option) in [
        ("SAVEOS_SMOKE_VERSION", "--expect"),
        ("SAVEOS_SMOKE_SITE", "--site"),
        ("SAVEOS_SMOKE_ROUTE", "--route"),
        ("SAVEOS_SMOKE_METRICS", "--metrics"),
    ] {
        if let Ok(value) = std::env::var(variable) {
            command.args([option, &value]);
        }
    }
    match json {
        None => ended(&mut command),
        Some(file) => {
            let out = std::fs::File::create(Path::new(file)).with_context(|| format!("could not write {file}"))?;
            ended(command.arg("--json").stdout(out))
        }
    }
}

fn ended(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().context("could not start saveos-smoke")?;
    if status.success() { Ok(()) } else { bail!("something does not work there") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_environment_of_the_guide_is_there_and_what_people_pay_for_survives_a_machine() {
        let all = environments().expect("readable");
        assert_eq!(all.keys().collect::<Vec<_>>(), ["local", "production", "staging"]);
        assert!(all["production"].parts.api >= 3 && all["production"].parts.worker >= 5);
        assert!(all["staging"].parts.api >= 2 && all["staging"].parts.worker >= 2);
        let unknown = serde_norway::from_str::<BTreeMap<String, Environment>>(
            "x: { server: https://x, expect: 1, parts: { api: 1, worker: 1, broker: 1, mixer: 1 } }",
        );
        assert!(unknown.expect_err("a part that nobody knows").to_string().contains("mixer"));
    }
}
