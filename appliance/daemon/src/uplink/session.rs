//! One session: subscribe, be born, send what waits, take acknowledgements and orders, prove by heartbeats that the broker hears.
//!
//! | lost | what brings it back |
//! |---|---|
//! | a message on its way | it is sent again in the next session, and a minute after the last acknowledgement |
//! | the broker's memory | every session subscribes and is born anew |
//! | the broker, without a word | a heartbeat that is not taken in 30 s ends the session |

use super::cuts::SOON;
use super::{Line, LineError, orders};
use crate::clock;
use crate::db::{self, DbError};
use crate::desired;
use crate::logs;
use crate::outbox;
use crate::trust::Trust;
use crate::vitals::Vitals;
use rumqttc::mqttbytes::QoS;
use rumqttc::{
    AsyncClient, Event, Incoming, LastWill, MqttOptions, PersistedAckMode, PersistedSession, PublishOptions,
    SessionStore, SessionStoreError, SessionStoreKey, TlsConfiguration, Transport,
};
use rusqlite::Connection;
use saveos_protocol::ack::Ack;
use saveos_protocol::birth::{Birth, Leaving, Presence, SessionNumber};
use saveos_protocol::command::{Report, State};
use saveos_protocol::fact::{FactNumber, Kind};
use saveos_protocol::heartbeat::Heartbeat;
use saveos_protocol::id::CommandId;
use saveos_protocol::shadow::Version;
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::{Down, Filter, Up};
use saveos_protocol::unit::Count;
use saveos_protocol::{Topic, V1, decode, encode};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Messages on their way to the broker at once.
const WINDOW: u16 = 20;
/// How long the broker keeps what it has for us.
const EXPIRY: u32 = 86_400;
/// Between two looks at the outbox.
const TURN: Duration = Duration::from_millis(250);
/// What the broker has at most to take a heartbeat.
const PATIENCE: Duration = Duration::from_secs(30);
/// While a job runs somebody may watch it.
const WATCHED: Duration = Duration::from_secs(5);
/// Before the control plane has said how often.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Sent and not acknowledged for so long: sent again.
const AGAIN: Duration = Duration::from_secs(60);

/// Runs until the connection breaks or `stop` is set.
pub(super) async fn run(line: &Line, trust: &Trust, tries: u32, stop: &AtomicBool) -> Result<(), LineError> {
    let mut session = Session::begin(line, trust)?;
    let (client, mut events) = AsyncClient::builder(session.options(tries)?).capacity(64).build();
    let (to_us, mut from_loop) = mpsc::channel(64);
    // The client's loop is never stopped in the middle of a message; a watchdog that fires drops it whole.
    let connection = tokio::spawn(async move {
        loop {
            let event = events.poll().await;
            let ended = event.is_err();
            if to_us.send(event).await.is_err() || ended {
                return;
            }
        }
    });
    let outcome = session.serve(&client, &mut from_loop, stop).await;
    connection.abort();
    match outcome {
        // Connected, and cut by the other side: perhaps for another one with our name.
        Err(LineError::Connection(error)) if session.stood.is_some_and(|since| since.elapsed() < SOON) => {
            Err(LineError::Cut(error))
        }
        other => other,
    }
}

/// What the control plane's clock said last is remembered as.
pub(super) const HEARD: &str = "control_plane_ms";
/// And so precisely: a note is a write to flash.
const HEARD_STEP: Duration = Duration::from_secs(600);

struct Session<'l> {
    line: &'l Line,
    trust: &'l Trust,
    db: Connection,
    birth: Birth,
    /// Facts up to here were handed to the client in this session.
    sent: u64,
    acked: Instant,
    heartbeats: u64,
    vitals: Vitals,
    beat: Option<JoinHandle<bool>>,
    next_beat: Instant,
    /// Whether the last beat told of a job.
    watched: bool,
    /// Since when the broker has us.
    stood: Option<Instant>,
    /// The document that the broker has from this session.
    reported: Option<Version>,
    /// How commands ended that run on threads of their own.
    said: (mpsc::Sender<Said>, mpsc::Receiver<Said>),
}

/// A command, how it ended, and the command as it came.
type Said = (CommandId, State, Vec<u8>);

