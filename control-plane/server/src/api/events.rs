//! Live events: what is committed reaches a browser in a moment. `Last-Event-ID` goes on where a broken connection ended.
//!
//! Facts carry their number; presence, progress and commands do not and are not repeated. A browser that is too slow loses the
//! connection, comes back with its last number and misses nothing.

use super::App;
use super::access::{Access, Role};
use super::problem::ApiError;
use crate::ingest::News;
use crate::stop;
use crate::store::{StoreError, Tx, fence, values};
use axum::extract::{FromRequestParts, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_core::Stream;
use saveos_protocol::fact::Fact;
use saveos_protocol::id::DeviceId;
use saveos_protocol::problem::ProblemKind;
use serde::Deserialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use utoipa::IntoParams;

/// A proxy cuts what is silent for a minute.
const BREATH: Duration = Duration::from_secs(15);
/// How soon somebody who was signed out, or lost a role, sees nothing more.
const LOOK: Duration = Duration::from_secs(10);
/// Facts that one look at the past brings.
const CATCH_UP: u64 = 500;

/// Of what one wants to hear. A large fleet says more than a browser should have to read.
#[derive(Clone, Deserialize, FromRequestParts, IntoParams)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only these kinds, with commas between them; none: all.
    kinds: Option<String>,
    /// And all kinds of this box.
    #[param(value_type = Option<String>)]
    device: Option<DeviceId>,
}

impl Wanted {
    fn wants(&self, news: &News) -> bool {
        self.device == Some(news.device)
            || self.kinds.as_ref().is_none_or(|kinds| kinds.split(',').any(|kind| kind == news.kind))
    }
}

/// Follows the fleet: an event's name is the kind of what happened, its data a `News`.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "people",
    operation_id = "follow_events",
    params(Wanted, ("last-event-id" = Option<u64>, Header, description = "The last event that was seen")),
    responses(
        (
            status = 200,
            description = "Events",
            body = ref("#/components/schemas/News"),
            content_type = "text/event-stream",
        ),
    ),
)]
pub(super) async fn stream(
    State(app): State<App>,
    access: Access,
    wanted: Wanted,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let last = headers.get("last-event-id").map(|last| last.to_str().unwrap_or_default().parse::<u64>());
    let last = last.transpose().map_err(|_| ApiError::said(ProblemKind::Malformed, "Last-Event-ID is no number"))?;
    let (events, waiting) = mpsc::channel(64);
    // First listen, then look back: what comes between is in both, and its number tells.
    let live = app.news.subscribe();
    tokio::spawn(fence::as_here(follow(app, (access, wanted), last, live, events)));
    Ok(Sse::new(Events(waiting)).keep_alive(KeepAlive::new().interval(BREATH)))
}

struct Events(mpsc::Receiver<Event>);

impl Stream for Events {
    type Item = Result<Event, Infallible>;
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|event| event.map(Ok))
    }
}

async fn follow(
    app: App,
    (mut access, wanted): (Access, Wanted),
    last: Option<u64>,
    mut live: broadcast::Receiver<News>,
    events: mpsc::Sender<Event>,
) {
    let mut seen = match last {
        Some(last) => match catch_up(&app, (&access, &wanted), last, &events).await {
            Some(seen) => seen,
            None => return,
        },
        None => 0,
    };
    let mut stop = app.stop.clone();
    let mut look = tokio::time::interval(LOOK);
    loop {
        let news = tokio::select! {
            news = live.recv() => news,
            () = events.closed() => return,
            _ = look.tick() => match access.again(&app).await {
                Some(present) => {
                    access = present;
                    continue;
                }
                None => return,
            },
            () = stop::asked(&mut stop) => return,
        };
        // Too slow: the browser comes back with its last number.
        let Ok(news) = news else { return };
        if access.role_at(&news.path) < Some(Role::Viewer) || news.seq.is_some_and(|seq| seq <= seen) {
            continue;
        }
        seen = news.seq.unwrap_or(seen);
        if wanted.wants(&news) && send(&events, &news).await.is_none() {
            return;
        }
    }
}

async fn catch_up(
    app: &App,
    (access, wanted): (&Access, &Wanted),
    mut seen: u64,
    events: &mpsc::Sender<Event>,
) -> Option<u64> {
    loop {
        let page: Vec<News> = match app.store.read(move |tx| past(tx, seen)).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the past could not be read");
                return None;
            }
        };
        let full = page.len() as u64 == CATCH_UP;
        for news in page {
            seen = news.seq.unwrap_or(seen);
            if access.role_at(&news.path) >= Some(Role::Viewer) && wanted.wants(&news) {
                send(events, &news).await?;
            }
        }
        if !full {
            return Some(seen);
        }
    }
}

/// Facts after one, a page of them.
pub(super) fn past(tx: &mut dyn Tx, after: u64) -> Result<Vec<News>, StoreError> {
    let sql = "SELECT f.seq, f.device, n.path, f.kind, f.json FROM fact f JOIN appliance a ON a.id = f.device
        JOIN node n ON n.id = a.node WHERE f.seq > $1 ORDER BY f.seq LIMIT $2";
    let rows = tx.query(sql, &values![after, CATCH_UP])?;
    let news = rows.iter().map(|row| {
        let fact: Fact = serde_json::from_str(row.text(4)?).map_err(|_| StoreError::Damaged("a fact"))?;
        let body = serde_json::to_value(&fact.body).unwrap_or_default();
        let (seq, path) = (Some(row.number(0)?), row.text(2)?.to_owned());
        Ok(News { seq, device: row.parse(1)?, path, kind: row.text(3)?.to_owned(), body })
    });
    news.collect()
}

async fn send(events: &mpsc::Sender<Event>, news: &News) -> Option<()> {
    let event = Event::default().event(&news.kind);
    let event = match news.seq {
        Some(seq) => event.id(seq.to_string()),
        None => event,
    };
    events.send(event.json_data(news).ok()?).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use saveos_protocol::time::Timestamp;

    #[test]
    fn one_hears_the_kinds_that_one_wants_and_all_of_one_box() {
        let [own, other] = [1, 2].map(|n| DeviceId::from_parts(Timestamp::saturating(n), [0; 10]));
        let wants = |kinds: Option<&str>, device: Option<DeviceId>| {
            let wanted = Wanted { kinds: kinds.map(str::to_owned), device };
            [(own, "progress"), (own, "job_ended"), (other, "progress"), (other, "job_ended")].map(|(device, kind)| {
                let (path, kind) = (String::new(), kind.to_owned());
                wanted.wants(&News { seq: None, device, path, kind, body: serde_json::Value::Null })
            })
        };
        assert_eq!(wants(None, None), [true; 4]);
        assert_eq!(wants(Some("smart,job_ended"), None), [false, true, false, true]);
        assert_eq!(wants(Some("job_ended"), Some(own)), [true, true, false, true]);
        assert_eq!(wants(Some("job"), None), [false; 4], "a part of a name is none");
    }
}
