//! What a person does with his own account: proves who he is, changes the password, looks after the second factor and the
//! sessions. No program may.

use super::App;
use super::access::Access;
use super::answer::List;
use super::login::{fits, hashed, proven};
use super::problem::{ApiError, Body};
use crate::audit;
use crate::clock;
use crate::second_factor::{self, Proof};
use crate::store::{Row, StoreError, Tx, first, values};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::Seconds;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What proves who one is.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Proving {
    password: String,
    /// Of the second factor, where there is one.
    code: Option<String>,
}

/// Another password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    password: String,
    code: Option<String>,
    #[schemars(length(min = 12, max = 1024))]
    new: String,
}

/// A second factor that does not count yet.
#[derive(Serialize, JsonSchema)]
pub(super) struct MadeFactor {
    /// What an app reads out of a QR code. Shown this once.
    url: String,
}

/// Digits of the app.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Digits {
    code: String,
}

/// Codes to write down, for the day on which the app is lost. Each counts once. Shown this once.
#[derive(Serialize, JsonSchema)]
pub(super) struct RecoveryCodes {
    codes: Vec<String>,
}

/// Somewhere where one is signed in.
#[derive(Serialize, JsonSchema)]
pub(super) struct OwnSession {
    id: String,
    /// What the browser or program called itself.
    agent: String,
    made_ms: Timestamp,
    until_ms: Timestamp,
    /// The one that asks.
    this: bool,
}

/// Tests password and code of who is signed in; as many tries as for signing in.
async fn proves(app: &App, access: &Access, password: String, code: Option<String>) -> Result<(), ApiError> {
    access.person()?;
    let now = clock::now();
    if password.len() > 1024 {
        return Err(ApiError::new(ProblemKind::Malformed));
    }
    app.logins.begin(&access.email, now).await.map_err(|wait| ApiError::later(Seconds::of(wait)))?;
    let account = access.account.clone();
    let sql = "SELECT password FROM account WHERE id = $1";
    let row = app.store.read(move |tx| first(tx, sql, &values![account])).await?;
    let stored = row.map_or(Ok(String::new()), |row| row.text(0).map(str::to_owned))?;
    if !fits(app, password, stored).await? {
        return Err(ApiError::said(ProblemKind::Forbidden, "it is not the password of this account"));
    }
    let account = access.account.clone();
    let proof = app.store.write(move |tx| second_factor::prove(tx, &account, code.as_deref(), now)).await?;
    if proof == Proof::Wrong {
        // Not 401: the session goes on.
        return Err(ApiError::said(ProblemKind::Forbidden, "the code does not fit, or was used"));
    }
    proven(proof)?;
    app.logins.forget(&access.email).await;
    Ok(())
}

