//! Claims: a person types the code that a box shows, and says where the box stands.

use super::App;
use super::access::{Access, Role};
use super::answer::List;
use super::problem::{ApiError, Body, at_most, name};
use super::tree::path_of;
use crate::clock;
use crate::enrolment::{self, Claim, NotClaimed};
use crate::store::{Row, StoreError, Tx, fence, values};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use saveos_protocol::enrol::ClaimCode;
use saveos_protocol::id::ClaimId;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Codes that wait at one site: whoever types more is no installer.
const MOST: u64 = 500;

/// A box to claim.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewClaim {
    code: String,
    site: String,
    name: String,
}

/// A claim that was made.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MadeClaim")]
pub(super) struct Made {
    id: ClaimId,
    code: String,
    #[serde(rename = "until_ms")]
    until: Timestamp,
}

/// A code that somebody typed, and the box that came with it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Claim")]
pub(super) struct Claimed {
    id: String,
    code: String,
    name: String,
    site: String,
    #[serde(rename = "until_ms")]
    until: Timestamp,
    /// None until the box came.
    device: Option<String>,
}

/// Claims the box that shows this code for a site.
#[utoipa::path(
    post,
    path = "/api/v1/claims",
    tag = "people",
    operation_id = "make_claim",
    request_body = ref("#/components/schemas/NewClaim"),
    responses((status = 201, description = "Done", body = ref("#/components/schemas/MadeClaim"))),
)]
pub(super) async fn make(
    State(app): State<App>,
    access: Access,
    Body(new): Body<NewClaim>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    let code: ClaimCode = new
        .code
        .parse()
        .map_err(|why: saveos_protocol::enrol::NotAClaimCode| ApiError::field("/code", &why.to_string()))?;
    let name = name("/name", &new.name)?;
    let now = clock::now();
    let id = ClaimId::from_parts(now, clock::random());
    let write = app.store.write(move |tx| {
        let (path, kind) = path_of(tx, &new.site)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
        access.may(&path, Role::Admin)?;
        if kind != "site" {
            return Err(ApiError::field("/site", "a box stands at a site"));
        }
        let sql = "SELECT COUNT(*) FROM claim WHERE node = $1 AND used_ms IS NULL AND until_ms > $2";
        at_most(tx, (sql, &values![new.site.as_str(), now]), MOST, "codes that wait at this site")?;
        let claim = Claim { id, code, node: new.site, name, account: access.email };
        match enrolment::claim(tx, &claim, now)? {
            Ok(()) => Ok(()),
            Err(NotClaimed::Used) => Err(ApiError::said(ProblemKind::Conflict, "a box has enrolled with this code")),
            Err(NotClaimed::Taken) => Err(ApiError::said(ProblemKind::Conflict, "somebody else has typed this code")),
        }
    });
    // A code may be that of a box that was somebody else's.
    fence::without(write).await?;
    let until = now.after(enrolment::CLAIM_LIFE);
    Ok((StatusCode::CREATED, Json(Made { id, code: code.to_string(), until })))
}

/// Claims that one may see, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/claims",
    tag = "people",
    operation_id = "list_claims",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfClaim"))),
)]
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<List<Claimed>>, ApiError> {
    let sql = "SELECT c.id, c.code, c.name, c.node, c.until_ms, c.device, n.path FROM claim c
        JOIN node n ON n.id = c.node WHERE n.path >= $1 AND n.path < $2 ORDER BY c.made_ms DESC LIMIT 1000";
    let tops = access.outermost();
    let read = app.store.read(move |tx: &mut dyn Tx| {
        let mut rows = Vec::new();
        for (from, to) in &tops {
            rows.extend(tx.query(sql, &values![from.as_str(), to.as_str()])?);
        }
        Ok::<_, StoreError>(rows)
    });
    let rows: Vec<Row> = read.await?;
    let mut claims = Vec::new();
    for row in &rows {
        if access.role_at(row.text(6)?) >= Some(Role::Admin) {
            claims.push(Claimed {
                id: row.text(0)?.to_owned(),
                code: row.text(1)?.to_owned(),
                name: row.text(2)?.to_owned(),
                site: row.text(3)?.to_owned(),
                until: row.time(4)?,
                device: row.maybe_text(5)?.map(str::to_owned),
            });
        }
    }
    Ok(Json(List::whole(claims)))
}
