//! What a customer can be shown: what was backed up and proven in a period, box by box.

use super::App;
use super::access::{Access, Role};
use super::problem::ApiError;
use super::tree::path_of;
use crate::clock;
use crate::store::{Row, StoreError, Tx, first, values};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::IntoParams;

/// Boxes of one report: more are no page that anybody prints.
const MOST: u64 = 2000;
const USUAL_DAYS: u64 = 30;
const MOST_DAYS: u64 = 366;

/// Which period.
#[derive(Deserialize, FromRequestParts, IntoParams)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Period {
    /// So many days back from now.
    #[param(minimum = 1, maximum = 366)]
    days: Option<u64>,
}

/// What was backed up and proven in a period.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report {
    #[serde(rename = "from_ms")]
    from: Timestamp,
    #[serde(rename = "to_ms")]
    to: Timestamp,
    boxes: Vec<OfBox>,
}

/// The same of one box.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReportOfBox")]
struct OfBox {
    device: String,
    name: String,
    site: String,
    /// Now.
    protected: bool,
    /// What it lacks, if it is not protected.
    #[schemars(with = "Option<crate::protection::Reason>")]
    reason: Option<String>,
    backups: u64,
    backups_failed: u64,
    /// Verifies that found nothing.
    verifies: u64,
    /// Restore tests that found nothing.
    restore_tests: u64,
    /// Verifies and restore tests that failed or found something.
    proofs_failed: u64,
    /// Recovery points of the period that are still there.
    recovery_points: u64,
    #[serde(rename = "newest_ms")]
    newest: Option<Timestamp>,
}

/// What was backed up and proven in a period, at a node and below.
#[utoipa::path(
    get,
    path = "/api/v1/nodes/{node}/report",
    tag = "people",
    operation_id = "get_report",
    params(("node" = String, Path, description = "A node"), Period),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Report"))),
)]
pub(super) async fn report(
    State(app): State<App>,
    access: Access,
    Path(node): Path<String>,
    period: Period,
) -> Result<Json<Report>, ApiError> {
    let days = period.days.unwrap_or(USUAL_DAYS);
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(ApiError::field("/days", "1 to 366"));
    }
    let to = clock::now();
    let from = to.before(Duration::from_secs(days * 86_400));
    let read = app.store.read(move |tx| {
        let (path, _) = path_of(tx, &node)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
        access.may(&path, Role::Viewer)?;
        let sql = "SELECT a.id, a.name, a.node, CASE WHEN COALESCE(a.protected_until_ms, 0) >= $1 THEN 1 ELSE 0 END,
            COALESCE(a.lapse_why, 'never_heard') FROM appliance a JOIN node n ON n.id = a.node
            WHERE a.revoked_ms IS NULL AND n.path >= $2 AND n.path < $3 ORDER BY n.path, a.name, a.id LIMIT $4";
        let rows = tx.query(sql, &values![to, path.as_str(), format!("{path}\u{10FFFF}"), MOST + 1])?;
        if rows.len() as u64 > MOST {
            return Err(ApiError::field("/node", "more than 2000 boxes: choose a customer or a site"));
        }
        let boxes = rows.iter().map(|row| of_box(tx, row, from)).collect::<Result<Vec<OfBox>, StoreError>>()?;
        Ok(Report { from, to, boxes })
    });
    Ok(Json(read.await?))
}

fn of_box(tx: &mut dyn Tx, row: &Row, from: Timestamp) -> Result<OfBox, StoreError> {
    let (device, protected) = (row.text(0)?.to_owned(), row.number(3)? == 1);
    let sql = "SELECT work, CASE WHEN state <> 'done' THEN 'failed'
            WHEN work IN ('verify', 'restore_test') AND result NOT LIKE '%\"verdict\":\"clean\"%' THEN 'failed'
            ELSE 'done' END AS ending, COUNT(*)
        FROM job WHERE device = $1 AND ended_ms >= $2 GROUP BY work, ending";
    let mut said = OfBox {
        name: row.text(1)?.to_owned(),
        site: row.text(2)?.to_owned(),
        protected,
        reason: (!protected).then(|| row.text(4).map(str::to_owned)).transpose()?,
        backups: 0,
        backups_failed: 0,
        verifies: 0,
        restore_tests: 0,
        proofs_failed: 0,
        recovery_points: 0,
        newest: None,
        device,
    };
    for jobs in tx.query(sql, &values![said.device.as_str(), from])? {
        let count = match (jobs.text(0)?, jobs.text(1)?) {
            ("backup", "done") => &mut said.backups,
            ("backup", _) => &mut said.backups_failed,
            ("verify", "done") => &mut said.verifies,
            ("restore_test", "done") => &mut said.restore_tests,
            ("verify" | "restore_test", _) => &mut said.proofs_failed,
            _ => continue,
        };
        *count += jobs.number(2)?;
    }
    let sql = "SELECT SUM(CASE WHEN taken_ms >= $1 THEN 1 ELSE 0 END), MAX(taken_ms) FROM recovery_point
        WHERE device = $2 AND forgotten_ms IS NULL AND state IN ('complete', 'partial')";
    if let Some(points) = first(tx, sql, &values![from, said.device.as_str()])? {
        said.recovery_points = points.maybe_number(0)?.unwrap_or(0);
        said.newest = points.maybe_time(1)?;
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn a_report_counts_what_ended_in_its_period_and_how() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let fill = |tx: &mut dyn Tx| {
            let clean = "{\"verdict\":\"clean\"}";
            let damaged = "{\"verdict\":\"damaged\"}";
            let jobs = [
                ("backup", "done", 100, "{}"),
                ("backup", "done", 200, "{}"),
                ("backup", "failed", 200, "{}"),
                ("backup", "done", 99, "{}"),
                ("verify", "done", 150, clean),
                ("verify", "done", 150, damaged),
                ("restore_test", "done", 150, clean),
                ("restore_test", "failed", 150, "{}"),
                ("prune", "done", 150, "{}"),
            ];
            for (n, (work, state, ended, result)) in (0_u64..).zip(jobs) {
                let sql =
                    "INSERT INTO job (device, id, work, state, ended_ms, result) VALUES ('d', $1, $2, $3, $4, $5)";
                tx.execute(sql, &values![n.to_string(), work, state, ended as u64, result])?;
            }
            for (snapshot, taken, state, forgotten) in
                [("a", 90, "complete", None), ("b", 120, "complete", None), ("c", 180, "partial", None)]
                    .into_iter()
                    .chain([("e", 190, "torn", None), ("f", 190, "complete", Some(195_u64))])
            {
                let sql = "INSERT INTO recovery_point (device, snapshot, taken_ms, state, summary, forgotten_ms)
                    VALUES ('d', $1, $2, $3, '{}', $4)";
                tx.execute(sql, &values![snapshot, taken as u64, state, forgotten])?;
            }
            let sql = "SELECT 'd', 'Under the till', 's', 0, 'too_old'";
            let row = first(tx, sql, &[])?.ok_or(StoreError::Damaged("no row"))?;
            of_box(tx, &row, Timestamp::saturating(100))
        };
        let said = serde_json::to_value(store.write(fill).await.expect("counted")).expect("JSON");
        let expected = serde_json::json!({
            "device": "d", "name": "Under the till", "site": "s", "protected": false, "reason": "too_old",
            "backups": 2, "backups_failed": 1, "verifies": 1, "restore_tests": 1, "proofs_failed": 2,
            "recovery_points": 2, "newest_ms": 180,
        });
        assert_eq!(said, expected);
    }
}
