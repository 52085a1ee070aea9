//! Commands to a box: made, sent, remembered until they have an end or their time is over.
//!
//! What can destroy is not made here: it needs the command key, which this process never opens.

use super::App;
use super::access::{Access, Role};
use super::answer::{List, Made};
use super::appliances::{named, visible};
use super::logs;
use super::problem::{ApiError, Body};
use crate::audit;
use crate::clock;
use crate::store::{Row, StoreError, Tx, first, values};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use saveos_protocol::command::{Action, Command};
use saveos_protocol::id::{CommandId, DeviceId};
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::text::IdempotencyKey;
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::Down;
use saveos_protocol::{Topic, V1, encode};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// A box that is off for longer is asked again by a person.
pub(super) const LIFE: Duration = Duration::from_secs(24 * 3600);

/// A command and what became of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SentCommand")]
pub(super) struct Sent {
    id: String,
    #[schemars(with = "Option<Command>")]
    command: Option<Value>,
    #[serde(rename = "made_ms")]
    made: Timestamp,
    #[serde(rename = "until_ms")]
    until: Timestamp,
    /// What the box said last; none while it is silent.
    #[schemars(with = "Option<saveos_protocol::command::State>")]
    state: Option<Value>,
    #[serde(rename = "ended_ms")]
    ended: Option<Timestamp>,
}

/// Asks a box to do something. The same `Idempotency-Key` gives the first command again.
#[utoipa::path(
    post,
    path = "/api/v1/appliances/{id}/commands",
    tag = "people",
    operation_id = "send_command",
    params(
        ("id" = String, Path, description = "An appliance"),
        (
            "idempotency-key" = Option<String>,
            Header,
            description = "The same key gives the first command again: letters, digits and _ - :",
        ),
    ),
    request_body = ref("#/components/schemas/Action"),
    responses((status = 202, description = "Done", body = ref("#/components/schemas/Made"))),
)]
pub(super) async fn make(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    headers: HeaderMap,
    Body(action): Body<Action>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    let device = named(&device)?;
    if action.is_destructive() {
        return Err(ApiError::new(ProblemKind::SignatureRequired));
    }
    if let Some(fault) = action.fault() {
        return Err(ApiError::said(ProblemKind::Invalid, &fault.to_string()));
    }
    let now = clock::now();
    let id = CommandId::from_parts(now, clock::random());
    let idem = match headers.get("idempotency-key") {
        None => id.to_string().parse(),
        Some(key) => key.to_str().unwrap_or_default().parse(),
    };
    let idem: IdempotencyKey =
        idem.map_err(|_| ApiError::said(ProblemKind::Malformed, "Idempotency-Key: letters, digits and _ - :"))?;
    // Names are of one box: another box's key must not meet this one's.
    let key = format!("{device} {idem}");
    let command = Command { v: V1, id, action, exp: now.after(LIFE), idem, sig: None };
    let json = encode(&command).map_err(|error| ApiError::said(ProblemKind::Invalid, &error.to_string()))?;
    let text = String::from_utf8_lossy(&json).into_owned();
    let wanted = serde_json::to_value(&command.action).unwrap_or_default();
    let made = app.store.write(move |tx| {
        visible(tx, &access, device, Role::Operator)?;
        if let Some(row) = first(tx, "SELECT id, json FROM command WHERE idem = $1", &values![key.as_str()])? {
            let known: Command = serde_json::from_str(row.text(1)?).map_err(|_| StoreError::Damaged("a command"))?;
            let same = serde_json::to_value(&known.action).is_ok_and(|known| known == wanted);
            return if same { Ok(known.id) } else { Err(ApiError::new(ProblemKind::IdempotencyMismatch)) };
        }
        write(tx, &access, (device, id), (text, key), now)?;
        Ok(id)
    });
    let made: CommandId = made.await?;
    if made == id {
        // Full: it is sent again with the others that wait.
        let _ = app.outgoing.try_send((Topic::Down(device, Down::Command), json));
    }
    Ok((StatusCode::ACCEPTED, Json(Made { id: made.to_string() })))
}

/// Remembers a command of this person to this box.
pub(super) fn write(
    tx: &mut dyn Tx,
    access: &Access,
    (device, id): (DeviceId, CommandId),
    (json, key): (String, String),
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO command (id, device, json, made_ms, until_ms, account, idem) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    tx.execute(sql, &values![id, device, json, now, now.after(LIFE), access.account.as_str(), key])?;
    audit::write(tx, &access.email, "sent a command", &format!("{device} {id}"), now)
}

/// Commands to this box, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/appliances/{id}/commands",
    tag = "people",
    operation_id = "list_commands",
    params(("id" = String, Path, description = "An appliance")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfSentCommand"))),
)]
pub(super) async fn list(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
) -> Result<Json<List<Sent>>, ApiError> {
    let device = named(&device)?;
    let rows: Result<Vec<Row>, ApiError> = app
        .store
        .read(move |tx: &mut dyn Tx| {
            visible(tx, &access, device, Role::Viewer)?;
            let sql = "SELECT id, json, made_ms, until_ms, state, ended_ms FROM command WHERE device = $1
                ORDER BY id DESC LIMIT 200";
            Ok(tx.query(sql, &values![device])?)
        })
        .await;
    let item = |row: &Row| {
        Ok(Sent {
            id: row.text(0)?.to_owned(),
            command: row.maybe_json(1)?.map(|mut command| {
                logs::hide_token(&mut command);
                command
            }),
            made: row.time(2)?,
            until: row.time(3)?,
            state: row.maybe_json(4)?,
            ended: row.maybe_time(5)?,
        })
    };
    let items: Result<Vec<Sent>, StoreError> = rows?.iter().map(item).collect();
    Ok(Json(List::whole(items?)))
}
