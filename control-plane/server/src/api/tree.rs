//! Organisation, customers, sites: the tree on which everything hangs.

use super::App;
use super::access::{Access, Role};
use super::answer::{List, Made};
use super::problem::{ApiError, Body, at_most, name};
use crate::audit;
use crate::clock;
use crate::store::{Row, StoreError, Tx, first, values};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use saveos_protocol::id::{CustomerId, SiteId};
use saveos_protocol::problem::ProblemKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Customers of an organisation, or sites of a customer.
const MOST: u64 = 20_000;

/// What can be made below what.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "NewNodeKind")]
#[serde(rename_all = "snake_case")]
enum Kind {
    Customer,
    Site,
}

impl Kind {
    const fn parent(self) -> &'static str {
        match self {
            Kind::Customer => "organisation",
            Kind::Site => "customer",
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Kind::Customer => "customer",
            Kind::Site => "site",
        }
    }
}

/// A node to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewNode {
    parent: String,
    kind: Kind,
    #[schemars(length(min = 1, max = 100))]
    name: String,
}

/// A node of the tree.
#[derive(Serialize, JsonSchema)]
pub(super) struct Node {
    id: String,
    /// The node above; none for the organisation.
    parent: Option<String>,
    /// `organisation`, `customer` or `site`.
    kind: String,
    name: String,
}

/// A node and its path, where there is one.
pub(super) fn path_of(tx: &mut dyn Tx, node: &str) -> Result<Option<(String, String)>, StoreError> {
    let row = first(tx, "SELECT path, kind FROM node WHERE id = $1", &values![node])?;
    row.map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).transpose()
}

/// The places at a node and below, or anywhere, that this person may see; a node of which he may see nothing is not there.
pub(super) fn tops(tx: &mut dyn Tx, access: &Access, node: Option<&str>) -> Result<Vec<String>, ApiError> {
    let Some(node) = node else { return Ok(access.tops_below("/")) };
    let missing = || ApiError::new(ProblemKind::NotFound);
    let (path, _) = path_of(tx, node)?.ok_or_else(missing)?;
    Some(access.tops_below(&path)).filter(|tops| !tops.is_empty()).ok_or_else(missing)
}

/// All that one may see, in the order of the tree.
#[utoipa::path(
    get,
    path = "/api/v1/nodes",
    tag = "people",
    operation_id = "list_nodes",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfNode"))),
)]
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<List<Node>>, ApiError> {
    let rows: Vec<Row> = app
        .store
        .read(|tx: &mut dyn Tx| tx.query("SELECT id, parent, path, kind, name FROM node ORDER BY path", &[]))
        .await?;
    let mut nodes = Vec::new();
    for row in rows.iter() {
        if access.role_at(row.text(2)?).is_some() {
            nodes.push(Node {
                id: row.text(0)?.to_owned(),
                parent: row.maybe_text(1)?.map(str::to_owned),
                kind: row.text(3)?.to_owned(),
                name: row.text(4)?.to_owned(),
            });
        }
    }
    Ok(Json(List::whole(nodes)))
}

/// Makes a customer below the organisation, or a site below a customer.
#[utoipa::path(
    post,
    path = "/api/v1/nodes",
    tag = "people",
    operation_id = "make_node",
    request_body = ref("#/components/schemas/NewNode"),
    responses((status = 201, description = "Done", body = ref("#/components/schemas/Made"))),
)]
pub(super) async fn make(
    State(app): State<App>,
    access: Access,
    Body(new): Body<NewNode>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    let name = name("/name", &new.name)?;
    let now = clock::now();
    let id = match new.kind {
        Kind::Customer => CustomerId::from_parts(now, clock::random()).to_string(),
        Kind::Site => SiteId::from_parts(now, clock::random()).to_string(),
    };
    let made = id.clone();
    app.store
        .write(move |tx| {
            let (path, kind) = path_of(tx, &new.parent)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            access.may(&path, Role::Admin)?;
            if kind != new.kind.parent() {
                return Err(ApiError::field("/parent", "a customer hangs on an organisation, a site on a customer"));
            }
            let sql = "SELECT COUNT(*) FROM node WHERE parent = $1";
            at_most(tx, (sql, &values![new.parent.as_str()]), MOST, "nodes below this one")?;
            let sql = "INSERT INTO node (id, parent, path, kind, name, made_ms) VALUES ($1, $2, $3, $4, $5, $6)";
            let own = format!("{path}{made}/");
            tx.execute(sql, &values![made.as_str(), new.parent, own, new.kind.as_str(), name, now])?;
            Ok(audit::write(tx, &access.email, "made a node", &made, now)?)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(Made { id })))
}
