//! How the fleet stands, site by site: how many boxes are protected, and why the others are not. One look through a narrow index,
//! whatever the size of the fleet; what a box is not protected for was written down when it was judged.

use crate::store::{Row, StoreError, Tx, values};
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// How long days are kept.
const KEPT_DAYS: u64 = 400;
const DAY_MS: u64 = 86_400_000;

/// How a site stands.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Standing {
    site: String,
    boxes: u64,
    protected: u64,
    /// Of those that are not; the most frequent first.
    reasons: Vec<Why>,
}

/// Boxes that are not protected for one reason; those with several count for what to do first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Why {
    #[schemars(with = "crate::protection::Reason")]
    reason: String,
    boxes: u64,
    /// The first of them.
    #[serde(rename = "since_ms")]
    since: Timestamp,
}

/// How many boxes were protected when a day ended; of today, now.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Day {
    #[serde(rename = "day_ms")]
    day: Timestamp,
    boxes: u64,
    protected: u64,
}

/// Sites, reasons (none: protected), boxes, and since when.
macro_rules! counts {
    ($below:literal) => {
        concat!(
            "SELECT node,
            CASE WHEN COALESCE(protected_until_ms, 0) >= $1 THEN '' ELSE COALESCE(lapse_why, 'never_heard') END AS why,
            COUNT(*), MIN(CASE WHEN COALESCE(protected_until_ms, 0) > 0 THEN protected_until_ms
                ELSE COALESCE(unprotected_ms, enrolled_ms) END)
            FROM appliance WHERE revoked_ms IS NULL ",
            $below,
            " GROUP BY node, why"
        )
    };
}

/// The sites at these places of the tree and below, which may lie one in another.
pub(crate) fn of_sites(tx: &mut dyn Tx, tops: &[String], now: Timestamp) -> Result<Vec<Standing>, StoreError> {
    let mut sites: BTreeMap<String, Standing> = BTreeMap::new();
    for top in tops {
        // Of everything, nobody has to look at nodes.
        let rows = if top.matches('/').count() > 2 {
            tx.query(
                counts!("AND node IN (SELECT id FROM node WHERE path >= $2 AND path < $3)"),
                &values![now, top.as_str(), format!("{top}\u{10FFFF}"),],
            )?
        } else {
            tx.query(counts!(""), &values![now])?
        };
        let mut found: BTreeMap<String, Standing> = BTreeMap::new();
        for row in rows {
            let standing = found.entry(row.text(0)?.to_owned()).or_default();
            count(standing, &row)?;
        }
        sites.extend(found);
    }
    let finished = sites.into_iter().map(|(site, mut standing)| {
        standing.reasons.sort_by_key(|why| std::cmp::Reverse(why.boxes));
        Standing { site, ..standing }
    });
    Ok(finished.collect())
}

fn count(standing: &mut Standing, row: &Row) -> Result<(), StoreError> {
    let (why, boxes) = (row.text(1)?, row.number(2)?);
    standing.boxes += boxes;
    match why {
        "" => standing.protected += boxes,
        why => standing.reasons.push(Why { reason: why.to_owned(), boxes, since: row.time(3)? }),
    }
    Ok(())
}

/// Writes down how sites stand today.
pub(crate) fn write_down(tx: &mut dyn Tx, now: Timestamp) -> Result<(), StoreError> {
    let day = now.as_millis() / DAY_MS;
    for site in of_sites(tx, &["/".to_owned()], now)? {
        let sql = "INSERT INTO standing_day (day, node, boxes, protected) VALUES ($1, $2, $3, $4)
            ON CONFLICT (day, node) DO UPDATE SET boxes = excluded.boxes, protected = excluded.protected";
        tx.execute(sql, &values![day, site.site, site.boxes, site.protected])?;
    }
    tx.execute("DELETE FROM standing_day WHERE day < $1", &values![day.saturating_sub(KEPT_DAYS)])?;
    Ok(())
}

