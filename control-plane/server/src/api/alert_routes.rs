//! Ways on which alerts are told: made and tried by whoever administers the node from which they are told.

use super::App;
use super::access::{Access, Role};
use super::answer::List;
use super::problem::{ApiError, Body, at_most};
use super::tree::path_of;
use crate::alerts::Rule;
use crate::audit;
use crate::clock;
use crate::notify::{self, Channel, Kind, Message};
use crate::store::{Row, Tx, first, values};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use saveos_protocol::id::{AlertRouteId, NoticeId};
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Of one node.
const MOST: u64 = 50;

/// A way to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAlertRoute {
    /// Alerts of this node and all below it.
    node: String,
    channel: Kind,
    /// An e-mail address or an HTTPS URL.
    #[schemars(length(max = 1024))]
    target: String,
    /// Only these; none: all.
    #[serde(default)]
    rules: Vec<Rule>,
}

/// A way that was made.
#[derive(Serialize, JsonSchema)]
pub(super) struct MadeAlertRoute {
    id: AlertRouteId,
    /// What a webhook is signed with, as Standard Webhooks says; shown this once.
    secret: Option<String>,
}

/// A way on which alerts are told.
#[derive(Serialize, JsonSchema)]
pub(super) struct AlertRoute {
    id: String,
    node: String,
    channel: String,
    target: String,
    rules: Vec<String>,
    made_by: String,
    /// When something arrived last.
    #[serde(rename = "told_ms")]
    told: Option<Timestamp>,
    /// Since when nothing arrives.
    #[serde(rename = "failing_ms")]
    failing: Option<Timestamp>,
    /// Why.
    error: Option<String>,
    /// Notices that wait.
    waiting: u64,
}

/// Those of the nodes that one administers.
#[utoipa::path(
    get,
    path = "/api/v1/alert-routes",
    tag = "people",
    operation_id = "list_alert_routes",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfAlertRoute"))),
)]
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<List<AlertRoute>>, ApiError> {
    let sql = "SELECT r.id, r.node, r.channel, r.target, r.rules, r.made_by, r.told_ms, r.failing_ms, r.error,
        (SELECT COUNT(*) FROM notice o WHERE o.route = r.id AND o.ended_ms IS NULL), n.path
        FROM alert_route r JOIN node n ON n.id = r.node ORDER BY r.id";
    let rows: Vec<Row> = app.store.read(move |tx: &mut dyn Tx| tx.query(sql, &[])).await?;
    let mut routes = Vec::new();
    for row in &rows {
        if access.role_at(row.text(10)?) >= Some(Role::Admin) {
            routes.push(AlertRoute {
                id: row.text(0)?.to_owned(),
                node: row.text(1)?.to_owned(),
                channel: row.text(2)?.to_owned(),
                target: row.text(3)?.to_owned(),
                rules: row.text(4)?.split(' ').filter(|rule| !rule.is_empty()).map(str::to_owned).collect(),
                made_by: row.text(5)?.to_owned(),
                told: row.maybe_time(6)?,
                failing: row.maybe_time(7)?,
                error: row.maybe_text(8)?.map(str::to_owned),
                waiting: row.number(9)?,
            });
        }
    }
    Ok(Json(List::whole(routes)))
}

