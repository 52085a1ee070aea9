//! Who of several processes does what only one may do: decided in the database, for half a minute at a time.
//!
//! Whoever has a lease renews it, whoever finds it expired takes it over. A process that starts anew finds its own lease and goes
//! on at once; one that cannot renew in time stops before another begins; one that ends may
//! give it back.

use crate::clock;
use crate::stop;
use crate::store::{Store, StoreError, Tx, values};
use saveos_protocol::time::Timestamp;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// For so long it is held; clocks of two machines may differ by a part of it.
const LIFE: Duration = Duration::from_secs(30);
/// A holder that did not renew for so long stops.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(20);
/// Between two renewals, and between two looks of who waits.
pub(crate) const RENEW: Duration = Duration::from_secs(5);

/// The one session of the broker of a cell. Two that tried would take it from each other for ever.
pub(crate) const INGEST: &str = "ingest";
/// Alerts, rollouts, notices, days.
pub(crate) const JOBS: &str = "jobs";

/// Takes or renews a lease; whether `holder` has it.
pub(crate) fn take(tx: &mut dyn Tx, name: &str, holder: &str, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "INSERT INTO lease (name, holder, until_ms) VALUES ($1, $2, $3)
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
        WHERE lease.holder = excluded.holder OR lease.until_ms < $4";
    Ok(tx.execute(sql, &values![name, holder, now.after(LIFE), now])? > 0)
}

/// Gives it back, so that nobody waits for its end.
pub(crate) fn give_back(tx: &mut dyn Tx, name: &str, holder: &str) -> Result<u64, StoreError> {
    tx.execute("DELETE FROM lease WHERE name = $1 AND holder = $2", &values![name, holder])
}

/// Keeps `on` true while the lease `name` is held, until `stop`. It is not given back: what was begun may still go on.
pub(crate) async fn keep(
    store: Store,
    name: &'static str,
    holder: String,
    on: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let mut held = None;
    loop {
        let (own, now) = (holder.clone(), clock::now());
        match store.write(move |tx| take(tx, name, &own, now)).await {
            Ok(true) => held = Some(Instant::now()),
            Ok(false) => held = None,
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, name, "no lease"),
        }
        let has = held.is_some_and(|held| held.elapsed() < GIVE_UP);
        if on.send_replace(has) != has {
            tracing::info!(name, has, "a lease changed hands");
        }
        if tokio::time::timeout(RENEW, stop::asked(&mut stop)).await.is_ok() {
            break;
        }
    }
    on.send_replace(false);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn one_holds_it_and_another_takes_over_when_it_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let take = |holder: &'static str, seconds: u64| {
            let now = Timestamp::saturating(1_800_000_000_000 + seconds * 1000);
            let store = store.clone();
            async move { store.write(move |tx| take(tx, INGEST, holder, now)).await.expect("room") }
        };
        assert!(take("a", 0).await && !take("b", 10).await);
        assert!(take("a", 20).await, "renewed");
        assert!(!take("b", 50).await && take("b", 51).await, "thirty seconds after the last word");
        assert!(!take("a", 52).await, "it was taken over");
        assert!(take("b", 53).await, "whoever starts anew goes on at once");
        let give = |holder: &'static str| store.write(move |tx| give_back(tx, INGEST, holder));
        assert_eq!(give("a").await.expect("room"), 0, "nobody gives back what is another's");
        assert!(give("b").await.expect("room") == 1 && take("a", 54).await, "nobody waits for the end of one who left");
    }
}
