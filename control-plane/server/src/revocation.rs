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
use crate::cell::table;
use crate::clock;
use crate::roles::Role;
use crate::stop;
use crate::store::{StoreError, Tx, fence, first, take_numbers, values};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, TlsConfiguration, Transport};
use saveos_protocol::id::DeviceId;
use saveos_protocol::time::Timestamp;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Counts changes of who is revoked, and up to which of them the broker knows.
const RULES: &str = "rules";
const ENFORCED: &str = "rules_enforced";
/// How soon the broker's process sees a change; what it may then take; both within the five seconds that are promised.
const WATCH: Duration = Duration::from_millis(500);
const ELSEWHERE: Duration = Duration::from_secs(5);

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
    /// A process with a broker does not say that it did.
    #[error("the process of a broker does not answer (`saveos-server cell list`)")]
    Elsewhere,
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
    rules_changed(tx)?;
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
    if !app.unenforced.load(Ordering::SeqCst) {
        return;
    }
    let enforced = match app.part.does(Role::Broker) {
        true => renew(app).await,
        false => enforce(app, None).await,
    };
    if let Err(error) = enforced {
        tracing::error!(error = &error as &dyn std::error::Error, "the broker does not know who is revoked");
    }
}

/// Has the brokers of all cells know it, here or where they run; cuts the live session of `device`.
/// Brokers must know of all, whoever asks for one.
pub(crate) async fn enforce(app: &App, device: Option<DeviceId>) -> Result<(), NotEnforced> {
    fence::without(enforce_everywhere(app, device)).await
}

async fn enforce_everywhere(app: &App, device: Option<DeviceId>) -> Result<(), NotEnforced> {
    let until = Instant::now() + ELSEWHERE;
    if app.part.does(Role::Broker) {
        enforce_here(app, device.as_slice()).await?;
    }
    let wanted = app.store.read(|tx| number(tx, RULES)).await?;
    while app.part.shared && app.store.read(least_enforced).await? < wanted {
        if Instant::now() > until {
            return Err(NotEnforced::Elsewhere);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// The broker of this process, from whose list nobody may go out of date.
pub(crate) async fn renew(app: &App) -> Result<(), NotEnforced> {
    enforce_here(app, &[]).await
}

/// Has the broker of this process enforce what other processes wrote.
pub(crate) async fn keep_watch(app: App, revoked: Revoked) {
    let (mut stop, mut known) = (app.stop.clone(), revoked.devices);
    while tokio::time::timeout(WATCH, stop::asked(&mut stop)).await.is_err() {
        let enforced = app.part.cell.own(ENFORCED);
        let seen = app.store.read(move |tx| {
            let is_new = number(tx, RULES)? != number(tx, &enforced)?;
            if is_new { all(tx, clock::now()).map(|revoked| Some(revoked.devices)) } else { Ok(None) }
        });
        let enforced = match seen.await {
            Ok(None) => continue,
            Ok(Some(devices)) => {
                let new: Vec<DeviceId> = devices.iter().filter(|device| !known.contains(device)).copied().collect();
                enforce_here(&app, &new).await.map(|()| known = devices)
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = enforced {
            tracing::error!(error = &error as &dyn std::error::Error, "the broker does not know who is revoked");
        }
    }
}

async fn enforce_here(app: &App, devices: &[DeviceId]) -> Result<(), NotEnforced> {
    let _one_at_a_time = app.rules.lock().await;
    app.unenforced.store(true, Ordering::SeqCst);
    let now = clock::now();
    let read = app.store.read(move |tx| Ok::<_, StoreError>((all(tx, now)?, number(tx, RULES)?)));
    let (revoked, rules) = read.await?;
    app.files.replace_rules(&app.authority, &revoked, now).await?;
    let id = *app.broker.borrow();
    broker::reload(id);
    for device in devices {
        cut(app, *device).await?;
    }
    canary::guard(app).await?;
    app.unenforced.store(false, Ordering::SeqCst);
    let sql = "INSERT INTO counter (name, value) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE counter.value < excluded.value";
    let enforced = app.part.cell.own(ENFORCED);
    app.store.write(move |tx| tx.execute(sql, &values![enforced, rules])).await?;
    Ok(())
}

/// Who is revoked is another set than before: whichever process has the broker sees it.
pub(crate) fn rules_changed(tx: &mut dyn Tx) -> Result<(), StoreError> {
    take_numbers(tx, RULES, 1).map(drop)
}

/// Up to which change the brokers of all cells know it.
fn least_enforced(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    let cells = table::names(tx)?;
    let numbers = cells.iter().map(|cell| number(tx, &cell.own(ENFORCED))).collect::<Result<Vec<_>, _>>()?;
    Ok(numbers.into_iter().min().unwrap_or(0))
}

fn number(tx: &mut dyn Tx, name: &str) -> Result<u64, StoreError> {
    let row = first(tx, "SELECT value FROM counter WHERE name = $1", &values![name])?;
    row.map_or(Ok(0), |row| row.number(0))
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
