//! `saveos`: the engine at a terminal. Parses, opens, calls, prints; everything else is in `saveos-engine`.
//!
//! Exit codes: 0 complete, 1 failed, 2 usage, 3 partial. With `--json` every line of standard output is one object.

mod args;
mod commands;
mod output;
mod progress;
mod session;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    let out = output::Output { json: arguments.json, quiet: arguments.quiet };
    match commands::run(arguments.command, &out) {
        Ok(exit) => exit.into(),
        Err(error) => {
            out.error(&error);
            ExitCode::from(1)
        }
    }
}
