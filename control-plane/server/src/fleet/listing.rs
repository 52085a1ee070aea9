//! A page of boxes: filtered, sorted, continued behind a place. Every page costs about the same, the first and the last.
//!
//! One look through a narrow index finds the names of the page, whatever is asked; only the boxes of the page are read whole.
//! Presence and protection depend on the time: the same rules as in `presence` and `protection`, said in SQL, and a test holds
//! them against each other.

use super::{Appliance, one};
use crate::cell::Cell;
use crate::cell::ears::Ears;
use crate::presence::Presence;
use crate::store::{Row, StoreError, Tx, Value, values};
use saveos_protocol::time::Timestamp;
use serde::Deserialize;

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
pub(crate) enum Sort {
    /// In the order of enrolment.
    #[default]
    #[serde(rename = "id")]
    Id,
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "-name")]
    NameDown,
    /// The longest silent first.
    #[serde(rename = "heard")]
    Heard,
    #[serde(rename = "-heard")]
    HeardDown,
    /// Those that are not protected first, then those that will not be soonest.
    #[serde(rename = "protected")]
    Protected,
}

/// Yes, no, or either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tri {
    #[default]
    Either,
    Yes,
    No,
}

impl From<Option<bool>> for Tri {
    fn from(asked: Option<bool>) -> Tri {
        match asked {
            None => Tri::Either,
            Some(true) => Tri::Yes,
            Some(false) => Tri::No,
        }
    }
}

impl Tri {
    const fn number(self) -> u64 {
        match self {
            Tri::Either => 0,
            Tri::Yes => 1,
            Tri::No => 2,
        }
    }
}

/// Which boxes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Paths below which one may look.
    pub(crate) tops: Vec<String>,
    /// Part of the name; ASCII letters of either case.
    pub(crate) name: String,
    pub(crate) firmware: String,
    /// A word that somebody put on it.
    pub(crate) tag: String,
    pub(crate) presence: Option<Presence>,
    pub(crate) protected: Tri,
    pub(crate) flagged: Tri,
}

/// Where a page ended: the value that was sorted by, and the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) key: Value,
    pub(crate) id: String,
}

impl Place {
    /// As `next` says it; ids have no space.
    pub(crate) fn as_text(&self) -> String {
        match &self.key {
            Value::Null => self.id.clone(),
            Value::Integer(number) => format!("{} {number}", self.id),
            Value::Text(text) => format!("{} {text}", self.id),
        }
    }

    /// And back, for a list in this order.
    pub(crate) fn parse(text: &str, sort: Sort) -> Option<Place> {
        let (id, key) = text.split_once(' ').unwrap_or((text, ""));
        let key = match sort {
            Sort::Id => Value::from(id),
            Sort::Name | Sort::NameDown => Value::from(key),
            Sort::Heard | Sort::HeardDown | Sort::Protected => {
                Value::Integer(key.parse().ok().filter(|key| *key >= 0)?)
            }
        };
        Some(Place { key, id: id.to_owned() })
    }
}

/// Names and keys of a page. Parameters: part of a name, firmware, a tag, presence, now, deaf to, deaf from, protected, flagged, whether
/// there is a place, its key, its name; then those of `$below`, and how many.
macro_rules! listing {
    ($below:literal, $limit:literal, $key:literal, $behind:literal, $order:literal) => {
        concat!(
            "SELECT id, ", $key, " FROM appliance
            WHERE ($1 = '' OR LOWER(name) LIKE $1 ESCAPE '!')
            AND ($2 = '' OR firmware = $2)
            AND ($3 = '' OR tags LIKE $3 ESCAPE '!')
            AND ($4 = '' OR $4 = CASE
                WHEN heard_ms IS NULL THEN 'never'
                WHEN gone_ms IS NOT NULL AND gone_why <> 'lwt' THEN 'offline'
                WHEN $5 - heard_ms - CASE WHEN heard_ms >= $6 THEN 0 WHEN heard_ms > $7 THEN $6 - heard_ms ELSE $6 - $7 END
                    <= 120000 AND gone_ms IS NULL THEN 'online'
                WHEN $5 - heard_ms - CASE WHEN heard_ms >= $6 THEN 0 WHEN heard_ms > $7 THEN $6 - heard_ms ELSE $6 - $7 END
                    < 900000 THEN 'late'
                ELSE 'offline' END)
            AND ($8 = 0 OR $8 = CASE WHEN COALESCE(protected_until_ms, 0) >= $5 THEN 1 ELSE 2 END)
            AND ($9 = 0 OR $9 = CASE WHEN flagged_ms IS NOT NULL THEN 1 ELSE 2 END)
            AND ($10 = 0 OR (", $key, ", id) ", $behind, " ($11, $12)) ", $below, "
            ORDER BY ", $key, " ", $order, ", id ", $order, " LIMIT ", $limit
        )
    };
    ($key:literal, $behind:literal, $order:literal) => {
        Statements {
            whole: listing!("", "$13", $key, $behind, $order),
            below: listing!(
                "AND node IN (SELECT id FROM node WHERE path >= $13 AND path < $14)", "$15", $key, $behind, $order
            ),
            whole_in_cell: listing!("AND heard_in = $13", "$14", $key, $behind, $order),
            below_in_cell: listing!(
                "AND node IN (SELECT id FROM node WHERE path >= $13 AND path < $14) AND heard_in = $15",
                "$16", $key, $behind, $order
            ),
        }
    };
}

