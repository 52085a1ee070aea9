//! What the server did and how it stands, for Prometheus, on a listener of its own. No name of a box, a person or a customer is in it.

pub(crate) mod requests;
mod standing;

use crate::api::App;
use crate::ingest::Hearing;
use crate::notify::Counts;
use crate::roles::Role;
use crate::store::StoreError;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// What is asked.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) app: App,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// The folder that this process writes.
    pub(crate) state: PathBuf,
}

/// Serves `/metrics`, and `/livez` and `/readyz` of whatever part of the work this process has, until it ends.
pub(crate) async fn serve(address: SocketAddr, metrics: Metrics) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(%address, "metrics are served");
    let router = Router::new().route("/metrics", get(answer)).route("/livez", get(async || "alive\n"));
    let router = router.route("/readyz", get(ready)).with_state(metrics);
    axum::serve(listener, router).await
}

/// The database answers, and where there should be a broker, there is one. A worker that waits for its turn is ready.
async fn ready(State(metrics): State<Metrics>) -> (StatusCode, &'static str) {
    let app = &metrics.app;
    let read = app.store.read::<_, StoreError, _>(|tx| tx.query("SELECT 1 FROM lease", &[])).await;
    match read {
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
        Ok(_) if app.part.does(Role::Broker) && *app.broker.borrow() == 0 => {
            (StatusCode::SERVICE_UNAVAILABLE, "the broker does not run\n")
        }
        Ok(_) => (StatusCode::OK, "ready\n"),
    }
}

async fn answer(State(metrics): State<Metrics>) -> impl IntoResponse {
    let app = &metrics.app;
    let mut text = text(&app.heart.look(), app.news.receiver_count(), &app.notified);
    standing::print_ears(&app.heart.ears(), &mut text);
    app.requests.print(&mut text);
    match standing::read(&app.store).await {
        Ok(standing) => standing.print(&mut text),
        Err(error) => tracing::error!(%error, "metrics without the fleet"),
    }
    standing::print_folders(&metrics.data, &metrics.state, &mut text);
    standing::print_build(&mut text);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// The exposition format, version 0.0.4.
fn text(hearing: &Hearing, browsers: usize, notified: &Counts) -> String {
    let tally = hearing.tally;
    let (told, failed) = (notified.told.load(Ordering::Relaxed), notified.failed.load(Ordering::Relaxed));
    let lines = [
        ("counter", "saveos_ingest_facts_total", "Facts that were new.", tally.facts),
        ("counter", "saveos_ingest_copies_total", "Facts that were here already.", tally.copies),
        ("counter", "saveos_ingest_refused_total", "Messages that could not be read or believed.", tally.refused),
        ("counter", "saveos_ingest_strangers_total", "Messages of boxes that are unknown or revoked.", tally.strangers),
        ("counter", "saveos_ingest_early_total", "Facts of a stream whose birth was not seen yet.", tally.early),
        ("counter", "saveos_ingest_batches_total", "Transactions of the ingest.", hearing.batches),
        ("counter", "saveos_broker_dropped_total", "Messages that the broker threw away.", hearing.dropped),
        ("counter", "saveos_notices_told_total", "Notices of alerts that arrived.", told),
        ("counter", "saveos_notices_failed_total", "Tries to tell of alerts that failed.", failed),
        ("gauge", "saveos_live_event_clients", "Browsers that follow live events.", browsers as u64),
    ];
    let print = |(kind, name, help, value): (&str, &str, &str, u64)| {
        format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
    };
    lines.into_iter().map(print).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::ears::Ears;

    #[test]
    fn every_metric_is_explained_once() {
        let mut hearing = Hearing { connected: true, ..Hearing::default() };
        hearing.tally.facts = 7;
        let text = text(&hearing, 2, &Counts::default());
        assert!(text.contains("# TYPE saveos_ingest_facts_total counter\nsaveos_ingest_facts_total 7\n"));
        assert!(text.ends_with("saveos_live_event_clients 2\n"));
        assert_eq!(text.lines().count() % 3, 0);
    }

    /// A rule about a metric that nobody exports never fires, and a panel about one stays empty.
    #[test]
    fn what_rules_and_dashboards_ask_for_is_exported() {
        let mut exported = text(&Hearing::default(), 0, &Counts::default());
        standing::print_ears(&Ears::default(), &mut exported);
        requests::Requests::default().print(&mut exported);
        standing::Standing::default().print(&mut exported);
        standing::print_folders(std::path::Path::new("."), std::path::Path::new("."), &mut exported);
        standing::print_build(&mut exported);
        let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        let mut files = vec![deploy.join("prometheus/rules.yml")];
        for entry in std::fs::read_dir(deploy.join("grafana/dashboards")).expect("a folder") {
            files.push(entry.expect("an entry").path());
        }
        assert_eq!(files.len(), 7);
        let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a file");
            let asked = text.split(|letter| !is_name(letter)).filter(|word| word.starts_with("saveos_"));
            let names: Vec<&str> = asked.map(|name| name.strip_suffix("_bucket").unwrap_or(name)).collect();
            assert!(!names.is_empty(), "{}", file.display());
            for name in names {
                assert!(exported.contains(&format!("# TYPE {name} ")), "{name} in {}", file.display());
            }
            if file.extension().is_some_and(|end| end == "json") {
                let board: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                let panels = board["panels"].as_array().expect("panels");
                let is_whole = |panel: &serde_json::Value| {
                    panel["description"].as_str().is_some_and(|text| !text.is_empty())
                        && panel["targets"].as_array().is_some_and(|targets| !targets.is_empty())
                };
                assert!(panels.iter().all(is_whole), "{}: a panel says what it shows", file.display());
            }
        }
    }
}
