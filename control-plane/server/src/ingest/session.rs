//! The connection behind the ingest: always there or being made, acknowledging by hand.
//!
//! ```text
//! client loop ─(bounded)─▶ ingest ─(unbounded)─▶ speaker ─(short)─▶ client loop
//! ```
//!
//! Acknowledgements leave by the same loop that messages come in by. When the ingest is behind, the loop waits for it and the
//! broker for the loop; the ingest itself waits for nobody, or the two would wait for each other. Window or not: Mosquitto 2.0.11
//! sends a whole backlog at once. What waits for the speaker was taken in before, so its bound is the broker's own queue.

use crate::roles::Reach;
use crate::stop;
use rumqttc::mqttbytes::QoS;
use rumqttc::{
    AckMode, AsyncClient, Event, EventLoop, Incoming, MqttOptions, PersistedAckMode, PersistedSession, PublishOptions,
    SessionStore, SessionStoreError, SessionStoreKey, TlsConfiguration, Transport,
};
use saveos_protocol::topic::{Filter, acl};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// Messages that the broker sends ahead: four batches.
const WINDOW: u16 = 2000;
/// What we have on the way to the broker, and queued for the client. Short: the client looks through all of it for every packet,
/// and writes down what is on its way; with 2000 both took three quarters of all time.
const OUTGOING: u16 = 100;
/// How long the broker keeps what boxes say while we are away.
const EXPIRY: u32 = 14 * 86_400;
/// What a broker has to answer; it is our own, on this machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where and as whom.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) broker: Reach,
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: zeroize::Zeroizing<String>,
}

/// What the connection brings.
#[expect(clippy::large_enum_variant, reason = "nearly all of them are messages")]
pub(super) enum Arrived {
    /// A session stands. `forgot`: the broker did not know us.
    Up { epoch: u64, forgot: bool },
    /// It broke.
    Down,
    /// The broker counts so many messages that it threw away.
    Dropped(u64),
    /// A message of a connection.
    Message { epoch: u64, message: rumqttc::Publish },
}

/// What goes to the broker.
enum Out {
    /// PUBACK. One that is lost brings the message again, and a copy costs a look at a key.
    Acknowledge { epoch: u64, message: rumqttc::Publish },
    /// What is lost with its connection is said again: retained documents after a lost session, acknowledgements with the next
    /// copy, commands by their resend.
    Say { topic: String, payload: Vec<u8>, options: PublishOptions },
}

/// The present connection. Its number counts connections: an acknowledgement of an older one would break the present one.
type Present = Arc<Mutex<Option<(u64, AsyncClient)>>>;

/// How the ingest speaks; never waits.
#[derive(Clone)]
pub(super) struct Handle {
    out: mpsc::UnboundedSender<Out>,
    anew: Arc<Notify>,
}

impl Handle {
    pub(super) fn acknowledge(&self, epoch: u64, message: rumqttc::Publish) {
        // Nobody speaks any more: the end.
        let _ = self.out.send(Out::Acknowledge { epoch, message });
    }

    pub(super) fn publish(&self, topic: String, payload: Vec<u8>, options: PublishOptions) {
        let _ = self.out.send(Out::Say { topic, payload, options });
    }

    /// Drops the connection and makes another: the broker sends again what was not acknowledged.
    pub(super) fn again(&self) {
        self.anew.notify_one();
    }
}

/// Says it all, in order, as fast as the client takes it.
async fn speak(present: Present, mut out: mpsc::UnboundedReceiver<Out>) {
    while let Some(out) = out.recv().await {
        let Some((now, client)) = present.lock().unwrap_or_else(PoisonError::into_inner).clone() else { continue };
        let said = match out {
            Out::Acknowledge { epoch, .. } if epoch != now => continue,
            Out::Acknowledge { message, .. } => client.ack(&message).await,
            Out::Say { topic, payload, options } => client.publish(topic, payload, options).await,
        };
        if let Err(error) = said {
            tracing::debug!(%error, "something was lost with its connection");
        }
    }
}

