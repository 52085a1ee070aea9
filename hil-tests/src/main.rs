//! `saveos-hil`: scenarios that start a real image on a bench and hold it to what it promises.

mod bench;
mod block_log;
mod console;
mod control_plane;
mod disk;
mod file_server;
mod qmp;
mod rack;
mod report;
mod scenarios;
mod source_disk;
mod virtual_bench;

use anyhow::{Context, bail};
use bench::Bench;
use clap::Parser;
use report::{Outcome, Report};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Starts a real image on a bench and holds it to what it promises.
#[derive(Parser)]
#[command(name = "saveos-hil", version)]
struct Arguments {
    /// Scenarios [default: all].
    scenario: Vec<String>,
    /// The bench: `virtual`, or `rack:NAME` for a place of a rack.
    #[arg(long, default_value = "virtual")]
    bench: String,
    /// What the places of the rack are.
    #[arg(long, value_name = "FILE", default_value = "/etc/saveos/racks.toml")]
    racks: PathBuf,
    /// Folder with the image and its bundles, as `cargo xtask image` makes it.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Write a JUnit report here.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Print everything that a console said when a scenario fails.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("saveos-hil: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let mut bench: Box<dyn Bench> = match arguments.bench.as_str() {
        "virtual" => Box::new(virtual_bench::VirtualBench::new(arguments.images.join("uboot-env.bin"))?),
        other => match other.strip_prefix("rack:") {
            Some(name) => Box::new(rack::RackBench::new(&arguments.racks, name)?),
            None => bail!("no bench `{other}`: virtual, or rack:NAME"),
        },
    };
    let known = scenarios::ALL;
    for name in &arguments.scenario {
        if !known.iter().any(|scenario| scenario.name == *name) {
            let names: Vec<&str> = known.iter().map(|scenario| scenario.name).collect();
            bail!("no scenario `{name}`: {}", names.join(", "));
        }
    }
    let mut report = Report::of(&bench.name());
    for scenario in known
        .iter()
        .filter(|one| arguments.scenario.is_empty() || arguments.scenario.iter().any(|name| name == one.name))
    {
        let began = Instant::now();
        let lacks = scenario.needs.iter().find_map(|ability| bench.lacks(*ability));
        let outcome = match lacks {
            Some(why) => Outcome::Skipped(why),
            None => match (scenario.run)(bench.as_mut(), &arguments.images) {
                Ok(told) => Outcome::Passed(told),
                Err(error) => {
                    if arguments.verbose
                        && let Ok(console) = bench.console()
                    {
                        println!("{}", console.text());
                    }
                    Outcome::Failed(format!("{error:#}"))
                }
            },
        };
        bench.power_off()?;
        report.add(scenario.name, began.elapsed(), outcome);
    }
    if let Some(path) = &arguments.junit {
        let mut file = std::fs::File::create(path).with_context(|| format!("could not make {}", path.display()))?;
        report.write_junit(&mut file)?;
    }
    Ok(report.summary())
}
