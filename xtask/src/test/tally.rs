//! Counts what test runs print, so that a test that skipped itself is not taken for one that passed.
//!
//! Tests print `SKIPPED: reason` and return; libtest calls that `ok`. Run with `--show-output` it repeats what each passing
//! test printed below `---- name stdout ----`, which is where the reasons are found.

use std::collections::BTreeMap;

/// Reasons that are right on any machine; all others are a failure where everything can be had: as root, or in CI.
const ALLOWED: &[&str] = &["no FAT driver", "the root device", "may not use swap", "no database of advisories"];

/// Sums over test binaries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    ran: u64,
    failed: u64,
    ignored: u64,
    /// Reason to the tests that gave it. Two binaries may have tests of one name.
    skipped: BTreeMap<String, Vec<(u64, String)>>,
    binary: u64,
    test: String,
    /// Names of tests that failed, in the order in which they did.
    names_of_failed: Vec<String>,
    /// Test to the panic that its output shows, and the lines below it.
    panics: BTreeMap<String, Vec<String>>,
    lines_of_panic: usize,
}

/// So much of a panic is repeated at the end: where, and what an assertion compared.
const LINES_OF_PANIC: usize = 6;

impl Tally {
    /// Takes one line of a test binary's standard output.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.names_of_failed.push(name.to_owned());
        }
        self.panic_line(line);
        if line.starts_with("running ") && line.contains(" test") {
            self.binary += 1;
        } else if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            name.clone_into(&mut self.test);
        } else if let Some((_, reason)) = line.split_once("SKIPPED: ") {
            self.skipped.entry(reason.trim().to_owned()).or_default().push((self.binary, self.test.clone()));
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let count = |what: &str| {
                let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
                words.windows(2).find(|pair| pair[1] == what).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
            };
            self.ran += count("passed");
            self.failed += count("failed");
            self.ignored += count("ignored");
        }
    }

    /// What is repeated at the end, where whoever sees only the last lines of a log looks.
    fn panic_line(&mut self, line: &str) {
        if line.contains(" panicked at ") {
            self.lines_of_panic = LINES_OF_PANIC;
        } else if line.starts_with("---- ") || line.starts_with("stack backtrace:") || line.is_empty() {
            self.lines_of_panic = 0;
        }
        if self.lines_of_panic > 0 {
            self.lines_of_panic -= 1;
            self.panics.entry(self.test.clone()).or_default().push(line.to_owned());
        }
    }

    /// Each test that failed, with its panic below.
    pub(crate) fn failures(&self) -> Vec<String> {
        let told = |name: &String| {
            let panic = self.panics.get(name).map(Vec::as_slice).unwrap_or_default();
            [&[format!("failed: {name}")], panic].concat().join("\n    ")
        };
        self.names_of_failed.iter().map(told).collect()
    }

    /// Takes one line of Vitest or Playwright: `Tests  3 passed (3)`, `7 passed (2.5m)`.
    pub(crate) fn web_line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "Tests").collect();
        if let [count, what, ..] = words.as_slice()
            && let Ok(count) = count.parse::<u64>()
        {
            match *what {
                "passed" => self.ran += count,
                "failed" => self.failed += count,
                "skipped" => self.ignored += count,
                _ => {}
            }
        }
    }

    /// A check that is no test of cargo's and passed.
    pub(crate) fn passed(&mut self) {
        self.ran += 1;
    }

    /// A check that is no test of cargo's and could not be made.
    pub(crate) fn skipped(&mut self, name: &str, reason: &str) {
        self.ran += 1;
        self.binary += 1;
        self.skipped.entry(reason.to_owned()).or_default().push((self.binary, name.to_owned()));
    }

    /// A check that is no test of cargo's: it passed or failed as a whole.
    pub(crate) fn failed_outside_tests(&mut self) {
        self.failed = self.failed.max(1);
    }

    /// Each reason once, with the tests that gave it.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let line = |(reason, tests): (&String, &Vec<(u64, String)>)| {
            let names: Vec<&str> = tests.iter().map(|(_, name)| name.as_str()).collect();
            format!("skipped: {reason} ({})", names.join(", "))
        };
        let ignored = (self.ignored > 0).then(|| format!("skipped: {} tests are marked #[ignore]", self.ignored));
        self.skipped.iter().map(line).chain(ignored).collect()
    }

    /// Reasons that a machine with everything installed has no excuse for.
    pub(crate) fn unexcused(&self) -> Vec<&str> {
        let excused = |reason: &str| ALLOWED.iter().any(|allowed| reason.contains(allowed));
        self.skipped.keys().map(String::as_str).filter(|reason| !excused(reason)).collect()
    }

    /// `N passed, N failed, N skipped`.
    pub(crate) fn closing(&self) -> String {
        let mut tests: Vec<&(u64, String)> = self.skipped.values().flatten().collect();
        tests.sort_unstable();
        tests.dedup();
        let skipped = tests.len() as u64;
        format!(
            "{} passed, {} failed, {} skipped",
            self.ran.saturating_sub(skipped),
            self.failed,
            skipped + self.ignored
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_browser_s_tests_print_is_counted() {
        let mut tally = Tally::default();
        for line in
            ["      Tests  12 passed (12)", " Test Files  3 passed (3)", "  7 passed (2.5m)", "  1 skipped", "ok"]
        {
            tally.web_line(line);
        }
        assert_eq!(tally.closing(), "19 passed, 0 failed, 1 skipped");
    }

    fn tally_of(text: &str) -> Tally {
        let mut tally = Tally::default();
        text.lines().for_each(|line| tally.line(line));
        tally
    }

    #[test]
    fn a_test_that_skipped_itself_did_not_pass() {
        let tally = tally_of(
            "running 3 tests\ntest fat ... ok\ntest ext ... ok\ntest raw ... ok\n\nsuccesses:\n\n\
             ---- fat stdout ----\nSKIPPED: the root device / has no name\nSKIPPED: needs root\n\n\
             ---- ext stdout ----\nSKIPPED: needs root\n\n\nsuccesses:\n    fat\n    ext\n\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             running 1 test\n---- fat stdout ----\nSKIPPED: needs root\n\
             test result: FAILED. 4 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        assert_eq!(tally.closing(), "4 passed, 2 failed, 4 skipped");
        assert_eq!(
            tally.reasons(),
            [
                "skipped: needs root (fat, ext, fat)",
                "skipped: the root device / has no name (fat)",
                "skipped: 1 tests are marked #[ignore]"
            ]
        );
        assert_eq!(tally.unexcused(), ["needs root"]);
    }

    #[test]
    fn a_failed_test_is_told_at_the_end_with_its_panic_and_a_passed_one_is_not() {
        let tally = tally_of(
            "running 2 tests\ntest fat ... ok\ntest ext ... FAILED\n\nsuccesses:\n\n---- fat stdout ----\n\
             thread 'worker' panicked at src/fat.rs:1:2:\nexpected\n\nfailures:\n\n---- ext stdout ----\nbefore\n\
             thread 'ext' (7) panicked at src/ext.rs:3:4:\nassertion failed\n  left: 1\n right: 2\nstack backtrace:\n\
             0: rust_begin_unwind\n\nfailures:\n    ext\n\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n",
        );
        let told = "failed: ext\n    thread 'ext' (7) panicked at src/ext.rs:3:4:\n    assertion failed\n      left: 1\n     right: 2";
        assert_eq!(tally.failures(), [told]);
    }

    #[test]
    fn a_run_without_skips_has_no_reasons() {
        let tally = tally_of("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n");
        assert_eq!(tally.closing(), "3 passed, 0 failed, 0 skipped");
        assert!(tally.reasons().is_empty() && tally.unexcused().is_empty());
    }
}
