//! Requests that the API answered: how many, how, and how long it took until the head of the answer was there. Not by path: a path holds
//! names of boxes and customers.

use crate::api::App;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper ends of the buckets, in milliseconds.
const BUCKETS_MS: [u64; 7] = [5, 20, 100, 250, 500, 2_000, 10_000];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Since the start.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    by_class: [AtomicU64; CLASSES.len()],
    /// Those that took no longer than the end of the bucket and longer than that of the one before; the last has no end.
    by_time: [AtomicU64; BUCKETS_MS.len() + 1],
    microseconds: AtomicU64,
    /// Bundles for which the line had no room.
    sent_away: AtomicU64,
}

impl Requests {
    fn answered(&self, status: u16, took: Duration) {
        if let Some(class) = usize::from(status / 100).checked_sub(1).and_then(|class| self.by_class.get(class)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
        let bucket = BUCKETS_MS.partition_point(|end| took > Duration::from_millis(*end));
        self.by_time[bucket].fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// In the exposition format.
    pub(super) fn print(&self, text: &mut String) {
        text.push_str("# HELP saveos_releases_sent_away_total Requests for a bundle when the line was full.\n");
        text.push_str("# TYPE saveos_releases_sent_away_total counter\n");
        let _ = writeln!(text, "saveos_releases_sent_away_total {}", self.sent_away.load(Ordering::Relaxed));
        text.push_str("# HELP saveos_http_requests_total Requests that were answered, by the class of the status.\n");
        text.push_str("# TYPE saveos_http_requests_total counter\n");
        for (class, count) in CLASSES.iter().zip(&self.by_class) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "saveos_http_requests_total{{status=\"{class}\"}} {count}");
        }
        text.push_str("# HELP saveos_http_request_seconds Time until the head of an answer.\n");
        text.push_str("# TYPE saveos_http_request_seconds histogram\n");
        let mut so_far = 0;
        for (at, count) in self.by_time.iter().enumerate() {
            so_far += count.load(Ordering::Relaxed);
            let end = BUCKETS_MS.get(at).map_or("+Inf".to_owned(), |ms| (*ms as f64 / 1000.0).to_string());
            let _ = writeln!(text, "saveos_http_request_seconds_bucket{{le=\"{end}\"}} {so_far}");
        }
        let seconds = self.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "saveos_http_request_seconds_sum {seconds}\nsaveos_http_request_seconds_count {so_far}");
    }
}

/// Around every handler. A no to whoever asks whether we are ready is no failure, nor is one to a box that is to come again.
pub(crate) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (is_probe, is_release) = (["/livez", "/readyz"].contains(&path), path.starts_with("/releases/"));
    let begun = Instant::now();
    let response = next.run(request).await;
    match response.status() {
        _ if is_probe => {}
        StatusCode::SERVICE_UNAVAILABLE if is_release => drop(app.requests.sent_away.fetch_add(1, Ordering::Relaxed)),
        status => app.requests.answered(status.as_u16(), begun.elapsed()),
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_sums_and_each_status_has_its_class() {
        let requests = Requests::default();
        for (status, ms) in [(200, 1), (204, 5), (404, 6), (503, 20_000), (99, 100)] {
            requests.answered(status, Duration::from_millis(ms));
        }
        let mut text = String::new();
        requests.print(&mut text);
        for line in [
            "saveos_http_requests_total{status=\"2xx\"} 2",
            "saveos_http_requests_total{status=\"5xx\"} 1",
            "saveos_http_request_seconds_bucket{le=\"0.005\"} 2",
            "saveos_http_request_seconds_bucket{le=\"0.02\"} 3",
            "saveos_http_request_seconds_bucket{le=\"10\"} 4",
            "saveos_http_request_seconds_bucket{le=\"+Inf\"} 5",
            "saveos_http_request_seconds_sum 20.112",
            "saveos_http_request_seconds_count 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
