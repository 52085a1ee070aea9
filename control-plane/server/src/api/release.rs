//! The release that one box is offered by hand: a pin. What a release is, its signed metadata says, which lies in `releases/` of the
//! data folder and is served as it is; the box believes nothing else. Rings that offer to many are another thing.

use super::App;
use super::access::{Access, Role};
use super::appliances::{named, visible};
use super::problem::{ApiError, Body};
use crate::policy::tree;
use crate::rollouts::{self, Standing};
use crate::{audit, clock};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use saveos_protocol::shadow::ReleaseTarget;
use saveos_protocol::text::{Mark, Release};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is offered.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewOffer")]
#[serde(deny_unknown_fields)]
pub(super) struct Offer {
    release: Release,
    /// It does not wait for the restart window of the box.
    #[serde(default)]
    at_once: bool,
}

/// What was offered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Offered")]
pub(super) struct Offered {
    release: Release,
    /// New with each offer: a box tries a release that failed again when it is offered anew.
    attempt: Mark,
}

/// Where the box stands.
#[derive(Serialize, JsonSchema)]
pub(super) struct ReleaseOfBox {
    /// In the newest rollout, if there ever was one.
    rollout: Option<Standing>,
}

/// Where the box stands in the newest rollout: its ring, and why it was not offered the release yet.
#[utoipa::path(
    get,
    path = "/api/v1/appliances/{id}/release",
    tag = "people",
    operation_id = "get_release",
    params(("id" = String, Path, description = "An appliance")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ReleaseOfBox"))),
)]
pub(super) async fn get(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
) -> Result<Json<ReleaseOfBox>, ApiError> {
    let (device, ears, now) = (named(&device)?, app.heart.ears(), clock::now());
    let routes = app.catalogue().await?.map(|catalogue| catalogue.routes);
    let read = app.store.read(move |tx| {
        visible(tx, &access, device, Role::Viewer)?;
        Ok::<_, ApiError>(rollouts::standing(tx, device, &ears, routes.as_ref(), now)?)
    });
    Ok(Json(ReleaseOfBox { rollout: read.await? }))
}

/// Offers a release to the box, also one that failed there before.
#[utoipa::path(
    put,
    path = "/api/v1/appliances/{id}/release",
    tag = "people",
    operation_id = "offer_release",
    params(("id" = String, Path, description = "An appliance")),
    request_body = ref("#/components/schemas/NewOffer"),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Offered"))),
)]
pub(super) async fn put(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
    Body(offer): Body<Offer>,
) -> Result<Json<Offered>, ApiError> {
    let token = clock::random::<8>().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let attempt: Mark = token.parse().map_err(|_| ApiError::new(saveos_protocol::problem::ProblemKind::Internal))?;
    let (release, at_once) = (offer.release.clone(), offer.at_once);
    let target = ReleaseTarget { release, ring_token: Some(attempt.clone()), at_once };
    set(&app, access, &device, Some(target)).await?;
    Ok(Json(Offered { release: offer.release, attempt }))
}

/// Takes the offer back: a box that has not begun to install it leaves it.
#[utoipa::path(
    delete,
    path = "/api/v1/appliances/{id}/release",
    tag = "people",
    operation_id = "withdraw_release",
    params(("id" = String, Path, description = "An appliance")),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn remove(
    State(app): State<App>,
    access: Access,
    Path(device): Path<String>,
) -> Result<StatusCode, ApiError> {
    set(&app, access, &device, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set(app: &App, access: Access, device: &str, target: Option<ReleaseTarget>) -> Result<(), ApiError> {
    let device = named(device)?;
    let now = clock::now();
    let said = app.store.write(move |tx| {
        visible(tx, &access, device, Role::Admin)?;
        let (what, of) = match &target {
            Some(target) => ("offered a release", format!("{device} {}", target.release)),
            None => ("withdrew a release", device.to_string()),
        };
        let said = tree::offer(tx, device, target, now)?;
        audit::write(tx, &access.email, what, &of, now)?;
        Ok::<_, ApiError>(said)
    });
    if let Some(document) = said.await? {
        // The end of the server: the ingest says it again with the next session.
        let _ = app.outgoing.send(document).await;
    }
    Ok(())
}
