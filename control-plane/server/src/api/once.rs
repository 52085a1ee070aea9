//! A request with an `Idempotency-Key` is done once: whoever asks again with the same key gets the first answer, for a day.
//!
//! | asked again | answer |
//! |---|---|
//! | the same request | the first answer |
//! | another one under the same key | `idempotency-mismatch` |
//! | while the first still runs | `conflict`, to ask again |
//! | and the first answer showed a secret | `conflict`: what is shown once is not kept |
//!
//! Only success is remembered: what was refused may be asked again. Commands to boxes have keys of their own, which go to the box.

use super::App;
use super::access::{Access, hash};
use super::problem::ApiError;
use crate::clock;
use crate::store::{StoreError, Tx, first, values};
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use saveos_protocol::limits;
use saveos_protocol::problem::ProblemKind;
use saveos_protocol::text::IdempotencyKey;
use saveos_protocol::time::Timestamp;
use std::time::Duration;

const HEADER: &str = "idempotency-key";
/// Whoever did not hear an answer asks again sooner.
const KEPT: Duration = Duration::from_secs(86_400);
/// A request that has not ended by now never will: its process died.
const RUNS: Duration = Duration::from_secs(60);
/// Answers to changes are short.
const LARGEST: usize = 64 * 1024;

/// Whether an answer to this path shows what is shown once.
fn shows_a_secret(path: &str) -> bool {
    let once = ["/accounts", "/reset", "/me/tokens", "/me/second-factor", "/me/second-factor/confirm", "/alert-routes"];
    once.iter().any(|end| path.ends_with(end))
}

/// What is known of a key.
enum Known {
    /// It is new, and ours now.
    Ours,
    Another,
    Running,
    Done(StatusCode, Option<String>),
}

/// Between the door and the routes.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> Result<Response, ApiError> {
    let path = request.uri().path().to_owned();
    // What begins a session or makes a box is no change that somebody who is signed in asks for.
    let others = ["/commands", "/login", "/enrol", "/enrol/challenge", "/renew"];
    let applies = request.method() == Method::POST && !others.iter().any(|other| path.ends_with(other));
    let (Some(key), true) = (request.headers().get(HEADER).cloned(), applies) else {
        return Ok(next.run(request).await);
    };
    let key: IdempotencyKey = key
        .to_str()
        .unwrap_or_default()
        .parse()
        .map_err(|_| ApiError::said(ProblemKind::Malformed, "Idempotency-Key: letters, digits and _ - :"))?;
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, limits::ENROLMENT).await.map_err(|_| ApiError::new(ProblemKind::TooLarge))?;
    let Ok(access) = Access::from_request_parts(&mut parts, &app).await else {
        // Whoever may not ask hears that from the route.
        return Ok(next.run(Request::from_parts(parts, Body::from(body))).await);
    };
    let what = hash(&format!("{path} {}", String::from_utf8_lossy(&body)));
    let (account, idem, now) = (access.account, key.to_string(), clock::now());
    let asked = (account.clone(), idem.clone(), what);
    match app.store.write(move |tx| begin(tx, &asked, now)).await? {
        Known::Ours => {}
        Known::Another => return Err(ApiError::new(ProblemKind::IdempotencyMismatch)),
        Known::Running => return Err(ApiError::said(ProblemKind::Conflict, "the first request still runs: ask again")),
        Known::Done(_, None) if shows_a_secret(&path) => {
            return Err(ApiError::said(ProblemKind::Conflict, "it was done; what it showed is shown once"));
        }
        Known::Done(status, body) => {
            let mut answer = (status, body.unwrap_or_default()).into_response();
            answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Ok(answer);
        }
    }
    let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (head, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, LARGEST).await.map_err(|_| ApiError::new(ProblemKind::Internal))?;
    let kept = (!shows_a_secret(&path)).then(|| String::from_utf8_lossy(&body).into_owned());
    let status = head.status;
    let written = app.store.write(move |tx| end(tx, (&account, &idem), status, kept)).await;
    if let Err(error) = written {
        // It was done: a copy hears that it still runs, and then does it again, as without a key.
        tracing::error!(error = &error as &dyn std::error::Error, "an answer could not be kept");
    }
    Ok(Response::from_parts(head, Body::from(body)))
}

fn begin(
    tx: &mut dyn Tx,
    (account, idem, what): &(String, String, String),
    now: Timestamp,
) -> Result<Known, StoreError> {
    tx.execute("DELETE FROM answered WHERE made_ms < $1", &values![now.before(KEPT)])?;
    let dead = "DELETE FROM answered WHERE account = $1 AND idem = $2 AND status IS NULL AND made_ms < $3";
    tx.execute(dead, &values![account.as_str(), idem.as_str(), now.before(RUNS)])?;
    let sql = "SELECT request, status, body FROM answered WHERE account = $1 AND idem = $2";
    let Some(row) = first(tx, sql, &values![account.as_str(), idem.as_str()])? else {
        let sql = "INSERT INTO answered (account, idem, request, made_ms) VALUES ($1, $2, $3, $4)";
        tx.execute(sql, &values![account.as_str(), idem.as_str(), what.as_str(), now])?;
        return Ok(Known::Ours);
    };
    if row.text(0)? != what {
        return Ok(Known::Another);
    }
    let Some(status) = row.maybe_number(1)? else { return Ok(Known::Running) };
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    Ok(Known::Done(status.unwrap_or(StatusCode::OK), row.maybe_text(2)?.map(str::to_owned)))
}

fn end(
    tx: &mut dyn Tx,
    (account, idem): (&str, &str),
    status: StatusCode,
    body: Option<String>,
) -> Result<(), StoreError> {
    if status.is_success() {
        let sql = "UPDATE answered SET status = $1, body = $2 WHERE account = $3 AND idem = $4";
        tx.execute(sql, &values![u64::from(status.as_u16()), body, account, idem])?;
    } else {
        tx.execute("DELETE FROM answered WHERE account = $1 AND idem = $2", &values![account, idem])?;
    }
    Ok(())
}
