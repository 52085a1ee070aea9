//! `saveos-server`: the control plane in one program. Boxes report to its broker, people look through its API.
//!
//! ```text
//! boxes ─mTLS─▶ broker ─▶ ingest ─▶ store ─▶ api ─▶ people
//!       ◀─────── desired, commands, acks ◀──┘
//! boxes ─HTTPS─▶ api: enrol, renew ─▶ authority
//! ```

mod account;
mod alerts;
mod api;
mod args;
mod audit;
mod authority;
mod backup;
mod broker;
mod canary;
mod capacity;
mod cell;
mod clock;
mod command_key;
mod config;
mod deployed;
mod doctor;
mod enrolment;
mod files;
mod fleet;
mod hub;
mod ingest;
mod init;
mod jobs;
mod lease;
mod metrics;
mod nonce;
mod notify;
mod objects;
mod password;
mod policy;
mod post;
mod presence;
mod probe;
mod protection;
mod releases;
mod revocation;
mod roles;
mod rollouts;
mod run;
mod second_factor;
mod sign;
mod stop;
mod store;

use args::{Arguments, Command};
use clap::Parser;
use init::First;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

fn main() -> ExitCode {
    // For what asks for no provider by name. It cannot have been done before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match Arguments::parse().command {
        Command::Init(arguments) => init(&arguments),
        Command::Run(arguments) => run(&arguments),
        Command::Backup { data, to } => briefly(backup::make(&data, &to)),
        Command::Restore { from, data } => briefly(backup::restore(&from, &data)),
        Command::Migrate { data } => migrate(&data),
        Command::Probe { at } => probe::ask(at).map_err(Into::into),
        Command::Doctor { data } => return doctor(&data),
        Command::Deployed(deployed) => briefly(deployed::run(&deployed)),
        Command::Cell(command) => cell(&command),
        Command::Sign(arguments) => sign::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("error: {}", chain.join(": "));
            ExitCode::FAILURE
        }
    }
}

fn briefly<E>(work: impl Future<Output = Result<(), E>>) -> anyhow::Result<()>
where
    anyhow::Error: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work)?)
}

fn init(arguments: &args::Init) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shown = runtime.block_on(init::init(arguments))?;
    if arguments.json {
        let mut json =
            serde_json::json!({ "organisation": shown.organisation, "command_passphrase": *shown.passphrase });
        match &shown.first {
            First::Account { email, password } => {
                (json["email"], json["password"]) = (email.as_str().into(), password.as_str().into());
            }
            First::Link(link) => json["setup_link"] = link.as_str().into(),
        }
        println!("{json}");
        return Ok(());
    }
    let data = arguments.data.display();
    println!("{} is set up in {data}.\n", arguments.organisation);
    println!("passphrase     {}  (of the command key)", *shown.passphrase);
    match &shown.first {
        First::Account { email, password } => {
            println!("administrator  {email}");
            println!("password       {}", **password);
        }
        First::Link(link) => println!("first account  {}", **link),
    }
    println!("\nThey are shown once and kept nowhere. Without the passphrase nobody can order anything that destroys.");
    println!("Next: saveos-server run --data {data}");
    if let First::Link(_) = shown.first {
        println!("Then open the link of the first account in a browser: it counts once, for whoever opens it.");
    }
    Ok(())
}

fn run(arguments: &args::Run) -> anyhow::Result<()> {
    let level = tracing_subscriber::EnvFilter::try_from_env("SAVEOS_LOG");
    let level = level.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr);
    if arguments.log_json {
        logs.json().init()
    } else {
        logs.with_ansi(false).init()
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.send_replace(true);
        });
        Ok(run::run(arguments, stopped).await?)
    })
}

fn cell(command: &args::CellCommand) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{}", runtime.block_on(cell::command::run(command))?);
    Ok(())
}

fn migrate(data: &std::path::Path) -> anyhow::Result<()> {
    let config = config::Config::read(data)?;
    let database = config.database()?;
    briefly(async { store::Store::open(data, database.as_ref()).await.map(drop) })?;
    println!("the database is what {} works with", env!("CARGO_PKG_VERSION"));
    Ok(())
}

fn doctor(data: &std::path::Path) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let findings = runtime.block_on(doctor::examine(data));
    for finding in &findings {
        match &finding.trouble {
            None => println!("ok    {}", finding.what),
            Some(trouble) => println!("WRONG {}: {trouble}", finding.what),
        }
    }
    if findings.iter().all(|finding| finding.trouble.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
