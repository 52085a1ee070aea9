//! Boxes: a list by pages, one of them, what it did, what it said; and the end of its trust.

use super::App;
use super::access::{Access, Role};
use super::problem::ApiError;
use crate::clock;
use crate::fleet;
use crate::ingest::Hearing;
use crate::revocation;
use crate::store::{Row, StoreError, Tx, values};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use saveos_protocol::id::DeviceId;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::unit::MAX_INTEGER;
use serde::Deserialize;
use serde_json::{Value, json};

/// Which part of a list.
#[derive(Deserialize, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default)]
    after: String,
    limit: Option<u64>,
}

impl Page {
    fn limit(&self) -> u64 {
        self.limit.unwrap_or(100).clamp(1, 500)
    }

    /// The list, and what to ask for next: nothing when this was its end.
    fn answer(&self, name: &'static str, items: Vec<Value>, key: &str) -> Json<Value> {
        let full = items.len() as u64 == self.limit();
        let next = items.last().filter(|_| full).map(|last| last[key].clone());
        Json(json!({ name: items, "next": next }))
    }
}

/// Boxes that one may see.
pub(super) async fn list(State(app): State<App>, access: Access, page: Page) -> Result<Json<Value>, ApiError> {
    let hearing = app.heart.look();
    let tops: Vec<String> = access.grants.into_iter().map(|(path, _)| path).collect();
    let (after, limit) = (page.after.clone(), page.limit());
    let boxes: Result<Vec<Value>, StoreError> =
        app.store.read(move |tx| fleet::page(tx, &tops, &after, limit, (&hearing, clock::now()))).await;
    Ok(page.answer("appliances", boxes?, "id"))
}

/// One of them.
pub(super) async fn one(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let device = named(&device)?;
    let hearing: Hearing = app.heart.look();
    let found = app.store.read(move |tx| fleet::one(tx, device, (&hearing, clock::now()))).await;
    let found: Result<_, StoreError> = found;
    let (path, appliance) = found?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
    access.may(&path, Role::Viewer)?;
    Ok(Json(appliance))
}

/// What it did, the newest first.
pub(super) async fn jobs(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    page: Page,
) -> Result<Json<Value>, ApiError> {
    let sql = "SELECT id, work, disk, state, begun_ms, ended_ms, result FROM job
        WHERE device = $1 AND (id < $2 OR $2 = '') ORDER BY id DESC LIMIT $3";
    let rows = rows(&app, &access, &device, Role::Viewer, (sql, page.after.clone(), page.limit())).await?;
    let item = |row: &Row| {
        Ok(json!({
            "id": row.text(0)?, "work": row.text(1)?, "disk": row.maybe_text(2)?, "state": row.text(3)?,
            "begun_ms": row.maybe_number(4)?, "ended_ms": row.maybe_number(5)?, "result": row.maybe_json(6)?,
        }))
    };
    let items: Result<Vec<Value>, StoreError> = rows.iter().map(item).collect();
    Ok(page.answer("jobs", items?, "id"))
}

/// What can be restored, the newest first. Several may be of one moment: the snapshot's name decides between them.
pub(super) async fn recovery_points(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    page: Page,
) -> Result<Json<Value>, ApiError> {
    let (taken, snapshot) = match page.after.split_once('.') {
        Some((taken, snapshot)) => (number(taken)?, snapshot.to_owned()),
        None if page.after.is_empty() => (MAX_INTEGER, String::new()),
        None => return Err(ApiError::said(ProblemKind::Malformed, "`after` is no cursor of this list")),
    };
    let (device, limit) = (named(&device)?, page.limit());
    let rows = app.store.read(move |tx| {
        visible(tx, &access, device, Role::Viewer)?;
        let sql = "SELECT snapshot, disk, taken_ms, state, summary FROM recovery_point
            WHERE device = $1 AND forgotten_ms IS NULL AND (taken_ms < $2 OR (taken_ms = $2 AND snapshot < $3))
            ORDER BY taken_ms DESC, snapshot DESC LIMIT $4";
        Ok::<_, ApiError>(tx.query(sql, &values![device, taken, snapshot, limit])?)
    });
    let item = |row: &Row| {
        Ok(json!({
            "cursor": format!("{}.{}", row.number(2)?, row.text(0)?), "snapshot": row.text(0)?, "disk": row.maybe_text(1)?, "taken_ms": row.number(2)?, "state": row.text(3)?,
            "summary": row.maybe_json(4)?,
        }))
    };
    let items: Result<Vec<Value>, StoreError> = rows.await?.iter().map(item).collect();
    Ok(page.answer("recovery_points", items?, "cursor"))
}

/// What it said, as it said it, in the order of arrival.
pub(super) async fn facts(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    page: Page,
) -> Result<Json<Value>, ApiError> {
    let after: u64 = if page.after.is_empty() { 0 } else { number(&page.after)? };
    let device = named(&device)?;
    let limit = page.limit();
    let rows = app.store.read(move |tx| {
        visible(tx, &access, device, Role::Viewer)?;
        let sql = "SELECT seq, stream, n, kind, at_ms, received_ms, json FROM fact
            WHERE device = $1 AND seq > $2 ORDER BY seq LIMIT $3";
        Ok::<_, ApiError>(tx.query(sql, &values![device, after, limit])?)
    });
    let item = |row: &Row| {
        Ok(json!({
            "seq": row.number(0)?.to_string(), "stream": row.text(1)?, "n": row.number(2)?, "kind": row.text(3)?,
            "at_ms": row.number(4)?, "received_ms": row.number(5)?, "fact": row.maybe_json(6)?,
        }))
    };
    let items: Result<Vec<Value>, StoreError> = rows.await?.iter().map(item).collect();
    Ok(page.answer("facts", items?, "seq"))
}

/// Trusts it no more: its certificates, its session and its renewals end.
pub(super) async fn revoke(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let device = named(&device)?;
    let now = clock::now();
    app.store
        .write(move |tx| {
            visible(tx, &access, device, Role::Admin)?;
            Ok::<_, ApiError>(revocation::write(tx, device, &access.email, now)?)
        })
        .await?;
    revocation::enforce(&app, Some(device)).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, %device, "a revocation is written and not enforced");
        ApiError::said(ProblemKind::Unavailable, "it is written; the broker does not know it yet and is told again")
    })?;
    Ok(Json(json!({ "revoked_ms": now })))
}

async fn rows(
    app: &App,
    access: &Access,
    device: &str,
    role: Role,
    (sql, after, limit): (&'static str, String, u64),
) -> Result<Vec<Row>, ApiError> {
    let (device, access) = (named(device)?, access.clone());
    app.store
        .read(move |tx| {
            visible(tx, &access, device, role)?;
            Ok(tx.query(sql, &values![device, after, limit])?)
        })
        .await
}

/// Whether one may do that to this box; foreign and unknown look the same.
pub(super) fn visible(tx: &mut dyn Tx, access: &Access, device: DeviceId, role: Role) -> Result<(), ApiError> {
    let path = fleet::path_of(tx, device)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
    access.may(&path, role)
}

/// A name that is none names nothing.
pub(super) fn named(device: &str) -> Result<DeviceId, ApiError> {
    device.parse().map_err(|_| ApiError::new(ProblemKind::NotFound))
}

fn number(text: &str) -> Result<u64, ApiError> {
    text.parse().map_err(|_| ApiError::said(ProblemKind::Malformed, "`after` is no number"))
}
