//! Boxes: a list by pages, one of them, what it did, what it said; and the end of its trust.

use super::App;
use super::access::{Access, Role};
use super::answer::{Limit, List, Page};
use super::facts::number;
use super::problem::{ApiError, Body, name};
use super::tree::{path_of, tops};
use crate::audit;
use crate::clock;
use crate::fleet::{self, Appliance, Filter, Place, Sort};
use crate::policy::tree;
use crate::presence::Presence;
use crate::revocation;
use crate::store::{Row, StoreError, Tx, first, values};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use saveos_protocol::id::DeviceId;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::MAX_INTEGER;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::IntoParams;

/// Work of a box, under way or done.
#[derive(Serialize, JsonSchema)]
pub(super) struct Job {
    id: String,
    work: String,
    disk: Option<String>,
    state: String,
    #[serde(rename = "begun_ms")]
    begun: Option<Timestamp>,
    #[serde(rename = "ended_ms")]
    ended: Option<Timestamp>,
    /// As the box said it.
    #[schemars(with = "Option<saveos_protocol::fact::JobResult>")]
    result: Option<Value>,
}

/// What can be restored.
#[derive(Serialize, JsonSchema)]
pub(super) struct RecoveryPoint {
    snapshot: String,
    disk: Option<String>,
    #[serde(rename = "taken_ms")]
    taken: Timestamp,
    state: String,
    /// As the box said it.
    #[schemars(with = "Option<saveos_protocol::fact::BackupSummary>")]
    summary: Option<Value>,
}

/// What a box says it is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReportedByBox")]
pub(super) struct SaidOfItself {
    /// None: it has not said anything yet.
    #[serde(rename = "received_ms")]
    received: Option<Timestamp>,
    #[schemars(with = "Option<saveos_protocol::shadow::Reported>")]
    reported: Option<Value>,
}

/// That a box is trusted no more.
#[derive(Serialize, JsonSchema)]
pub(super) struct Revoked {
    #[serde(rename = "revoked_ms")]
    revoked: Timestamp,
}

/// Which boxes, in which order.
#[derive(Deserialize, FromRequestParts, IntoParams)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// `next` of the page before, with the same `sort`; none for the first page.
    #[serde(default)]
    #[param(required = false)]
    after: String,
    /// Items at most.
    #[serde(default)]
    #[param(value_type = Option<u64>, minimum = 1, maximum = 500, default = 100)]
    limit: Limit,
    /// The order; `-` is down. `protected`: what is not protected first.
    #[serde(default)]
    #[param(inline, required = false)]
    sort: Sort,
    /// Of this node and below.
    node: Option<String>,
    #[param(inline)]
    presence: Option<Presence>,
    protected: Option<bool>,
    /// A person should look at it.
    flagged: Option<bool>,
    /// Part of the name.
    #[serde(default)]
    #[param(required = false)]
    name: String,
    #[serde(default)]
    #[param(required = false)]
    firmware: String,
    /// With this tag.
    #[serde(default)]
    #[param(required = false)]
    tag: String,
}

impl Wanted {
    /// What of it can be wrong without looking at the fleet; where the page begins.
    pub(super) fn place(&self) -> Result<Option<Place>, ApiError> {
        if self.name.len() > 100 {
            return Err(ApiError::field("/name", "no name is longer than 100 bytes"));
        }
        match self.after.as_str() {
            "" => Ok(None),
            after => Place::parse(after, self.sort).ok_or_else(not_a_place).map(Some),
        }
    }

    pub(super) const fn sort(&self) -> Sort {
        self.sort
    }

    /// What of it this person may see.
    pub(super) fn filter(&self, tx: &mut dyn Tx, access: &Access) -> Result<Filter, ApiError> {
        Ok(Filter {
            tops: tops(tx, access, self.node.as_deref())?,
            name: self.name.clone(),
            firmware: self.firmware.clone(),
            tag: self.tag.clone(),
            presence: self.presence,
            protected: self.protected.into(),
            flagged: self.flagged.into(),
        })
    }
}

