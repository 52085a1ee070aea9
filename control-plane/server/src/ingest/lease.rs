//! Who may be the one session of the broker. Two that tried would take it from each other for ever, so it is decided in the database
//! before anybody connects: whoever has the lease renews it, whoever finds it expired takes it over.
//!
//! An installation that starts anew finds its own lease and goes on at once. One that cannot renew in time stops hearing before
//! another begins.

use crate::store::{StoreError, Tx, values};
use saveos_protocol::time::Timestamp;
use std::time::Duration;

/// For so long it is held; clocks of two installations may differ by a part of it.
const LIFE: Duration = Duration::from_secs(30);
/// A holder that did not renew for so long stops.
pub(super) const GIVE_UP: Duration = Duration::from_secs(20);
/// Between two renewals, and between two looks of who waits.
pub(super) const RENEW: Duration = Duration::from_secs(5);

const INGEST: &str = "ingest";

/// Takes or renews the lease; whether `holder` has it.
pub(super) fn take(tx: &mut dyn Tx, holder: &str, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "INSERT INTO lease (name, holder, until_ms) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
        WHERE lease.holder = excluded.holder OR lease.until_ms < $4";
    Ok(tx.execute(sql, &values![INGEST, holder, now.after(LIFE), now])? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn one_holds_it_and_another_takes_over_when_it_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let take = |holder: &'static str, seconds: u64| {
            let now = Timestamp::saturating(1_800_000_000_000 + seconds * 1000);
            let store = store.clone();
            async move { store.write(move |tx| take(tx, holder, now)).await.expect("room") }
        };
        assert!(take("a", 0).await && !take("b", 10).await);
        assert!(take("a", 20).await, "renewed");
        assert!(!take("b", 50).await && take("b", 51).await, "thirty seconds after the last word");
        assert!(!take("a", 52).await, "it was taken over");
        assert!(take("b", 53).await, "whoever starts anew goes on at once");
    }
}
