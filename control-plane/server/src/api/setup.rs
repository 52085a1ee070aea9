//! The first account: whoever holds the link that `init` showed chooses its address and password, once.

use super::App;
use super::access::hash;
use super::login::hashed;
use super::problem::{ApiError, Body};
use crate::account;
use crate::audit;
use crate::clock;
use crate::store::{StoreError, Tx, first, values};
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::unit::Seconds;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::SocketAddr;

/// The first administrator.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstAccount {
    /// What the link holds behind `#`.
    #[schemars(length(max = 128))]
    token: String,
    #[schemars(regex(pattern = "@"), length(max = 254))]
    email: String,
    #[schemars(length(min = 12, max = 1024))]
    password: String,
}

/// Makes the first account: an administrator of everything. The link counts once.
#[utoipa::path(
    post,
    path = "/api/v1/setup",
    tag = "people",
    operation_id = "set_up",
    request_body = ref("#/components/schemas/FirstAccount"),
    responses((status = 204, description = "Done")),
    security(()),
)]
pub(super) async fn set_up(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Body(given): Body<FirstAccount>,
) -> Result<StatusCode, ApiError> {
    let now = clock::now();
    app.logins.begin_from(peer.ip(), now).await.map_err(|wait| ApiError::later(Seconds::of(wait)))?;
    let email = account::address(&given.email).ok_or_else(|| ApiError::field("/email", "not an e-mail address"))?;
    if !(12..=1024).contains(&given.password.len()) {
        return Err(ApiError::field("/password", "12 bytes or more, at most 1,024"));
    }
    let gone = || ApiError::said(ProblemKind::NotFound, "this link was used, or is of another control plane");
    let token = hash(&given.token);
    // Before 20 ms of a core are spent on a hash.
    let asked = token.clone();
    let open = app.store.read(move |tx| first(tx, "SELECT token FROM setup WHERE token = $1", &values![asked])).await?;
    if open.is_none() {
        return Err(gone());
    }
    let password = hashed(&app, given.password).await?;
    let organisation = app.config.organisation;
    let made = app.store.write(move |tx: &mut dyn Tx| {
        if tx.execute("DELETE FROM setup WHERE token = $1", &values![token])? == 0 {
            return Ok(false);
        }
        account::make_first(tx, (&email, &password), organisation, now)?;
        audit::write(tx, &email, "made the first account", &email, now)?;
        Ok::<_, StoreError>(true)
    });
    if !made.await? {
        return Err(gone());
    }
    app.logins.take_back(peer.ip()).await;
    Ok(StatusCode::NO_CONTENT)
}
