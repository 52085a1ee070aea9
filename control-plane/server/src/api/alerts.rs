//! Alerts: what is open, what was, and that somebody takes care of it.

use super::App;
use super::access::{Access, Role};
use super::answer::List;
use super::problem::ApiError;
use crate::audit;
use crate::clock;
use crate::notify::{Silence, silences};
use crate::store::{Row, StoreError, Tx, first, values};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

/// Something that somebody should know.
#[derive(Serialize, JsonSchema)]
pub(super) struct Alert {
    id: String,
    rule: String,
    site: String,
    device: Option<String>,
    disk: Option<String>,
    detail: String,
    #[serde(rename = "raised_ms")]
    raised: Timestamp,
    #[serde(rename = "ended_ms")]
    ended: Option<Timestamp>,
    #[serde(rename = "acknowledged_ms")]
    acknowledged: Option<Timestamp>,
    acknowledged_by: Option<String>,
    /// Nobody is told of it until then.
    silenced_until_ms: Option<Timestamp>,
}

/// Those that one may see: the open ones, then the last that ended, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/alerts",
    tag = "people",
    operation_id = "list_alerts",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfAlert"))),
)]
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<List<Alert>>, ApiError> {
    // Of each place that one may see: what others have must not crowd out one's own.
    let sql = "SELECT a.id, a.rule, a.node, a.device, a.disk, a.detail, a.raised_ms, a.ended_ms, a.acknowledged_ms,
        a.acknowledged_by, n.path FROM alert a JOIN node n ON n.id = a.node WHERE n.path >= $1 AND n.path < $2
        ORDER BY CASE WHEN a.ended_ms IS NULL THEN 0 ELSE 1 END, a.id DESC LIMIT 1000";
    let now = clock::now();
    let tops = access.outermost();
    let read = app.store.read(move |tx: &mut dyn Tx| {
        let mut rows = Vec::new();
        for (from, to) in &tops {
            rows.extend(tx.query(sql, &values![from.as_str(), to.as_str()])?);
        }
        Ok::<_, StoreError>((rows, silences(tx, now)?))
    });
    let (rows, silences): (Vec<Row>, Vec<Silence>) = read.await?;
    let mut alerts = Vec::new();
    for row in &rows {
        let (path, rule, device) = (row.text(10)?, row.text(1)?, row.maybe_text(3)?);
        let covering = silences.iter().filter(|silence| silence.covers(path, rule, device));
        alerts.push(Alert {
            silenced_until_ms: covering.map(|silence| silence.until).max(),
            id: row.text(0)?.to_owned(),
            rule: row.text(1)?.to_owned(),
            site: row.text(2)?.to_owned(),
            device: row.maybe_text(3)?.map(str::to_owned),
            disk: row.maybe_text(4)?.map(str::to_owned),
            detail: row.text(5)?.to_owned(),
            raised: row.time(6)?,
            ended: row.maybe_time(7)?,
            acknowledged: row.maybe_time(8)?,
            acknowledged_by: row.maybe_text(9)?.map(str::to_owned),
        });
    }
    Ok(Json(List::whole(alerts)))
}

/// Somebody takes care of it. The first one who says so stands.
#[utoipa::path(
    post,
    path = "/api/v1/alerts/{alert}/acknowledge",
    tag = "people",
    operation_id = "acknowledge_alert",
    params(("alert" = String, Path, description = "An alert")),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn acknowledge(
    State(app): State<App>,
    access: Access,
    Path(alert): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = clock::now();
    app.store
        .write(move |tx| {
            let sql = "SELECT n.path FROM alert a JOIN node n ON n.id = a.node WHERE a.id = $1";
            let row = first(tx, sql, &values![alert.as_str()])?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            access.may(row.text(0)?, Role::Operator)?;
            let sql = "UPDATE alert SET acknowledged_ms = $1, acknowledged_by = $2
                WHERE id = $3 AND acknowledged_ms IS NULL";
            tx.execute(sql, &values![now, access.email.as_str(), alert.as_str()])?;
            Ok::<_, ApiError>(audit::write(tx, &access.email, "acknowledged an alert", &alert, now)?)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
