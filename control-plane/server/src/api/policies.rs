//! The policy of a node of the tree, which holds for all below it that have none nearer.

use super::App;
use super::access::{Access, Role};
use super::problem::{ApiError, Body};
use super::tree::path_of;
use crate::audit;
use crate::clock;
use crate::ingest::Outgoing;
pub(super) use crate::policy::Policy;
use crate::policy::tree::{self, NotSet};
use axum::Json;
use axum::extract::{Path, State};
use saveos_protocol::problem::{Problem, ProblemKind};
use schemars::JsonSchema;
use serde::Serialize;

/// The policy that holds at a node.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PolicyInForce")]
pub(super) struct InForce {
    policy: Policy,
    /// It comes from a node above, or nobody set one.
    inherited: bool,
}

/// How many boxes were told.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BoxesTold")]
pub(super) struct Told {
    boxes: usize,
}

/// What holds at a node, and which node says so.
#[utoipa::path(
    get,
    path = "/api/v1/nodes/{node}/policy",
    tag = "people",
    operation_id = "get_policy",
    params(("node" = String, Path, description = "A node of the tree")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/PolicyInForce"))),
)]
pub(super) async fn get(
    State(app): State<App>,
    access: Access,
    Path(node): Path<String>,
) -> Result<Json<InForce>, ApiError> {
    let found = app.store.read(move |tx| {
        let (path, _) = path_of(tx, &node)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
        access.may(&path, Role::Viewer)?;
        let (policy, from) = tree::nearest(tx, &path)?;
        // Whoever sees a site need not see what is above it.
        let from = from.filter(|from| *from == node);
        Ok::<_, ApiError>(InForce { policy, inherited: from.is_none() })
    });
    Ok(Json(found.await?))
}

/// Sets it, and tells every box for which it holds.
#[utoipa::path(
    put,
    path = "/api/v1/nodes/{node}/policy",
    tag = "people",
    operation_id = "put_policy",
    params(("node" = String, Path, description = "A node of the tree")),
    request_body = ref("#/components/schemas/Policy"),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/BoxesTold"))),
)]
pub(super) async fn put(
    State(app): State<App>,
    access: Access,
    Path(node): Path<String>,
    Body(policy): Body<Policy>,
) -> Result<Json<Told>, ApiError> {
    let now = clock::now();
    let said: Vec<Outgoing> = app
        .store
        .write(move |tx| {
            let (path, _) = path_of(tx, &node)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            access.may(&path, Role::Admin)?;
            let said = tree::set(tx, (&node, &path), &policy, now)?;
            audit::write(tx, &access.email, "set a policy", &node, now)?;
            Ok::<_, ApiError>(said)
        })
        .await?;
    let boxes = said.len();
    for document in said {
        // The end of the server: the ingest says it again with the next session.
        let _ = app.outgoing.send(document).await;
    }
    Ok(Json(Told { boxes }))
}

impl From<NotSet> for ApiError {
    fn from(why: NotSet) -> ApiError {
        match why {
            NotSet::Faulty(fault) => ApiError::said(ProblemKind::Invalid, &fault.to_string()),
            NotSet::TimeZone(zone) => {
                ApiError::said(ProblemKind::Invalid, &format!("nobody knows the time zone {zone}"))
            }
            NotSet::TooLarge => ApiError::said(ProblemKind::Invalid, "the document for a box outgrows its bound"),
            NotSet::Weakens(device, weaker) => {
                let problem = Problem::new(ProblemKind::SignatureRequired).with_detail(&format!("it weakens {device}"));
                let fields =
                    weaker.iter().take(32).fold(problem, |problem, weaker| problem.with_field("", &weaker.to_string()));
                ApiError(Box::new(fields))
            }
            NotSet::Store(error) => ApiError::from(error),
        }
    }
}
