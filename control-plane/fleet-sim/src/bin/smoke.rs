//! `saveos-smoke`: asks a control plane that was just put somewhere whether it does what it is for. A line for each check, or one JSON
//! object; anything that is not well is a failure.

use anyhow::Context;
use clap::Parser;
use saveos_fleet_sim::smoke::{self, Target};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Whether a control plane works, asked from outside.
#[derive(Debug, Parser)]
#[command(name = "saveos-smoke", version)]
struct Arguments {
    /// The control plane, `https://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    server: String,
    /// PEM file with its authority.
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// An administrator; the password is in SAVEOS_PASSWORD, or in the file that SAVEOS_PASSWORD_FILE names.
    #[arg(long, value_name = "EMAIL")]
    email: String,
    /// The version that should answer.
    #[arg(long, value_name = "VERSION")]
    expect: Option<String>,
    /// The site for the box that is enrolled and revoked; without it a customer and a site `smoke` are made.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// The alert route on which a test is sent.
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// Where the metrics are, `http://HOST:PORT/metrics`.
    #[arg(long, value_name = "URL")]
    metrics: Option<String>,
    /// What a page of boxes may take, in ms, nineteen times of twenty.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    budget: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("error: {}", chain.join(": "));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let target = Target {
        server: arguments.server.clone(),
        authority: std::fs::read_to_string(&arguments.authority).context("could not read the authority")?,
        email: arguments.email.clone(),
        password: password()?,
        version: arguments.expect.clone(),
        site: arguments.site.clone(),
        route: arguments.route.clone(),
        metrics: arguments.metrics.clone(),
        budget: Duration::from_millis(arguments.budget),
    };
    let checks = smoke::run(&target);
    if arguments.json {
        println!("{}", smoke::report(&target, &checks));
    }
    for check in checks.iter().filter(|_| !arguments.json) {
        let (word, said) = match &check.outcome {
            Ok(said) => ("ok   ", said),
            Err(said) => ("WRONG", said),
        };
        println!("{word} {:<10} {:>6} ms  {said}", check.name, check.took.as_millis());
    }
    Ok(checks.iter().all(|check| check.outcome.is_ok()))
}

fn password() -> anyhow::Result<String> {
    if let Some(path) = std::env::var_os("SAVEOS_PASSWORD_FILE") {
        let text = std::fs::read_to_string(path).context("could not read what SAVEOS_PASSWORD_FILE names")?;
        return Ok(text.trim_end_matches('\n').to_owned());
    }
    std::env::var("SAVEOS_PASSWORD").context("neither SAVEOS_PASSWORD nor SAVEOS_PASSWORD_FILE is set")
}