impl<'l> Session<'l> {
    /// Its number is on the disk before the broker hears it.
    fn begin(line: &'l Line, trust: &'l Trust) -> Result<Session<'l>, LineError> {
        let db = db::connect(&line.data)?;
        let sql = "UPDATE stream SET sessions = sessions + 1 RETURNING sessions";
        let number: u64 = db.query_row(sql, [], |row| row.get(0)).map_err(DbError::from)?;
        let now = clock::now();
        let birth = Birth {
            session: SessionNumber::saturating(number),
            stream: line.birth.clone(),
            last_fact: FactNumber::saturating(outbox::level(&db)?.last),
            boot: now.boot,
            firmware: line.release.clone(),
            capabilities: line.wishes.capabilities(&line.smartctl),
            ts: now.ts,
        };
        let at = Instant::now();
        Ok(Session {
            line,
            trust,
            db,
            birth,
            sent: 0,
            acked: at,
            heartbeats: 0,
            vitals: Vitals::default(),
            beat: None,
            next_beat: at,
            watched: false,
            stood: None,
            reported: None,
            said: mpsc::channel(16),
        })
    }

    fn topic(&self, up: Up) -> String {
        Topic::Up(self.line.device, up).to_string()
    }

    fn options(&self, tries: u32) -> Result<MqttOptions, LineError> {
        let client = self.line.device.to_string();
        let mut options = MqttOptions::new(client.clone(), self.address(tries)?);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
            ca: self.trust.authorities.as_bytes().to_vec(),
            alpn: None,
            client_auth: Some((
                self.trust.enrolment.certificates.as_bytes().to_vec(),
                self.line.key.as_bytes().to_vec(),
            )),
        }));
        options.set_keep_alive(60).set_clean_start(false).set_session_expiry_interval(Some(EXPIRY));
        options.set_receive_maximum(Some(WINDOW)).set_outgoing_inflight_upper_limit(WINDOW);
        options.set_max_packet_size(Some(65_536)).set_connect_timeout(Duration::from_secs(10));
        options.set_session_store(Empty { client });
        let will = encode(&self.birth.will())?;
        options.set_last_will(LastWill::new(self.topic(Up::State), will, QoS::AtLeastOnce, true, None));
        Ok(options)
    }

    /// Host and port: the brokers in turn, the preferred one first.
    fn address(&self, tries: u32) -> Result<(String, u16), LineError> {
        let desired = desired::load(&self.line.data, &self.trust.enrolment)?;
        let brokers = &desired.uplink.brokers;
        let turn = usize::try_from(tries).unwrap_or(0) % brokers.len().max(1);
        let broker = brokers.get(turn).ok_or_else(|| LineError::Address("nothing".to_owned()))?;
        let rest = broker.strip_prefix("mqtts://").unwrap_or_default();
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').unwrap_or((rest, "8883"));
        let port = port.parse().map_err(|_| LineError::Address(broker.to_string()))?;
        Ok((host.trim_matches(['[', ']']).to_owned(), port))
    }

    async fn serve(
        &mut self,
        client: &AsyncClient,
        events: &mut mpsc::Receiver<Result<Event, rumqttc::ConnectionError>>,
        stop: &AtomicBool,
    ) -> Result<(), LineError> {
        let mut connected = false;
        let mut turn = tokio::time::interval(TURN);
        loop {
            tokio::select! {
                event = events.recv() => match event.ok_or(LineError::Ended)? {
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        self.greet(client)?;
                        connected = true;
                        self.stood = Some(Instant::now());
                    }
                    Ok(Event::Incoming(Incoming::Publish(message))) => {
                        let topic = String::from_utf8_lossy(&message.topic).into_owned();
                        self.take(client, &topic, &message.payload)?;
                    }
                    Ok(_) => {}
                    Err(error) => return Err(LineError::Connection(Box::new(error))),
                },
                _ = turn.tick() => {
                    if stop.load(Ordering::Relaxed) {
                        return self.leave(client, connected).await;
                    }
                    if connected {
                        if self.line.wishes.wants_rebirth() {
                            self.be_born(client)?;
                        }
                        self.tell_of_logs(client)?;
                        self.send_waiting(client)?;
                        self.report(client)?;
                        self.beat(client).await?;
                    }
                }
            }
        }
    }

    /// Each time a connection stands: the broker may have forgotten us.
    fn greet(&mut self, client: &AsyncClient) -> Result<(), LineError> {
        let filter = Filter::Device(self.line.device).to_string();
        client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|_| LineError::Ended)?;
        self.be_born(client)?;
        (self.sent, self.acked) = (0, Instant::now());
        tracing::info!(session = self.birth.session.get(), "the uplink is up");
        Ok(())
    }

    /// Says who is there; what the box is follows.
    fn be_born(&mut self, client: &AsyncClient) -> Result<(), LineError> {
        let state = encode(&Presence::Here(self.birth.clone()))?;
        let options = PublishOptions::at_least_once().retained();
        client.try_publish(self.topic(Up::State), state, options).map_err(|_| LineError::Ended)?;
        self.reported = None;
        Ok(())
    }

    /// The reported document, when it is another one than the broker has.
    fn report(&mut self, client: &AsyncClient) -> Result<(), LineError> {
        let document = self.line.reported.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(document) = document.filter(|document| self.reported != Some(document.ver)) else { return Ok(()) };
        let ver = document.ver;
        let options = PublishOptions::at_least_once().retained();
        let json = encode(&document.fold()?)?;
        if client.try_publish(self.topic(Up::Reported), json, options).is_ok() {
            self.reported = Some(ver);
        }
        Ok(())
    }

    /// Facts that wait, in order, as many as the client takes.
    fn send_waiting(&mut self, client: &AsyncClient) -> Result<(), LineError> {
        if self.acked.elapsed() >= AGAIN {
            (self.sent, self.acked) = (0, Instant::now());
        }
        for (n, kind, json) in outbox::waiting(&self.db, self.sent, usize::from(WINDOW))? {
            let Some(kind) = Kind::ALL.iter().find(|known| known.as_str() == kind) else {
                return Err(DbError::Damaged("the kind of a fact").into());
            };
            if client.try_publish(self.topic(Up::Event(*kind)), json, PublishOptions::at_least_once()).is_err() {
                break; // its queue is full; at the next turn
            }
            self.sent = n;
        }
        Ok(())
    }

    fn take(&mut self, client: &AsyncClient, topic: &str, payload: &[u8]) -> Result<(), LineError> {
        match topic.parse() {
            Ok(Topic::Down(device, Down::Ack)) if device == self.line.device => match decode::<Ack>(payload) {
                Ok(ack) => self.acknowledge(&ack)?,
                Err(error) => tracing::warn!(%error, "an acknowledgement is not understood"),
            },
            Ok(Topic::Down(device, Down::Command)) if device == self.line.device => {
                if let Some((command, report)) =
                    orders::take(&mut self.db, (device, &self.trust.enrolment.command_key), &self.line.wishes, payload)?
                {
                    if report.state == (State::Accepted { job: None }) {
                        self.bring_logs(payload);
                    }
                    let topic = self.topic(Up::Result(command));
                    // A report that is lost is asked for again: the command comes once more, and its answer is remembered.
                    let _ = client.try_publish(topic, encode(&report)?, PublishOptions::at_least_once());
                }
            }
            Ok(Topic::Down(device, Down::Desired)) if device == self.line.device => {
                let (place, now) = ((self.line.data.as_path(), &mut self.db), clock::now());
                if desired::take(place, &self.trust.enrolment, payload, &self.line.rules, &now)? {
                    return Err(LineError::Moved);
                }
            }
            other => tracing::warn!(topic, ?other, "a message of no kind that we know"),
        }
        Ok(())
    }

    /// On a thread of its own: the line goes on meanwhile. What nobody brought before a restart is brought when the command comes
    /// again.
    fn bring_logs(&self, payload: &[u8]) {
        let Some((command, wanted)) = orders::logs_of(payload) else { return };
        if !self.line.wishes.begin_to_bring(command) {
            return;
        }
        let (wishes, said, trust) = (Arc::clone(&self.line.wishes), self.said.0.clone(), self.trust.clone());
        let (journalctl, payload) = (self.line.journalctl.clone(), payload.to_vec());
        let bring = move || {
            let state = if logs::is_ours(&trust, &wanted.url) {
                logs::bring(&journalctl, &trust, &wanted)
            } else {
                // It was accepted: what is wrong with it is its end, and a rejection would be none.
                logs::not_ours()
            };
            wishes.end_bringing(command);
            // A session that ended since: the command comes again.
            let _ = said.try_send((command, state, payload));
        };
        if let Err(error) = std::thread::Builder::new().name("logs".to_owned()).spawn(bring) {
            self.line.wishes.end_bringing(command);
            tracing::error!(%error, "no thread for the logs");
        }
    }

    /// How bringing logs ended.
    fn tell_of_logs(&mut self, client: &AsyncClient) -> Result<(), LineError> {
        while let Ok((id, state, payload)) = self.said.1.try_recv() {
            let now = clock::now();
            orders::brought(&self.db, &payload, &state, now.ts)?;
            let report = Report { v: V1, id, ts: now.ts, state };
            let _ = client.try_publish(self.topic(Up::Result(id)), encode(&report)?, PublishOptions::at_least_once());
        }
        Ok(())
    }

    fn acknowledge(&mut self, ack: &Ack) -> Result<(), LineError> {
        let now = clock::now();
        outbox::acknowledge(&mut self.db, ack.stream, ack.n, now.ts)?;
        self.acked = Instant::now();
        // Also back: a control plane whose clock ran ahead and was set says so.
        let off = |heard: Timestamp| ack.ts.since(heard).max(heard.since(ack.ts)) > HEARD_STEP;
        if super::heard(&self.db)?.is_none_or(off) {
            db::set_note(&self.db, HEARD, &ack.ts.as_millis().to_string())?;
        }
        if let Some(want) = ack.want {
            outbox::wanted(&mut self.db, ack.stream, want, &now)?;
            self.sent = self.sent.min(want.get().saturating_sub(1));
        }
        Ok(())
    }

    /// One heartbeat at a time, and the broker has to take it: keepalive alone does not notice a broker that is frozen.
    async fn beat(&mut self, client: &AsyncClient) -> Result<(), LineError> {
        if self.beat.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(beat) = self.beat.take()
        {
            if !beat.await.unwrap_or(false) {
                return Err(LineError::Silent);
            }
            *self.line.answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now().into_std());
        }
        // A job that begins is told at once, not with the next beat.
        let works = self.line.progress.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if self.beat.is_some() || (Instant::now() < self.next_beat && (!works || self.watched)) {
            return Ok(());
        }
        let rules = self.line.rules.get();
        let job = self.line.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut every = self.line.heartbeat.or(rules.heartbeat).unwrap_or(HEARTBEAT);
        if job.is_some() {
            every = every.min(WATCHED);
        }
        self.next_beat = Instant::now() + every;
        let patience = PATIENCE.min(every / 2);
        self.watched = job.is_some();
        self.heartbeats += 1;
        let (now, vitals) = (clock::now(), self.vitals.look());
        let heartbeat = Heartbeat {
            v: V1,
            sess: self.birth.session,
            seq: Count::saturating(self.heartbeats),
            ts: now.ts,
            uptime: now.uptime,
            queued: Count::saturating(outbox::level(&self.db)?.waiting),
            desired: rules.version,
            store_used: *self.line.room.lock().unwrap_or_else(PoisonError::into_inner),
            busy: vitals.busy,
            memory_used: vitals.memory_used,
            board: vitals.board,
            job,
        };
        let (client, topic, json) = (client.clone(), self.topic(Up::Heartbeat), encode(&heartbeat)?);
        self.beat = Some(tokio::spawn(async move {
            let taken = async {
                match client.publish_tracked(topic, json, PublishOptions::at_least_once()).await {
                    Ok(notice) => notice.wait_async().await.is_ok(),
                    Err(_) => false,
                }
            };
            tokio::time::timeout(patience, taken).await.unwrap_or(false)
        }));
        Ok(())
    }

    /// Last words, as far as they are heard: the will says the same, later.
    async fn leave(&self, client: &AsyncClient, connected: bool) -> Result<(), LineError> {
        if connected {
            let gone = encode(&self.birth.departure(Leaving::Shutdown))?;
            let said = async {
                let options = PublishOptions::at_least_once().retained();
                let notice = client.publish_tracked(self.topic(Up::State), gone, options).await.ok()?;
                notice.wait_async().await.ok()?;
                client.disconnect().await.ok()
            };
            let _ = tokio::time::timeout(Duration::from_secs(3), said).await;
        }
        Ok(())
    }
}

/// A store that remembers nothing. The outbox is our memory; with this the client takes a session that the broker kept and
/// has no message of its own to send again.
#[derive(Debug)]
struct Empty {
    client: String,
}

type Stored<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

impl SessionStore for Empty {
    fn load<'a>(&'a self, _: &'a SessionStoreKey) -> Stored<'a, Option<PersistedSession>> {
        let empty = PersistedSession {
            format_version: 1,
            client_id: self.client.clone(),
            clean_start: false,
            session_expiry_interval: Some(EXPIRY),
            outgoing_inflight_upper_limit: Some(WINDOW),
            ack_mode: PersistedAckMode::Automatic,
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