/// The days before today, at these places and below; a day on which nobody looked is not there.
pub(crate) fn days(tx: &mut dyn Tx, tops: &[String], (now, back): (Timestamp, u64)) -> Result<Vec<Day>, StoreError> {
    let today = now.as_millis() / DAY_MS;
    let sql = "SELECT s.day, s.node, s.boxes, s.protected, n.path FROM standing_day s JOIN node n ON n.id = s.node
        WHERE s.day >= $1 AND s.day < $2";
    let mut found: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for row in tx.query(sql, &values![today.saturating_sub(back), today])? {
        if tops.iter().any(|top| row.text(4).is_ok_and(|path| path.starts_with(top.as_str()))) {
            let (boxes, protected) = found.entry(row.number(0)?).or_default();
            *boxes += row.number(2)?;
            *protected += row.number(3)?;
        }
    }
    let day = |(day, (boxes, protected))| Day { day: Timestamp::saturating(day * DAY_MS), boxes, protected };
    Ok(found.into_iter().map(day).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, first};

    const HOUR: u64 = 3_600_000;

    fn given(tx: &mut dyn Tx) -> Result<(), StoreError> {
        for (id, path) in [("o", "/o/"), ("a", "/o/a/"), ("s", "/o/a/s/"), ("b", "/o/b/"), ("t", "/o/b/t/")] {
            let sql = "INSERT INTO node (id, path, kind, name, made_ms) VALUES ($1, $2, 'site', $1, 1)";
            tx.execute(sql, &values![id, path])?;
        }
        // Protected for long; too old since an hour; failed since two; gone.
        let boxes = [
            ("d-1", "s", 2000 * HOUR, None, "too_old", None),
            ("d-2", "s", 999 * HOUR, None, "too_old", None),
            ("d-3", "s", 0, Some(998 * HOUR), "last_backup_failed", None),
            ("d-4", "s", 0, Some(HOUR), "no_disk", Some(1u64)),
            ("d-5", "t", 998 * HOUR, None, "not_proven", None),
        ];
        for (id, node, until, since, why, revoked) in boxes {
            let sql =
                "INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial, until_ms,
                desired, desired_ver, applied_ver, protected_until_ms, unprotected_ms, lapse_why, revoked_ms)
                VALUES ($1, $2, $1, $1, '', '', 1, '', 1, '', 0, 0, $3, $4, $5, $6)";
            tx.execute(sql, &values![id, node, until, since, why, revoked])?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn boxes_count_where_they_stand_and_for_what_they_lack() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let now = Timestamp::saturating(1000 * HOUR);
        store.write(given).await.expect("they are written");
        let read = |tops: &'static [&'static str]| {
            let tops: Vec<String> = tops.iter().map(|top| (*top).to_owned()).collect();
            let store = store.clone();
            async move {
                let found: Vec<Standing> = store.read(move |tx| of_sites(tx, &tops, now)).await.expect("readable");
                serde_json::to_value(found).expect("JSON")
            }
        };
        let hour = |hours: u64| hours * HOUR;
        let site_s = serde_json::json!({ "site": "s", "boxes": 3, "protected": 1, "reasons": [
            { "reason": "last_backup_failed", "boxes": 1, "since_ms": hour(998) },
            { "reason": "too_old", "boxes": 1, "since_ms": hour(999) },
        ] });
        let site_t = serde_json::json!({ "site": "t", "boxes": 1, "protected": 0, "reasons": [
            { "reason": "not_proven", "boxes": 1, "since_ms": hour(998) },
        ] });
        assert_eq!(read(&["/o/"]).await, serde_json::json!([site_s, site_t]));
        assert_eq!(read(&["/o/b/"]).await, serde_json::json!([site_t]));
        assert_eq!(read(&["/o/a/", "/o/a/s/"]).await, serde_json::json!([site_s]), "one lies in the other");
        assert_eq!(read(&[]).await, serde_json::json!([]));
    }

    #[tokio::test]
    async fn what_a_box_lacks_and_since_when_is_written_when_it_is_judged() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        store.write(given).await.expect("they are written");
        let device = saveos_protocol::id::DeviceId::from_parts(Timestamp::saturating(1), [0; 10]);
        let at = |hours: u64| Timestamp::saturating(hours * HOUR);
        let sql = "UPDATE appliance SET id = $1, protected_until_ms = NULL, unprotected_ms = NULL WHERE id = 'd-1'";
        store.write(move |tx: &mut dyn Tx| tx.execute(sql, &values![device])).await.expect("there");
        let judged = |change: &'static str, now: u64| {
            let store = store.clone();
            async move {
                let read = move |tx: &mut dyn Tx| {
                    tx.execute(change, &values![device])?;
                    crate::fleet::judge(tx, device, at(now))?;
                    let sql = "SELECT protected_until_ms, lapse_why, unprotected_ms FROM appliance WHERE id = $1";
                    let row = first(tx, sql, &values![device])?.ok_or(StoreError::Damaged("no box"))?;
                    let hours = |time: Option<Timestamp>| time.map(|time| time.as_millis() / HOUR);
                    Ok::<_, StoreError>((hours(row.maybe_time(0)?), row.text(1)?.to_owned(), hours(row.maybe_time(2)?)))
                };
                store.write(read).await.expect("judged")
            }
        };
        let said = |until: u64, why: &str, since: Option<u64>| (Some(until), why.to_owned(), since);
        let heard = "UPDATE appliance SET heard_ms = 1, recoverable_ms = 1 WHERE id = $1";
        let disk =
            "INSERT INTO disk (device, id, identity, bus, size_bytes, seen_ms) VALUES ($1, 'disk', '{}', 'usb', 1, 1)";
        let point = "INSERT INTO recovery_point (device, snapshot, disk, taken_ms, state, summary)
            VALUES ($1, 'p', 'disk', 3600000 * 100, 'complete', '{}')";
        let failed = "INSERT INTO job (device, id, work, disk, state, ended_ms) VALUES ($1, 'job-1', 'backup', 'disk', 'failed', 1)";
        let mended = "UPDATE job SET state = 'done' WHERE device = $1";
        assert_eq!(
            judged("UPDATE appliance SET name = name WHERE id = $1", 90).await,
            said(0, "never_heard", Some(90))
        );
        assert_eq!(judged(heard, 95).await, said(0, "no_disk", Some(90)), "since it was judged first");
        assert_eq!(judged(disk, 96).await, said(0, "no_recovery_point", Some(90)));
        assert_eq!(judged(point, 100).await, said(126, "too_old", None), "26 hours after its recovery point");
        assert_eq!(judged(failed, 110).await, said(0, "last_backup_failed", Some(110)), "it was protected until now");
        assert_eq!(judged(mended, 111).await, said(126, "too_old", None));
        assert_eq!(
            judged("UPDATE job SET state = 'failed' WHERE device = $1", 140).await.2,
            Some(126),
            "since the deadline"
        );
    }

    #[tokio::test]
    async fn a_day_is_how_it_ended_and_of_those_who_may_see_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let at = |hours: u64| Timestamp::saturating(hours * HOUR);
        store.write(given).await.expect("they are written");
        for now in [980, 1000] {
            store.write(move |tx| write_down(tx, at(now))).await.expect("written");
        }
        let read = |top: &'static str, now: Timestamp| {
            let store = store.clone();
            async move {
                let days: Vec<Day> =
                    store.read(move |tx| days(tx, &[top.to_owned()], (now, 30))).await.expect("readable");
                days.into_iter().map(|day| (day.day.as_millis() / DAY_MS, day.boxes, day.protected)).collect::<Vec<_>>()
            }
        };
        assert_eq!(read("/o/", at(1030)).await, [(40, 4, 3), (41, 4, 1)]);
        assert_eq!(read("/o/b/", at(1030)).await, [(40, 1, 1), (41, 1, 0)]);
        assert_eq!(read("/o/", at(1000)).await, [(40, 4, 3)], "today is not over");
        store.write(move |tx| write_down(tx, at(24 * 500))).await.expect("written");
        assert_eq!(read("/o/", at(1030)).await, [], "what is older is forgotten");
    }
}
