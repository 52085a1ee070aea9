//! Rollouts, for who administers the organisation: what goes out, how it stands and why, and the few things a person may say to one.

use super::App;
use super::access::{Access, Role};
use super::answer::{List, Made};
use super::problem::{ApiError, Body};
use crate::store::{Row, StoreError, Tx, first, values};
use crate::{audit, clock, rollouts};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use saveos_protocol::hex::Digest;
use saveos_protocol::id::RolloutId;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::text::Release;
use saveos_protocol::time::Timestamp;
use saveos_server::rollout::{
    Because, Entry, Event, Grounds, Policy, RingIndex, Rollout as Engine, Share, Stage, way_back,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A rollout to begin.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewRollout")]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    release: Release,
    /// The usual one where there is none: 1 %, 10 %, 50 %, 95 % and a hold-back group, two days of soak each.
    #[serde(default)]
    policy: Policy,
}

/// How a rollout stands.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "RolloutState")]
enum Standing {
    Running,
    Paused,
    Halted,
    /// Every ring is through; boxes that come late are still offered the release.
    Finished,
    /// Another one took its place.
    Superseded,
}

/// One of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RolloutInShort")]
pub(super) struct InShort {
    id: String,
    release: String,
    made_ms: Timestamp,
    made_by: String,
    /// It halted, or another one took its place.
    ended_ms: Option<Timestamp>,
}

/// One ring.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RolloutRing")]
struct Ring {
    name: String,
    up_to: Share,
    opened_ms: Option<Timestamp>,
    /// Boxes in it when it opened, those of the rings before among them.
    members: Option<u32>,
    /// A person agreed to it, where one has to.
    approved: Option<bool>,
    /// Offers, and what became of them.
    offered: u32,
    /// They have not restarted into it.
    waiting: u32,
    /// They try it.
    trying: u32,
    passed: u32,
    failed: u32,
    /// They could not fetch or install it.
    not_installed: u32,
}

/// How a rollout stands, and why.
#[derive(Serialize, JsonSchema)]
pub(super) struct Rollout {
    id: String,
    release: String,
    made_ms: Timestamp,
    made_by: String,
    state: Standing,
    /// Why it is there, or for what it waits, in words.
    because: Vec<String>,
    /// Since then it is taken back,
    recalled_ms: Option<Timestamp>,
    /// by whom,
    recalled_by: Option<String>,
    /// and how far that is.
    recall: Option<rollouts::Progress>,
    rings: Vec<Ring>,
    policy: Policy,
}

/// What a person may say to a rollout.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "RolloutChange")]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Change {
    /// Offer it to nobody for now.
    Pause {},
    /// And now again.
    Resume {},
    /// Stop for good: offers that no box has restarted for are taken back.
    Halt {},
    /// Of one that halted: have the boxes that run it start again what they ran before, which is in their other slot.
    RollBack {},
    /// Agree to a ring, from 0 on.
    Approve {
        /// Which.
        ring: u8,
    },
}

/// All, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/rollouts",
    tag = "people",
    operation_id = "list_rollouts",
    responses((status = 200, description = "Done", body = ref("#/components/schemas/ListOfRolloutInShort"))),
)]
pub(super) async fn list(State(app): State<App>, access: Access) -> Result<Json<List<InShort>>, ApiError> {
    may(&app, &access)?;
    let sql = "SELECT id, release_name, made_ms, made_by, ended_ms FROM rollout ORDER BY id DESC LIMIT 500";
    let rows: Vec<Row> = app.store.read(move |tx: &mut dyn Tx| tx.query(sql, &[])).await?;
    let short = |row: &Row| {
        Ok(InShort {
            id: row.text(0)?.to_owned(),
            release: row.text(1)?.to_owned(),
            made_ms: row.time(2)?,
            made_by: row.text(3)?.to_owned(),
            ended_ms: row.maybe_time(4)?,
        })
    };
    Ok(Json(List::whole(rows.iter().map(short).collect::<Result<_, StoreError>>()?)))
}

