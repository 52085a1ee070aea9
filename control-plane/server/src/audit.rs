//! Who did what to what, for good: each row holds the hash of the one before, so a row that was changed or taken out shows.

use crate::store::{StoreError, Tx, first, values};
use aws_lc_rs::digest::{SHA256, digest};
use saveos_protocol::time::Timestamp;

/// What stands before the first row.
const BEGIN: &str = "-";

/// Writes a row, in the transaction of what it tells.
pub(crate) fn write(
    tx: &mut dyn Tx,
    who: &str,
    what: &'static str,
    target: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let last = first(tx, "SELECT n, hash FROM audit ORDER BY n DESC LIMIT 1", &[])?;
    let (n, previous) = match &last {
        Some(row) => (row.number(0)? + 1, row.text(1)?.to_owned()),
        None => (1, BEGIN.to_owned()),
    };
    let hash = hash(n, now.as_millis(), who, what, target, &previous);
    let sql = "INSERT INTO audit (n, at_ms, who, what, target, previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    tx.execute(sql, &values![n, now, who, what, target, previous, hash])?;
    Ok(())
}

/// The first row that does not follow from the one before; `None` when the chain is whole. It does not see that the end was
/// cut off: whoever must know keeps the last hash elsewhere.
pub(crate) fn first_break(tx: &mut dyn Tx) -> Result<Option<u64>, StoreError> {
    let mut previous = BEGIN.to_owned();
    let rows = tx.query("SELECT n, at_ms, who, what, target, previous, hash FROM audit ORDER BY n", &[])?;
    for (expected, row) in (1..).zip(&rows) {
        let n = row.number(0)?;
        let own = hash(n, row.number(1)?, row.text(2)?, row.text(3)?, row.text(4)?, row.text(5)?);
        if n != expected || row.text(5)? != previous || row.text(6)? != own {
            return Ok(Some(n));
        }
        previous = own;
    }
    Ok(None)
}

/// Lengths stand before texts, so that no two rows have the same bytes.
fn hash(n: u64, at: u64, who: &str, what: &str, target: &str, previous: &str) -> String {
    let mut bytes = format!("saveos/v1 audit\n{n} {at}\n");
    for text in [who, what, target, previous] {
        bytes.push_str(&format!("{} {text}\n", text.len()));
    }
    digest(&SHA256, bytes.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_row_that_was_changed_or_taken_out_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let store = runtime.block_on(Store::for_test(folder.path()));
        let look = |change: Option<&'static str>| {
            runtime.block_on(store.write(move |tx| {
                change.map(|sql| tx.execute(sql, &[])).transpose()?;
                first_break(tx)
            }))
        };
        runtime
            .block_on(store.write(|tx| {
                (0..5).try_for_each(|_| write(tx, "a@example", "signed in", "-", Timestamp::saturating(9)))
            }))
            .expect("room");
        assert_eq!(look(None).expect("readable"), None);
        assert_eq!(look(Some("UPDATE audit SET who = 'b@example' WHERE n = 4")).expect("readable"), Some(4));
        assert_eq!(look(Some("UPDATE audit SET who = 'a@example' WHERE n = 4")).expect("readable"), None);
        assert_eq!(look(Some("DELETE FROM audit WHERE n = 2")).expect("readable"), Some(3));
    }
}
