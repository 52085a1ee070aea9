//! What a person should be told, once: rules over the fleet as it is, one alert for one cause, kept in the database, so that a
//! restart neither tells again nor forgets.
//!
//! | rule | of | held back by |
//! |---|---|---|
//! | `site_dark`: all boxes of a site are offline, two at least | the site | |
//! | `box_offline` | a box | `site_dark` of its site |
//! | `disk_failing`: a disk that is plugged in says so | a disk | |
//! | `not_protected`: no recovery point within the deadline, or the last backup failed | a disk | its box or site being offline |
//! | `store_filling`: a store is low, full, or will be within two weeks | a store | its box or site being offline |
//! | `route_failing`: alerts have not arrived somewhere for an hour | the node of the route | |
//! | `flagged`: a box says or does what it should not | a box | |
//!
//! `plan` is pure. What nobody could hear while the ingest was deaf raises nothing: presence counts only silence that was listened
//! to.

mod rules;

pub(crate) use rules::{Alert, FailingRoute, Filling, Rule, SOON, Seen, of_routes, plan};

use crate::clock;
use crate::store::{StoreError, Tx, values};
use saveos_protocol::id::AlertId;
use saveos_protocol::time::Timestamp;
use std::collections::BTreeMap;

/// What one look changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) raised: usize,
    pub(crate) ended: usize,
}

/// Raises what is new, ends what is over.
pub(crate) fn settle(tx: &mut dyn Tx, alerts: Vec<Alert>, now: Timestamp) -> Result<Change, StoreError> {
    let mut wanted: BTreeMap<String, Alert> = alerts.into_iter().map(|alert| (alert.fingerprint(), alert)).collect();
    let mut change = Change::default();
    for row in tx.query("SELECT id, fingerprint FROM alert WHERE ended_ms IS NULL", &[])? {
        if wanted.remove(row.text(1)?).is_none() {
            change.ended += 1;
            tx.execute("UPDATE alert SET ended_ms = $1 WHERE id = $2", &values![now, row.text(0)?])?;
        }
    }
    for (fingerprint, alert) in wanted {
        change.raised += 1;
        let id = AlertId::from_parts(now, clock::random()).to_string();
        let sql = "INSERT INTO alert (id, fingerprint, rule, node, device, disk, detail, raised_ms)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let (rule, node) = (alert.rule.as_str(), alert.site.as_str());
        tx.execute(sql, &values![id, fingerprint, rule, node, alert.device, alert.disk, alert.detail, now])?;
    }
    Ok(change)
}
