//! What only the command key may order: documents that weaken, commands that destroy. They come here signed, by a process that
//! opened the key elsewhere (`saveos-server sign`); this one checks with the public half, as the box will, and passes them on.

use super::App;
use super::access::{Access, Role};
use super::answer::Made;
use super::appliances::{named, visible};
use super::problem::{ApiError, Raw};
use crate::audit;
use crate::clock;
use crate::policy::tree;
use crate::store::{first, values};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use saveos_protocol::Topic;
use saveos_protocol::command::Command;
use saveos_protocol::id::DeviceId;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::shadow::Desired;
use saveos_protocol::sign::{self, Signable};
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::Down;
use saveos_protocol::unit::DesiredVersion;
use schemars::JsonSchema;
use serde::Serialize;

/// The version of the document that is in force now.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AcceptedDocument")]
pub(super) struct Accepted {
    desired: DesiredVersion,
}

/// The document that a box should have, as it is sent.
#[utoipa::path(
    get,
    path = "/api/v1/appliances/{id}/desired",
    tag = "people",
    operation_id = "get_desired",
    params(("id" = String, Path, description = "An appliance")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Desired"))),
)]
pub(super) async fn desired(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
) -> Result<Response, ApiError> {
    let device = named(&device)?;
    let text = app.store.read(move |tx| {
        visible(tx, &access, device, Role::Viewer)?;
        let row = first(tx, "SELECT desired FROM appliance WHERE id = $1", &values![device])?;
        let row = row.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
        Ok::<_, ApiError>(row.text(0)?.to_owned())
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], text.await?).into_response())
}

/// Replaces it by a signed one.
#[utoipa::path(
    put,
    path = "/api/v1/appliances/{id}/desired",
    tag = "people",
    operation_id = "put_desired",
    params(("id" = String, Path, description = "An appliance")),
    request_body = ref("#/components/schemas/Desired"),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/AcceptedDocument"))),
)]
pub(super) async fn put_desired(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    Raw(body): Raw,
) -> Result<Json<Accepted>, ApiError> {
    let (device, now) = (named(&device)?, clock::now());
    let desired: Desired = proven(&app, device, &body, now)?;
    desired.check().map_err(|fault| ApiError::said(ProblemKind::Invalid, &fault.to_string()))?;
    let (ver, text) = (desired.ver, String::from_utf8_lossy(&body).into_owned());
    app.store
        .write(move |tx| {
            visible(tx, &access, device, Role::Admin)?;
            let sql = "SELECT desired_ver, applied_ver FROM appliance WHERE id = $1";
            let row = first(tx, sql, &values![device])?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            if ver.get() <= row.number(0)?.max(row.number(1)?) {
                return Err(ApiError::said(ProblemKind::Stale, "its version is not above the one in force"));
            }
            let sql = "UPDATE appliance SET desired = $1, desired_ver = $2, offered = $3 WHERE id = $4";
            tx.execute(sql, &values![text, ver, tree::offered(&desired), device])?;
            Ok(audit::write(tx, &access.email, "sent a signed document", &device.to_string(), now)?)
        })
        .await?;
    // The end of the server: the ingest says it again with the next session.
    let _ = app.outgoing.send((Topic::Down(device, Down::Desired), body.to_vec())).await;
    Ok(Json(Accepted { desired: ver }))
}

/// Passes a signed command on.
#[utoipa::path(
    post,
    path = "/api/v1/appliances/{id}/commands/signed",
    tag = "people",
    operation_id = "send_signed_command",
    params(("id" = String, Path, description = "An appliance")),
    request_body = ref("#/components/schemas/Command"),
    responses((status = 202, description = "Done", body = ref("#/components/schemas/Made"))),
)]
pub(super) async fn command(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    Raw(body): Raw,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    let (device, now) = (named(&device)?, clock::now());
    let command: Command = proven(&app, device, &body, now)?;
    if command.exp <= now {
        return Err(ApiError::said(ProblemKind::Invalid, "its time is over"));
    }
    let (id, until, key) = (command.id, command.exp, format!("{device} {}", command.idem));
    let text = String::from_utf8_lossy(&body).into_owned();
    app.store
        .write(move |tx| {
            visible(tx, &access, device, Role::Admin)?;
            let sql = "INSERT INTO command (id, device, json, made_ms, until_ms, account, idem)
                VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
            tx.execute(sql, &values![id, device, text, now, until, access.account.as_str(), key])?;
            Ok::<_, ApiError>(audit::write(tx, &access.email, "sent a signed command", &format!("{device} {id}"), now)?)
        })
        .await?;
    let _ = app.outgoing.send((Topic::Down(device, Down::Command), body.to_vec())).await;
    Ok((StatusCode::ACCEPTED, Json(Made { id: id.to_string() })))
}

/// The document, if the command key signed these very bytes for this box.
fn proven<D: Signable>(app: &App, device: DeviceId, body: &Bytes, now: Timestamp) -> Result<D, ApiError> {
    let received =
        sign::receive::<D>(body).map_err(|error| ApiError::said(ProblemKind::Malformed, &error.to_string()))?;
    let signed = received.verify(device, &app.config.command_key, Some(now));
    signed.map_err(|fault| ApiError::said(ProblemKind::SignatureRequired, &format!("its signature: {fault}")))?;
    Ok(received.into_document())
}
