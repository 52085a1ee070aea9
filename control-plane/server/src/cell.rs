//! A cell: one broker, the boxes that talk to it, and the one session that hears them. An installation begins with `main`; others
//! come beside it when one broker has too many boxes.
//!
//! A box belongs to one cell and knows `main` as well, to which it goes when it does not reach its own. What it says counts wherever it
//! says it; what it is told is said where it belongs and where it was heard last.

pub(crate) mod command;
pub(crate) mod ears;
pub(crate) mod table;

use crate::store::Value;
use std::fmt;
use std::str::FromStr;

/// The name of a cell: a part of names of leases and counters, of labels of metrics, and of what people type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell(String);

const MAIN: &str = "main";
const LONGEST: usize = 32;

impl Cell {
    /// The first one.
    pub(crate) fn main() -> Cell {
        Cell(MAIN.to_owned())
    }

    pub(crate) fn is_main(&self) -> bool {
        self.0 == MAIN
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of something that each cell has. What belongs to `main` is called as if there were no other.
    pub(crate) fn own(&self, name: &str) -> String {
        if self.is_main() { name.to_owned() } else { format!("{name}:{self}") }
    }

    /// The cell of something that `own` named.
    pub(crate) fn of_own(name: &str, own: &str) -> Option<Cell> {
        match own.strip_prefix(name)? {
            "" => Some(Cell::main()),
            rest => rest.strip_prefix(':')?.parse().ok(),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl FromStr for Cell {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Cell, &'static str> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = !text.is_empty() && text.len() <= LONGEST && text.bytes().all(plain);
        if good && !text.starts_with('-') {
            Ok(Cell(text.to_owned()))
        } else {
            Err("the name of a cell is up to 32 small letters, digits and hyphens")
        }
    }
}

impl From<&Cell> for Value {
    fn from(cell: &Cell) -> Value {
        Value::from(cell.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cell_has_is_named_after_it_and_found_again() {
        let north: Cell = "north-2".parse().expect("a name");
        assert_eq!(
            (Cell::main().own("ingest"), north.own("ingest")),
            ("ingest".to_owned(), "ingest:north-2".to_owned())
        );
        for cell in [Cell::main(), north] {
            assert_eq!(Cell::of_own("ingest", &cell.own("ingest")), Some(cell));
        }
        for other in ["jobs", "ingested", "ingest:", "ingest:North"] {
            assert_eq!(Cell::of_own("ingest", other), None, "{other}");
        }
        for wrong in ["", "-a", "North", "a b", "a:b", &"a".repeat(33)] {
            assert!(wrong.parse::<Cell>().is_err(), "{wrong}");
        }
    }
}
