//! A list that says how much of it is missing: what is shown, and how many more there were.

use crate::limits::SHOWN;
use crate::unit::Count;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The first items of a list; the others are counted, so that nothing is left out in silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ExcerptOf{T}")]
pub struct Excerpt<T> {
    /// What is shown.
    pub shown: Vec<T>,
    /// How many more there were.
    #[serde(default)]
    pub more: Count,
}

impl<T> Default for Excerpt<T> {
    fn default() -> Self {
        Excerpt { shown: Vec::new(), more: Count::ZERO }
    }
}

impl<T> Excerpt<T> {
    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.more.get().saturating_add(self.shown.len() as u64)
    }

    /// True when there was nothing.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    fn leave_out(&mut self, items: usize) {
        self.shown.truncate(self.shown.len() - items.min(self.shown.len()));
        self.more = Count::saturating(self.more.get().saturating_add(items as u64));
    }
}

impl<T> FromIterator<T> for Excerpt<T> {
    /// Shows the first 32.
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items = items.into_iter();
        let shown = items.by_ref().take(SHOWN).collect();
        Excerpt { shown, more: Count::saturating(items.count() as u64) }
    }
}

/// Lists of different items, shortened alike.
pub(crate) trait Shorten {
    fn len(&self) -> usize;
    /// Moves the last item from shown to counted.
    fn shorten(&mut self);
}

impl<T> Shorten for Excerpt<T> {
    fn len(&self) -> usize {
        self.shown.len()
    }

    fn shorten(&mut self) {
        if !self.shown.is_empty() {
            self.leave_out(1);
        }
    }
}

/// Shortens the longest list by one; `false` when all are empty.
pub(crate) fn shorten_longest(lists: &mut [&mut dyn Shorten]) -> bool {
    match lists.iter_mut().max_by_key(|list| list.len()).filter(|list| list.len() > 0) {
        Some(longest) => {
            longest.shorten();
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_counted() {
        let mut list: Excerpt<u32> = (0..100).collect();
        assert_eq!((list.shown.len(), list.more, list.total()), (32, Count::from(68), 100));
        assert!(shorten_longest(&mut [&mut list]));
        assert_eq!((list.shown.last(), list.total()), (Some(&30), 100));
    }
}
