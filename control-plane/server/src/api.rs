//! The HTTP door: routes, bounds, headers. A handler decodes, calls, encodes; what it decides on is in the store's modules.
//!
//! ```text
//! /livez /readyz /version          who runs us
//! /api/v1/enrol… renew             boxes, by proof of their key
//! /api/v1/login … events           people, by session
//! /api/v1/openapi.json             what of this there is
//! everything else                  the dashboard
//! ```
//!
//! Who may not see a thing is told that it is not there.

pub(crate) mod access;
mod account_changes;
mod accounts;
mod alert_routes;
mod alerts;
mod answer;
mod appliances;
mod appliances_csv;
mod bulk;
mod bundles;
mod claims;
mod commands;
mod document;
mod enrol;
mod events;
mod facts;
pub(crate) mod follow;
mod forwarded;
mod go;
mod health;
mod login;
mod logs;
mod once;
mod own;
mod pages;
mod policies;
mod problem;
mod protection;
mod release;
mod releases;
mod reports;
mod rollouts;
mod setup;
mod signed;
mod silences;
mod tokens;
mod tree;
pub(crate) mod tries;

use crate::authority::Authority;
use crate::broker::Files;
use crate::config::Config;
use crate::ingest::{Heart, News, Outgoing};
use crate::metrics::requests::{self, Requests};
use crate::nonce::Nonces;
use crate::notify::Counts;
use crate::objects::Objects;
use crate::releases::line::{self, Line};
use crate::roles::Part;
use crate::store::{Store, fence};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use problem::ApiError;
use saveos_protocol::limits;
use saveos_protocol::problem::ProblemKind;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tower_http::timeout::TimeoutLayer;
use tries::Tries;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) config: Arc<Config>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    pub(crate) news: broadcast::Sender<News>,
    pub(crate) heart: Heart,
    pub(crate) nonces: Arc<Nonces>,
    pub(crate) logins: Arc<Tries>,
    /// Who says in whose name it asks.
    pub(crate) proxies: Arc<[ipnet::IpNet]>,
    /// Passwords that are hashed at once: each takes 19 MiB and a core.
    pub(crate) hashing: Arc<Semaphore>,
    /// What this process does of all.
    pub(crate) part: Arc<Part>,
    /// Whether it is its turn to do what is due.
    pub(crate) duty: watch::Receiver<bool>,
    pub(crate) broker: watch::Receiver<u32>,
    pub(crate) files: Files,
    /// Logs of boxes, and a repository of The Update Framework.
    pub(crate) objects: Objects,
    /// On which its bundles go out.
    pub(crate) line: Arc<Line>,
    /// One change of the broker's rules at a time.
    pub(crate) rules: Arc<tokio::sync::Mutex<()>>,
    /// Something is revoked, or no longer, and the broker may not know it.
    pub(crate) unenforced: Arc<AtomicBool>,
    pub(crate) notified: Arc<Counts>,
    /// What was answered, for metrics.
    pub(crate) requests: Arc<Requests>,
    /// One test of an alert route at a time.
    pub(crate) testing: Arc<tokio::sync::Mutex<()>>,
    pub(crate) stop: watch::Receiver<bool>,
}

/// What a handler has at most; live events are not bounded by it, their head is sent at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a body has to come: 48 KiB at 5 KiB a second. Who sends slower holds a connection and nothing else.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// What is read of a body that is too large, so that its sender hears so; whoever sends more is cut off.
const DRAINED: usize = 4 * limits::ENROLMENT;

