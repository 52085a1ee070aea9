//! Brings the parts up in the order in which they need each other, and down again: store, broker, ingest, API.

use crate::alerts;
use crate::api::{self, App};
use crate::authority::{Authority, AuthorityError};
use crate::broker::{self, BrokerError, Files, FilesError};
use crate::canary;
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::files;
use crate::fleet;
use crate::ingest::{Connection, Heart, Ingest, Outgoing};
use crate::metrics::{self, Metrics};
use crate::notify;
use crate::releases::line::Line;
use crate::revocation;
use crate::rollouts::{self, TurnError};
use crate::stop;
use crate::store::{Store, StoreError, Tx, values};
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use saveos_protocol::Topic;
use saveos_protocol::topic::Down;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

/// Why it could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// Another server runs on these data: two would take the broker's session from each other for ever.
    #[error("another saveos-server runs on {path}, or the folder cannot be locked")]
    InUse {
        /// Which data.
        path: std::path::PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker's files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// TLS.
    #[error("the API's certificate could not be used")]
    Tls(#[source] rustls::Error),
    /// Its certificate or key.
    #[error("the API's certificate could not be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The port.
    #[error("could not listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Facts that a slow browser may be behind before it has to come back.
const NEWS: usize = 4096;
/// What the API queues for boxes.
const OUTGOING: usize = 4096;
/// A list of revocations is good for 30 days; written daily, 29 tries may fail.
const RENEW_LISTS: Duration = Duration::from_secs(86_400);
/// A command without an answer is sent again.
const RESEND: Duration = Duration::from_secs(60);
/// How often the rules look at the fleet: a missed deadline is told in that time.
const LOOK: Duration = Duration::from_secs(10);
/// How soon a rollout in which something happened is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often it is written down how sites stand: a day ends as it was ten minutes before.
const DAYS: Duration = Duration::from_secs(600);
/// Requests that run when it is told to stop have so long.
const GRACE: Duration = Duration::from_secs(5);
/// What the head of a request has to come, and the next request after it: whoever needs longer, a browser with nothing to ask
/// among them, connects again.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// How often a silent HTTP/2 connection is asked whether it still is one.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Requests at once on one HTTP/2 connection: a browser with fifty live pages has as many.
const STREAMS: u32 = 128;
/// Of the head of an HTTP/2 request.
const HEAD_BYTES: u32 = 16 << 10;

/// Runs until `stop`.
pub(crate) async fn run(data: &Path, metrics: Option<SocketAddr>, stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let config = Arc::new(Config::read(data)?);
    let _lock = files::lock(data).map_err(|source| RunError::InUse { path: data.to_owned(), source })?;
    let authority = Arc::new(Authority::open(data)?);
    let store = Store::open(data)?;
    broker::program()?;
    let files = Files::new(data, &config);
    // After an update that judges what the release before did not.
    while store.write(|tx| fleet::judge_more(tx, clock::now())).await? > 0 {}
    let now = clock::now();
    let revoked = store.read(move |tx| revocation::all(tx, now)).await?;
    files.write(&config.host, &authority, &revoked, now)?;
    let (started, broker) = watch::channel(0);
    let (end_broker, broker_ends) = watch::channel(false);
    let supervisor = tokio::spawn(broker::keep_running(files.clone(), started, broker_ends));

    let (outgoing, to_boxes) = mpsc::channel(OUTGOING);
    let (news, _) = broadcast::channel(NEWS);
    let heart = Heart::new();
    let ourselves = authority.control_plane()?;
    let connection = Connection {
        broker: files.address(),
        authority: authority.pem().to_owned(),
        certificate: ourselves.certificate,
        key: ourselves.key,
    };
    let ingest = Ingest {
        store: store.clone(),
        heart: heart.clone(),
        news: news.clone(),
        broker: broker.clone(),
        holder: config.node.to_string(),
    };
    let ingest = tokio::spawn(ingest.run(connection, to_boxes, stop.clone()));

    let app = App {
        store,
        config: Arc::clone(&config),
        authority: Arc::clone(&authority),
        outgoing,
        news,
        heart,
        nonces: Arc::default(),
        logins: Arc::default(),
        hashing: Arc::new(Semaphore::new(2)),
        broker,
        files,
        logs: Arc::new(data.join("logs")),
        releases: Arc::new(data.join("releases")),
        line: Arc::new(Line::of(config.release_line_mbit)),
        rules: Arc::default(),
        unenforced: Arc::default(),
        notified: Arc::default(),
        requests: Arc::default(),
        testing: Arc::default(),
        stop: stop.clone(),
    };
    if let Some(address) = metrics {
        let metrics = Metrics { app: app.clone(), data: data.to_owned() };
        tokio::spawn(async move {
            if let Err(error) = metrics::serve(address, metrics).await {
                tracing::error!(%error, %address, "no metrics");
            }
        });
    }
    tokio::spawn(look_for_alerts(app.clone()));
    tokio::spawn(conduct_rollouts(app.clone()));
    tokio::spawn(keep_days(app.clone()));
    tokio::spawn(notify::keep_telling(app.clone()));
    tokio::spawn(renew_lists(app.clone()));
    tokio::spawn(canary::keep_asking(app.clone()));
    tokio::spawn(resend(app.store.clone(), app.outgoing.clone()));
    let served = serve(&config, &authority, app, stop).await;
    // The broker last: what boxes still say is kept in its sessions for the next start; and when it ends it says the last will of every
    // box, which nobody must take for the end of that box.
    let _ = ingest.await;
    let _ = end_broker.send(true);
    let _ = supervisor.await;
    served
}

async fn serve(
    config: &Config,
    authority: &Authority,
    app: App,
    mut stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let identity = authority.server(&config.host, app.files.address().ip())?;
    let certificates = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(RunError::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(RunError::Pem)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(RunError::Tls)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(RunError::Tls)?;
    // A browser opens six connections of HTTP/1.1 and no more, and a page that is live holds one.
    tls.alpn_protocols = [&b"h2"[..], b"http/1.1"].map(<[u8]>::to_vec).into();
    let address = SocketAddr::new(config.bind, config.https_port);
    let handle = axum_server::Handle::new();
    let stopper = handle.clone();
    tokio::spawn(async move {
        stop::asked(&mut stop).await;
        stopper.graceful_shutdown(Some(GRACE));
    });
    tracing::info!(%address, server = %config.server(), "the API listens");
    let mut server = axum_server::bind_rustls(address, RustlsConfig::from_config(Arc::new(tls))).handle(handle);
    bound(server.http_builder());
    let service = api::app(app).into_make_service_with_connect_info::<SocketAddr>();
    server.serve(service).await.map_err(|source| RunError::Listen { address, source })
}

/// What one connection may take.
fn bound(http: &mut Builder<TokioExecutor>) {
    http.http1().header_read_timeout(HEAD_PATIENCE);
    http.http2()
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(HEAD_PATIENCE)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES);
}

/// Rollouts go on while somebody listens to what boxes say.
async fn conduct_rollouts(app: App) {
    let mut stop = app.stop.clone();
    let (mut known, mut next) = (None, LOOK);
    while tokio::time::timeout(next, stop::asked(&mut stop)).await.is_err() {
        next = LOOK;
        let hearing = app.heart.look();
        if !hearing.connected {
            continue;
        }
        let catalogue = match app.catalogue().await {
            Ok(catalogue) => catalogue,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "no rollout goes on");
                continue;
            }
        };
        match rollouts::turn(&app.store, known.take(), hearing, catalogue, clock::now()).await {
            Ok(turned) => {
                known = turned.known;
                next = if turned.happened { LOOK_AGAIN } else { LOOK };
                for document in turned.said {
                    // The end of the server: the ingest says it again with the next session.
                    let _ = app.outgoing.send(document).await;
                }
            }
            // It is read anew.
            Err(TurnError::Overtaken(_)) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a rollout does not go on");
            }
        }
    }
}

