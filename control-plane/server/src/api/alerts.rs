//! Alerts: what is open, what was, and that somebody takes care of it.

use super::App;
use super::access::{Access, Role};
use super::problem::ApiError;
use crate::audit;
use crate::clock;
use crate::store::{Row, Tx, first, values};
use axum::Json;
use axum::extract::{Path, State};
use saveos_protocol::problem::ProblemKind;
use serde_json::{Value, json};

/// Those that one may see: the open ones, then the last that ended, the newest first.
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<Value>, ApiError> {
    let sql = "SELECT a.id, a.rule, a.node, a.device, a.disk, a.detail, a.raised_ms, a.ended_ms, a.acknowledged_ms,
        a.acknowledged_by, n.path FROM alert a JOIN node n ON n.id = a.node
        ORDER BY CASE WHEN a.ended_ms IS NULL THEN 0 ELSE 1 END, a.id DESC LIMIT 1000";
    let rows: Vec<Row> = app.store.read(move |tx: &mut dyn Tx| tx.query(sql, &[])).await?;
    let mut alerts = Vec::new();
    for row in &rows {
        if access.role_at(row.text(10)?) >= Some(Role::Viewer) {
            alerts.push(json!({
                "id": row.text(0)?, "rule": row.text(1)?, "site": row.text(2)?, "device": row.maybe_text(3)?,
                "disk": row.maybe_text(4)?, "detail": row.text(5)?, "raised_ms": row.number(6)?,
                "ended_ms": row.maybe_number(7)?, "acknowledged_ms": row.maybe_number(8)?,
                "acknowledged_by": row.maybe_text(9)?,
            }));
        }
    }
    Ok(Json(json!({ "alerts": alerts })))
}

/// Somebody takes care of it. The first one who says so stands.
pub(super) async fn acknowledge(
    State(app): State<App>,
    access: Access,
    Path(alert): Path<String>,
) -> Result<Json<Value>, ApiError> {
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
    Ok(Json(json!({})))
}
