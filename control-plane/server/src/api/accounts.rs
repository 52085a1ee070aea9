//! People and what they may do where. A password is made here and shown once to who makes the account.

use super::App;
use super::access::{Access, Role};
use super::problem::{ApiError, Body};
use super::tree::path_of;
use crate::audit;
use crate::clock;
use crate::password;
use crate::store::{Row, Tx, first, values};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use saveos_protocol::id::UserId;
use saveos_protocol::problem::ProblemKind;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    email: String,
    node: String,
    role: Role,
}

/// Makes an account with a role on a node. Nobody gives more than he has.
pub(super) async fn make(
    State(app): State<App>,
    access: Access,
    Body(new): Body<NewAccount>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let email = new.email.trim().to_lowercase();
    if !email.contains('@')
        || email.len() > 254
        || email.chars().any(|letter| letter.is_whitespace() || letter.is_control())
    {
        return Err(ApiError::field("/email", "not an e-mail address"));
    }
    // Before 20 ms of a core are spent on a hash.
    let (node, asking) = (new.node.clone(), access.clone());
    app.store
        .read(move |tx| {
            let (path, _) = path_of(tx, &node)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            asking.may(&path, Role::Admin)
        })
        .await?;
    let permit = app.hashing.acquire().await.map_err(|_| ApiError::new(ProblemKind::Unavailable))?;
    let made = tokio::task::spawn_blocking(|| {
        let password = password::make();
        let stored = password::hash(&password);
        (password, stored)
    });
    let (password, stored) = made.await.map_err(|_| ApiError::new(ProblemKind::Internal))?;
    drop(permit);
    let now = clock::now();
    let id = UserId::from_parts(now, clock::random());
    app.store
        .write(move |tx| {
            if first(tx, "SELECT id FROM account WHERE email = $1", &values![email.as_str()])?.is_some() {
                return Err(ApiError::said(ProblemKind::Conflict, "there is an account with this address"));
            }
            let sql = "INSERT INTO account (id, email, password, made_ms) VALUES ($1, $2, $3, $4)";
            tx.execute(sql, &values![id, email.as_str(), stored, now])?;
            let sql = "INSERT INTO granted (account, node, role) VALUES ($1, $2, $3)";
            tx.execute(sql, &values![id, new.node.as_str(), new.role.as_str()])?;
            Ok(audit::write(tx, &access.email, "made an account", &format!("{email} {}", new.node), now)?)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id, "password": *password }))))
}

/// Accounts with a role below a node that one administers.
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<Value>, ApiError> {
    let sql = "SELECT a.id, a.email, g.role, g.node, n.path FROM account a JOIN granted g ON g.account = a.id
        JOIN node n ON n.id = g.node ORDER BY a.email, g.node";
    let rows: Vec<Row> = app.store.read(move |tx: &mut dyn Tx| tx.query(sql, &[])).await?;
    let mut accounts = Vec::new();
    for row in &rows {
        if access.role_at(row.text(4)?) >= Some(Role::Admin) {
            accounts.push(json!({
                "id": row.text(0)?, "email": row.text(1)?, "role": row.text(2)?, "node": row.text(3)?,
            }));
        }
    }
    Ok(Json(json!({ "accounts": accounts })))
}