/// Proves anew who one is: for ten minutes one may do what needs it.
#[utoipa::path(
    post,
    path = "/api/v1/me/prove",
    tag = "people",
    operation_id = "prove",
    request_body = ref("#/components/schemas/Proving"),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn prove(
    State(app): State<App>,
    access: Access,
    Body(given): Body<Proving>,
) -> Result<StatusCode, ApiError> {
    proves(&app, &access, given.password, given.code).await?;
    let token = access.person()?.to_owned();
    let sql = "UPDATE session SET proven_ms = $1 WHERE token = $2";
    app.store.write(move |tx: &mut dyn Tx| tx.execute(sql, &values![clock::now(), token])).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the password; all other sessions and all tokens of this account end.
#[utoipa::path(
    post,
    path = "/api/v1/me/password",
    tag = "people",
    operation_id = "change_password",
    request_body = ref("#/components/schemas/NewPassword"),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn change_password(
    State(app): State<App>,
    access: Access,
    Body(given): Body<NewPassword>,
) -> Result<StatusCode, ApiError> {
    access.person()?;
    if !(12..=1024).contains(&given.new.len()) {
        return Err(ApiError::field("/new", "12 bytes or more, at most 1,024"));
    }
    proves(&app, &access, given.password, given.code).await?;
    let stored = hashed(&app, given.new).await?;
    let (token, now) = (access.person()?.to_owned(), clock::now());
    app.store
        .write(move |tx: &mut dyn Tx| {
            let account = access.account.as_str();
            tx.execute("UPDATE account SET password = $1 WHERE id = $2", &values![stored, account])?;
            tx.execute("DELETE FROM session WHERE account = $1 AND token <> $2", &values![account, token])?;
            tx.execute("DELETE FROM api_token WHERE account = $1", &values![account])?;
            audit::write(tx, &access.email, "changed the password", account, now)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a second factor, which counts when its digits were given back.
#[utoipa::path(
    post,
    path = "/api/v1/me/second-factor",
    tag = "people",
    operation_id = "make_second_factor",
    responses((status = 201, description = "Done", body = ref("#/components/schemas/MadeFactor"))),
)]
pub(super) async fn make_factor(
    State(app): State<App>,
    access: Access,
) -> Result<(StatusCode, Json<MadeFactor>), ApiError> {
    access.fresh(clock::now())?;
    let url = second_factor::make(&access.email, &app.config.name.to_string());
    let url = url.map_err(|_| ApiError::new(ProblemKind::Internal))?;
    let stored = url.clone();
    app.store
        .write(move |tx| {
            let sql = "UPDATE account SET factor = $1, factor_step = NULL WHERE id = $2 AND factor_ms IS NULL";
            if tx.execute(sql, &values![stored, access.account.as_str()])? == 0 {
                return Err(ApiError::said(ProblemKind::Conflict, "there is one: remove it first"));
            }
            Ok(())
        })
        .await?;
    Ok((StatusCode::CREATED, Json(MadeFactor { url })))
}

/// Gives the app's digits back: from now on signing in needs them.
#[utoipa::path(
    post,
    path = "/api/v1/me/second-factor/confirm",
    tag = "people",
    operation_id = "confirm_second_factor",
    request_body = ref("#/components/schemas/Digits"),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/RecoveryCodes"))),
)]
pub(super) async fn confirm_factor(
    State(app): State<App>,
    access: Access,
    Body(given): Body<Digits>,
) -> Result<Json<RecoveryCodes>, ApiError> {
    let now = clock::now();
    access.fresh(now)?;
    let codes = second_factor::make_codes();
    let hashes: Vec<String> = codes.iter().map(|code| second_factor::hash(code)).collect();
    app.store
        .write(move |tx| {
            let account = access.account.as_str();
            let sql = "SELECT factor FROM account WHERE id = $1 AND factor IS NOT NULL AND factor_ms IS NULL";
            let row = first(tx, sql, &values![account])?;
            let row = row.ok_or_else(|| ApiError::said(ProblemKind::Conflict, "none waits for its digits"))?;
            let step = second_factor::step(row.text(0)?, &given.code, now);
            let step = step.ok_or_else(|| ApiError::field("/code", "not the digits of now"))?;
            let sql = "UPDATE account SET factor_ms = $1, factor_step = $2 WHERE id = $3";
            tx.execute(sql, &values![now, step, account])?;
            tx.execute("DELETE FROM recovery_code WHERE account = $1", &values![account])?;
            for code in hashes {
                tx.execute("INSERT INTO recovery_code (account, code) VALUES ($1, $2)", &values![account, code])?;
            }
            Ok::<_, ApiError>(audit::write(tx, &access.email, "got a second factor", account, now)?)
        })
        .await?;
    Ok(Json(RecoveryCodes { codes }))
}

/// Removes the second factor.
#[utoipa::path(
    delete,
    path = "/api/v1/me/second-factor",
    tag = "people",
    operation_id = "remove_second_factor",
    responses((status = 204, description = "Done")),
)]
pub(super) async fn remove_factor(State(app): State<App>, access: Access) -> Result<StatusCode, ApiError> {
    let now = clock::now();
    access.fresh(now)?;
    app.store
        .write(move |tx: &mut dyn Tx| {
            let account = access.account.as_str();
            let sql = "UPDATE account SET factor = NULL, factor_ms = NULL, factor_step = NULL WHERE id = $1";
            tx.execute(sql, &values![account])?;
            tx.execute("DELETE FROM recovery_code WHERE account = $1", &values![account])?;
            audit::write(tx, &access.email, "removed the second factor", account, now)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where one is signed in.
#[utoipa::path(
    get,
    path = "/api/v1/me/sessions",
    tag = "people",
    operation_id = "list_sessions",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfOwnSession"))),
)]
pub(super) async fn sessions(State(app): State<App>, access: Access) -> Result<Json<List<OwnSession>>, ApiError> {
    let (own, account, now) = (access.person()?.to_owned(), access.account.clone(), clock::now());
    let sql = "SELECT id, agent, made_ms, until_ms, token FROM session WHERE account = $1 AND until_ms > $2 ORDER BY made_ms DESC";
    let rows: Vec<Row> = app.store.read(move |tx: &mut dyn Tx| tx.query(sql, &values![account, now])).await?;
    let session = |row: &Row| {
        Ok(OwnSession {
            id: row.text(0)?.to_owned(),
            agent: row.text(1)?.to_owned(),
            made_ms: row.time(2)?,
            until_ms: row.time(3)?,
            this: row.text(4)? == own,
        })
    };
    Ok(Json(List::whole(rows.iter().map(session).collect::<Result<_, StoreError>>()?)))
}

/// Ends one of them.
#[utoipa::path(
    delete,
    path = "/api/v1/me/sessions/{session}",
    tag = "people",
    operation_id = "end_session",
    params(("session" = String, Path, description = "A session")),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn end_session(
    State(app): State<App>,
    access: Access,
    Path(session): Path<String>,
) -> Result<StatusCode, ApiError> {
    access.person()?;
    let account = access.account.clone();
    let sql = "DELETE FROM session WHERE id = $1 AND account = $2";
    let ended = app.store.write(move |tx: &mut dyn Tx| tx.execute(sql, &values![session, account])).await?;
    if ended == 0 { Err(ApiError::new(ProblemKind::NotFound)) } else { Ok(StatusCode::NO_CONTENT) }
}
