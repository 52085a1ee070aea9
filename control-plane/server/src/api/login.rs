//! Signing in and out. A session is 256 random bits, of which only the hash is kept; it ends after twelve hours, or one without use.

use super::App;
use super::access::{Access, COOKIE, IDLE, Role, hash};
use super::problem::{ApiError, Body};
use crate::audit;
use crate::clock;
use crate::password;
use crate::second_factor::{self, Proof};
use crate::store::{StoreError, Tx, first, values};
use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::text::Text;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::Seconds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

const SESSION: Duration = Duration::from_secs(12 * 3600);

/// Who wants to sign in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    email: String,
    password: String,
    /// Of the second factor: six digits, or a code that was written down. Without it, an account that has one is answered
    /// `step-up-required`.
    code: Option<String>,
}

/// A session that began.
#[derive(Serialize, JsonSchema)]
pub(super) struct Session {
    token: String,
    #[serde(rename = "until_ms")]
    until: Timestamp,
}

/// Who is signed in.
#[derive(Serialize, JsonSchema)]
pub(super) struct Me {
    account: String,
    email: String,
    grants: Vec<Grant>,
    /// Whether it has a second factor.
    second_factor: bool,
}

/// A role on a node and all below it.
#[derive(Serialize, JsonSchema)]
struct Grant {
    path: String,
    role: Role,
}

/// The audit trail.
#[derive(Serialize, JsonSchema)]
pub(super) struct Trail {
    items: Vec<Deed>,
    /// The first row that does not follow from the one before; none when the chain is whole.
    broken_at: Option<u64>,
}

/// What somebody did.
#[derive(Serialize, JsonSchema)]
struct Deed {
    n: u64,
    #[serde(rename = "at_ms")]
    at: Timestamp,
    who: String,
    what: String,
    target: String,
}

/// Signs in: a token for programs, and the same as a cookie for browsers.
#[utoipa::path(
    post,
    path = "/api/v1/login",
    tag = "people",
    operation_id = "sign_in",
    request_body = ref("#/components/schemas/Credentials"),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Session"))),
    security(()),
)]
pub(super) async fn login(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Body(given): Body<Credentials>,
) -> Result<(HeaderMap, Json<Session>), ApiError> {
    let now = clock::now();
    let email = given.email.trim().to_lowercase();
    if email.len() > 254 || given.password.len() > 1024 {
        return Err(ApiError::new(ProblemKind::Malformed));
    }
    let later = |wait| ApiError::later(Seconds::of(wait));
    app.logins.begin_from(peer.ip(), now).await.map_err(later)?;
    app.logins.begin(&email, now).await.map_err(later)?;
    let wanted = email.clone();
    let row =
        app.store.read(move |tx| first(tx, "SELECT id, password FROM account WHERE email = $1", &values![wanted]));
    let row: Option<crate::store::Row> = row.await.map_err(|error: StoreError| ApiError::from(error))?;
    let stored = row.as_ref().map(|row| row.text(1).map(str::to_owned)).transpose()?.unwrap_or_default();
    let fits = fits(&app, given.password, stored).await?;
    let account = match row {
        Some(row) if fits => row.text(0)?.to_owned(),
        _ => return Err(ApiError::said(ProblemKind::Unauthenticated, "no account has this name and password")),
    };
    let (owner, code) = (account.clone(), given.code);
    app.store.write(move |tx| proven(second_factor::prove(tx, &owner, code.as_deref(), now)?)).await?;
    app.logins.forget(&email).await;
    app.logins.take_back(peer.ip()).await;
    let token = password::hex(&clock::random::<32>());
    let (stored, until) = (hash(&token), now.after(SESSION));
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).map(Text::cut);
    let agent = agent.map_or_else(String::new, |agent| agent.to_string());
    app.store
        .write(move |tx| {
            let sql = "DELETE FROM session WHERE until_ms <= $1 OR COALESCE(seen_ms, made_ms) <= $2";
            tx.execute(sql, &values![now, now.before(IDLE)])?;
            let sql = "INSERT INTO session (token, id, account, agent, made_ms, until_ms, proven_ms)
                VALUES ($1, $2, $3, $4, $5, $6, $5)";
            let id = password::hex(&clock::random::<8>());
            tx.execute(sql, &values![stored, id, account, agent, now, until])?;
            audit::write(tx, &email, "signed in", "-", now)
        })
        .await?;
    let cookie = format!("{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={}", SESSION.as_secs());
    let mut headers = HeaderMap::new();
    headers
        .insert(header::SET_COOKIE, HeaderValue::try_from(cookie).map_err(|_| ApiError::new(ProblemKind::Internal))?);
    Ok((headers, Json(Session { token, until })))
}