/// Boxes that one may see.
#[utoipa::path(
    get,
    path = "/api/v1/appliances",
    tag = "people",
    operation_id = "list_appliances",
    params(Wanted),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfAppliance"))),
)]
pub(super) async fn list(
    State(app): State<App>,
    access: Access,
    wanted: Wanted,
) -> Result<Json<List<Appliance>>, ApiError> {
    let ears = app.heart.ears();
    let place = wanted.place()?;
    let read = app.store.read(move |tx| {
        let filter = wanted.filter(tx, &access)?;
        let order = (wanted.sort, place.as_ref(), wanted.limit.get());
        Ok::<_, ApiError>(fleet::page(tx, &filter, order, (&ears, clock::now()))?)
    });
    let (items, next) = read.await?;
    Ok(Json(List { items, next: next.map(|place| place.as_text()) }))
}

fn not_a_place() -> ApiError {
    ApiError::said(ProblemKind::Malformed, "`after` is no cursor of this list")
}

/// One of them.
#[utoipa::path(
    get,
    path = "/api/v1/appliances/{id}",
    tag = "people",
    operation_id = "get_appliance",
    params(("id" = String, Path, description = "An appliance")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Appliance"))),
)]
pub(super) async fn one(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
) -> Result<Json<Appliance>, ApiError> {
    let device = named(&device)?;
    let ears = app.heart.ears();
    let found = app.store.read(move |tx| fleet::one(tx, device, (&ears, clock::now()))).await;
    let found: Result<_, StoreError> = found;
    let (path, appliance) = found?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
    access.may(&path, Role::Viewer)?;
    Ok(Json(appliance))
}

/// What it did, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/appliances/{id}/jobs",
    tag = "people",
    operation_id = "list_jobs",
    params(("id" = String, Path, description = "An appliance"), Page),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfJob"))),
)]
pub(super) async fn jobs(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    page: Page,
) -> Result<Json<List<Job>>, ApiError> {
    let sql = "SELECT id, work, disk, state, begun_ms, ended_ms, result FROM job
        WHERE device = $1 AND (id < $2 OR $2 = '') ORDER BY id DESC LIMIT $3";
    let rows = rows(&app, &access, &device, Role::Viewer, (sql, page.after.clone(), page.limit())).await?;
    let item = |row: &Row| {
        Ok(Job {
            id: row.text(0)?.to_owned(),
            work: row.text(1)?.to_owned(),
            disk: row.maybe_text(2)?.map(str::to_owned),
            state: row.text(3)?.to_owned(),
            begun: row.maybe_time(4)?,
            ended: row.maybe_time(5)?,
            result: row.maybe_json(6)?,
        })
    };
    let items: Result<Vec<Job>, StoreError> = rows.iter().map(item).collect();
    Ok(Json(page.answer(items?, |job| job.id.clone())))
}

/// What can be restored, the newest first. Several may be of one moment: the snapshot's name decides between them.
#[utoipa::path(
    get,
    path = "/api/v1/appliances/{id}/recovery-points",
    tag = "people",
    operation_id = "list_recovery_points",
    params(("id" = String, Path, description = "An appliance"), Page),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfRecoveryPoint"))),
)]
pub(super) async fn recovery_points(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    page: Page,
) -> Result<Json<List<RecoveryPoint>>, ApiError> {
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
        Ok(RecoveryPoint {
            snapshot: row.text(0)?.to_owned(),
            disk: row.maybe_text(1)?.map(str::to_owned),
            taken: row.time(2)?,
            state: row.text(3)?.to_owned(),
            summary: row.maybe_json(4)?,
        })
    };
    let items: Result<Vec<RecoveryPoint>, StoreError> = rows.await?.iter().map(item).collect();
    Ok(Json(page.answer(items?, |point| format!("{}.{}", point.taken.as_millis(), point.snapshot))))
}

