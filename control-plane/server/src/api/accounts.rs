//! People and what they may do where. A password is made here and shown once to who makes the account.

use super::App;
use super::access::{Access, Role};
use super::answer::List;
use super::login::hashed;
use super::problem::{ApiError, Body, at_most};
use super::tree::path_of;
use crate::account;
use crate::audit;
use crate::clock;
use crate::password;
use crate::store::{Row, Tx, first, values};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use saveos_protocol::id::UserId;
use saveos_protocol::problem::ProblemKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// People with a role on one node.
const MOST: u64 = 1000;

/// An account to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    #[schemars(regex(pattern = "@"), length(max = 254))]
    email: String,
    node: String,
    role: Role,
}

/// An account that was made.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MadeAccount")]
pub(super) struct Made {
    pub(super) id: UserId,
    /// Shown this once.
    pub(super) password: String,
}

/// What somebody may do on a node and below.
#[derive(Serialize, JsonSchema)]
pub(super) struct Account {
    id: String,
    email: String,
    role: String,
    node: String,
}

/// Makes an account with a role on a node. Nobody gives more than he has.
#[utoipa::path(
    post,
    path = "/api/v1/accounts",
    tag = "people",
    operation_id = "make_account",
    request_body = ref("#/components/schemas/NewAccount"),
    responses((status = 201, description = "Done", body = ref("#/components/schemas/MadeAccount"))),
)]
pub(super) async fn make(
    State(app): State<App>,
    access: Access,
    Body(new): Body<NewAccount>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    access.fresh(clock::now())?;
    let email = account::address(&new.email).ok_or_else(|| ApiError::field("/email", "not an e-mail address"))?;
    // Before 20 ms of a core are spent on a hash.
    let (node, asking) = (new.node.clone(), access.clone());
    app.store
        .read(move |tx| {
            let (path, _) = path_of(tx, &node)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            asking.may(&path, Role::Admin)
        })
        .await?;
    let (password, stored) = new_password(&app).await?;
    let now = clock::now();
    let id = UserId::from_parts(now, clock::random());
    app.store
        .write(move |tx| {
            if first(tx, "SELECT id FROM account WHERE email = $1", &values![email.as_str()])?.is_some() {
                return Err(ApiError::said(ProblemKind::Conflict, "there is an account with this address"));
            }
            let sql = "SELECT COUNT(*) FROM granted WHERE node = $1";
            at_most(tx, (sql, &values![new.node.as_str()]), MOST, "people with a role on this node")?;
            let sql = "INSERT INTO account (id, email, password, made_ms) VALUES ($1, $2, $3, $4)";
            tx.execute(sql, &values![id, email.as_str(), stored, now])?;
            let sql = "INSERT INTO granted (account, node, role) VALUES ($1, $2, $3)";
            tx.execute(sql, &values![id, new.node.as_str(), new.role.as_str()])?;
            Ok(audit::write(tx, &access.email, "made an account", &format!("{email} {}", new.node), now)?)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(Made { id, password: password.to_string() })))
}

/// A password and what is stored of it.
pub(super) async fn new_password(app: &App) -> Result<(Zeroizing<String>, String), ApiError> {
    let password = password::make();
    let stored = hashed(app, password.to_string()).await?;
    Ok((password, stored))
}

/// Accounts with a role below a node that one administers.
#[utoipa::path(
    get,
    path = "/api/v1/accounts",
    tag = "people",
    operation_id = "list_accounts",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfAccount"))),
)]
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<List<Account>>, ApiError> {
    let sql = "SELECT a.id, a.email, g.role, g.node, n.path FROM account a JOIN granted g ON g.account = a.id
        JOIN node n ON n.id = g.node ORDER BY a.email, g.node";
    let rows: Vec<Row> = app.store.read(move |tx: &mut dyn Tx| tx.query(sql, &[])).await?;
    let mut accounts = Vec::new();
    for row in &rows {
        if access.role_at(row.text(4)?) >= Some(Role::Admin) {
            accounts.push(Account {
                id: row.text(0)?.to_owned(),
                email: row.text(1)?.to_owned(),
                role: row.text(2)?.to_owned(),
                node: row.text(3)?.to_owned(),
            });
        }
    }
    Ok(Json(List::whole(accounts)))
}
