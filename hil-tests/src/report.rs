//! What became of the scenarios: a line each as they end, a JUnit file for whoever collects such.

use std::io::Write;
use std::time::Duration;

/// How a scenario ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// With what it measured.
    Passed(String),
    /// And why.
    Failed(String),
    /// What the bench lacks.
    Skipped(String),
}

/// All of a run.
pub(crate) struct Report {
    bench: String,
    rows: Vec<(String, Duration, Outcome)>,
}

impl Report {
    /// Of a bench.
    pub(crate) fn of(bench: &str) -> Report {
        Report { bench: bench.to_owned(), rows: Vec::new() }
    }

    /// Takes note, and says so.
    pub(crate) fn add(&mut self, name: &str, took: Duration, outcome: Outcome) {
        let (word, text) = match &outcome {
            Outcome::Passed(text) => ("passed", text),
            Outcome::Failed(text) => ("FAILED", text),
            Outcome::Skipped(text) => ("SKIPPED", text),
        };
        println!("{name:<16} {word:<8} {:>6.1} s  {text}", took.as_secs_f64());
        self.rows.push((name.to_owned(), took, outcome));
    }

    fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|(.., outcome)| which(outcome)).count()
    }

    /// The last line; whether nothing failed and something ran.
    pub(crate) fn summary(&self) -> bool {
        let passed = self.count(|outcome| matches!(outcome, Outcome::Passed(_)));
        let failed = self.count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        println!("{} bench: {passed} passed, {failed} failed, {skipped} skipped", self.bench);
        failed == 0 && passed > 0
    }

    /// As CI systems read it.
    pub(crate) fn write_junit(&self, to: &mut impl Write) -> std::io::Result<()> {
        let failed = self.count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        writeln!(to, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
        let (name, tests) = (escaped(&self.bench), self.rows.len());
        writeln!(to, r#"<testsuite name="{name}" tests="{tests}" failures="{failed}" skipped="{skipped}">"#)?;
        for (name, took, outcome) in &self.rows {
            let (name, took) = (escaped(name), took.as_secs_f64());
            write!(to, r#"  <testcase name="{name}" classname="saveos-hil" time="{took:.3}">"#)?;
            match outcome {
                Outcome::Passed(text) => write!(to, "<system-out>{}</system-out>", escaped(text))?,
                Outcome::Failed(text) => write!(to, "<failure>{}</failure>", escaped(text))?,
                Outcome::Skipped(text) => write!(to, r#"<skipped message="{}"/>"#, escaped(text))?,
            }
            writeln!(to, "</testcase>")?;
        }
        writeln!(to, "</testsuite>")
    }
}

/// What XML 1.0 may hold: a console says other things too.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut safe, one| {
        match one {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(one),
            one if one.is_control() => safe.push('\u{fffd}'),
            one => safe.push(one),
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_skips_and_survives_what_a_console_says() {
        let mut report = Report::of("virtual");
        report.add("boot_ready", Duration::from_millis(1500), Outcome::Passed("ready after 9.1 s".into()));
        report.add("ota_bad", Duration::from_secs(2), Outcome::Failed("<\u{1b}[0m & \"panic\"".into()));
        report.add("sata_backup", Duration::ZERO, Outcome::Skipped("no SATA".into()));
        let mut text = Vec::new();
        report.write_junit(&mut text).expect("it is written");
        let text = String::from_utf8(text).expect("text");
        assert!(text.contains(r#"tests="3" failures="1" skipped="1""#), "{text}");
        assert!(text.contains("<failure>&lt;\u{fffd}[0m &amp; &quot;panic&quot;</failure>"), "{text}");
        assert!(!report.summary());
    }

    #[test]
    fn a_run_in_which_all_was_skipped_proves_nothing() {
        let mut report = Report::of("rack");
        report.add("boot_ready", Duration::ZERO, Outcome::Skipped("no power".into()));
        assert!(!report.summary());
    }
}
