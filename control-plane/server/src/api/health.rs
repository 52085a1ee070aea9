//! For who runs us: whether the process lives, whether it can do its work, what it is. What it did is told on a listener of its own
//! (`metrics`), not to everybody.

use super::App;
use super::problem::ApiError;
use crate::store::{Tx, values};
use axum::Json;
use axum::extract::State;
use saveos_protocol::problem::ProblemKind;
use serde_json::{Value, json};

/// The process answers.
pub(super) async fn live() -> &'static str {
    "alive\n"
}

/// It can commit and it hears.
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Value>, ApiError> {
    let probe = "INSERT INTO counter (name, value) VALUES ('probe', $1)
        ON CONFLICT (name) DO UPDATE SET value = counter.value + 1";
    app.store.write(move |tx: &mut dyn Tx| tx.execute(probe, &values![1u64])).await?;
    let hearing = app.heart.look();
    if !hearing.connected {
        return Err(ApiError::said(ProblemKind::Unavailable, "the ingest has no session with the broker"));
    }
    Ok(Json(json!({ "ready": true })))
}

/// What runs.
pub(super) async fn version(State(app): State<App>) -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "node": app.config.node, "name": app.config.name }))
}