/// Begins one. There is one at a time: the one before must have halted, or be through.
#[utoipa::path(
    post,
    path = "/api/v1/rollouts",
    tag = "people",
    operation_id = "begin_rollout",
    request_body = ref("#/components/schemas/NewRollout"),
    responses((status = 201, description = "Done", body = ref("#/components/schemas/Made"))),
)]
pub(super) async fn make(
    State(app): State<App>,
    access: Access,
    Body(new): Body<New>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    may(&app, &access)?;
    new.policy.check().map_err(|fault| ApiError::field("/policy", &fault.to_string()))?;
    if let Some(catalogue) = app.catalogue().await?
        && !catalogue.routes.has(&new.release)
    {
        return Err(ApiError::field(
            "/release",
            "no such release is published: `saveos-release status` lists those that are",
        ));
    }
    let now = clock::now();
    let id = RolloutId::from_parts(now, clock::random());
    let salt = Digest(clock::random());
    let policy = serde_json::to_string(&new.policy).map_err(|_| ApiError::new(ProblemKind::Internal))?;
    app.store
        .write(move |tx| {
            let sql = "SELECT id FROM rollout WHERE ended_ms IS NULL ORDER BY id";
            for row in tx.query(sql, &[])? {
                let before: RolloutId = row.parse(0)?;
                let what = match load(tx, before)? {
                    Some((_, rollout)) if rollout.recalled().is_some() => "is being taken back: try again in a moment",
                    Some((_, rollout)) if rollout.is_finished() => "",
                    _ => "is under way: halt it first",
                };
                if !what.is_empty() {
                    return Err(ApiError::said(ProblemKind::Conflict, &format!("{before} {what}")));
                }
                tx.execute("UPDATE rollout SET ended_ms = $1 WHERE id = $2", &values![now, before])?;
            }
            let sql = "INSERT INTO rollout (id, release_name, policy, salt, made_ms, made_by) VALUES ($1, $2, $3, $4, $5, $6)";
            let release = new.release.to_string();
            tx.execute(sql, &values![id, release.as_str(), policy, salt, now, access.email.as_str()])?;
            audit::write(tx, &access.email, "began a rollout", &format!("{id} {release}"), now)?;
            Ok::<_, ApiError>(())
        })
        .await?;
    Ok((StatusCode::CREATED, Json(Made { id: id.to_string() })))
}

/// How one stands.
#[utoipa::path(
    get,
    path = "/api/v1/rollouts/{id}",
    tag = "people",
    operation_id = "rollout",
    params(("id" = String, Path, description = "A rollout")),
    responses((status = 200, description = "Done", body = ref("#/components/schemas/Rollout"))),
)]
pub(super) async fn one(
    State(app): State<App>,
    access: Access,
    Path(id): Path<String>,
) -> Result<Json<Rollout>, ApiError> {
    may(&app, &access)?;
    let id = named(&id)?;
    let read = app.store.read(move |tx: &mut dyn Tx| {
        let Some((row, engine)) = load(tx, id)? else { return Ok(None) };
        let recall = engine.recalled().map(|_| rollouts::progress(tx, id, &engine)).transpose()?;
        Ok::<_, StoreError>(Some((row, engine, recall)))
    });
    let (row, engine, recall) = read.await?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
    let ended = row.maybe_time(4)?.is_some();
    Ok(Json(Rollout {
        id: id.to_string(),
        release: row.text(0)?.to_owned(),
        made_ms: row.time(1)?,
        made_by: row.text(2)?.to_owned(),
        state: match () {
            () if engine.halted().is_some() => Standing::Halted,
            () if ended => Standing::Superseded,
            () if engine.is_finished() => Standing::Finished,
            () if engine.paused().is_some() => Standing::Paused,
            () => Standing::Running,
        },
        because: serde_json::from_str(row.text(3)?).map_err(|_| StoreError::Damaged("words"))?,
        recalled_ms: engine.recalled().map(|recalled| recalled.at),
        recalled_by: engine.recalled().map(|recalled| recalled.by.clone()),
        recall,
        rings: (0..engine.policy().rings.len()).filter_map(|at| ring(&engine, at)).collect(),
        policy: engine.policy().clone(),
    }))
}