async fn look_for_alerts(app: App) {
    let mut stop = app.stop.clone();
    while tokio::time::timeout(LOOK, stop::asked(&mut stop)).await.is_err() {
        let (hearing, now) = (app.heart.look(), clock::now());
        // The long look reads; the one writer only gets what it makes of it.
        let seen = app
            .store
            .read(move |tx| Ok::<_, StoreError>((fleet::for_alerts(tx, &hearing, now)?, notify::failing(tx)?)));
        let settled = match seen.await {
            Ok((fleet, routes)) => {
                let alerts = [alerts::plan(&fleet, now), alerts::of_routes(&routes, now)].concat();
                app.store.write(move |tx| alerts::settle(tx, alerts, now)).await
            }
            Err(error) => Err(error),
        };
        match settled {
            Ok(change) if change == alerts::Change::default() => {}
            Ok(change) => tracing::info!(raised = change.raised, ended = change.ended, "alerts"),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "nobody looks for alerts"),
        }
    }
}

/// How sites stand today, for the trend.
async fn keep_days(app: App) {
    let mut stop = app.stop.clone();
    loop {
        let now = clock::now();
        if let Err(error) = app.store.write(move |tx| fleet::standing::write_down(tx, now)).await {
            tracing::error!(error = &error as &dyn std::error::Error, "today is not written down");
        }
        if tokio::time::timeout(DAYS, stop::asked(&mut stop)).await.is_ok() {
            return;
        }
    }
}

async fn renew_lists(app: App) {
    let mut stop = app.stop.clone();
    while tokio::time::timeout(RENEW_LISTS, stop::asked(&mut stop)).await.is_err() {
        if let Err(error) = revocation::enforce(&app, None).await {
            tracing::error!(error = &error as &dyn std::error::Error, "the list of revocations is not renewed");
        }
    }
}

/// Commands that nobody answered.
async fn resend(store: Store, outgoing: mpsc::Sender<Outgoing>) {
    let mut tick = tokio::time::interval(RESEND);
    loop {
        tick.tick().await;
        let now = clock::now();
        let waiting = store.read(move |tx: &mut dyn Tx| {
            let sql = "SELECT device, json FROM command WHERE ended_ms IS NULL AND state IS NULL AND until_ms > $1";
            let rows = tx.query(sql, &values![now])?;
            let said = |row: &crate::store::Row| {
                Ok((Topic::Down(row.parse(0)?, Down::Command), row.text(1)?.as_bytes().to_vec()))
            };
            rows.iter().map(said).collect::<Result<Vec<Outgoing>, StoreError>>()
        });
        match waiting.await {
            Ok(waiting) => {
                for command in waiting {
                    if outgoing.send(command).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "commands are not sent again"),
        }
    }
}
