//! `saveosd`: what runs on the appliance. Disks in, one job at a time, facts out; no port is open, a socket answers who asks.
//!
//! ```text
//! disks ─▶ plan ─▶ queue ─▶ work (engine) ─▶ outbox ─▶ uplink
//!            ▲ policy          status ◀─ a person at the box
//! ```

mod args;
mod clock;
mod db;
mod desired;
mod disks;
mod enrol;
mod files;
mod floor;
mod identity;
mod logs;
mod machine;
mod notify;
mod outbox;
mod panel;
mod plan;
mod policy;
mod queue;
mod room;
mod run;
mod show;
mod smart;
mod status;
mod told;
mod trust;
mod update;
mod uplink;
mod vault;
mod vitals;
mod wishes;
mod work;

use args::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run(run) => start(&run),
        Command::Ask(ask) => show::ask(&ask),
        Command::Panel(ask) => show::panel::ask(&ask),
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

fn start(run: &args::Run) -> anyhow::Result<()> {
    let level = tracing_subscriber::EnvFilter::try_from_env("SAVEOS_LOG");
    let level = level.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr);
    // The journal has its own clock.
    if run.log_json {
        logs.json().init()
    } else {
        logs.with_ansi(false).init()
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || asked.store(true, Ordering::SeqCst))?;
    Ok(run::run(&run.places(), &stop)?)
}
