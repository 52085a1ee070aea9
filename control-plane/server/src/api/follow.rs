//! What another process heard, for the browsers and lists of this one: facts in their order, and whether anybody hears at all.
//!
//! The database is looked at twice a second. Where there is a hub, news come through it in a moment; a fact counts by its number, so
//! what is missing before it is read first, and none comes twice.

use super::events;
use crate::cell::Cell;
use crate::cell::ears::{Ear, Ears};
use crate::clock;
use crate::ingest::{Hearing, Heart, News};
use crate::lease;
use crate::stop;
use crate::store::{Store, StoreError, Tx, first, values};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};

/// How far behind a browser at another replica is.
const LOOK: Duration = Duration::from_millis(500);
/// Whoever hears says so every ten seconds.
const STALE: Duration = Duration::from_secs(25);

/// Follows until `stop`. While this process hears by itself, its own word counts.
pub(crate) async fn keep(
    store: Store,
    heart: Heart,
    news: broadcast::Sender<News>,
    mut told: mpsc::Receiver<News>,
    mut stop: watch::Receiver<bool>,
) {
    let mut seen = None;
    let mut look_at = tokio::time::interval(LOOK);
    look_at.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let told = tokio::select! {
            _ = look_at.tick() => None,
            Some(told) = told.recv() => Some(told),
            () = stop::asked(&mut stop) => return,
        };
        if let Some(told) = told
            && !is_gap(&mut seen, told.seq)
        {
            if !heart.look().here {
                // Nobody watches.
                let _ = news.send(told);
            }
            continue;
        }
        let looked = store.read(move |tx| look(tx, seen)).await;
        let (ears, facts, last) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "nobody knows what others hear");
                heart.nobody_says();
                continue;
            }
        };
        seen = Some(last);
        let here = heart.look().here;
        heart.others_hear(ears);
        for fact in facts.into_iter().filter(|_| !here) {
            // Nobody watches.
            let _ = news.send(fact);
        }
    }
}

/// Whether something is missing before it, or it was seen: then the database says what to tell.
fn is_gap(seen: &mut Option<u64>, told: Option<u64>) -> bool {
    match (*seen, told) {
        (_, None) => false,
        (Some(before), Some(n)) if n == before + 1 => {
            *seen = Some(n);
            false
        }
        _ => true,
    }
}

fn look(tx: &mut dyn Tx, seen: Option<u64>) -> Result<(Ears, Vec<News>, u64), StoreError> {
    let ears = ears(tx)?;
    let last = first(tx, "SELECT value FROM counter WHERE name = 'seq'", &[])?;
    let last = last.map(|row| row.number(0)).transpose()?.unwrap_or(0);
    let facts = match seen {
        // What came before is nobody's news.
        None => Vec::new(),
        Some(seen) if seen >= last => Vec::new(),
        Some(seen) => events::past(tx, seen)?,
    };
    // Of a page that was full the rest comes with the next look.
    let seen = facts.last().and_then(|fact| fact.seq).unwrap_or(last);
    Ok((ears, facts, seen))
}

/// What each cell's process that hears says of itself.
pub(crate) fn ears(tx: &mut dyn Tx) -> Result<Ears, StoreError> {
    let (mut ears, now) = (Ears::default(), clock::now());
    for row in tx.query("SELECT name, at_ms, connected, deaf_from_ms, deaf_to_ms FROM hearing", &[])? {
        let Some(cell) = Cell::of_own(lease::INGEST, row.text(0)?) else { continue };
        let deaf = row.maybe_time(3)?.zip(row.maybe_time(4)?);
        let connected = row.number(2)? == 1 && now.since(row.time(1)?) < STALE;
        ears.set(&cell, Ear { connected, deaf });
    }
    Ok(ears)
}

/// Writes down what this process hears, for the others.
pub(crate) fn write_down(tx: &mut dyn Tx, cell: &Cell, hearing: &Hearing) -> Result<(), StoreError> {
    let sql = "INSERT INTO hearing (name, at_ms, connected, deaf_from_ms, deaf_to_ms) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (name) DO UPDATE SET at_ms = excluded.at_ms, connected = excluded.connected,
        deaf_from_ms = excluded.deaf_from_ms, deaf_to_ms = excluded.deaf_to_ms";
    let (from, to) = hearing.deaf.unzip();
    let name = cell.own(lease::INGEST);
    tx.execute(sql, &values![name, clock::now(), u64::from(hearing.connected), from, to]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_through_the_hub_is_told_in_order_and_once() {
        let mut seen = Some(7);
        assert!(!is_gap(&mut seen, None), "progress has no number");
        assert!(!is_gap(&mut seen, Some(8)) && seen == Some(8));
        assert!(is_gap(&mut seen, Some(8)) && seen == Some(8), "again");
        assert!(is_gap(&mut seen, Some(10)) && seen == Some(8), "the ninth is missing");
        assert!(is_gap(&mut None, Some(1)), "nobody knows yet what came before");
    }

    #[tokio::test]
    async fn a_replica_believes_that_boxes_are_heard_only_while_somebody_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let look = || store.read(|tx| look(tx, None));
        let of_main = async || look().await.expect("readable").0.of("main");
        assert_eq!(of_main().await, Ear::default(), "nobody ever heard");
        let now = clock::now();
        let said = Hearing { connected: true, deaf: Some((now, now)), ..Hearing::default() };
        store.write(move |tx| write_down(tx, &Cell::main(), &said)).await.expect("room");
        assert_eq!(of_main().await, Ear { connected: true, deaf: Some((now, now)) });
        store.write(|tx| tx.execute("UPDATE hearing SET at_ms = at_ms - 25000", &[])).await.expect("room");
        assert!(!of_main().await.connected, "it is silent");
    }
}
