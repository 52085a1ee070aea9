//! For who runs us: whether the process lives, whether it can do its work, what it is. What it did is told on a listener of its own
//! (`metrics`), not to everybody.

use super::App;
use super::problem::ApiError;
use crate::roles::Role;
use crate::store::{Tx, values};
use axum::Json;
use axum::extract::State;
use saveos_protocol::problem::ProblemKind;
use schemars::JsonSchema;
use serde::Serialize;

/// That it can do its work.
#[derive(Serialize, JsonSchema)]
pub(super) struct Ready {
    ready: bool,
}

/// What runs, and where.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ServerVersion")]
pub(super) struct Version {
    version: &'static str,
    node: String,
    name: String,
}

/// The process answers.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "health",
    operation_id = "live",
    responses((status = 200, description = "Alive", body = String, content_type = "text/plain")),
    security(()),
)]
pub(super) async fn live() -> &'static str {
    "alive\n"
}

/// It can commit and it hears.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    operation_id = "ready",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Ready"))),
    security(()),
)]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Ready>, ApiError> {
    let probe = "INSERT INTO counter (name, value) VALUES ('probe', $1)
        ON CONFLICT (name) DO UPDATE SET value = counter.value + 1";
    app.store.write(move |tx: &mut dyn Tx| tx.execute(probe, &values![1u64])).await?;
    let hearing = app.heart.look();
    // A replica that only serves is no worse for it, and taking all of them away would hide it from people.
    if app.part.does(Role::Worker) && !hearing.connected {
        return Err(ApiError::said(ProblemKind::Unavailable, "the ingest has no session with the broker"));
    }
    Ok(Json(Ready { ready: true }))
}

/// What runs.
#[utoipa::path(
    get,
    path = "/version",
    tag = "health",
    operation_id = "version",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ServerVersion"))),
    security(()),
)]
pub(super) async fn version(State(app): State<App>) -> Json<Version> {
    let (node, name) = (app.config.node.to_string(), app.config.name.to_string());
    Json(Version { version: env!("CARGO_PKG_VERSION"), node, name })
}
