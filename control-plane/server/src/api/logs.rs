//! Logs of a box: somebody asks, the box is told where to bring them, brings them once, and they are there to be read for a month.
//!
//! The address that the box is told holds a token of 256 random bits, good for one delivery and a day. Its body is read only after the
//! token was known: nobody else has us hold a mebibyte.

use super::App;
use super::access::{Access, Role, hash};
use super::answer::{List, Made};
use super::appliances::{named, visible};
use super::commands;
use super::problem::{ApiError, Body};
use crate::audit;
use crate::clock;
use crate::objects::ObjectsError;
use crate::password;
use crate::store::{Row, StoreError, Tx, first, values};
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use saveos_protocol::command::{Action, Command};
use saveos_protocol::id::CommandId;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::Down;
use saveos_protocol::unit::Bytes;
use saveos_protocol::{Topic, V1, encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a delivery has at most.
const LARGEST: u32 = 1 << 20;
/// And what it is as text: a byte that is none becomes three.
const LARGEST_KEPT: u64 = 3 * LARGEST as u64;
/// A slow line carries that in this time.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long they may be read.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Of one box; asking again makes room.
const MOST: u64 = 20;

/// Which logs.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "LogQuestion")]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// From when; none: the last day.
    #[serde(rename = "since_ms")]
    since: Option<Timestamp>,
    /// The last so many of them.
    #[schemars(range(min = 1, max = 1_048_576))]
    max_bytes: Option<u32>,
}

/// Logs that were asked for.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LogDelivery")]
pub(super) struct Delivery {
    id: String,
    #[serde(rename = "asked_ms")]
    asked: Timestamp,
    asked_by: String,
    /// The box may bring them until then.
    #[serde(rename = "until_ms")]
    until: Timestamp,
    /// None: they have not come.
    #[serde(rename = "got_ms")]
    got: Option<Timestamp>,
    bytes: Option<u64>,
}

/// Asks a box for its logs.
#[utoipa::path(
    post,
    path = "/api/v1/appliances/{id}/logs",
    tag = "people",
    operation_id = "ask_for_logs",
    params(("id" = String, Path, description = "An appliance")),
    request_body = ref("#/components/schemas/LogQuestion"),
    responses((status = 202, description = "Done", body = ref("#/components/schemas/Made"))),
)]
pub(super) async fn ask(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    Body(question): Body<Question>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    let device = named(&device)?;
    let now = clock::now();
    let most = question.max_bytes.unwrap_or(256 * 1024);
    if !(1..=LARGEST).contains(&most) {
        return Err(ApiError::field("/max_bytes", "1 to 1048576"));
    }
    let (token, id) = (password::hex(&clock::random::<32>()), format!("log-{}", password::hex(&clock::random::<8>())));
    let url = format!("{}/api/v1/logs/{token}", app.config.server());
    let url = url.parse().map_err(|_| ApiError::new(ProblemKind::Internal))?;
    let since = question.since.unwrap_or(now.before(Duration::from_secs(86_400)));
    let action = Action::FetchLogs { url, since, max_bytes: Bytes::from(most) };
    let command = CommandId::from_parts(now, clock::random());
    let idem = command.to_string().parse().map_err(|_| ApiError::new(ProblemKind::Internal))?;
    let until = now.after(commands::LIFE);
    let command = Command { v: V1, id: command, action, exp: until, idem, sig: None };
    let json = encode(&command).map_err(|error| ApiError::said(ProblemKind::Invalid, &error.to_string()))?;
    let (made, sent) = (id.clone(), String::from_utf8_lossy(&json).into_owned());
    let old = app.store.write(move |tx| {
        visible(tx, &access, device, Role::Operator)?;
        let sql = "INSERT INTO log_request (id, device, token, asked_ms, asked_by, until_ms) VALUES ($1, $2, $3, $4, $5, $6)";
        tx.execute(sql, &values![made.as_str(), device, hash(&token), now, access.email.as_str(), until])?;
        let sql = "INSERT INTO command (id, device, json, made_ms, until_ms, account, idem) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let key = format!("{device} {}", command.idem);
        tx.execute(sql, &values![command.id, device, sent, now, until, access.account.as_str(), key])?;
        audit::write(tx, &access.email, "asked for logs", &device.to_string(), now)?;
        let sql = "SELECT id FROM log_request WHERE asked_ms < $1 OR id IN
            (SELECT o.id FROM log_request o WHERE o.device = $2 ORDER BY o.asked_ms DESC LIMIT 1000 OFFSET $3)";
        let rows = tx.query(sql, &values![now.before(KEPT), device, MOST])?;
        let old: Result<Vec<String>, StoreError> = rows.iter().map(|row| row.text(0).map(str::to_owned)).collect();
        let old = old?;
        for id in &old {
            tx.execute("DELETE FROM log_request WHERE id = $1", &values![id.as_str()])?;
        }
        Ok::<_, ApiError>(old)
    });
    for id in old.await? {
        app.objects.remove(&object(&id)).await;
    }
    // Full: it is sent again with the others that wait.
    let _ = app.outgoing.try_send((Topic::Down(device, Down::Command), json));
    Ok((StatusCode::ACCEPTED, Json(Made { id })))
}

