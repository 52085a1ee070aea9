//! The end of trust in a box: written first, then enforced at the broker, in an order in which nothing slips through.
//!
//! ```text
//! database ─▶ list and rules (tried out) ─▶ reload ─▶ take the box's name for a moment: its live session is cut ─▶ canary
//! ```
//!
//! Renewals look in the database and are refused from the first step on.

use crate::api::App;
use crate::audit;
use crate::authority::AuthorityError;
use crate::broker::{self, FilesError, Revoked};
use crate::canary::{self, CanaryError};
use crate::clock;
use crate::store::{StoreError, Tx, values};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, TlsConfiguration, Transport};
use saveos_protocol::id::DeviceId;
use saveos_protocol::time::Timestamp;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Why it is not enforced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotEnforced {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker's files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The stand-in's certificate.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The broker was found open, or does not answer.
    #[error(transparent)]
    Canary(#[from] CanaryError),
    /// The live session may still stand; the rules refuse what it says.
    #[error("the live session could not be cut")]
    Session,
}

/// Writes it.
pub(crate) fn write(tx: &mut dyn Tx, device: DeviceId, who: &str, now: Timestamp) -> Result<(), StoreError> {
    let sql = "UPDATE appliance SET revoked_ms = COALESCE(revoked_ms, $1) WHERE id = $2";
    tx.execute(sql, &values![now, device])?;
    let sql = "UPDATE certificate SET revoked_ms = COALESCE(revoked_ms, $1) WHERE device = $2";
    tx.execute(sql, &values![now, device])?;
    audit::write(tx, who, "revoked a box", &device.to_string(), now)
}

/// All that is revoked and could still be used.
pub(crate) fn all(tx: &mut dyn Tx, now: Timestamp) -> Result<Revoked, StoreError> {
    let mut revoked = Revoked::default();
    for row in tx.query("SELECT id FROM appliance WHERE revoked_ms IS NOT NULL", &[])? {
        revoked.devices.push(row.parse(0)?);
    }
    let sql = "SELECT serial, revoked_ms FROM certificate WHERE revoked_ms IS NOT NULL AND until_ms > $1";
    for row in tx.query(sql, &values![now])? {
        revoked.certificates.push((row.text(0)?.to_owned(), Timestamp::saturating(row.number(1)?)));
    }
    Ok(revoked)
}

/// Has the broker know it in the background, and again until it does.
pub(crate) fn enforce_soon(app: &App) {
    app.unenforced.store(true, Ordering::SeqCst);
    let app = app.clone();
    tokio::spawn(async move { catch_up(&app).await });
}

/// Tries again what is written and not enforced.
pub(crate) async fn catch_up(app: &App) {
    if app.unenforced.load(Ordering::SeqCst)
        && let Err(error) = enforce(app, None).await
    {
        tracing::error!(error = &error as &dyn std::error::Error, "the broker does not know who is revoked");
    }
}

/// Has the broker know it; cuts the live session of `device`.
pub(crate) async fn enforce(app: &App, device: Option<DeviceId>) -> Result<(), NotEnforced> {
    let _one_at_a_time = app.rules.lock().await;
    app.unenforced.store(true, Ordering::SeqCst);
    let now = clock::now();
    let revoked: Revoked = app.store.read(move |tx| all(tx, now)).await?;
    app.files.replace_rules(&app.authority, &revoked, now).await?;
    let id = *app.broker.borrow();
    broker::reload(id);
    if let Some(device) = device {
        cut(app, device).await?;
    }
    canary::guard(app).await?;
    app.unenforced.store(false, Ordering::SeqCst);
    Ok(())
}

/// A client of the same name takes its session over and ends it.
async fn cut(app: &App, device: DeviceId) -> Result<(), NotEnforced> {
    let stand_in = app.authority.stand_in(device)?;
    let broker = app.files.address();
    let mut options = MqttOptions::new(device.to_string(), (broker.ip().to_string(), broker.port()));
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
        ca: app.authority.pem().as_bytes().to_vec(),
        alpn: None,
        client_auth: Some((stand_in.certificate.into_bytes(), stand_in.key.as_bytes().to_vec())),
    }));
    options.set_clean_start(true).set_connect_timeout(Duration::from_secs(3));
    let (client, mut events) = AsyncClient::builder(options).capacity(4).build();
    let taken = tokio::time::timeout(Duration::from_secs(4), async {
        loop {
            match events.poll().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    });
    if !taken.await.unwrap_or(false) {
        return Err(NotEnforced::Session);
    }
    // What ends it properly is a courtesy: the session is clean and goes with its connection.
    if client.disconnect().await.is_ok() {
        let _ = tokio::time::timeout(Duration::from_millis(200), events.poll()).await;
    }
    Ok(())
}
