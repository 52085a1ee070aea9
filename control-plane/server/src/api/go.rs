//! Whether an offer still stands. A box asks at the last moment, before it makes its other slot the next to start: so a release that was
//! halted restarts nobody any more, also not a box that heard nothing of it.

use super::App;
use super::problem::ApiError;
use crate::rollouts;
use crate::store::{Tx, first, values};
use axum::Json;
use axum::extract::{Path, State};
use saveos_protocol::id::DeviceId;
use saveos_protocol::text::Mark;
use schemars::JsonSchema;
use serde::Serialize;

/// Whether it does.
#[derive(Serialize, JsonSchema)]
pub(super) struct Go {
    stands: bool,
}

/// Whether the box may go on with what it was offered under this token. Who asks for another box, or another token, hears no.
#[utoipa::path(
    get,
    path = "/api/v1/go/{device}/{token}",
    tag = "boxes",
    operation_id = "may_go",
    params(("device" = String, Path, description = "An appliance"), ("token" = String, Path, description = "The offer")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Go"))),
    security(()),
)]
pub(super) async fn ask(
    State(app): State<App>,
    Path((device, token)): Path<(String, String)>,
) -> Result<Json<Go>, ApiError> {
    let (Ok(device), Ok(token)) = (device.parse::<DeviceId>(), token.parse::<Mark>()) else {
        return Ok(Json(Go { stands: false }));
    };
    let read = app.store.read(move |tx: &mut dyn Tx| {
        let sql = "SELECT 1 FROM appliance WHERE id = $1 AND offered = $2 AND revoked_ms IS NULL";
        let is_offered = first(tx, sql, &values![device, token.to_string()])?.is_some();
        Ok::<_, ApiError>(is_offered && rollouts::goes_on(tx, &token)?)
    });
    Ok(Json(Go { stands: read.await? }))
}
