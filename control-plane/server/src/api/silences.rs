//! Silences: nobody is told of what they cover while they last. What is covered stays in the list, and is told afterwards if it
//! still lasts.

use super::App;
use super::access::{Access, Role};
use super::answer::{List, Made};
use super::problem::{ApiError, Body, at_most};
use super::tree::path_of;
use crate::alerts::Rule;
use crate::audit;
use crate::clock;
use crate::store::{Row, Tx, first, values};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use saveos_protocol::id::SilenceId;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::text::Text;
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Of one node.
const MOST: u64 = 500;

/// Nobody is forgotten for longer.
const LONGEST: Duration = Duration::from_secs(90 * 86_400);

/// A silence to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSilence {
    /// Alerts of this node and all below it.
    node: String,
    /// Only this rule.
    rule: Option<Rule>,
    /// Only this appliance.
    device: Option<String>,
    /// Why, for those who wonder.
    reason: Text,
    /// At most 90 days from now.
    until_ms: Timestamp,
}

/// A silence.
#[derive(Serialize, JsonSchema)]
pub(super) struct Silence {
    id: String,
    node: String,
    rule: Option<String>,
    device: Option<String>,
    reason: String,
    made_by: String,
    made_ms: Timestamp,
    until_ms: Timestamp,
}

/// Those in force on nodes that one may see, the first to end first.
#[utoipa::path(
    get,
    path = "/api/v1/silences",
    tag = "people",
    operation_id = "list_silences",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfSilence"))),
)]
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<List<Silence>>, ApiError> {
    let sql = "SELECT s.id, s.node, s.rule, s.device, s.reason, s.made_by, s.made_ms, s.until_ms, n.path
        FROM silence s JOIN node n ON n.id = s.node WHERE s.until_ms > $1 ORDER BY s.until_ms, s.id";
    let rows: Vec<Row> = app.store.read(move |tx: &mut dyn Tx| tx.query(sql, &values![clock::now()])).await?;
    let mut silences = Vec::new();
    for row in &rows {
        if access.role_at(row.text(8)?) >= Some(Role::Viewer) {
            silences.push(Silence {
                id: row.text(0)?.to_owned(),
                node: row.text(1)?.to_owned(),
                rule: row.maybe_text(2)?.map(str::to_owned),
                device: row.maybe_text(3)?.map(str::to_owned),
                reason: row.text(4)?.to_owned(),
                made_by: row.text(5)?.to_owned(),
                made_ms: row.time(6)?,
                until_ms: row.time(7)?,
            });
        }
    }
    Ok(Json(List::whole(silences)))
}

/// Makes one, in one's own name.
#[utoipa::path(
    post,
    path = "/api/v1/silences",
    tag = "people",
    operation_id = "make_silence",
    request_body = ref("#/components/schemas/NewSilence"),
    responses((status = 201, description = "Done", body = ref("#/components/schemas/Made"))),
)]
pub(super) async fn make(
    State(app): State<App>,
    access: Access,
    Body(new): Body<NewSilence>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    let now = clock::now();
    if new.until_ms <= now || new.until_ms > now.after(LONGEST) {
        return Err(ApiError::field("/until_ms", "in the next 90 days"));
    }
    if new.reason.to_string().trim().is_empty() {
        return Err(ApiError::field("/reason", "somebody will ask why"));
    }
    let id = SilenceId::from_parts(now, clock::random()).to_string();
    let made = id.clone();
    app.store
        .write(move |tx| {
            let (path, _) = path_of(tx, &new.node)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            access.may(&path, Role::Operator)?;
            let sql = "SELECT COUNT(*) FROM silence WHERE node = $1 AND until_ms > $2";
            at_most(tx, (sql, &values![new.node.as_str(), now]), MOST, "silences of this node")?;
            if let Some(device) = &new.device {
                let sql = "SELECT n.path FROM appliance a JOIN node n ON n.id = a.node WHERE a.id = $1";
                let row = first(tx, sql, &values![device.as_str()])?;
                if !row.is_some_and(|row| row.text(0).is_ok_and(|own| own.starts_with(&path))) {
                    return Err(ApiError::field("/device", "no appliance of this node"));
                }
            }
            let sql = "INSERT INTO silence (id, node, rule, device, reason, made_ms, made_by, until_ms)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
            let rule = new.rule.map(Rule::as_str);
            let (reason, until) = (new.reason.to_string(), new.until_ms);
            tx.execute(
                sql,
                &values![made.as_str(), new.node, rule, new.device, reason, now, access.email.as_str(), until],
            )?;
            Ok(audit::write(tx, &access.email, "made a silence", &made, now)?)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(Made { id })))
}

/// Ends one now.
#[utoipa::path(
    delete,
    path = "/api/v1/silences/{silence}",
    tag = "people",
    operation_id = "end_silence",
    params(("silence" = String, Path, description = "A silence")),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn end(
    State(app): State<App>,
    access: Access,
    Path(silence): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = clock::now();
    app.store
        .write(move |tx| {
            let sql = "SELECT n.path FROM silence s JOIN node n ON n.id = s.node WHERE s.id = $1";
            let row =
                first(tx, sql, &values![silence.as_str()])?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            access.may(row.text(0)?, Role::Operator)?;
            let sql = "UPDATE silence SET until_ms = $1 WHERE id = $2 AND until_ms > $1";
            tx.execute(sql, &values![now, silence.as_str()])?;
            Ok::<_, ApiError>(audit::write(tx, &access.email, "ended a silence", &silence, now)?)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
