//! `cargo xtask …`: what a person, CI and the workflows run on this tree, so that all of them run the same thing.

mod bench;
mod container;
mod cross;
mod dashboard;
mod demo;
mod deploy;
mod environment;
mod image;
mod notify;
mod release;
mod setup;
mod shell;
mod smoke;
mod test;
mod tidy;
mod version;
mod yocto;

use anyhow::bail;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask demo [--once]        show the product: a box, its control plane, a disk; stays up, or checks all and stops
cargo xtask demo engine          back up a real disk image, change it, restore it, compare
cargo xtask test [SUITE…]        run every check and test (or: format dashboard lint deny advisories ci unit engine cli bootctl daemon protocol server cluster release demo web reader aarch64 image fuzz; by name only: container)
cargo xtask dashboard            build the dashboard, which the next build of saveos-server carries
cargo xtask setup                install what the others need, and say what
cargo xtask bench engine [--size GIB] [--runs N] [--only PEERS] [--cold]   time saveos beside its peers, on the same disk
cargo xtask bench fleet          5,000 simulated boxes and 5,000 facts a second at a real control plane
cargo xtask bench rollout [SEEDS] [RELEASE]   the ring engine over 100,000 boxes that do not exist, with releases of every kind
cargo xtask bench scale          memory and reads at 8 TiB, ten million files, 30 million chunks
cargo xtask xbuild [PACKAGE…]    build for aarch64, on whatever this is (default: what an appliance runs)
cargo xtask image [--machine qemu|rpi4] [--keys DIR]   make the appliance's disk image and its update bundle
cargo xtask hil [--machine rpi4] [SCENARIO…] [--bench virtual|rack:NAME] [--junit FILE]   make the image, start it on a bench, hold it to what it promises
cargo xtask smoke --env local|staging|production [--json FILE]   ask an environment, from outside, whether it works
cargo xtask container [--tag IMAGE:TAG] | tag | push IMAGE:TAG   make the image of the control plane, say what it is called, put it into the registry
cargo xtask tidy [--yes]         remove images and artefacts of commits that nobody needs any more
cargo xtask deploy --env NAME --version BUILD [--json FILE]     put a release (1.2.3) or a commit (sha-0123abc) there, ask whether it works, take it back if not
cargo xtask rollback --env NAME --version BUILD [--json FILE]   put an older one there, in the same way
cargo xtask version show | bump patch|minor|major|prerelease   the number of the product, in every file that says it
cargo xtask release patch|minor|major|prerelease [--message TEXT] [--suites \"SUITE…\"] [--yes]   test, raise, commit, tag; or change nothing
cargo xtask release notes        what the tag of this version says
cargo xtask release tag | firmware MACHINE | draft   of a tagged commit: which release it is; image and bundle with the keys of SAVEOS_BUNDLE_*; a draft with all of it
cargo xtask release sign | publish …   what holders of keys do with a draft, in the words of saveos-release (docs/RELEASING.md); paths from the top of the tree
cargo xtask notify TITLE         tell a chat what became of the jobs of a workflow
cargo xtask yocto [parse|build MACHINE]   write the list of crates that BitBake fetches; have it read the recipes, or build
cargo xtask fuzz TARGET [SECONDS]   fuzz one parser (default 60 s)
";

/// One line of what went wrong, below the output that shows it: no backtrace may push that out of sight.
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    std::env::set_current_dir(shell::root())?;
    match words.as_slice() {
        ["demo", words @ ..] => demo::run(words),
        ["test", suites @ ..] => test::run_task(suites),
        ["dashboard"] => dashboard::build(),
        ["setup"] => setup::everything(),
        ["bench", "engine", options @ ..] => bench::engine(options),
        ["bench", "fleet"] => bench::fleet::run(),
        ["bench", "rollout", seeds @ ..] => {
            let bench = ["bench", "--locked", "-p", "saveos-server", "--bench", "rollout", "--"];
            shell::run("cargo", &[&bench, seeds].concat())
        }
        ["bench", "scale"] => shell::run("cargo", &["bench", "--locked", "-p", "saveos-engine", "--bench", "scale"]),
        ["xbuild", packages @ ..] => {
            match cross::build(if packages.is_empty() { image::PROGRAMS } else { packages }, "release")? {
                Ok(folder) => {
                    println!("built in {}", folder.display());
                    Ok(())
                }
                Err(why) => bail!(why),
            }
        }
        ["image", words @ ..] => image::run(words),
        ["hil", words @ ..] => image::hil(words),
        ["smoke", words @ ..] => smoke::run_task(words),
        ["deploy", words @ ..] => deploy::deploy(words),
        ["rollback", words @ ..] => deploy::rollback(words),
        ["tidy", words @ ..] => tidy::run_task(words),
        ["container", words @ ..] => container::run_task(words),
        ["notify", words @ ..] => notify::run(words),
        ["version", words @ ..] => version::run(words),
        ["release", words @ ..] => release::run(words),
        ["yocto", words @ ..] => yocto::run_task(words),
        ["fuzz", target] => test::fuzz(target, 60),
        ["fuzz", target, seconds] => test::fuzz(target, seconds.parse()?),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        other => bail!("no task `{}`\n\n{HELP}", other.join(" ")),
    }
}
