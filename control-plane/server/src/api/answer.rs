//! Shapes that several answers share: a page of a list, the name of what was made.

use super::problem::ApiError;
use axum::extract::FromRequestParts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// Items a page has when nobody says.
const USUAL: u64 = 100;
/// Items a page has at most.
const MOST: u64 = 500;

/// Which part of a list.
#[derive(Deserialize, FromRequestParts, IntoParams)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// `next` of the page before; none for the first page.
    #[serde(default)]
    #[param(required = false)]
    pub(super) after: String,
    /// Items at most.
    #[serde(default)]
    #[param(value_type = Option<u64>, minimum = 1, maximum = 500, default = 100)]
    limit: Limit,
}

/// What is asked for is given or refused: a shorter list than the one asked for would look like the end.
#[derive(Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct Limit(u64);

impl Limit {
    pub(super) const fn get(&self) -> u64 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Limit {
        Limit(USUAL)
    }
}

impl TryFrom<u64> for Limit {
    type Error = &'static str;

    fn try_from(limit: u64) -> Result<Limit, &'static str> {
        if (1..=MOST).contains(&limit) { Ok(Limit(limit)) } else { Err("1 to 500 items") }
    }
}

impl Page {
    pub(super) fn limit(&self) -> u64 {
        self.limit.0
    }

    /// The list, and what to ask for next: nothing when this was its end.
    pub(super) fn answer<T>(&self, items: Vec<T>, cursor: impl Fn(&T) -> String) -> List<T> {
        let full = items.len() as u64 == self.limit();
        let next = items.last().filter(|_| full).map(cursor);
        List { items, next }
    }
}

/// A page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ListOf{T}")]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    /// `after` of the next page; none at the end.
    pub(super) next: Option<String>,
}

impl<T> List<T> {
    /// A list that has one page.
    pub(super) const fn whole(items: Vec<T>) -> List<T> {
        List { items, next: None }
    }
}

/// What was made.
#[derive(Serialize, JsonSchema)]
pub(super) struct Made {
    pub(super) id: String,
}