/// What it is, as it said last: firmware, hardware, disks, stores, keys, and which desired document is in force.
#[utoipa::path(
    get,
    path = "/api/v1/appliances/{id}/reported",
    tag = "people",
    operation_id = "get_reported",
    params(("id" = String, Path, description = "An appliance")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ReportedByBox"))),
)]
pub(super) async fn reported(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
) -> Result<Json<SaidOfItself>, ApiError> {
    let device = named(&device)?;
    let row = app.store.read(move |tx| {
        visible(tx, &access, device, Role::Viewer)?;
        Ok::<_, ApiError>(first(tx, "SELECT received_ms, json FROM reported WHERE device = $1", &values![device])?)
    });
    let Some(row) = row.await? else { return Ok(Json(SaidOfItself { received: None, reported: None })) };
    Ok(Json(SaidOfItself { received: Some(row.time(0)?), reported: row.maybe_json(1)? }))
}

/// What is to change of a box.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ApplianceChange")]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    #[schemars(length(min = 1, max = 100))]
    name: Option<String>,
    /// Another site, of a customer that one administers, too.
    site: Option<String>,
    /// Words to find it by, instead of those that it has.
    #[schemars(length(max = 10))]
    tags: Option<Vec<String>>,
}

/// As they are stored: `,till,berlin,`.
fn tags(typed: &[String]) -> Result<String, ApiError> {
    if typed.len() > 10 {
        return Err(ApiError::field("/tags", "at most 10 of them"));
    }
    let mut stored = String::new();
    for (at, tag) in typed.iter().enumerate() {
        let tag = tag.trim();
        if tag.is_empty() || tag.len() > 40 || tag.chars().any(|letter| letter == ',' || letter.is_control()) {
            return Err(ApiError::field(&format!("/tags/{at}"), "1 to 40 bytes without commas and control characters"));
        }
        if !stored.contains(&format!(",{tag},")) {
            stored = format!("{},{tag},", stored.trim_end_matches(','));
        }
    }
    Ok(stored)
}

/// Names a box anew, puts words on it, or moves it to another site, whose policy holds for it from then on. A policy that keeps less needs the command
/// key, as if it were set.
#[utoipa::path(
    patch,
    path = "/api/v1/appliances/{id}",
    tag = "people",
    operation_id = "change_appliance",
    params(("id" = String, Path, description = "An appliance")),
    request_body = ref("#/components/schemas/ApplianceChange"),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn change(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    Body(change): Body<Change>,
) -> Result<StatusCode, ApiError> {
    let device = named(&device)?;
    let name = change.name.as_deref().map(|typed| name("/name", typed)).transpose()?;
    let tags = change.tags.as_deref().map(tags).transpose()?;
    let now = clock::now();
    let said = app.store.write(move |tx| {
        visible(tx, &access, device, Role::Admin)?;
        if let Some(tags) = tags {
            tx.execute("UPDATE appliance SET tags = $1 WHERE id = $2", &values![tags.as_str(), device])?;
            audit::write(tx, &access.email, "tagged a box", &format!("{device} {tags}"), now)?;
        }
        if let Some(name) = name {
            tx.execute("UPDATE appliance SET name = $1 WHERE id = $2", &values![name.as_str(), device])?;
            audit::write(tx, &access.email, "named a box", &format!("{device} {name}"), now)?;
        }
        let Some(site) = change.site else { return Ok(None) };
        let (path, kind) = path_of(tx, &site)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
        access.may(&path, Role::Admin)?;
        if kind != "site" {
            return Err(ApiError::field("/site", "a box stands at a site"));
        }
        let said = tree::moved(tx, device, &path, now)?;
        tx.execute("UPDATE appliance SET node = $1 WHERE id = $2", &values![site.as_str(), device])?;
        audit::write(tx, &access.email, "moved a box", &format!("{device} {site}"), now)?;
        Ok(said)
    });
    if let Some(document) = said.await? {
        // The end of the server: the ingest says it again with the next session.
        let _ = app.outgoing.send(document).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Trusts it no more: its certificates, its session and its renewals end.
#[utoipa::path(
    post,
    path = "/api/v1/appliances/{id}/revoke",
    tag = "people",
    operation_id = "revoke_appliance",
    params(("id" = String, Path, description = "An appliance")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Revoked"))),
)]
pub(super) async fn revoke(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
) -> Result<Json<Revoked>, ApiError> {
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
    Ok(Json(Revoked { revoked: now }))
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
