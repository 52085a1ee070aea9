//! `cargo xtask smoke --env NAME`: asks one of our environments, from outside, whether it does what it is for. Where they are, and how
//! large, `control-plane/deploy/environments.yml` says; who asks, the environment of the process: nothing secret is an argument.

use crate::environment::{self, Environment};
use crate::shell::{root, run};
use crate::version::number::Version;
use anyhow::{Context, bail, ensure};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The task.
pub(crate) fn run_task(words: &[&str]) -> anyhow::Result<()> {
    let (name, json) = match words {
        ["--env", name] => (*name, None),
        ["--env", name, "--json", file] => (*name, Some(*file)),
        _ => bail!("cargo xtask smoke --env local|staging|production [--json FILE]"),
    };
    let expected = std::env::var("SAVEOS_SMOKE_VERSION").ok().map(|text| text.parse()).transpose()?;
    Asker::new(name, &environment::named(name)?)?.ask(expected, json.map(Path::new))
}

/// What is needed to ask, all there: whoever replaces something first sees that it can be asked afterwards.
pub(crate) struct Asker {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Asker {
    /// About that environment.
    pub(crate) fn new(name: &str, environment: &Environment) -> anyhow::Result<Asker> {
        let who = |variable: &str, what: &str| {
            std::env::var(variable).with_context(|| format!("{variable} is not set: {what}"))
        };
        let server = std::env::var("SAVEOS_SMOKE_SERVER").unwrap_or_else(|_| environment.server.clone());
        let authority =
            authority(&who("SAVEOS_SMOKE_AUTHORITY", "`authority.pem` of the environment, or what it holds")?)?;
        let email = who(
            "SAVEOS_SMOKE_EMAIL",
            "an administrator, whose password is in SAVEOS_PASSWORD or SAVEOS_PASSWORD_FILE",
        )?;
        let secret = ["SAVEOS_PASSWORD", "SAVEOS_PASSWORD_FILE"].iter().any(|name| std::env::var_os(name).is_some());
        ensure!(secret, "SAVEOS_PASSWORD is not set, and SAVEOS_PASSWORD_FILE neither: the administrator's password");
        let budget = environment.expect.to_string();
        let words = ["--server", &server, "--authority", &authority, "--email", &email, "--budget", &budget];
        let mut arguments: Vec<String> = words.map(str::to_owned).to_vec();
        for (variable, option) in
            [("SAVEOS_SMOKE_SITE", "--site"), ("SAVEOS_SMOKE_ROUTE", "--route"), ("SAVEOS_SMOKE_METRICS", "--metrics")]
        {
            if let Ok(value) = std::env::var(variable) {
                arguments.extend([option.to_owned(), value]);
            }
        }
        Ok(Asker { name: name.to_owned(), program: program()?, arguments })
    }

    /// Asks; `expected` must answer.
    pub(crate) fn ask(&self, expected: Option<Version>, json: Option<&Path>) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        if let Some(version) = expected {
            command.args(["--expect", &version.to_string()]);
        }
        if let Some(file) = json {
            let out = std::fs::File::create(file).with_context(|| format!("could not write {}", file.display()))?;
            command.arg("--json").stdout(out);
        }
        let mut wrong = Vec::new();
        let status = match json {
            Some(_) => command.status().context("could not start saveos-smoke")?,
            None => {
                let output = command.stderr(Stdio::inherit()).output().context("could not start saveos-smoke")?;
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                print!("{text}");
                wrong = text.lines().filter_map(|line| line.strip_prefix("WRONG ")).map(words).collect();
                output.status
            }
        };
        ensure!(status.success(), "{} does not work: {}", self.name, wrong.join(", "));
        Ok(())
    }
}

/// The path of the authority, also where a workflow has but its text.
fn authority(given: &str) -> anyhow::Result<String> {
    if !given.trim_start().starts_with("-----BEGIN ") {
        return Ok(given.to_owned());
    }
    let path = root().join("target/smoke-authority.pem");
    std::fs::File::create(&path)?.write_all(given.as_bytes())?;
    Ok(path.to_string_lossy().into_owned())
}

/// A line of a table as a sentence.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The program that asks: of this tree, or one that is there already.
fn program() -> anyhow::Result<PathBuf> {
    if let Some(program) = std::env::var_os("SAVEOS_SMOKE_PROGRAM") {
        return Ok(program.into());
    }
    run("cargo", &["build", "--locked", "--workspace", "--bin", "saveos-smoke"])?;
    Ok(root().join("target/debug/saveos-smoke"))
}