/// Whether it is the password; two are tried at once.
pub(super) async fn fits(app: &App, password: String, stored: String) -> Result<bool, ApiError> {
    let permit = app.hashing.acquire().await.map_err(|_| ApiError::new(ProblemKind::Unavailable))?;
    let fits = tokio::task::spawn_blocking(move || password::fits(&password, &stored)).await.unwrap_or(false);
    drop(permit);
    Ok(fits)
}

/// What is stored of a password; two are hashed at once.
pub(super) async fn hashed(app: &App, password: String) -> Result<String, ApiError> {
    let permit = app.hashing.acquire().await.map_err(|_| ApiError::new(ProblemKind::Unavailable))?;
    let stored = tokio::task::spawn_blocking(move || password::hash(&password)).await;
    drop(permit);
    stored.map_err(|_| ApiError::new(ProblemKind::Internal))
}

/// Passes whoever gave what was asked for.
pub(super) fn proven(proof: Proof) -> Result<(), ApiError> {
    match proof {
        Proof::Given => Ok(()),
        Proof::Missing => Err(ApiError::new(ProblemKind::StepUpRequired)),
        Proof::Wrong => Err(ApiError::said(ProblemKind::Unauthenticated, "the code does not fit, or was used")),
    }
}

/// Ends the session.
#[utoipa::path(
    post,
    path = "/api/v1/logout",
    tag = "people",
    operation_id = "sign_out",
    responses((status = 204, description = "Done")),
)]
pub(super) async fn logout(State(app): State<App>, access: Access) -> Result<StatusCode, ApiError> {
    let session = access.person()?.to_owned();
    app.store.write(move |tx| tx.execute("DELETE FROM session WHERE token = $1", &values![session])).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is signed in, and where he may what.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    tag = "people",
    operation_id = "me",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Me"))),
)]
pub(super) async fn me(State(app): State<App>, access: Access) -> Result<Json<Me>, ApiError> {
    let account = access.account.clone();
    let sql = "SELECT id FROM account WHERE id = $1 AND factor_ms IS NOT NULL";
    let second_factor = app.store.read(move |tx| first(tx, sql, &values![account])).await?.is_some();
    let grants = access.grants.into_iter().map(|(path, role)| Grant { path, role }).collect();
    Ok(Json(Me { account: access.account, email: access.email, grants, second_factor }))
}

/// The last thousand rows of the audit trail, and whether the chain is whole. For who administers the top of the tree.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "people",
    operation_id = "audit_trail",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Trail"))),
)]
pub(super) async fn audit_trail(State(app): State<App>, access: Access) -> Result<Json<Trail>, ApiError> {
    access.may(&format!("/{}/", app.config.organisation), Role::Admin)?;
    let trail = app.store.read(|tx: &mut dyn Tx| {
        let rows = tx.query("SELECT n, at_ms, who, what, target FROM audit ORDER BY n DESC LIMIT 1000", &[])?;
        let items: Result<Vec<Deed>, StoreError> = rows
            .iter()
            .map(|row| {
                Ok(Deed {
                    n: row.number(0)?,
                    at: row.time(1)?,
                    who: row.text(2)?.to_owned(),
                    what: row.text(3)?.to_owned(),
                    target: row.text(4)?.to_owned(),
                })
            })
            .collect();
        Ok::<_, StoreError>(Trail { items: items?, broken_at: audit::first_break(tx)? })
    });
    Ok(Json(trail.await?))
}
