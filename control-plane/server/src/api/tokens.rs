//! Tokens for programs: no more than their account may, cut to a role and a node, for a time. Made and ended by the person whose
//! they are.

use super::App;
use super::access::{Access, PROGRAM, Role, hash};
use super::answer::List;
use super::problem::{ApiError, Body, at_most, name};
use super::tree::path_of;
use crate::audit;
use crate::clock;
use crate::password;
use crate::store::{Row, StoreError, Tx, values};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use saveos_protocol::id::TokenId;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Of one account.
const MOST: u64 = 100;

const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// A token to make.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// What it is for.
    #[schemars(length(min = 1, max = 100))]
    name: String,
    /// At this node and below.
    node: String,
    /// At most this.
    role: Role,
    /// At most a year from now.
    until_ms: Timestamp,
}

/// A token that was made.
#[derive(Serialize, JsonSchema)]
pub(super) struct MadeToken {
    id: TokenId,
    /// `saveos_` and 64 hexadecimal digits. Shown this once.
    token: String,
}

/// A token of one's own.
#[derive(Serialize, JsonSchema)]
pub(super) struct Token {
    id: String,
    name: String,
    node: String,
    role: String,
    made_ms: Timestamp,
    until_ms: Timestamp,
    /// To a minute.
    used_ms: Option<Timestamp>,
}

/// One's own.
#[utoipa::path(
    get,
    path = "/api/v1/me/tokens",
    tag = "people",
    operation_id = "list_tokens",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfToken"))),
)]
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<List<Token>>, ApiError> {
    access.person()?;
    let sql = "SELECT id, name, node, role, made_ms, until_ms, used_ms FROM api_token WHERE account = $1 ORDER BY id";
    let account = access.account.clone();
    let rows: Vec<Row> = app.store.read(move |tx: &mut dyn Tx| tx.query(sql, &values![account])).await?;
    let token = |row: &Row| {
        Ok(Token {
            id: row.text(0)?.to_owned(),
            name: row.text(1)?.to_owned(),
            node: row.text(2)?.to_owned(),
            role: row.text(3)?.to_owned(),
            made_ms: row.time(4)?,
            until_ms: row.time(5)?,
            used_ms: row.maybe_time(6)?,
        })
    };
    Ok(Json(List::whole(rows.iter().map(token).collect::<Result<_, StoreError>>()?)))
}

/// Makes one.
#[utoipa::path(
    post,
    path = "/api/v1/me/tokens",
    tag = "people",
    operation_id = "make_token",
    request_body = ref("#/components/schemas/NewToken"),
    responses((status = 201, description = "Done", body = ref("#/components/schemas/MadeToken"))),
)]
pub(super) async fn make(
    State(app): State<App>,
    access: Access,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), ApiError> {
    let now = clock::now();
    access.fresh(now)?;
    let name = name("/name", &new.name)?;
    if new.until_ms <= now || new.until_ms > now.after(LONGEST) {
        return Err(ApiError::field("/until_ms", "in the next year"));
    }
    let id = TokenId::from_parts(now, clock::random());
    let token = format!("{PROGRAM}{}", password::hex(&clock::random::<32>()));
    let stored = hash(&token);
    app.store
        .write(move |tx| {
            let (path, _) = path_of(tx, &new.node)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            access.may(&path, new.role)?;
            let sql = "SELECT COUNT(*) FROM api_token WHERE account = $1 AND until_ms > $2";
            at_most(tx, (sql, &values![access.account.as_str(), now]), MOST, "tokens of this account")?;
            let sql = "INSERT INTO api_token (token, id, account, name, role, node, made_ms, until_ms)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
            let (text, account, role) = (id.to_string(), access.account.as_str(), new.role.as_str());
            tx.execute(sql, &values![stored, text, account, name, role, new.node, now, new.until_ms])?;
            Ok::<_, ApiError>(audit::write(tx, &access.email, "made a token", &id.to_string(), now)?)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(MadeToken { id, token })))
}

/// Ends one.
#[utoipa::path(
    delete,
    path = "/api/v1/me/tokens/{token}",
    tag = "people",
    operation_id = "end_token",
    params(("token" = String, Path, description = "The id of a token")),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn end(
    State(app): State<App>,
    access: Access,
    Path(token): Path<String>,
) -> Result<StatusCode, ApiError> {
    access.person()?;
    let now = clock::now();
    app.store
        .write(move |tx| {
            let sql = "DELETE FROM api_token WHERE id = $1 AND account = $2";
            if tx.execute(sql, &values![token.as_str(), access.account.as_str()])? == 0 {
                return Err(ApiError::new(ProblemKind::NotFound));
            }
            Ok(audit::write(tx, &access.email, "ended a token", &token, now)?)
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
