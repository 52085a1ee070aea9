//! Brings the parts up in the order in which they need each other, and down again: store, broker, ingest, API.

use crate::api::tries::Tries;
use crate::api::{self, App, follow};
use crate::args;
use crate::authority::{Authority, AuthorityError};
use crate::broker::{self, BrokerError, Files, FilesError, Revoked};
use crate::canary;
use crate::cell::table::{self, NotDone};
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::files;
use crate::fleet;
use crate::hub::{Hub, HubError};
use crate::ingest::{Connection, Heart, Ingest, News};
use crate::jobs;
use crate::lease;
use crate::metrics::{self, Metrics};
use crate::nonce::Nonces;
use crate::objects::{Objects, ObjectsError};
use crate::post;
use crate::releases::line::Line;
use crate::revocation;
use crate::roles::{Part, Reach, Role, RolesError};
use crate::stop;
use crate::store::{DatabaseError, Store, StoreError};
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto::Builder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast, mpsc, watch};
use tokio::task::JoinHandle;

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
    /// Where the database is.
    #[error(transparent)]
    Where(#[from] DatabaseError),
    /// Redis.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The place of releases and logs.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The cell of this process.
    #[error(transparent)]
    Cell(#[from] NotDone),
    /// The part of this process.
    #[error(transparent)]
    Roles(#[from] RolesError),
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
pub(crate) async fn run(arguments: &args::Run, stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let data = arguments.data.as_path();
    let config = Arc::new(Config::read(data)?);
    let part = Arc::new(Part::of(arguments, &config)?);
    let state = arguments.state.as_deref().unwrap_or(data);
    let lock = || files::lock(state).map_err(|source| RunError::InUse { path: state.to_owned(), source });
    let _lock = part.does(Role::Broker).then(lock).transpose()?;
    let authority = Arc::new(Authority::open(data)?);
    let database = config.database()?;
    let store = Store::open(data, database.as_ref()).await?;
    // After an update that judges what the release before did not.
    while part.does(Role::Worker) && store.write(|tx| fleet::judge_more(tx, clock::now())).await? > 0 {}
    let cell = part.cell.clone();
    let wanted = Arc::clone(&config);
    let at = store.read(move |tx| table::place(tx, &wanted, &cell)).await?;
    let at = at.ok_or_else(|| RunError::Cell(NotDone::Unknown(part.cell.clone())))?;
    let files = Files::new(state, &config, at, part.broker.as_ref().map(|broker| broker.host.clone()));
    let broker = match part.does(Role::Broker) {
        true => Some(Broker::start(&authority, &store, &files).await?),
        false => None,
    };
    let hub = Hub::of_environment(config.node)?.filter(|_| part.shared);
    let (_nowhere, nowhere) = watch::channel(0);
    let (outgoing, to_boxes) = mpsc::channel(OUTGOING);
    let (news, _) = broadcast::channel(NEWS);
    let (on_duty, duty) = watch::channel(false);
    let app = App {
        store: store.clone(),
        config: Arc::clone(&config),
        authority: Arc::clone(&authority),
        outgoing,
        news: news.clone(),
        heart: Heart::new(part.cell.clone()),
        nonces: Arc::new(Nonces::of(&authority)),
        logins: Arc::new(Tries::with(hub.clone())),
        proxies: arguments.proxy.clone().into(),
        hashing: Arc::new(Semaphore::new(2)),
        part: Arc::clone(&part),
        duty,
        broker: broker.as_ref().map_or(nowhere, |broker| broker.id.clone()),
        files,
        objects: Objects::of_environment(data)?,
        line: Arc::new(Line::of(config.release_line_mbit)),
        rules: Arc::default(),
        unenforced: Arc::default(),
        notified: Arc::default(),
        requests: Arc::default(),
        testing: Arc::default(),
        stop: stop.clone(),
    };
    if let Some(address) = arguments.metrics {
        let metrics = Metrics { app: app.clone(), data: data.to_owned(), state: state.to_owned() };
        tokio::spawn(async move {
            if let Err(error) = metrics::serve(address, metrics).await {
                tracing::error!(%error, %address, "no metrics");
            }
        });
    }
    let to_boxes = if part.shared {
        let (tell, told) = mpsc::channel(NEWS);
        if let Some(hub) = hub {
            tokio::spawn(hub.clone().listen(tell));
            tokio::spawn(tell_others(hub, app.heart.clone(), news.subscribe()));
        }
        tokio::spawn(follow::keep(store.clone(), app.heart.clone(), news, told, stop.clone()));
        tokio::spawn(post::put_in(store.clone(), to_boxes));
        let (say, to_boxes) = mpsc::channel(OUTGOING);
        tokio::spawn(post::take_out(store.clone(), app.heart.clone(), part.cell.clone(), say, stop.clone()));
        to_boxes
    } else {
        to_boxes
    };
    let worker = match part.does(Role::Worker) {
        true => {
            tokio::spawn(lease::keep(store, lease::JOBS, part.holder.clone(), on_duty, stop.clone()));
            jobs::begin(&app);
            Some(tokio::spawn(ingest(&app).run(connection(&app)?, to_boxes, stop.clone())))
        }
        false => None,
    };
    if let Some(broker) = &broker {
        tokio::spawn(jobs::renew_lists(app.clone()));
        tokio::spawn(canary::keep_asking(app.clone()));
        if part.shared {
            // Its own cell's alone, whoever asks.
            tokio::spawn(revocation::keep_watch(app.clone(), broker.revoked.clone()));
        }
    }
    let served = match part.does(Role::Api) {
        true => serve(SocketAddr::new(config.bind, arguments.https_port.unwrap_or(config.https_port)), app, stop).await,
        false => {
            tracing::info!(as = %part.holder, "runs");
            stop::asked(&mut stop.clone()).await;
            Ok(())
        }
    };
    // The broker last: what boxes still say is kept in its sessions for the next start; and when it ends it says the last will of every
    // box, which nobody must take for the end of that box.
    if let Some(worker) = worker {
        let _ = worker.await;
    }
    if let Some(broker) = broker {
        let _ = broker.end.send(true);
        let _ = broker.supervisor.await;
    }
    served
}

/// The broker of this process.
struct Broker {
    /// Its process.
    id: watch::Receiver<u32>,
    end: watch::Sender<bool>,
    supervisor: JoinHandle<()>,
    /// Whom it was told when it started.
    revoked: Revoked,
}

impl Broker {
    async fn start(authority: &Authority, store: &Store, files: &Files) -> Result<Broker, RunError> {
        broker::program()?;
        let now = clock::now();
        let revoked = store.read(move |tx| revocation::all(tx, now)).await?;
        files.write(authority, &revoked, now)?;
        let (started, id) = watch::channel(0);
        let (end, ends) = watch::channel(false);
        let supervisor = tokio::spawn(broker::keep_running(files.clone(), started, ends));
        Ok(Broker { id, end, supervisor, revoked })
    }
}

/// What this process hears, the others hear at once.
async fn tell_others(hub: Hub, heart: Heart, mut news: broadcast::Receiver<News>) {
    loop {
        match news.recv().await {
            Ok(one) if heart.look().here => hub.publish(&one).await,
            // What another told; or Redis is slow, and the others look into the database.
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn connection(app: &App) -> Result<Connection, RunError> {
    let ourselves = app.authority.control_plane()?;
    let here = Reach { host: app.files.address().ip().to_string(), port: app.files.address().port() };
    let broker = app.part.broker.clone().filter(|_| !app.part.does(Role::Broker)).unwrap_or(here);
    let authority = app.authority.pem().to_owned();
    Ok(Connection { broker, authority, certificate: ourselves.certificate, key: ourselves.key })
}

fn ingest(app: &App) -> Ingest {
    Ingest {
        store: app.store.clone(),
        heart: app.heart.clone(),
        news: app.news.clone(),
        broker: app.part.does(Role::Broker).then(|| app.broker.clone()),
        holder: app.part.holder.clone(),
        cell: app.part.cell.clone(),
    }
}

async fn serve(address: SocketAddr, app: App, mut stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let identity = app.authority.server(&app.config.host, app.files.address().ip(), None)?;
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
    let handle = axum_server::Handle::new();
    let stopper = handle.clone();
    tokio::spawn(async move {
        stop::asked(&mut stop).await;
        stopper.graceful_shutdown(Some(GRACE));
    });
    tracing::info!(%address, server = %app.config.server(), "the API listens");
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
