//! What a box said, word by word: for whoever follows it, the oldest first; for whoever looks what happened, the newest.

use super::App;
use super::access::{Access, Role};
use super::answer::{Limit, List};
use super::appliances::{named, visible};
use super::problem::ApiError;
use crate::store::{Row, StoreError, values};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::MAX_INTEGER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::IntoParams;

/// What a box said.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FactHeard")]
pub(super) struct Told {
    /// The order of arrival; a number too large for some readers.
    seq: String,
    stream: String,
    n: u64,
    kind: String,
    #[serde(rename = "at_ms")]
    at: Timestamp,
    #[serde(rename = "received_ms")]
    received: Timestamp,
    #[schemars(with = "Option<saveos_protocol::fact::Fact>")]
    fact: Option<Value>,
}

/// Which part of what it said.
#[derive(Deserialize, FromRequestParts, IntoParams)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct FactPage {
    /// `next` of the page before; none for the first page.
    #[serde(default)]
    #[param(required = false)]
    after: String,
    /// Items at most.
    #[serde(default)]
    #[param(value_type = Option<u64>, minimum = 1, maximum = 500, default = 100)]
    limit: Limit,
    /// The newest first, instead of the oldest.
    #[serde(default)]
    #[param(required = false)]
    newest: bool,
}

/// What it said, as it said it, in the order of arrival.
#[utoipa::path(
    get,
    path = "/api/v1/appliances/{id}/facts",
    tag = "people",
    operation_id = "list_facts",
    params(("id" = String, Path, description = "An appliance"), FactPage),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfFactHeard"))),
)]
pub(super) async fn facts(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    page: FactPage,
) -> Result<Json<List<Told>>, ApiError> {
    let first = if page.newest { MAX_INTEGER } else { 0 };
    let after: u64 = if page.after.is_empty() { first } else { number(&page.after)? };
    let device = named(&device)?;
    let limit = page.limit.get();
    let sql = if page.newest {
        "SELECT seq, stream, n, kind, at_ms, received_ms, json FROM fact
            WHERE device = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3"
    } else {
        "SELECT seq, stream, n, kind, at_ms, received_ms, json FROM fact
            WHERE device = $1 AND seq > $2 ORDER BY seq LIMIT $3"
    };
    let rows = app.store.read(move |tx| {
        visible(tx, &access, device, Role::Viewer)?;
        Ok::<_, ApiError>(tx.query(sql, &values![device, after, limit])?)
    });
    let item = |row: &Row| {
        Ok(Told {
            seq: row.number(0)?.to_string(),
            stream: row.text(1)?.to_owned(),
            n: row.number(2)?,
            kind: row.text(3)?.to_owned(),
            at: row.time(4)?,
            received: row.time(5)?,
            fact: row.maybe_json(6)?,
        })
    };
    let items = rows.await?.iter().map(item).collect::<Result<Vec<Told>, StoreError>>()?;
    let next = items.last().filter(|_| items.len() as u64 == limit).map(|told| told.seq.clone());
    Ok(Json(List { items, next }))
}

pub(super) fn number(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| ApiError::said(ProblemKind::Malformed, "`after` is no number"))
}
