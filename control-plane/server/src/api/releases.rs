//! What is published in `releases/` and can be rolled out.

use super::App;
use super::access::Access;
use super::answer::List;
use super::problem::ApiError;
use crate::releases::{self, Catalogue, Published, ReleasesError};
use axum::Json;
use axum::extract::State;
use saveos_protocol::text::{Release, Text};
use schemars::JsonSchema;
use serde::Serialize;

/// A release for one kind of box, as its metadata says.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PublishedRelease")]
pub(super) struct Entry {
    release: Release,
    /// For which boxes.
    compatible: String,
    /// A box that confirmed a higher one refuses it.
    security_epoch: u32,
    /// What a box must run to take it: anything, when none is named.
    from: Vec<Release>,
    notes: Option<Text>,
    bytes: u64,
}

/// All that are published here. Whether their signatures hold, each box sees for itself.
#[utoipa::path(
    get,
    path = "/api/v1/releases",
    tag = "people",
    operation_id = "list_releases",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfPublishedRelease"))),
)]
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<List<Entry>>, ApiError> {
    super::rollouts::may(&app, &access)?;
    let mut all = app.published().await?.unwrap_or_default();
    // The newest name first, as people look for it.
    all.sort_by(|a, b| (&b.said.release, &a.said.compatible).cmp(&(&a.said.release, &b.said.compatible)));
    let item = |Published { said, bytes }| Entry {
        release: said.release,
        compatible: said.compatible,
        security_epoch: said.security_epoch,
        from: said.from,
        notes: said.notes,
        bytes,
    };
    Ok(Json(List::whole(all.into_iter().map(item).collect())))
}

impl App {
    /// What is published; `None` when that is elsewhere.
    pub(crate) async fn published(&self) -> Result<Option<Vec<Published>>, ReleasesError> {
        releases::read(&self.objects).await
    }

    /// The same, as rollouts want to know it.
    pub(crate) async fn catalogue(&self) -> Result<Option<Catalogue>, ReleasesError> {
        Ok(self.published().await?.map(Catalogue::of))
    }
}