/// What was asked for, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/appliances/{id}/logs",
    tag = "people",
    operation_id = "list_logs",
    params(("id" = String, Path, description = "An appliance")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfLogDelivery"))),
)]
pub(super) async fn list(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
) -> Result<Json<List<Delivery>>, ApiError> {
    let device = named(&device)?;
    let rows = app.store.read(move |tx| {
        visible(tx, &access, device, Role::Viewer)?;
        let sql = "SELECT id, asked_ms, asked_by, until_ms, got_ms, bytes FROM log_request WHERE device = $1
            ORDER BY asked_ms DESC, id";
        Ok::<_, ApiError>(tx.query(sql, &values![device])?)
    });
    let item = |row: &Row| {
        Ok(Delivery {
            id: row.text(0)?.to_owned(),
            asked: row.time(1)?,
            asked_by: row.text(2)?.to_owned(),
            until: row.time(3)?,
            got: row.maybe_time(4)?,
            bytes: row.maybe_number(5)?,
        })
    };
    let items: Result<Vec<Delivery>, StoreError> = rows.await?.iter().map(item).collect();
    Ok(Json(List::whole(items?)))
}

/// The text that came.
#[utoipa::path(
    get,
    path = "/api/v1/appliances/{id}/logs/{log}",
    tag = "people",
    operation_id = "read_log",
    params(("id" = String, Path, description = "An appliance"), ("log" = String, Path, description = "A delivery")),
    responses((status = 200, description = "Done", body = String, content_type = "text/plain")),
)]
pub(super) async fn read(
    State(app): State<App>,
    access: Access,
    Path((device, log)): Path<(String, String)>,
) -> Result<(HeaderMap, Vec<u8>), ApiError> {
    let device = named(&device)?;
    let wanted = log.clone();
    let known = app.store.read(move |tx| {
        visible(tx, &access, device, Role::Operator)?;
        let sql = "SELECT id FROM log_request WHERE id = $1 AND device = $2 AND got_ms IS NOT NULL";
        Ok::<_, ApiError>(first(tx, sql, &values![wanted, device])?)
    });
    let row = known.await?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
    let text = app.objects.read(&object(row.text(0)?), LARGEST_KEPT).await.map_err(|error| not_there(&error))?;
    let text = text.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    let name = HeaderValue::try_from(format!("attachment; filename=\"{device}-{log}.txt\""));
    headers.insert(header::CONTENT_DISPOSITION, name.map_err(|_| ApiError::new(ProblemKind::NotFound))?);
    Ok((headers, text))
}

/// Takes what a box brings.
#[utoipa::path(
    put,
    path = "/api/v1/logs/{token}",
    tag = "boxes",
    operation_id = "deliver_log",
    params(("token" = String, Path, description = "As the command says it")),
    request_body(content = String, content_type = "text/plain"),
    responses((status = 204, description = "Done")),
    security(()),
)]
pub(super) async fn deliver(
    State(app): State<App>,
    Path(token): Path<String>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let nobody = || ApiError::said(ProblemKind::Conflict, "nobody waits for that, or it came before");
    let (token, now) = (hash(&token), clock::now());
    let wanted = token.clone();
    let sql = "SELECT id FROM log_request WHERE token = $1 AND got_ms IS NULL AND until_ms > $2";
    let row = app.store.read(move |tx: &mut dyn Tx| first(tx, sql, &values![wanted, now])).await?;
    let id = row.ok_or_else(nobody)?.text(0)?.to_owned();
    let reading = tokio::time::timeout(PATIENCE, axum::body::to_bytes(request.into_body(), LARGEST as usize));
    let late = || ApiError::said(ProblemKind::Malformed, "the body did not come in time");
    let bytes = reading.await.map_err(|_| late())?.map_err(|_| ApiError::new(ProblemKind::TooLarge))?;
    // What a box says is text for people; what is none is shown as such.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let len = text.len() as u64;
    app.objects.write(&object(&id), text).await.map_err(|error| not_there(&error))?;
    let sql = "UPDATE log_request SET got_ms = $1, bytes = $2 WHERE token = $3 AND got_ms IS NULL";
    let taken = app.store.write(move |tx: &mut dyn Tx| tx.execute(sql, &values![now, len, token])).await?;
    if taken == 0 { Err(nobody()) } else { Ok(StatusCode::NO_CONTENT) }
}

/// Where it lies. A name that the table knows: no path leads out of the folder.
fn object(id: &str) -> String {
    format!("logs/{id}")
}

fn not_there(error: &ObjectsError) -> ApiError {
    tracing::error!(error = error as &dyn std::error::Error, "logs are not where they are kept");
    ApiError::new(ProblemKind::Unavailable)
}

/// Whether this is the path of a delivery, whose body is read when its token is known.
pub(super) fn is_delivery(path: &str) -> bool {
    path.starts_with("/api/v1/logs/")
}

/// The address of a delivery is for the box alone.
pub(super) fn hide_token(command: &mut serde_json::Value) {
    if command["type"] == "fetch_logs" {
        let url = command["args"]["url"].as_str().unwrap_or_default();
        let hidden = url.rsplit_once('/').map_or(String::new(), |(place, _)| format!("{place}/-"));
        command["args"]["url"] = hidden.into();
    }
}
