//! Answers that are no success, as RFC 9457 wants them. A fault of ours is logged here, once, and told without its inside.

use crate::enrolment::EnrolmentError;
use crate::releases::ReleasesError;
use crate::store::{StoreError, Tx, Value, first};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, QueryRejection};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use saveos_protocol::problem::{MEDIA_TYPE, Problem, ProblemKind};
use saveos_protocol::unit::Seconds;
use serde::de::DeserializeOwned;

/// What a handler returns when it does not succeed.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) Box<Problem>);

impl ApiError {
    pub(crate) fn new(kind: ProblemKind) -> ApiError {
        ApiError(Box::new(Problem::new(kind)))
    }

    pub(crate) fn said(kind: ProblemKind, detail: &str) -> ApiError {
        ApiError(Box::new(Problem::new(kind).with_detail(detail)))
    }

    pub(crate) fn field(pointer: &str, message: &str) -> ApiError {
        ApiError(Box::new(Problem::new(ProblemKind::Invalid).with_field(pointer, message)))
    }

    pub(crate) fn later(wait: Seconds) -> ApiError {
        let mut problem = Problem::new(ProblemKind::TooManyRequests);
        problem.retry_after = Some(wait);
        ApiError(Box::new(problem))
    }

    fn internal(error: &(dyn std::error::Error + 'static)) -> ApiError {
        tracing::error!(error, "a request failed");
        ApiError::new(ProblemKind::Internal)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let wait = self.0.retry_after;
        let mut response = (status, Json(&*self.0)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(wait) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.get()));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        if error.passes() {
            tracing::warn!(error = &error as &dyn std::error::Error, "a request found no database");
            let mut problem = Problem::new(ProblemKind::Unavailable);
            problem.retry_after = Some(Seconds::saturating(5));
            return ApiError(Box::new(problem));
        }
        ApiError::internal(&error)
    }
}

impl From<ReleasesError> for ApiError {
    fn from(error: ReleasesError) -> ApiError {
        ApiError::internal(&error)
    }
}

impl From<EnrolmentError> for ApiError {
    fn from(error: EnrolmentError) -> ApiError {
        ApiError::internal(&error)
    }
}

impl From<JsonRejection> for ApiError {
    fn from(refused: JsonRejection) -> ApiError {
        let kind = match refused.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ProblemKind::TooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ProblemKind::UnsupportedMediaType,
            _ => ProblemKind::Malformed,
        };
        ApiError::said(kind, &refused.body_text())
    }
}

impl From<BytesRejection> for ApiError {
    fn from(refused: BytesRejection) -> ApiError {
        let large = refused.status() == StatusCode::PAYLOAD_TOO_LARGE;
        ApiError::said(if large { ProblemKind::TooLarge } else { ProblemKind::Malformed }, &refused.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(refused: QueryRejection) -> ApiError {
        ApiError::said(ProblemKind::Malformed, &refused.body_text())
    }
}

/// A name for people, as somebody typed it.
pub(crate) fn name(pointer: &str, typed: &str) -> Result<String, ApiError> {
    let name = typed.trim();
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        return Err(ApiError::field(pointer, "1 to 100 bytes without control characters"));
    }
    Ok(name.to_owned())
}

/// So many of a thing, and no more: what nobody counts fills the disk of all.
pub(crate) fn at_most(
    tx: &mut dyn Tx,
    (sql, of): (&'static str, &[Value]),
    most: u64,
    what: &str,
) -> Result<(), ApiError> {
    let count = first(tx, sql, of)?.map(|row| row.number(0)).transpose()?.unwrap_or(0);
    if count >= most {
        return Err(ApiError::said(
            ProblemKind::Conflict,
            &format!("there are {most} {what} already: end some of them"),
        ));
    }
    Ok(())
}

/// No such path.
pub(crate) async fn no_route() -> ApiError {
    ApiError::new(ProblemKind::NotFound)
}

/// Not with this method.
pub(crate) async fn no_method() -> ApiError {
    ApiError::new(ProblemKind::MethodNotAllowed)
}

/// A JSON body whose rejection is a problem of ours.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await?;
        // Serde would take a list of values for a struct, in the order in which its fields happen to stand.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(ApiError::said(ProblemKind::Malformed, "the body is a list; an object is wanted"));
        }
        let Json(value) = Json::from_request(Request::from_parts(parts, bytes.into()), state).await?;
        Ok(Body(value))
    }
}

/// A body as it came, for what was signed; its rejection is a problem of ours, too.
pub(crate) struct Raw(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Raw, ApiError> {
        Ok(Raw(Bytes::from_request(request, state).await?))
    }
}