/// Opens it; it stays open until `stop`.
pub(super) fn open(connection: Connection, stop: watch::Receiver<bool>) -> (Handle, mpsc::Receiver<Arrived>) {
    let (out, to_say) = mpsc::unbounded_channel();
    let (handle, present) = (Handle { out, anew: Arc::default() }, Present::default());
    tokio::spawn(speak(Arc::clone(&present), to_say));
    let (arrivals, arrived) = mpsc::channel(usize::from(WINDOW));
    tokio::spawn(keep_open(connection, present, Arc::clone(&handle.anew), arrivals, stop));
    (handle, arrived)
}

async fn keep_open(
    connection: Connection,
    present: Present,
    anew: Arc<Notify>,
    arrivals: mpsc::Sender<Arrived>,
    mut stop: watch::Receiver<bool>,
) {
    let mut epoch = 0;
    while !*stop.borrow() {
        epoch += 1;
        let (client, events) = AsyncClient::builder(options(&connection)).capacity(usize::from(OUTGOING)).build();
        *present.lock().unwrap_or_else(PoisonError::into_inner) = Some((epoch, client.clone()));
        tokio::select! {
            () = serve(&client, events, epoch, &arrivals) => {}
            () = anew.notified() => {}
            () = stop::asked(&mut stop) => {}
        }
        *present.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if arrivals.send(Arrived::Down).await.is_err() {
            return;
        }
        let _ = tokio::time::timeout(Duration::from_millis(200), stop::asked(&mut stop)).await;
    }
}

async fn serve(client: &AsyncClient, mut events: EventLoop, epoch: u64, arrivals: &mpsc::Sender<Arrived>) {
    loop {
        let arrived = match events.poll().await {
            Ok(Event::Incoming(Incoming::ConnAck(hello))) => {
                // Always: a broker that lost the session would leave us deaf, and a second time does no harm.
                let heard = client.try_subscribe(Filter::Ingest.to_string(), QoS::AtLeastOnce);
                if heard.and_then(|()| client.try_subscribe(acl::DROPPED, QoS::AtMostOnce)).is_err() {
                    return;
                }
                Arrived::Up { epoch, forgot: !hello.session_present }
            }
            Ok(Event::Incoming(Incoming::Publish(message))) if message.topic == acl::DROPPED.as_bytes() => {
                match std::str::from_utf8(&message.payload).ok().and_then(|text| text.parse().ok()) {
                    Some(count) => Arrived::Dropped(count),
                    None => continue,
                }
            }
            Ok(Event::Incoming(Incoming::Publish(message))) => Arrived::Message { epoch, message },
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the ingest's connection broke");
                return;
            }
        };
        if arrivals.send(arrived).await.is_err() {
            return;
        }
    }
}

fn options(connection: &Connection) -> MqttOptions {
    let mut options = MqttOptions::new(acl::CONTROL_PLANE, (connection.broker.host.clone(), connection.broker.port));
    options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
        ca: connection.authority.as_bytes().to_vec(),
        alpn: None,
        client_auth: Some((connection.certificate.as_bytes().to_vec(), connection.key.as_bytes().to_vec())),
    }));
    options.set_keep_alive(15).set_clean_start(false).set_session_expiry_interval(Some(EXPIRY));
    options.set_receive_maximum(Some(WINDOW)).set_outgoing_inflight_upper_limit(OUTGOING);
    options.set_max_packet_size(Some(65_536)).set_connect_timeout(PATIENCE);
    options.set_ack_mode(AckMode::Manual);
    options.set_session_store(Empty);
    options
}

/// A store that remembers nothing: the database is our memory. With it the client takes a session that the broker kept.
#[derive(Debug)]
struct Empty;

type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

impl SessionStore for Empty {
    fn load<'a>(&'a self, _: &'a SessionStoreKey) -> Stored<'a, Option<PersistedSession>> {
        let empty = PersistedSession {
            format_version: 1,
            client_id: acl::CONTROL_PLANE.to_owned(),
            clean_start: false,
            session_expiry_interval: Some(EXPIRY),
            outgoing_inflight_upper_limit: Some(OUTGOING),
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(async move { Ok(Some(empty)) })
    }

    fn save<'a>(&'a self, _: &'a SessionStoreKey, _: &'a PersistedSession) -> Stored<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn clear<'a>(&'a self, _: &'a SessionStoreKey) -> Stored<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
