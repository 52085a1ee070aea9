//! Roles that are given and taken away, accounts that begin anew or end. Always with a fresh proof, never over what one does not
//! administer oneself, and never so that nobody is left who administers the top.

use super::App;
use super::access::{Access, Role};
use super::accounts::{Made, new_password};
use super::problem::{ApiError, Body};
use super::tree::path_of;
use crate::audit;
use crate::clock;
use crate::store::{Tx, first, values};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use saveos_protocol::id::UserId;
use saveos_protocol::problem::ProblemKind;
use schemars::JsonSchema;
use serde::Deserialize;

/// What an account may do on a node from now on.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "GrantChange")]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    node: String,
    /// None: nothing of its own; what a role on a node above gives stays.
    role: Option<Role>,
}

/// Gives an account a role on a node, another one, or takes it away.
#[utoipa::path(
    put,
    path = "/api/v1/accounts/{account}/grants",
    tag = "people",
    operation_id = "change_grant",
    params(("account" = String, Path, description = "An account")),
    request_body = ref("#/components/schemas/GrantChange"),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn grant(
    State(app): State<App>,
    access: Access,
    Path(account): Path<String>,
    Body(change): Body<Change>,
) -> Result<StatusCode, ApiError> {
    let now = clock::now();
    access.fresh(now)?;
    let top = app.config.organisation.to_string();
    app.store
        .write(move |tx| {
            let (path, _) = path_of(tx, &change.node)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            access.may(&path, Role::Admin)?;
            let target = Target::find(tx, &account)?;
            if !target.paths.iter().any(|path| access.role_at(path) >= Some(Role::Admin)) && !access.tops(&top) {
                return Err(ApiError::new(ProblemKind::NotFound));
            }
            tx.execute(
                "DELETE FROM granted WHERE account = $1 AND node = $2",
                &values![account.as_str(), change.node.as_str()],
            )?;
            if let Some(role) = change.role {
                let sql = "INSERT INTO granted (account, node, role) VALUES ($1, $2, $3)";
                tx.execute(sql, &values![account.as_str(), change.node.as_str(), role.as_str()])?;
            }
            somebody_is_left(tx, &top)?;
            let what = format!("{} {} {}", target.email, change.node, change.role.map_or("nothing", Role::as_str));
            Ok(audit::write(tx, &access.email, "changed a role", &what, now)?)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A new password for somebody who lost the old one or the second factor: all that the account had to prove itself ends.
#[utoipa::path(
    post,
    path = "/api/v1/accounts/{account}/reset",
    tag = "people",
    operation_id = "reset_account",
    params(("account" = String, Path, description = "An account")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/MadeAccount"))),
)]
pub(super) async fn reset(
    State(app): State<App>,
    access: Access,
    Path(account): Path<String>,
) -> Result<Json<Made>, ApiError> {
    let now = clock::now();
    access.fresh(now)?;
    let (asking, whose, top) = (access.clone(), account.clone(), app.config.organisation.to_string());
    // Before 20 ms of a core are spent on a hash.
    let id: UserId = app
        .store
        .read(move |tx| {
            Target::reached(tx, &asking, &whose, &top)?;
            whose.parse().map_err(|_| ApiError::new(ProblemKind::NotFound))
        })
        .await?;
    let (password, stored) = new_password(&app).await?;
    let top = app.config.organisation.to_string();
    app.store
        .write(move |tx| {
            let target = Target::reached(tx, &access, &account, &top)?;
            let sql =
                "UPDATE account SET password = $1, factor = NULL, factor_ms = NULL, factor_step = NULL WHERE id = $2";
            tx.execute(sql, &values![stored, account.as_str()])?;
            let sql = "DELETE FROM recovery_code WHERE account = $1";
            tx.execute(sql, &values![account.as_str()])?;
            end_all(tx, &account)?;
            Ok::<_, ApiError>(audit::write(tx, &access.email, "reset an account", &target.email, now)?)
        })
        .await?;
    Ok(Json(Made { id, password: password.to_string() }))
}

/// Ends an account, its sessions and its tokens. What it did stays in the audit trail.
#[utoipa::path(
    delete,
    path = "/api/v1/accounts/{account}",
    tag = "people",
    operation_id = "remove_account",
    params(("account" = String, Path, description = "An account")),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn remove(
    State(app): State<App>,
    access: Access,
    Path(account): Path<String>,
) -> Result<StatusCode, ApiError> {
    let now = clock::now();
    access.fresh(now)?;
    let top = app.config.organisation.to_string();
    app.store
        .write(move |tx| {
            let target = Target::reached(tx, &access, &account, &top)?;
            end_all(tx, &account)?;
            for sql in [
                "DELETE FROM recovery_code WHERE account = $1",
                "DELETE FROM granted WHERE account = $1",
                "DELETE FROM account WHERE id = $1",
            ] {
                tx.execute(sql, &values![account.as_str()])?;
            }
            somebody_is_left(tx, &top)?;
            Ok::<_, ApiError>(audit::write(tx, &access.email, "ended an account", &target.email, now)?)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whom a change is about.
struct Target {
    email: String,
    paths: Vec<String>,
}

impl Target {
    fn find(tx: &mut dyn Tx, account: &str) -> Result<Target, ApiError> {
        let row = first(tx, "SELECT email FROM account WHERE id = $1", &values![account])?;
        let email = row.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?.text(0)?.to_owned();
        let sql = "SELECT n.path FROM granted g JOIN node n ON n.id = g.node WHERE g.account = $1";
        let rows = tx.query(sql, &values![account])?;
        let paths: Result<Vec<String>, _> = rows.iter().map(|row| row.text(0).map(str::to_owned)).collect();
        Ok(Target { email, paths: paths? })
    }

    /// Somebody else, of whom one administers all: whoever has a role elsewhere, too, is changed by who administers both.
    fn reached(tx: &mut dyn Tx, access: &Access, account: &str, top: &str) -> Result<Target, ApiError> {
        let target = Target::find(tx, account)?;
        if access.account == account {
            return Err(ApiError::said(ProblemKind::Conflict, "somebody else must do that to this account"));
        }
        let administers = |path: &String| access.role_at(path) >= Some(Role::Admin);
        if access.tops(top) || (!target.paths.is_empty() && target.paths.iter().all(administers)) {
            return Ok(target);
        }
        let near = target.paths.iter().any(|path| access.role_at(path).is_some());
        Err(ApiError::new(if near { ProblemKind::Forbidden } else { ProblemKind::NotFound }))
    }
}

fn end_all(tx: &mut dyn Tx, account: &str) -> Result<(), ApiError> {
    tx.execute("DELETE FROM session WHERE account = $1", &values![account])?;
    tx.execute("DELETE FROM api_token WHERE account = $1", &values![account])?;
    Ok(())
}

/// Nobody could give a role any more.
fn somebody_is_left(tx: &mut dyn Tx, top: &str) -> Result<(), ApiError> {
    let sql = "SELECT account FROM granted WHERE node = $1 AND role = 'admin'";
    match first(tx, sql, &values![top])? {
        Some(_) => Ok(()),
        None => Err(ApiError::said(ProblemKind::Conflict, "nobody would be left who administers the organisation")),
    }
}
