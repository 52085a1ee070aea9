//! The first question of everybody: who is not protected right now, and why.

use super::App;
use super::access::Access;
use super::problem::ApiError;
use super::tree;
use crate::clock;
use crate::fleet::standing::{self, Day, Standing};
use axum::Json;
use axum::extract::{FromRequestParts, State};
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// How far back a trend goes.
const TREND_DAYS: u64 = 30;

/// How the fleet stands.
#[derive(Serialize, JsonSchema)]
pub(super) struct Protection {
    #[serde(rename = "at_ms")]
    at: Timestamp,
    /// Sites with a box.
    sites: Vec<Standing>,
    /// The 30 days before today.
    days: Vec<Day>,
}

/// Of what.
#[derive(Deserialize, FromRequestParts, IntoParams)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Of this node and below.
    node: Option<String>,
}

/// How many boxes are protected, and why the others are not, site by site.
#[utoipa::path(
    get,
    path = "/api/v1/protection",
    tag = "people",
    operation_id = "protection",
    params(Wanted),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Protection"))),
)]
pub(super) async fn protection(
    State(app): State<App>,
    access: Access,
    wanted: Wanted,
) -> Result<Json<Protection>, ApiError> {
    let now = clock::now();
    let read = app.store.read(move |tx| {
        let tops = tree::tops(tx, &access, wanted.node.as_deref())?;
        let sites = standing::of_sites(tx, &tops, now)?;
        Ok::<_, ApiError>(Protection { at: now, sites, days: standing::days(tx, &tops, (now, TREND_DAYS))? })
    });
    Ok(Json(read.await?))
}