/// Makes one. It is told of what is open now, too.
#[utoipa::path(
    post,
    path = "/api/v1/alert-routes",
    tag = "people",
    operation_id = "make_alert_route",
    request_body = ref("#/components/schemas/NewAlertRoute"),
    responses((status = 201, description = "Done", body = ref("#/components/schemas/MadeAlertRoute"))),
)]
pub(super) async fn make(
    State(app): State<App>,
    access: Access,
    Body(mut new): Body<NewAlertRoute>,
) -> Result<(StatusCode, Json<MadeAlertRoute>), ApiError> {
    let (node, asking) = (new.node.clone(), access.clone());
    app.store
        .read(move |tx| {
            let (path, _) = path_of(tx, &node)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            asking.may(&path, Role::Admin)
        })
        .await?;
    // Only who may make one hears whether there is a relay.
    let channel = Channel::new(new.channel, &new.target, &app.config).map_err(|why| ApiError::field("/target", why))?;
    new.rules.sort_unstable();
    new.rules.dedup();
    let rules: Vec<&str> = new.rules.iter().map(|rule| rule.as_str()).collect();
    let (rules, now) = (rules.join(" "), clock::now());
    let id = AlertRouteId::from_parts(now, clock::random());
    let secret = channel.secret.clone();
    app.store
        .write(move |tx| {
            let (path, _) = path_of(tx, &new.node)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            access.may(&path, Role::Admin)?;
            let sql = "SELECT COUNT(*) FROM alert_route WHERE node = $1";
            at_most(tx, (sql, &values![new.node.as_str()]), MOST, "routes of this node")?;
            let sql = "INSERT INTO alert_route (id, node, channel, target, secret, rules, made_ms, made_by)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
            let (kind, target) = (channel.kind.as_str(), channel.target.as_str());
            let text = id.to_string();
            let row = values![text, new.node, kind, target, channel.secret, rules, now, access.email.as_str()];
            tx.execute(sql, &row)?;
            Ok::<_, ApiError>(audit::write(tx, &access.email, "made an alert route", &id.to_string(), now)?)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(MadeAlertRoute { id, secret })))
}

/// Removes one, with what waits on it.
#[utoipa::path(
    delete,
    path = "/api/v1/alert-routes/{route}",
    tag = "people",
    operation_id = "remove_alert_route",
    params(("route" = String, Path, description = "An alert route")),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn remove(
    State(app): State<App>,
    access: Access,
    Path(route): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = clock::now();
    app.store
        .write(move |tx| {
            administered(tx, &access, &route)?;
            tx.execute("DELETE FROM notice_of WHERE route = $1", &values![route.as_str()])?;
            tx.execute("DELETE FROM notice WHERE route = $1", &values![route.as_str()])?;
            tx.execute("DELETE FROM alert_route WHERE id = $1", &values![route.as_str()])?;
            Ok::<_, ApiError>(audit::write(tx, &access.email, "removed an alert route", &route, now)?)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends something harmless and says whether it arrived.
#[utoipa::path(
    post,
    path = "/api/v1/alert-routes/{route}/test",
    tag = "people",
    operation_id = "test_alert_route",
    params(("route" = String, Path, description = "An alert route")),
    responses((status = 204, description = "It arrived"), (status = 409, description = "It did not, and why")),
)]
pub(super) async fn test(
    State(app): State<App>,
    access: Access,
    Path(route): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = clock::now();
    let channel = app
        .store
        .write(move |tx| {
            let channel = administered(tx, &access, &route)?;
            audit::write(tx, &access.email, "tested an alert route", &route, now)?;
            Ok::<_, ApiError>(channel)
        })
        .await?;
    let id = NoticeId::from_parts(now, clock::random()).to_string();
    let message = Message::test(id, app.config.name.to_string(), now);
    // One at a time: nobody fills the server with waiting threads.
    let one = app.testing.lock().await;
    let sent = notify::send(&app, channel, message).await;
    drop(one);
    sent.map_err(|failure| ApiError::said(ProblemKind::Conflict, &format!("it did not arrive: {}", failure.why)))?;
    Ok(StatusCode::NO_CONTENT)
}

fn administered(tx: &mut dyn Tx, access: &Access, route: &str) -> Result<Channel, ApiError> {
    let sql =
        "SELECT n.path, r.channel, r.target, r.secret FROM alert_route r JOIN node n ON n.id = r.node WHERE r.id = $1";
    let row = first(tx, sql, &values![route])?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
    access.may(row.text(0)?, Role::Admin)?;
    let kind = Kind::parse(row.text(1)?).ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
    Ok(Channel { kind, target: row.text(2)?.to_owned(), secret: row.maybe_text(3)?.map(str::to_owned) })
}
