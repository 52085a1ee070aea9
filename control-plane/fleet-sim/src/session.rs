//! A box's line to the broker, by the rules of the real one: subscribe, be born, send what waits, obey acknowledgements.

use crate::identity::{now, random};
use crate::outbox::{Entry, Level, Outbox};
use crate::update::{Agent, Fate, Turn};
use crate::{Ails, Identity};
use rumqttc::mqttbytes::QoS;
use rumqttc::{AsyncClient, Event, Incoming, LastWill, MqttOptions, PublishOptions, TlsConfiguration, Transport};
use saveos_protocol::ack::Ack;
use saveos_protocol::birth::{Birth, Presence, SessionNumber};
use saveos_protocol::command::{Command, Report, State};
use saveos_protocol::enrol::Enrolment;
use saveos_protocol::fact::{Body, FactNumber};
use saveos_protocol::heartbeat::Heartbeat;
use saveos_protocol::hex::BootId;
use saveos_protocol::id::CommandId;
use saveos_protocol::reconnect;
use saveos_protocol::shadow::Desired;
use saveos_protocol::text::BrokerUrl;
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::{Down, Filter, Up};
use saveos_protocol::unit::{Count, DesiredVersion, Millis};
use saveos_protocol::{Topic, V1, decode, encode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Messages on their way at once, as the real box has it.
const WINDOW: u16 = 20;
/// Between two looks at what was sent and not acknowledged; news is sent at once.
const TURN: Duration = Duration::from_millis(500);
/// Sent and not acknowledged for so long: sent again. The real box waits a minute.
const AGAIN: Duration = Duration::from_secs(3);

/// A message from the control plane.
#[derive(Clone, Debug)]
pub struct Told {
    /// Where.
    pub topic: Topic,
    /// What.
    pub payload: Vec<u8>,
}

/// A simulated box.
pub struct Appliance {
    identity: Identity,
    outbox: Mutex<Outbox>,
    told: Mutex<Vec<Told>>,
    news: Notify,
    online: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    heartbeat: Duration,
    /// It waits before it comes back as a real box does; in tests it is back at once.
    patient: bool,
    ails: Mutex<Ails>,
    agent: Mutex<Agent>,
    /// It says of each command that it is done.
    answers: AtomicBool,
    /// The last fact that went to the broker.
    sent: AtomicU64,
    /// It goes to the brokers that its desired document names, as the real one does. In most tests a line stands in between.
    follows: AtomicBool,
}

impl Appliance {
    /// A new box with a new stream.
    pub fn new(identity: Identity, heartbeat: Duration) -> Arc<Appliance> {
        Appliance::made(identity, heartbeat, false)
    }

    /// One that waits before it comes back, as those do that are shipped.
    pub fn patient(identity: Identity, heartbeat: Duration) -> Arc<Appliance> {
        Appliance::made(identity, heartbeat, true)
    }

    fn made(identity: Identity, heartbeat: Duration, patient: bool) -> Arc<Appliance> {
        let outbox = Mutex::new(Outbox::new(&identity));
        let (online, stop) = (watch::channel(false).0, watch::channel(false).0);
        Arc::new(Appliance {
            identity,
            outbox,
            told: Mutex::default(),
            news: Notify::new(),
            online,
            stop,
            heartbeat,
            patient,
            ails: Mutex::default(),
            agent: Mutex::new(Agent::new(env!("CARGO_PKG_VERSION").parse().expect("a version is a release"))),
            answers: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            follows: AtomicBool::new(false),
        })
    }

    /// From now on it says of each command that it is done.
    pub fn answer_commands(&self) {
        self.answers.store(true, Ordering::Relaxed);
    }

    /// From now on it goes to the brokers that its desired document names, one after the other.
    pub fn follow_brokers(&self) {
        self.follows.store(true, Ordering::Relaxed);
    }

    /// The last fact that it gave away, whether or not somebody acknowledged it.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    fn outbox(&self) -> std::sync::MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on it has this.
    pub fn suffer(&self, ails: Ails) {
        *self.ails.lock().unwrap_or_else(PoisonError::into_inner) = ails;
        self.news.notify_one();
    }

    fn ails(&self) -> Ails {
        *self.ails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It takes releases that it is offered, and this one so.
    pub fn expect(&self, release: &str, fate: Fate) {
        self.agent().expect(release, fate);
    }

    /// The release that it runs.
    pub fn running(&self) -> String {
        self.agent().running().to_string()
    }

    fn agent(&self) -> std::sync::MutexGuard<'_, Agent> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By its own clock.
    fn now(&self) -> Timestamp {
        now().after(self.ails().ahead)
    }

    /// Something happened.
    pub fn tell(&self, body: Body) {
        let ts = self.now();
        self.outbox().tell_at(body, ts);
        self.news.notify_one();
    }

    /// The outbox's file is lost.
    pub fn lose_outbox(&self) {
        self.outbox().lose(&self.identity);
        self.news.notify_one();
    }

    /// How full the outbox is.
    pub fn level(&self) -> Level {
        self.outbox().level()
    }

    /// Every fact that was ever told, less those that were lost before anybody had them.
    pub fn ledger(&self) -> Vec<Entry> {
        self.outbox().ledger()
    }

    /// All that the control plane said.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the line stands.
    pub fn is_online(&self) -> bool {
        *self.online.borrow()
    }

    /// Ends its line as a power cut would.
    pub fn unplug(&self) {
        self.stop.send_replace(true);
    }

    /// Keeps the line up until it is unplugged.
    pub async fn run(self: Arc<Self>, mut enrolment: Enrolment) {
        let mut stop = self.stop.subscribe();
        self.stop.send_replace(false);
        let mut tries = 0_u32;
        loop {
            let begun = Instant::now();
            if let Some(brokers) = self.elsewhere(&enrolment) {
                (enrolment.uplink.brokers, tries) = (brokers, 0);
            }
            tokio::select! {
                () = self.session(&enrolment, tries) => {}
                _ = stop.wait_for(|stop| *stop) => {
                    self.online.send_replace(false);
                    return;
                }
            }
            self.online.send_replace(false);
            tries = if begun.elapsed() >= reconnect::GOOD { 0 } else { tries.saturating_add(1) };
            let soon = Duration::from_millis(100 + u64::from(random::<1>()[0]));
            let wait = if self.patient { reconnect::wait_after(tries, random()) } else { soon };
            tokio::time::sleep(wait).await;
        }
    }

    async fn session(&self, enrolment: &Enrolment, tries: u32) {
        let birth = self.birth();
        let stream = birth.stream.stream;
        let device = self.identity.device;
        let topic = |up| Topic::Up(device, up).to_string();
        let (client, mut events) =
            AsyncClient::builder(self.options(enrolment, &birth, tries)).capacity(usize::from(WINDOW) * 2).build();
        let (begun, mut sent, mut acked, mut beats) = (Instant::now(), 0, Instant::now(), 0);
        let (mut turn, mut next_beat) = (tokio::time::interval(TURN), Instant::now());
        loop {
            tokio::select! {
                event = events.poll() => match event {
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        let hello = encode(&Presence::Here(birth.clone())).expect("a birth fits");
                        let retained = PublishOptions::at_least_once().retained();
                        let subscribed = client.try_subscribe(Filter::Device(device).to_string(), QoS::AtLeastOnce);
                        let born = client.try_publish(topic(Up::State), hello, retained);
                        if subscribed.is_err() || born.is_err() {
                            return;
                        }
                        (sent, acked) = (0, Instant::now());
                        self.online.send_replace(true);
                    }
                    Ok(Event::Incoming(Incoming::Publish(message))) => {
                        if let Some((id, report)) = self.answer(&message) {
                            let _ = client.try_publish(topic(Up::Result(id)), report, PublishOptions::at_least_once());
                        }
                        if let Some(from) = self.take(&message) {
                            sent = sent.min(from);
                        }
                        acked = Instant::now();
                    }
                    Ok(_) => {}
                    Err(_) => return,
                },
                _ = turn.tick() => {
                    if self.elsewhere(enrolment).is_some() {
                        return;
                    }
                    if acked.elapsed() >= AGAIN {
                        (sent, acked) = (0, Instant::now());
                    }
                    let next = if self.is_online() { self.agent().turn(stream, self.now()) } else { Turn::Rest };
                    match next {
                        Turn::Rest => {}
                        Turn::Restart => return,
                        Turn::Say(report) => {
                            let report = encode(&*report).expect("a report fits");
                            let retained = PublishOptions::at_least_once().retained();
                            let _ = client.try_publish(topic(Up::Reported), report, retained);
                        }
                    }
                }
                () = self.news.notified() => {}
            }
            let ails = self.ails();
            if ails.flaps.is_some_and(|stands| begun.elapsed() >= stands) {
                return;
            }
            if !self.is_online() || ails.silent {
                continue;
            }
            if self.outbox().birth.stream != stream {
                return; // the outbox was lost: the next session belongs to the new stream
            }
            let waiting = self.outbox().waiting(sent, usize::from(WINDOW));
            for entry in waiting {
                let topic = topic(Up::Event(entry.kind));
                if client.try_publish(topic, entry.json, PublishOptions::at_least_once()).is_err() {
                    break;
                }
                sent = entry.n;
                self.sent.store(sent, Ordering::Relaxed);
            }
            if Instant::now() >= next_beat {
                next_beat = Instant::now() + self.heartbeat;
                beats += 1;
                let beat = encode(&self.beat(&birth, beats)).expect("a heartbeat fits");
                let _ = client.try_publish(topic(Up::Heartbeat), beat, PublishOptions::at_least_once());
            }
        }
    }

    fn take(&self, message: &rumqttc::Publish) -> Option<u64> {
        let topic: Topic = std::str::from_utf8(&message.topic).ok()?.parse().ok()?;
        let payload = message.payload.to_vec();
        let again = match (&topic, decode::<Ack>(&payload)) {
            (Topic::Down(_, Down::Ack), Ok(ack)) => self.outbox().acknowledge(&ack),
            (Topic::Down(_, Down::Desired), _) => {
                if let Ok(desired) = decode(&payload) {
                    self.agent().read(&desired);
                }
                None
            }
            _ => None,
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Of acknowledgements only the last is of use, and a fleet that reports for minutes gets very many.
        if matches!(topic, Topic::Down(_, Down::Ack)) {
            told.retain(|earlier| earlier.topic != topic);
        }
        told.push(Told { topic, payload });
        drop(told);
        again
    }

    fn answer(&self, message: &rumqttc::Publish) -> Option<(CommandId, Vec<u8>)> {
        let topic: Topic = std::str::from_utf8(&message.topic).ok()?.parse().ok()?;
        if !self.answers.load(Ordering::Relaxed) || !matches!(topic, Topic::Down(_, Down::Command)) {
            return None;
        }
        let command: Command = decode(&message.payload).ok()?;
        let report = Report { v: V1, id: command.id, ts: self.now(), state: State::Succeeded { note: None } };
        Some((command.id, encode(&report).expect("a report fits")))
    }

    /// The newest desired document that came.
    fn wanted(&self) -> Option<Desired> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let documents = told.iter().filter(|told| matches!(told.topic, Topic::Down(_, Down::Desired)));
        documents.filter_map(|told| decode::<Desired>(&told.payload).ok()).max_by_key(|desired| desired.ver)
    }

    fn desired(&self) -> DesiredVersion {
        self.wanted().map_or(DesiredVersion::ZERO, |desired| desired.ver)
    }

    /// Other brokers than it knows, if it is to go there.
    fn elsewhere(&self, enrolment: &Enrolment) -> Option<Vec<BrokerUrl>> {
        let follows = self.follows.load(Ordering::Relaxed);
        let brokers = follows.then(|| self.wanted()).flatten()?.uplink.brokers;
        (brokers != enrolment.uplink.brokers).then_some(brokers)
    }

    fn birth(&self) -> Birth {
        let ts = self.now();
        let mut outbox = self.outbox();
        outbox.session += 1;
        Birth {
            session: SessionNumber::saturating(outbox.session),
            stream: outbox.birth.clone(),
            last_fact: FactNumber::saturating(outbox.level().last),
            boot: BootId(random()),
            firmware: self.agent().running(),
            capabilities: Vec::new(),
            ts,
        }
    }

    fn beat(&self, birth: &Birth, count: u64) -> Heartbeat {
        Heartbeat {
            v: V1,
            sess: birth.session,
            seq: Count::saturating(count),
            ts: self.now(),
            uptime: Millis::from(1),
            queued: Count::saturating(self.level().waiting),
            desired: self.desired(),
            store_used: None,
            busy: None,
            memory_used: None,
            board: None,
            job: None,
        }
    }

    fn options(&self, enrolment: &Enrolment, birth: &Birth, tries: u32) -> MqttOptions {
        let turn = usize::try_from(tries).unwrap_or(0) % enrolment.uplink.brokers.len().max(1);
        let rest = enrolment.uplink.brokers.get(turn).and_then(|broker| broker.strip_prefix("mqtts://"));
        let (host, port) = rest.and_then(|rest| rest.rsplit_once(':')).unwrap_or(("localhost", "8883"));
        let device = self.identity.device;
        let mut options = MqttOptions::new(device.to_string(), (host.to_owned(), port.parse().unwrap_or(8883)));
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
            ca: enrolment.authorities.as_bytes().to_vec(),
            alpn: None,
            client_auth: Some((enrolment.certificates.as_bytes().to_vec(), self.identity.key_pem().into_bytes())),
        }));
        // A box with a memory would keep its session; this one's is its outbox, and a clean start costs a copy at most.
        options.set_keep_alive(60).set_clean_start(true).set_connect_timeout(Duration::from_secs(10));
        options.set_receive_maximum(Some(WINDOW)).set_outgoing_inflight_upper_limit(WINDOW);
        options.set_max_packet_size(Some(65_536));
        let topic = Topic::Up(device, Up::State).to_string();
        let will = encode(&birth.will()).expect("a will fits");
        options.set_last_will(LastWill::new(topic, will, QoS::AtLeastOnce, true, None));
        options
    }
}
