//! The one place where truth is kept. One SQL text for every engine, run in synchronous transactions.
//!
//! ```text
//! write(|tx| …) ─▶ the one writer, one transaction after the other, synced before it answers
//! read(|tx| …)  ─▶ one of several readers, a consistent view
//! ```
//!
//! Portable subset: `$1…$n` in ascending order of their first appearance (SQLite numbers them so), integers, text and bytes,
//! `ON CONFLICT`. No engine's name leaves this module.

mod sqlite;
mod value;

pub(crate) use sqlite::Sqlite as Store;
pub(crate) use value::{Row, Value, values};

/// Why the store could not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The engine.
    #[error("the database failed")]
    Engine(#[from] rusqlite::Error),
    /// A newer release wrote it, or a step failed.
    #[error("the database could not be brought up to date")]
    Migration(#[source] Box<refinery::Error>),
    /// A copy is not on the disk.
    #[error("could not sync the copy of the database")]
    Sync(#[source] std::io::Error),
    /// A value that this program did not write.
    #[error("the database holds something else than it should: {0}")]
    Damaged(&'static str),
    /// The writer ended.
    #[error("the database is closed")]
    Closed,
}

/// An open transaction. An error rolls it back.
pub(crate) trait Tx {
    /// Runs a statement; how many rows it changed.
    fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, StoreError>;

    /// Runs a query; all of its rows.
    fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, StoreError>;
}

/// The first row, where there is one.
pub(crate) fn first(tx: &mut dyn Tx, sql: &'static str, values: &[Value]) -> Result<Option<Row>, StoreError> {
    Ok(tx.query(sql, values)?.into_iter().next())
}

/// Counts up and gives the first of `count` new numbers.
pub(crate) fn take_numbers(tx: &mut dyn Tx, name: &'static str, count: u64) -> Result<u64, StoreError> {
    let sql = "INSERT INTO counter (name, value) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET value = counter.value + excluded.value RETURNING value";
    let row = first(tx, sql, &values![name, count])?.ok_or(StoreError::Damaged("no counter"))?;
    Ok(row.number(0)? - count + 1)
}

/// Whether parameters first appear as `$1`, `$2`, …: then every engine numbers them alike.
fn is_portable(sql: &str) -> bool {
    let mut last = 0;
    for part in sql.split('$').skip(1) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        match digits.parse::<usize>() {
            Ok(number) if number == last + 1 => last = number,
            Ok(number) if (1..=last).contains(&number) => {}
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_engines_number_otherwise_are_noticed() {
        for good in ["SELECT 1", "SELECT $1, $2, $1", "UPDATE x SET a = $1 WHERE b = $2 AND c > $1"] {
            assert!(is_portable(good), "{good}");
        }
        for bad in ["SELECT $2, $1", "SELECT $1, $3", "SELECT $x", "SELECT $0"] {
            assert!(!is_portable(bad), "{bad}");
        }
    }
}
