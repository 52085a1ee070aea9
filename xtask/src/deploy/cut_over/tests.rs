//! Every step of a cut-over goes wrong once, forward and back.

use super::*;
use anyhow::bail;
use std::cell::RefCell;

/// What is done, in which what is named goes wrong.
#[derive(Default)]
struct Steps {
    wrong: &'static [&'static str],
    done: RefCell<Vec<String>>,
}

impl Steps {
    fn step(&self, what: String) -> anyhow::Result<()> {
        self.done.borrow_mut().push(what.clone());
        if self.wrong.contains(&what.as_str()) { bail!("{what} went wrong") } else { Ok(()) }
    }
}

/// A place on paper.
struct Paper<'s> {
    serves: Vec<&'static str>,
    steps: &'s Steps,
    runs: Vec<(Part, String)>,
}

impl Place for Paper<'_> {
    fn serves(&mut self) -> anyhow::Result<Vec<Tag>> {
        self.serves.iter().map(|tag| tag.parse()).collect()
    }

    fn migrate(&mut self, tag: &Tag) -> anyhow::Result<()> {
        self.steps.step(format!("migrate {tag}"))
    }

    fn replace(&mut self, part: Part, tag: &Tag) -> anyhow::Result<()> {
        self.runs.retain(|(one, _)| *one != part);
        self.runs.push((part, tag.to_string()));
        self.steps.step(format!("{part} {tag}"))
    }

    fn settle(&mut self, tag: &Tag) -> anyhow::Result<()> {
        self.steps.step(format!("settle {tag}"))
    }

    fn write_down(&mut self, words: &[String]) -> anyhow::Result<()> {
        self.steps.step(words.join(" "))
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.steps.done.borrow().len() as u64)
    }
}

/// What became of it, what was done, and what runs in the end.
fn with(serves: &[&'static str], wrong: &'static [&'static str]) -> (Report, Vec<String>, Vec<(Part, String)>) {
    let steps = Steps { wrong, ..Steps::default() };
    let mut place = Paper { serves: serves.to_vec(), steps: &steps, runs: Vec::new() };
    let report = cut_over(&mut place, &|tag| steps.step(format!("ask {tag}")), &"2.0.0".parse().expect("a build"));
    let runs = place.runs;
    (report, steps.done.into_inner(), runs)
}

#[test]
fn what_works_serves_after_each_part_was_ready() {
    let (report, done, _) = with(&["1.0.0"], &[]);
    assert_eq!((report.outcome, report.from.as_deref(), report.why), (Outcome::Serves, Some("1.0.0"), None));
    assert_eq!(done, ["migrate 2.0.0", "api 2.0.0", "worker 2.0.0", "broker 2.0.0", "ask 2.0.0", "settle 2.0.0"]);
    assert_eq!((report.forward_s, report.back_s), (6.0, None));
}

#[test]
fn what_became_of_it_is_said_in_words_that_the_server_takes() {
    let words = |report: &Report| report.words().join(" ");
    let (report, ..) = with(&["1.0.0"], &[]);
    assert_eq!(words(&report), "deployed --build 2.0.0 --outcome serves --forward 6.000 --from 1.0.0");
    let (report, ..) = with(&["1.0.0"], &["ask 2.0.0"]);
    assert_eq!(words(&report), "deployed --build 2.0.0 --outcome taken_back --forward 5.000 --from 1.0.0 --back 5.000");
    let (report, ..) = with(&[], &["migrate 2.0.0"]);
    assert_eq!(words(&report), "deployed --build 2.0.0 --outcome refused --forward 1.000");
}

#[test]
fn a_step_of_the_schema_that_fails_replaces_nothing() {
    let (report, done, _) = with(&["1.0.0"], &["migrate 2.0.0"]);
    assert_eq!(report.outcome, Outcome::Refused);
    assert_eq!(done, ["migrate 2.0.0"]);
    assert_eq!(report.why.as_deref(), Some("migrate 2.0.0 went wrong"));
}

#[test]
fn whatever_goes_wrong_later_what_served_serves_again_and_was_asked() {
    for wrong in [&["api 2.0.0"][..], &["worker 2.0.0"], &["broker 2.0.0"], &["ask 2.0.0"], &["settle 2.0.0"]] {
        let wrong: &'static [&'static str] = wrong;
        let (report, done, runs) = with(&["1.0.0"], wrong);
        assert_eq!(report.outcome, Outcome::TakenBack, "{wrong:?}");
        assert!(runs.iter().all(|(_, tag)| tag == "1.0.0"), "{wrong:?}: {runs:?}");
        assert_eq!(done[done.len() - 2..], ["ask 1.0.0", "settle 1.0.0"], "{wrong:?}");
        assert!(report.back_s > Some(0.0));
    }
    // Who was not replaced is not replaced again: a broken API costs no box its connection.
    let (_, done, _) = with(&["1.0.0"], &["api 2.0.0"]);
    assert_eq!(done, ["migrate 2.0.0", "api 2.0.0", "api 1.0.0", "ask 1.0.0", "settle 1.0.0"]);
}

#[test]
fn a_way_back_that_fails_and_one_that_is_none_are_told() {
    let (report, ..) = with(&["1.0.0"], &["ask 2.0.0", "worker 1.0.0"]);
    assert_eq!((report.outcome, report.also.as_deref()), (Outcome::Broken, Some("worker 1.0.0 went wrong")));
    let (report, done, _) = with(&[], &["ask 2.0.0"]);
    assert_eq!((report.outcome, report.also.as_deref()), (Outcome::Broken, Some("there is nothing to go back to")));
    assert!(!done.contains(&"settle 2.0.0".to_owned()));
    // The same build once more, as after a change of a secret: it is no way back from itself.
    let (report, ..) = with(&["2.0.0"], &["ask 2.0.0"]);
    assert_eq!(report.outcome, Outcome::Broken);
}

#[test]
fn a_cut_over_that_was_cut_off_goes_on_and_knows_the_way_back() {
    let (report, ..) = with(&["2.0.0", "1.0.0"], &["ask 2.0.0"]);
    assert_eq!((report.outcome, report.from.as_deref()), (Outcome::TakenBack, Some("1.0.0")));
}