/// Says something to one.
#[utoipa::path(
    patch,
    path = "/api/v1/rollouts/{id}",
    tag = "people",
    operation_id = "change_rollout",
    params(("id" = String, Path, description = "A rollout")),
    request_body = ref("#/components/schemas/RolloutChange"),
    responses((status = 204, description = "Done")),
)]
pub(super) async fn change(
    State(app): State<App>,
    access: Access,
    Path(id): Path<String>,
    Body(change): Body<Change>,
) -> Result<StatusCode, ApiError> {
    may(&app, &access)?;
    let (id, now) = (named(&id)?, clock::now());
    let epochs = match change {
        Change::RollBack {} => app.catalogue().await?.map(|catalogue| catalogue.epochs),
        _ => None,
    };
    app.store
        .write(move |tx| {
            let (row, engine) = load(tx, id)?.ok_or_else(|| ApiError::new(ProblemKind::NotFound))?;
            let has_ended = row.maybe_time(4)?.is_some() || engine.halted().is_some();
            let by = access.email.clone();
            let (what, event) = match change {
                Change::RollBack {} => {
                    // The next turns tell the boxes, and end it again.
                    tx.execute("UPDATE rollout SET ended_ms = NULL WHERE id = $1", &values![id])?;
                    ("rolled a release back", recalled(&engine, &row.parse(0)?, epochs.as_ref(), by)?)
                }
                _ if has_ended => return Err(ApiError::said(ProblemKind::Conflict, "it has ended")),
                Change::Pause {} => ("paused a rollout", Event::Paused { by }),
                Change::Resume {} => ("resumed a rollout", Event::Resumed { by }),
                Change::Halt {} => {
                    let grounds = Grounds { because: vec![Because::ByHand { by }], ..Grounds::default() };
                    ("halted a rollout", Event::Halted { grounds })
                }
                Change::Approve { ring } if usize::from(ring) < engine.policy().rings.len() => {
                    ("approved a ring", Event::Approved { ring: RingIndex(ring), by })
                }
                Change::Approve { .. } => return Err(ApiError::field("/ring", "a ring of the rollout, from 0 on")),
            };
            let lines = rollouts::lines(tx, id)?;
            rollouts::append(tx, id, lines, &Entry { at: now, event })?;
            audit::write(tx, &access.email, what, &id.to_string(), now)?;
            Ok::<_, ApiError>(StatusCode::NO_CONTENT)
        })
        .await
}

/// Boxes go back that may; in words, why none may.
fn recalled(
    engine: &Engine,
    release: &Release,
    epochs: Option<&BTreeMap<Release, u32>>,
    by: String,
) -> Result<Event, ApiError> {
    let conflict = |text: &str| Err(ApiError::said(ProblemKind::Conflict, text));
    if engine.halted().is_none() {
        return conflict("it has not halted: halt it first, so that nobody takes it meanwhile");
    }
    if engine.recalled().is_some() {
        return conflict("it is taken back already");
    }
    let way = way_back(engine, release, epochs);
    let to: Vec<Release> = way.to.into_keys().collect();
    let barred: Vec<String> = way.barred.keys().map(ToString::to_string).collect();
    match (to.as_slice(), barred.as_slice()) {
        ([], []) if way.unknown == 0 => conflict("no box runs it"),
        ([], []) => conflict("nobody knows what its boxes ran before: roll out a release that is right"),
        ([], barred) => conflict(&format!(
            "its boxes ran {}, which is published no more or of a lower security epoch: what they wrote since may not be for it. \
             Roll out a release that is right",
            barred.join(", ")
        )),
        _ => Ok(Event::Recalled { by, to }),
    }
}

pub(super) fn may(app: &App, access: &Access) -> Result<(), ApiError> {
    access.may(&format!("/{}/", app.config.organisation), Role::Admin)
}

fn named(id: &str) -> Result<RolloutId, ApiError> {
    id.parse().map_err(|_| ApiError::new(ProblemKind::NotFound))
}

/// A rollout from its row and its log: release, when and by whom it was made, what it said last, when it ended.
fn load(tx: &mut dyn Tx, id: RolloutId) -> Result<Option<(Row, Engine)>, StoreError> {
    let sql = "SELECT release_name, made_ms, made_by, said, ended_ms, policy FROM rollout WHERE id = $1";
    let Some(row) = first(tx, sql, &values![id])? else { return Ok(None) };
    let policy = serde_json::from_str(row.text(5)?).map_err(|_| StoreError::Damaged("a rollout's policy"))?;
    let mut engine = Engine::new(policy);
    rollouts::log(tx, id, 0)?.iter().for_each(|entry| engine.apply(entry));
    Ok(Some((row, engine)))
}

fn ring(engine: &Engine, at: usize) -> Option<Ring> {
    let rule = engine.policy().rings.get(at)?;
    let index = RingIndex(u8::try_from(at).ok()?);
    let opened = engine.rings().get(at);
    let mut ring = Ring {
        name: rule.name.clone(),
        up_to: rule.up_to,
        opened_ms: opened.map(|opened| opened.at),
        members: opened.map(|opened| opened.strata.iter().map(|stratum| stratum.members).sum()),
        approved: rule.approval.then(|| engine.is_approved(index)),
        offered: 0,
        waiting: 0,
        trying: 0,
        passed: 0,
        failed: 0,
        not_installed: 0,
    };
    for attempt in engine.attempts().iter().filter(|attempt| attempt.ring == index) {
        ring.offered += 1;
        *match attempt.stage {
            Stage::Offered | Stage::Working | Stage::Hindered => &mut ring.waiting,
            Stage::Armed => &mut ring.trying,
            Stage::Passed | Stage::Confirmed => &mut ring.passed,
            Stage::Failed => &mut ring.failed,
            Stage::NotInstalled => &mut ring.not_installed,
        } += 1;
    }
    Some(ring)
}
