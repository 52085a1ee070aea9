//! One thing that many boxes are asked to do: one request, one job that is watched. What a box cannot do is said beside it.
//!
//! Nothing here can destroy: such a thing is asked of one box, with a signature.

use super::App;
use super::access::{Access, Role};
use super::answer::{List, Made};
use super::appliances::visible;
use super::commands::{self, LIFE};
use super::problem::{ApiError, Body};
use crate::audit;
use crate::clock;
use crate::ingest::Outgoing;
use crate::password;
use crate::store::{StoreError, Tx, first, values};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use saveos_protocol::command::{Action, Command};
use saveos_protocol::id::{CommandId, DeviceId};
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::Down;
use saveos_protocol::unit::Percent;
use saveos_protocol::{Topic, V1, encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// Boxes that are asked at once: their names fit into a body.
const MOST: usize = 400;

/// How long it is remembered what many boxes were asked; each command is kept with its box.
const KEPT: Duration = Duration::from_secs(90 * 86_400);

/// What many boxes can be asked.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "BulkAction")]
pub(super) enum Deed {
    /// Of every disk that is plugged in.
    StartBackup,
    /// A tenth of the repository.
    Verify,
    /// Of the newest recovery point.
    RestoreTest,
    Rescan,
    Reboot,
}

/// Which boxes, and what.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewBulk")]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    action: Deed,
    #[schemars(length(min = 1, max = 400))]
    appliances: Vec<DeviceId>,
}

/// What became of it.
#[derive(Serialize, JsonSchema)]
pub(super) struct Bulk {
    id: String,
    #[schemars(with = "Deed")]
    action: Value,
    made_by: String,
    #[serde(rename = "made_ms")]
    made: Timestamp,
    parts: Vec<Part>,
}

/// One line of the list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BulkLine")]
pub(super) struct InShort {
    id: String,
    #[schemars(with = "Deed")]
    action: Value,
    made_by: String,
    #[serde(rename = "made_ms")]
    made: Timestamp,
    /// What was asked of the boxes that one may see; a box with two disks backs up twice.
    parts: u64,
    /// That have ended, or were not asked.
    ended: u64,
}

/// What one box was asked.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BulkPart")]
pub(super) struct Part {
    device: String,
    name: String,
    command: Option<String>,
    /// Why it was not asked.
    refused: Option<String>,
    /// What it said last; none while it is silent.
    #[schemars(with = "Option<saveos_protocol::command::State>")]
    state: Option<Value>,
    #[serde(rename = "ended_ms")]
    ended: Option<Timestamp>,
}

/// Asks many boxes to do one thing. One that may not be seen is not there, and then nobody is asked.
#[utoipa::path(
    post,
    path = "/api/v1/bulk",
    tag = "people",
    operation_id = "make_bulk",
    request_body = ref("#/components/schemas/NewBulk"),
    responses((status = 202, description = "Done", body = ref("#/components/schemas/Made"))),
)]
pub(super) async fn make(
    State(app): State<App>,
    access: Access,
    Body(new): Body<New>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    if new.appliances.is_empty() || new.appliances.len() > MOST {
        return Err(ApiError::field("/appliances", "1 to 400 of them"));
    }
    let now = clock::now();
    let id = format!("bulk-{}", password::hex(&clock::random::<12>()));
    let made = id.clone();
    let outgoing: Vec<Outgoing> = app.store.write(move |tx| ask_all(tx, &access, &new, (&made, now))).await?;
    for command in outgoing {
        // Full: it is sent again with the others that wait.
        let _ = app.outgoing.try_send(command);
    }
    Ok((StatusCode::ACCEPTED, Json(Made { id })))
}

fn ask_all(
    tx: &mut dyn Tx,
    access: &Access,
    new: &New,
    (bulk, now): (&str, Timestamp),
) -> Result<Vec<Outgoing>, ApiError> {
    let long_ago = now.before(KEPT);
    let sql = "DELETE FROM bulk_part WHERE bulk IN (SELECT id FROM bulk WHERE made_ms < $1)";
    tx.execute(sql, &values![long_ago])?;
    tx.execute("DELETE FROM bulk WHERE made_ms < $1", &values![long_ago])?;
    let word = serde_json::to_string(&new.action).map_err(|_| ApiError::new(ProblemKind::Internal))?;
    let sql = "INSERT INTO bulk (id, email, action, made_ms) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, &values![bulk, access.email.as_str(), word, now])?;
    audit::write(tx, &access.email, "asked many boxes", bulk, now)?;
    let (mut outgoing, mut n) = (Vec::new(), 0u64);
    let mut part = |tx: &mut dyn Tx, device: DeviceId, command: Option<CommandId>, refused: Option<&str>| {
        let sql = "INSERT INTO bulk_part (bulk, n, device, command, refused) VALUES ($1, $2, $3, $4, $5)";
        n += 1;
        tx.execute(sql, &values![bulk, n, device, command, refused])
    };
    let mut boxes = new.appliances.clone();
    boxes.sort_unstable();
    boxes.dedup();
    for device in boxes {
        visible(tx, access, device, Role::Operator)?;
        let actions = actions(tx, device, new.action)?;
        if actions.is_empty() {
            part(tx, device, None, Some("no disk is plugged in"))?;
        }
        for action in actions {
            let id = CommandId::from_parts(now, clock::random());
            let idem = id.to_string().parse().map_err(|_| ApiError::new(ProblemKind::Internal))?;
            let command = Command { v: V1, id, action, exp: now.after(LIFE), idem, sig: None };
            let json = encode(&command).map_err(|error| ApiError::said(ProblemKind::Invalid, &error.to_string()))?;
            let text = String::from_utf8_lossy(&json).into_owned();
            commands::write(tx, access, (device, id), (text, format!("{device} {id}")), now)?;
            part(tx, device, Some(id), None)?;
            outgoing.push((Topic::Down(device, Down::Command), json));
        }
    }
    Ok(outgoing)
}

