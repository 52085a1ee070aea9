//! The repository of releases as boxes fetch it: from the data folder, or passed on from a bucket, whose address and secret are
//! nobody's business. A box goes on where it was cut off, so one range of bytes is understood.

use super::App;
use super::problem::ApiError;
use crate::objects::{self, Objects};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use object_store::{GetOptions, GetRange};
use saveos_protocol::problem::ProblemKind;
use tower_http::services::ServeDir;

/// What is served below `/releases`.
pub(super) fn router(objects: &Objects) -> Router<App> {
    match objects {
        Objects::Folder(data) => {
            Router::new().fallback_service(ServeDir::new(data.join("releases")).append_index_html_on_directories(false))
        }
        Objects::Bucket(..) => Router::new().route("/{*name}", get(pass_on)),
    }
}

async fn pass_on(State(app): State<App>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Objects::Bucket(bucket, folder) = &app.objects else {
        return ApiError::new(ProblemKind::NotFound).into_response();
    };
    let range = headers.get(header::RANGE).and_then(|range| one_range(range.to_str().ok()?));
    let is_part = range.is_some();
    let options = GetOptions { range, ..GetOptions::default() };
    let found = match objects::get(bucket.as_ref(), folder, &format!("releases/{name}"), options).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return ApiError::new(ProblemKind::NotFound).into_response(),
        // A range behind the end fails like the bucket itself; which of the two, its size says.
        Err(error) => return unsatisfied(&app, &name, is_part, &error).await,
    };
    let (part, whole) = (found.range.clone(), found.meta.size);
    let mut response = Body::from_stream(objects::stream(found)).into_response();
    let head = response.headers_mut();
    head.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    head.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
    if is_part {
        let said = format!("bytes {}-{}/{whole}", part.start, part.end.saturating_sub(1));
        if let Ok(said) = HeaderValue::try_from(said) {
            head.insert(header::CONTENT_RANGE, said);
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

async fn unsatisfied(app: &App, name: &str, is_part: bool, error: &object_store::Error) -> Response {
    let head = GetOptions { head: true, ..GetOptions::default() };
    if let Objects::Bucket(bucket, folder) = &app.objects
        && is_part
        && let Ok(found) = objects::get(bucket.as_ref(), folder, &format!("releases/{name}"), head).await
    {
        let said = HeaderValue::try_from(format!("bytes */{}", found.meta.size));
        let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        said.map(|said| response.headers_mut().insert(header::CONTENT_RANGE, said)).ok();
        return response;
    }
    tracing::error!(error = error as &dyn std::error::Error, name, "the bucket gives no release");
    ApiError::new(ProblemKind::Unavailable).into_response()
}

/// `bytes=a-b` and `bytes=a-` of RFC 9110, section 14; of anything else the whole is given, as it allows.
fn one_range(text: &str) -> Option<GetRange> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    if last.is_empty() {
        return Some(GetRange::Offset(first));
    }
    let last: u64 = last.parse().ok()?;
    (last >= first).then(|| GetRange::Bounded(first..last.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_single_range_is_none() {
        assert_eq!(one_range("bytes=5-9"), Some(GetRange::Bounded(5..10)));
        assert_eq!(one_range("bytes=5-"), Some(GetRange::Offset(5)));
        assert_eq!(one_range("bytes=0-18446744073709551615"), Some(GetRange::Bounded(0..u64::MAX)));
        for text in ["", "bytes=", "bytes=-5", "bytes=9-5", "bytes=1-2,4-5", "lines=1-2", "bytes=x-"] {
            assert_eq!(one_range(text), None, "{text}");
        }
    }
}