/// All routes but that of the document, which cannot describe itself before it is whole.
fn routes() -> OpenApiRouter<App> {
    let people = OpenApiRouter::new()
        .routes(routes!(setup::set_up))
        .routes(routes!(login::login))
        .routes(routes!(login::logout))
        .routes(routes!(login::me))
        .routes(routes!(own::prove))
        .routes(routes!(own::change_password))
        .routes(routes!(own::make_factor, own::remove_factor))
        .routes(routes!(own::confirm_factor))
        .routes(routes!(own::sessions))
        .routes(routes!(own::end_session))
        .routes(routes!(tokens::list, tokens::make))
        .routes(routes!(tokens::end))
        .routes(routes!(tree::list, tree::make))
        .routes(routes!(policies::get, policies::put))
        .routes(routes!(accounts::list, accounts::make))
        .routes(routes!(account_changes::remove))
        .routes(routes!(account_changes::grant))
        .routes(routes!(account_changes::reset))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::acknowledge))
        .routes(routes!(alert_routes::list, alert_routes::make))
        .routes(routes!(alert_routes::remove))
        .routes(routes!(alert_routes::test))
        .routes(routes!(silences::list, silences::make))
        .routes(routes!(silences::end))
        .routes(routes!(protection::protection))
        .routes(routes!(reports::report))
        .routes(routes!(claims::list, claims::make))
        .routes(routes!(appliances::list))
        .routes(routes!(appliances_csv::csv))
        .routes(routes!(bulk::list, bulk::make))
        .routes(routes!(bulk::one))
        .routes(routes!(appliances::one, appliances::change))
        .routes(routes!(appliances::jobs))
        .routes(routes!(appliances::recovery_points))
        .routes(routes!(facts::facts))
        .routes(routes!(appliances::reported))
        .routes(routes!(commands::list, commands::make))
        .routes(routes!(signed::command))
        .routes(routes!(logs::list, logs::ask))
        .routes(routes!(logs::read))
        .routes(routes!(signed::desired, signed::put_desired))
        .routes(routes!(appliances::revoke))
        .routes(routes!(release::get, release::put, release::remove))
        .routes(routes!(releases::list))
        .routes(routes!(rollouts::list, rollouts::make))
        .routes(routes!(rollouts::one, rollouts::change))
        .routes(routes!(login::audit_trail))
        .layer(DefaultBodyLimit::max(16 * 1024));
    let boxes = OpenApiRouter::new()
        .routes(routes!(enrol::challenge))
        .routes(routes!(enrol::enrol))
        .routes(routes!(enrol::renew))
        .layer(DefaultBodyLimit::max(limits::ENROLMENT))
        .routes(routes!(logs::deliver))
        .routes(routes!(go::ask));
    let health = OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::version));
    people
        .merge(boxes)
        .merge(health)
        .layer(TimeoutLayer::with_status_code(axum::http::StatusCode::SERVICE_UNAVAILABLE, PATIENCE))
        .routes(routes!(events::stream))
}

/// The door, open.
pub(crate) fn app(state: App) -> Router {
    let (routes, described) = routes().split_for_parts();
    let document = Json(document::document(&described));
    let releases = bundles::router(&state.objects).layer(middleware::from_fn_with_state(state.clone(), line::lease));
    routes
        .route("/api/v1/openapi.json", get(move || std::future::ready(document.clone())))
        // Signed by whom a box believes, and no secret.
        .nest_service("/releases", releases.with_state(state.clone()))
        .fallback(pages::page)
        .method_not_allowed_fallback(problem::no_method)
        .layer(middleware::from_fn_with_state(state.clone(), once::once))
        .layer(middleware::from_fn(fenced))
        .layer(middleware::from_fn(read_whole))
        .layer(middleware::from_fn(headers))
        .layer(middleware::from_fn_with_state(state.clone(), requests::count))
        .layer(middleware::from_fn_with_state(Arc::clone(&state.proxies), forwarded::see_through))
        .with_state(state)
}

/// What a request asks of the database is fenced, as soon as it is known whose it is.
async fn fenced(request: Request, next: Next) -> Response {
    fence::around(next.run(request)).await
}

/// A body is read before anybody decides: a connection whose body nobody read is closed, and the next request on it fails.
async fn read_whole(request: Request, next: Next) -> Result<Response, ApiError> {
    if logs::is_delivery(request.uri().path()) {
        return Ok(next.run(request).await);
    }
    let (head, body) = request.into_parts();
    let reading = tokio::time::timeout(BODY_PATIENCE, axum::body::to_bytes(body, DRAINED));
    let late = || ApiError::said(ProblemKind::Malformed, "the body did not come in time");
    let body = reading.await.map_err(|_| late())?.map_err(|_| ApiError::new(ProblemKind::TooLarge))?;
    if body.len() > limits::ENROLMENT {
        return Err(ApiError::new(ProblemKind::TooLarge));
    }
    Ok(next.run(Request::from_parts(head, body.into())).await)
}

/// On every answer: nobody frames, sniffs or caches it, unless it says so itself.
async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let fixed = [
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let router = Router::new().fallback(|| async {}).layer(middleware::from_fn(read_whole));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf of it";
        stream.write_all(head).await.expect("it reads");
        let mut answer = vec![0; 1024];
        let read = tokio::time::timeout(BODY_PATIENCE + Duration::from_secs(5), stream.read(&mut answer)).await;
        let len = read.expect("it answers in time").expect("an answer");
        assert!(answer[..len].starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer[..len]));
    }
}
