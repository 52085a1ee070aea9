//! The dashboard: files that the build put into this program. A path that is no file is a screen, and every screen is `index.html`.
//!
//! The page may run and style only what comes from here. The one style sheet that is made in the browser carries a number that is
//! good for one page; nothing is inline, nothing is evaluated, nothing comes from anybody else.

use super::problem::{ApiError, no_route};
use crate::clock;
use crate::password;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};
use saveos_protocol::problem::ProblemKind;

#[derive(RustEmbed)]
#[folder = "../dashboard/dist"]
struct Files;

/// Served by a program that was built without Node: the API works all the same.
const WITHOUT: &str = "<!doctype html><html lang=\"en\"><title>SaveOS</title><h1>This build has no dashboard</h1>\
    <p>The API works. Build the dashboard with <code>cargo xtask dashboard</code> and this program again.</p></html>\n";

/// What `index.html` has where the number of a page belongs.
const PLACE: &str = "__NONCE__";

/// Whatever no route answers.
pub(super) async fn page(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let of_api = ["api", "livez", "readyz", "version", "metrics"].contains(&path.split('/').next().unwrap_or_default());
    if of_api || ![Method::GET, Method::HEAD].contains(request.method()) {
        return no_route().await.into_response();
    }
    match path {
        path if path.contains("..") => no_route().await.into_response(),
        path if path.starts_with("assets/") => asset(path, request.headers()),
        "favicon.svg" => asset(path, request.headers()),
        _ => screen(),
    }
}

/// A file whose name says what is in it: it never changes.
fn asset(path: &str, headers: &HeaderMap) -> Response {
    let squeezed = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let squeezed = squeezed.is_some_and(|value| value.split(',').any(|word| word.trim().starts_with("br")));
    let squeezed = if squeezed { Files::get(&format!("{path}.br")) } else { None };
    let Some(plain) = Files::get(path) else {
        return ApiError::new(ProblemKind::NotFound).into_response();
    };
    let mut answer = HeaderMap::new();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path)));
    answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    if squeezed.is_some() {
        answer.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
    }
    let EmbeddedFile { data, .. } = squeezed.unwrap_or(plain);
    (answer, Body::from(data.into_owned())).into_response()
}

fn screen() -> Response {
    let index = Files::get("index.html");
    let nonce = password::hex(&clock::random::<16>());
    let page =
        index.map_or_else(|| WITHOUT.to_owned(), |index| String::from_utf8_lossy(&index.data).replace(PLACE, &nonce));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; \
        connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    let Ok(policy) = HeaderValue::try_from(policy) else {
        return ApiError::new(ProblemKind::Internal).into_response();
    };
    let mut answer = HeaderMap::new();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    answer.insert(header::CONTENT_SECURITY_POLICY, policy);
    let same = ("cross-origin-opener-policy", "same-origin");
    let nothing = ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()");
    for (name, value) in [same, nothing] {
        answer.insert(name, HeaderValue::from_static(value));
    }
    (StatusCode::OK, answer, page).into_response()
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(method: Method, path: &str) -> Response {
        page(Request::builder().method(method).uri(path).body(Body::empty()).expect("a request")).await
    }

    #[tokio::test]
    async fn every_screen_is_the_page_and_no_two_pages_share_a_number() {
        let policies = [get(Method::GET, "/").await, get(Method::GET, "/fleet/d-1?name=x").await].map(|response| {
            assert_eq!(response.status(), StatusCode::OK);
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("a text").to_owned();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
            policy
        });
        assert_ne!(policies[0], policies[1]);
    }

    #[tokio::test]
    async fn what_is_not_there_is_no_screen() {
        for (method, path) in [
            (Method::GET, "/api/v1/nothing"),
            (Method::GET, "/api"),
            (Method::GET, "/assets/../index.html"),
            (Method::GET, "/assets/index.html"),
            (Method::POST, "/fleet"),
        ] {
            assert_eq!(get(method, path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
    }
}
