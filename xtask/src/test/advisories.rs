//! Known holes in what we build upon: RustSec for crates, GitHub's advisories for packages of npm. Both come over the network; a machine
//! that cannot reach them says so and counts it, and on GitHub that is a failure.

use super::cargo_deny;
use super::tally::Tally;
use crate::dashboard::npm_words;
use anyhow::{Context, bail};
use std::process::Command;

const SKIPPED: &str = "no database of advisories can be reached";

/// What a checker came to.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Holes,
    /// It could not look.
    NoDatabase,
}

pub(super) fn check(tally: &mut Tally) -> anyhow::Result<()> {
    let deny = [&cargo_deny()?.to_string_lossy(), "--locked", "check", "advisories"].map(str::to_owned);
    let npm = npm_words(&["audit", "--json", "--audit-level=moderate"])?;
    let (crates, packages) = (ask(&deny, judge_crates)?, ask(&npm, judge_packages)?);
    for (what, found) in [("crates", crates), ("packages of npm", packages)] {
        match found {
            Found::Nothing => tally.passed(),
            Found::Holes => bail!("there are known holes in {what}: see above"),
            Found::NoDatabase if std::env::var_os("GITHUB_ACTIONS").is_some() => bail!("{what}: {SKIPPED}"),
            Found::NoDatabase => tally.skipped(what, SKIPPED),
        }
    }
    Ok(())
}

fn ask(words: &[String], judge: fn(&str, bool) -> Found) -> anyhow::Result<Found> {
    println!("$ {}", words.join(" "));
    let (program, arguments) = words.split_first().context("there is a program")?;
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("could not start {program}"))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let found = judge(&said, output.status.success());
    if found != Found::Nothing {
        println!("{said}");
    }
    Ok(found)
}

fn judge_crates(said: &str, ended_well: bool) -> Found {
    match ended_well {
        true => Found::Nothing,
        false if said.contains("failed to fetch advisory database") => Found::NoDatabase,
        false => Found::Holes,
    }
}

/// A report has a list of holes, empty or not; what has none is an answer of somebody else.
fn judge_packages(said: &str, ended_well: bool) -> Found {
    match (said.contains("\"auditReportVersion\""), ended_well) {
        (false, _) => Found::NoDatabase,
        (true, true) => Found::Nothing,
        (true, false) => Found::Holes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_could_not_look_found_neither_holes_nor_none() {
        let none = "[ERROR] failed to fetch advisory database https://example.org: failed to clone";
        assert_eq!(judge_crates(none, false), Found::NoDatabase);
        assert_eq!(judge_crates("error[vulnerability]: a hole", false), Found::Holes);
        assert_eq!(judge_crates("advisories ok", true), Found::Nothing);
        assert_eq!(judge_packages("{ \"message\": \"405 Method Not Allowed\" }", false), Found::NoDatabase);
        assert_eq!(judge_packages("{}", true), Found::NoDatabase);
        let report = "{ \"auditReportVersion\": 2, \"vulnerabilities\": {} }";
        assert_eq!((judge_packages(report, true), judge_packages(report, false)), (Found::Nothing, Found::Holes));
    }
}
