//! Proves that the running broker enforces its rules: a box that asks for what it may not must be refused, and one that is revoked
//! must not come in. Asked after every change of the rules and four times a minute.
//!
//! A reload of Mosquitto with a broken access list or revocation list lets everybody do everything. A broker that is found open
//! is ended and started anew with files that are written anew: a start with broken files fails, so it is closed either way.

use crate::api::App;
use crate::authority::{AuthorityError, Identity};
use crate::broker::{self, FilesError, Revoked};
use crate::clock;
use crate::revocation;
use crate::stop;
use crate::store::StoreError;
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, PublishOptions, TlsConfiguration, Transport};
use saveos_protocol::topic::acl;
use std::time::Duration;

/// Why it does not know, or what it found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CanaryError {
    /// Its certificates.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The broker does not answer: it lets nobody in either.
    #[error("the broker does not answer the canary")]
    Silent,
    /// It takes what its rules forbid.
    #[error("the broker does not enforce its access list")]
    Unruly,
    /// It lets in whom its list revokes.
    #[error("the broker does not enforce its list of revocations")]
    Unrevoked,
    /// New files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

const EVERY: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for ever.
pub(crate) async fn keep_asking(app: App) {
    let mut end = app.stop.clone();
    while tokio::time::timeout(EVERY, stop::asked(&mut end)).await.is_err() {
        revocation::catch_up(&app).await;
        match guard(&app).await {
            Ok(()) => {}
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "the canary"),
        }
    }
}

/// Asks once; an open broker is closed before this returns.
pub(crate) async fn guard(app: &App) -> Result<(), CanaryError> {
    let id = *app.broker.borrow();
    let found = ask(app).await;
    if let Err(CanaryError::Unruly | CanaryError::Unrevoked) = &found {
        broker::kill(id);
        let now = clock::now();
        let revoked: Revoked = app.store.read(move |tx| revocation::all(tx, now)).await?;
        app.files.write(&app.authority, &revoked, now)?;
        // The supervisor may have tried to start it with the old files in between, and tries again.
    }
    found
}

async fn ask(app: &App) -> Result<(), CanaryError> {
    let (client, mut events) = connect(app, &app.authority.canary(acl::CANARY)?);
    // Nobody reads it: if the broker takes it, no harm is done.
    let tracked = client.publish_tracked(acl::forbidden_to_canary(), "{}", PublishOptions::at_least_once()).await;
    let notice = tracked.map_err(|_| CanaryError::Silent)?;
    let polling = async {
        // Until the answer is there the connection must be served.
        while events.poll().await.is_ok() {}
    };
    let answered = tokio::select! {
        answered = notice.wait_async() => answered.ok(),
        () = polling => None,
        () = tokio::time::sleep(PATIENCE) => None,
    };
    match answered.map(|result| is_refused(&result)) {
        None => return Err(CanaryError::Silent),
        Some(false) => return Err(CanaryError::Unruly),
        Some(true) => {}
    }
    let (_client, mut events) = connect(app, &app.authority.revoked_canary(acl::CANARY)?);
    let comes_in = tokio::time::timeout(PATIENCE, comes_in(&mut events)).await.unwrap_or(false);
    if comes_in { Err(CanaryError::Unrevoked) } else { Ok(()) }
}

fn is_refused(result: &rumqttc::PublishResult) -> bool {
    use rumqttc::PublishResult::{Qos0Flushed, Qos1, Qos2Completed, Qos2PubRecRejected};
    match result {
        Qos1(answer) => answer.reason == rumqttc::PubAckReason::NotAuthorized,
        Qos0Flushed | Qos2Completed(_) | Qos2PubRecRejected(_) => false,
    }
}

async fn comes_in(events: &mut EventLoop) -> bool {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(_))) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

fn connect(app: &App, identity: &Identity) -> (AsyncClient, EventLoop) {
    let broker = app.files.address();
    let mut options = MqttOptions::new(acl::CANARY, (broker.ip().to_string(), broker.port()));
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
        ca: app.authority.pem().as_bytes().to_vec(),
        alpn: None,
        client_auth: Some((identity.certificate.as_bytes().to_vec(), identity.key.as_bytes().to_vec())),
    }));
    options.set_clean_start(true).set_connect_timeout(PATIENCE);
    AsyncClient::builder(options).capacity(4).build()
}