/// For the whole tree, where nobody has to look at nodes, and for a part of it, where only the boxes of that part are looked at; and
/// each for one cell, where boxes are looked at themselves and not only in the index.
struct Statements {
    whole: &'static str,
    below: &'static str,
    whole_in_cell: &'static str,
    below_in_cell: &'static str,
}

const fn sql(sort: Sort) -> Statements {
    match sort {
        Sort::Id => listing!("id", ">", "ASC"),
        Sort::Name => listing!("name", ">", "ASC"),
        Sort::NameDown => listing!("name", "<", "DESC"),
        Sort::Heard => listing!("COALESCE(heard_ms, 0)", ">", "ASC"),
        Sort::HeardDown => listing!("COALESCE(heard_ms, 0)", "<", "DESC"),
        Sort::Protected => listing!("COALESCE(protected_until_ms, 0)", ">", "ASC"),
    }
}

/// A page, and where the next one begins.
pub(crate) fn page(
    tx: &mut dyn Tx,
    filter: &Filter,
    (sort, after, limit): (Sort, Option<&Place>, u64),
    (ears, now): (&Ears, Timestamp),
) -> Result<(Vec<Appliance>, Option<Place>), StoreError> {
    let mut found: Vec<Place> = Vec::new();
    for top in &filter.tops {
        for (cell, deaf) in listened(filter, ears, now) {
            for row in names(tx, filter, (top, cell), (sort, after, limit), (deaf, now))? {
                found.push(place(&row)?);
            }
        }
    }
    found.sort_by(|one, other| (&one.key, &one.id).cmp(&(&other.key, &other.id)));
    if matches!(sort, Sort::NameDown | Sort::HeardDown) {
        found.reverse();
    }
    // Tops may lie one in another.
    found.dedup();
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = found.last().filter(|_| found.len() as u64 == limit).cloned();
    let mut boxes = Vec::new();
    for place in &found {
        let device = place.id.parse().map_err(|_| StoreError::Damaged("the name of a box"))?;
        boxes.extend(one(tx, device, (ears, now))?.map(|(_, appliance)| appliance));
    }
    Ok((boxes, next))
}

fn place(row: &Row) -> Result<Place, StoreError> {
    Ok(Place { key: row.any(1)?.clone(), id: row.text(0)?.to_owned() })
}

/// As LIKE takes it for itself.
fn literal(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

fn names(
    tx: &mut dyn Tx,
    filter: &Filter,
    (top, cell): (&str, Option<&Cell>),
    (sort, after, limit): (Sort, Option<&Place>, u64),
    (deaf, now): (Deaf, Timestamp),
) -> Result<Vec<Row>, StoreError> {
    let part = literal(&filter.name.to_ascii_lowercase());
    let part = if part.is_empty() { part } else { format!("%{part}%") };
    let tag = if filter.tag.is_empty() { String::new() } else { format!("%,{},%", literal(&filter.tag)) };
    let presence = filter.presence.map_or("", Presence::as_str);
    let (from, to) = deaf.unwrap_or((Timestamp::saturating(0), Timestamp::saturating(0)));
    let to = to.min(now);
    let (key, id) = after.map_or((Value::Null, ""), |place| (place.key.clone(), place.id.as_str()));
    let (protected, flagged) = (filter.protected.number(), filter.flagged.number());
    let mut asked = Vec::from(values![
        part,
        filter.firmware.as_str(),
        tag,
        presence,
        now,
        to,
        from.min(to),
        protected,
        flagged,
        u64::from(after.is_some()),
        key,
        id,
    ]);
    let sql = sql(sort);
    // The path of the organisation is one name: everything is below it.
    let is_whole = top.matches('/').count() == 2;
    if !is_whole {
        // `path` begins with the top: every text from the top itself up to the one that follows all that begin with it.
        asked.extend(values![top, format!("{top}\u{10FFFF}")]);
    }
    asked.extend(cell.map(Value::from));
    asked.push(limit.into());
    let statement = match (is_whole, cell) {
        (true, None) => sql.whole,
        (false, None) => sql.below,
        (true, Some(_)) => sql.whole_in_cell,
        (false, Some(_)) => sql.below_in_cell,
    };
    tx.query(statement, &asked)
}

/// The last time without ears.
type Deaf = Option<(Timestamp, Timestamp)>;

/// Boxes that were silent in another cell than one that was deaf are judged by their own: where that matters, cell by cell.
fn listened<'e>(filter: &Filter, ears: &'e Ears, now: Timestamp) -> Vec<(Option<&'e Cell>, Deaf)> {
    let of = |cell: &Cell| ears.deaf(cell.as_str(), now);
    match (filter.presence, ears.cells().count()) {
        (None, _) | (_, 0) => vec![(None, None)],
        (Some(_), 1) => ears.cells().map(|(cell, _)| (None, of(cell))).collect(),
        (Some(_), _) => ears.cells().map(|(cell, _)| (Some(cell), of(cell))).collect(),
    }
}

#[cfg(test)]
mod tests;