fn actions(tx: &mut dyn Tx, device: DeviceId, deed: Deed) -> Result<Vec<Action>, StoreError> {
    Ok(match deed {
        Deed::StartBackup => {
            let sql = "SELECT id FROM disk WHERE device = $1 AND gone_ms IS NULL ORDER BY id";
            let rows = tx.query(sql, &values![device])?;
            rows.iter().map(|row| Ok(Action::StartBackup { disk: row.parse(0)? })).collect::<Result<_, StoreError>>()?
        }
        Deed::Verify => vec![Action::Verify { store: None, percent: Percent::of(1, 10) }],
        Deed::RestoreTest => vec![Action::RestoreTest { snapshot: None }],
        Deed::Rescan => vec![Action::Rescan {}],
        Deed::Reboot => vec![Action::Reboot {}],
    })
}

/// The last hundred things that boxes one may see were asked, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/bulk",
    tag = "people",
    operation_id = "list_bulk",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfBulkLine"))),
)]
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<List<InShort>>, ApiError> {
    const SHOWN: usize = 100;
    let sql = "SELECT b.id, b.action, b.email, b.made_ms, COUNT(*),
            COUNT(CASE WHEN p.refused IS NOT NULL OR c.ended_ms IS NOT NULL THEN 1 END)
        FROM bulk b JOIN bulk_part p ON p.bulk = b.id JOIN appliance a ON a.id = p.device
        JOIN node n ON n.id = a.node LEFT JOIN command c ON c.id = p.command
        WHERE n.path >= $1 AND n.path < $2
        GROUP BY b.id, b.action, b.email, b.made_ms ORDER BY b.made_ms DESC LIMIT 100";
    let tops = access.outermost();
    let read = app.store.read(move |tx: &mut dyn Tx| {
        let mut lines = BTreeMap::new();
        for (from, to) in &tops {
            for row in tx.query(sql, &values![from.as_str(), to.as_str()])? {
                let (id, made) = (row.text(0)?.to_owned(), row.time(3)?);
                let (parts, ended) = (row.number(4)?, row.number(5)?);
                // Of boxes in two places that he may see.
                let line = lines.entry((Reverse(made), id.clone())).or_insert(InShort {
                    id,
                    action: row.maybe_json(1)?.unwrap_or_default(),
                    made_by: row.text(2)?.to_owned(),
                    made,
                    parts: 0,
                    ended: 0,
                });
                (line.parts, line.ended) = (line.parts + parts, line.ended + ended);
            }
        }
        Ok::<_, StoreError>(lines.into_values().take(SHOWN).collect())
    });
    Ok(Json(List::whole(read.await?)))
}

/// What became of it, of the boxes that one may see.
#[utoipa::path(
    get,
    path = "/api/v1/bulk/{id}",
    tag = "people",
    operation_id = "get_bulk",
    params(("id" = String, Path, description = "What many boxes were asked")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Bulk"))),
)]
pub(super) async fn one(
    State(app): State<App>,
    access: Access,
    Path(id): Path<String>,
) -> Result<Json<Bulk>, ApiError> {
    let read = app.store.read(move |tx| {
        let missing = || ApiError::new(ProblemKind::NotFound);
        let sql = "SELECT email, action, made_ms FROM bulk WHERE id = $1";
        let row = first(tx, sql, &values![id.as_str()])?.ok_or_else(missing)?;
        let sql = "SELECT p.device, a.name, p.command, p.refused, c.state, c.ended_ms, n.path FROM bulk_part p
            JOIN appliance a ON a.id = p.device JOIN node n ON n.id = a.node LEFT JOIN command c ON c.id = p.command
            WHERE p.bulk = $1 ORDER BY p.n";
        let mut parts = Vec::new();
        for part in tx.query(sql, &values![id.as_str()])? {
            if access.role_at(part.text(6)?).is_some() {
                parts.push(Part {
                    device: part.text(0)?.to_owned(),
                    name: part.text(1)?.to_owned(),
                    command: part.maybe_text(2)?.map(str::to_owned),
                    refused: part.maybe_text(3)?.map(str::to_owned),
                    state: part.maybe_json(4)?,
                    ended: part.maybe_time(5)?,
                });
            }
        }
        if parts.is_empty() {
            return Err(missing());
        }
        let action = row.maybe_json(1)?.unwrap_or_default();
        Ok(Bulk { id, action, made_by: row.text(0)?.to_owned(), made: row.time(2)?, parts })
    });
    Ok(Json(read.await?))
}
