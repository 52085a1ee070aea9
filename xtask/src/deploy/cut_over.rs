//! The order in which a release takes the place of another, and the way back: steps of the schema, then part after part, each asked
//! whether it is ready before the next, then the whole asked from outside. What went wrong is taken back at once, by nobody's hand.

use crate::environment::{Part, Tag};
use serde::Serialize;
use std::time::Duration;

/// Where a release is put.
pub(super) trait Place {
    /// What serves there: nothing on the first day, several builds where a cut-over was cut off.
    fn serves(&mut self) -> anyhow::Result<Vec<Tag>>;
    /// Brings the database to what `tag` works with, or says that it cannot work there.
    fn migrate(&mut self, tag: &Tag) -> anyhow::Result<()>;
    /// Replaces every process of that part by one of `tag`, so that the part goes on; all of them are ready then.
    fn replace(&mut self, part: Part, tag: &Tag) -> anyhow::Result<()>;
    /// Keeps that this is what serves, where nothing else says it.
    fn settle(&mut self, _: &Tag) -> anyhow::Result<()> {
        Ok(())
    }
    /// Has what serves there write down what became of it: the words of `saveos-server deployed`.
    fn write_down(&mut self, words: &[String]) -> anyhow::Result<()>;
    /// Time since some moment.
    fn now(&self) -> Duration;
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It serves.
    Serves,
    /// Nothing was replaced.
    Refused,
    /// What served before serves again, and works.
    TakenBack,
    /// It does not work, and the way back did not work either, or there was none.
    Broken,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Report {
    pub(super) from: Option<String>,
    pub(super) to: String,
    pub(super) outcome: Outcome,
    /// What went wrong first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// What went wrong on the way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) also: Option<String>,
    /// From the beginning until it served, or until something went wrong, in s.
    pub(super) forward_s: f64,
    /// From there until the one before served again, in s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) back_s: Option<f64>,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Serves => "serves",
            Outcome::Refused => "refused",
            Outcome::TakenBack => "taken_back",
            Outcome::Broken => "broken",
        }
    }
}

impl Report {
    /// As `saveos-server deployed` takes it.
    pub(super) fn words(&self) -> Vec<String> {
        let pair = |name: &str, value: String| [name.to_owned(), value];
        let mut words = vec![pair("--build", self.to.clone()), pair("--outcome", self.outcome.word().to_owned())];
        words.push(pair("--forward", format!("{:.3}", self.forward_s)));
        words.extend(self.from.clone().map(|from| pair("--from", from)));
        words.extend(self.back_s.map(|back| pair("--back", format!("{back:.3}"))));
        std::iter::once("deployed".to_owned()).chain(words.into_iter().flatten()).collect()
    }
}

/// Asks from outside whether a build works where it was put.
pub(super) type Ask<'a> = &'a dyn Fn(&Tag) -> anyhow::Result<()>;

/// Puts `to` in the place of what serves.
pub(super) fn cut_over(place: &mut dyn Place, ask: Ask<'_>, to: &Tag) -> Report {
    let began = place.now();
    let mut report = Report {
        from: None,
        to: to.to_string(),
        outcome: Outcome::Serves,
        why: None,
        also: None,
        forward_s: 0.0,
        back_s: None,
    };
    let prepared = place.serves().and_then(|from| place.migrate(to).map(|()| from));
    let from = match prepared {
        Ok(tags) => tags.iter().find(|tag| *tag != to).or(tags.first()).cloned(),
        Err(why) => {
            report.outcome = Outcome::Refused;
            report.why = Some(format!("{why:#}"));
            report.forward_s = (place.now() - began).as_secs_f64();
            return report;
        }
    };
    report.from = from.as_ref().map(Tag::to_string);
    let mut touched = Vec::new();
    let forward = put(place, ask, to, &Part::ALL, &mut touched).and_then(|()| place.settle(to));
    let turned = place.now();
    report.forward_s = (turned - began).as_secs_f64();
    let Err(why) = forward else { return report };
    report.why = Some(format!("{why:#}"));
    let back = match from.filter(|from| from != to) {
        Some(from) => put(place, ask, &from, &touched, &mut Vec::new()).and_then(|()| place.settle(&from)),
        None => Err(anyhow::anyhow!("there is nothing to go back to")),
    };
    report.back_s = Some((place.now() - turned).as_secs_f64());
    report.outcome = if back.is_ok() { Outcome::TakenBack } else { Outcome::Broken };
    report.also = back.err().map(|why| format!("{why:#}"));
    report
}

/// Part after part, and then the whole. A part counts as touched before anything is done to it: half of it may be replaced.
fn put(place: &mut dyn Place, ask: Ask<'_>, tag: &Tag, parts: &[Part], touched: &mut Vec<Part>) -> anyhow::Result<()> {
    for part in parts {
        touched.push(*part);
        place.replace(*part, tag)?;
    }
    ask(tag)
}

#[cfg(test)]
mod tests;
