//! The one session that hears all boxes: messages in, committed, acknowledged; what must be said to boxes goes out.
//!
//! ```text
//! broker ─▶ poll ─▶ (bounded) ─▶ batch ─▶ store.write(apply) ─▶ PUBACK ─▶ dn/ack, dn/des ─▶ news
//! ```
//!
//! Must stay true: a message is acknowledged to the broker, and a fact to its box, only after its transaction is on the disk.
//! When the store stands still, nothing is acknowledged, the window of the session fills and the broker keeps the rest.

mod apply;
mod project;
mod session;

pub(crate) use apply::{News, Tally};
pub(crate) use session::Connection;

use crate::api::follow;
use crate::cell::Cell;
use crate::cell::ears::{Ear, Ears};
use crate::clock;
use crate::lease;
use crate::stop;
use crate::store::{Store, StoreError, Tx, first, values};
use apply::{Effects, Heard, apply};
use rumqttc::PublishOptions;
use saveos_protocol::ack::Ack;
use saveos_protocol::id::{DeviceId, StreamId};
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::Down;
use saveos_protocol::unit::FactNumber;
use saveos_protocol::{Topic, V1, encode};
use session::Arrived;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::Instant;

/// Facts in a batch: 500 cost one sync, and a window of 2000 holds four of them.
const BATCH: usize = 500;
/// How long the first of a batch waits for others.
const LINGER: Duration = Duration::from_millis(50);
/// How long after a birth the facts it knows of have to come by themselves.
const SETTLE: Duration = Duration::from_secs(5);
/// A box that is behind is asked once in that time.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// What boxes need to come back after a broker was away, jitter included.
const COME_BACK: Duration = Duration::from_secs(15 * 60);
/// How often it is written down that we hear.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// Counters of a cell: when it was heard last, and the last time in which it was not.
const HEARD: &str = "heard_ms";
const DEAF_FROM: &str = "deaf_from_ms";
const DEAF_TO: &str = "deaf_to_ms";

/// What others send to boxes.
pub(crate) type Outgoing = (Topic, Vec<u8>);

/// What the ingest shares with the API.
#[derive(Clone)]
pub(crate) struct Heart {
    cell: Cell,
    state: Arc<Mutex<Listening>>,
}

/// What this process hears, and what others say that they hear.
#[derive(Debug, Default)]
struct Listening {
    own: Hearing,
    others: Ears,
}

/// Since when we hear, what we missed, how much we took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hearing {
    /// Whether the session stands.
    pub(crate) connected: bool,
    /// Whether this process has it, and not another of the same installation.
    pub(crate) here: bool,
    /// The last time without ears: it counts against nobody.
    pub(crate) deaf: Option<(Timestamp, Timestamp)>,
    pub(crate) tally: Tally,
    pub(crate) batches: u64,
    /// Messages that the running broker threw away.
    pub(crate) dropped: u64,
}

impl Heart {
    /// Of a process of that cell.
    pub(crate) fn new(cell: Cell) -> Heart {
        Heart { cell, state: Arc::default() }
    }

    /// Of this process, or of whoever hears its cell.
    pub(crate) fn look(&self) -> Hearing {
        self.state().own
    }

    /// Of all cells.
    pub(crate) fn ears(&self) -> Ears {
        let state = self.state();
        let mut ears = state.others.clone();
        if state.own.here || ears.cells().all(|(cell, _)| *cell != self.cell) {
            ears.set(&self.cell, state.own.ear());
        }
        ears
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Hearing)) {
        change(&mut self.state().own);
    }

    /// What others say, of other cells and of this one while another hears it.
    pub(crate) fn others_hear(&self, ears: Ears) {
        let mut state = self.state();
        if !state.own.here {
            let Ear { connected, deaf } = ears.of(self.cell.as_str());
            (state.own.connected, state.own.deaf) = (connected, deaf);
        }
        state.others = ears;
    }

    /// Nobody knows what others hear.
    pub(crate) fn nobody_says(&self) {
        let mut state = self.state();
        state.own.connected &= state.own.here;
        state.others.forget();
    }

    fn state(&self) -> MutexGuard<'_, Listening> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hearing {
    fn ear(&self) -> Ear {
        Ear { connected: self.connected, deaf: self.deaf }
    }
}

/// The ingest.
pub(crate) struct Ingest {
    pub(crate) store: Store,
    pub(crate) heart: Heart,
    pub(crate) news: broadcast::Sender<News>,
    /// The broker's process, if it is one of ours. Another's may have been started anew without our knowing.
    pub(crate) broker: Option<watch::Receiver<u32>>,
    /// Under which name the lease is held.
    pub(crate) holder: String,
    /// Whose broker it is.
    pub(crate) cell: Cell,
}

impl Ingest {
    /// Runs until `stop`: as the one that hears, or waiting to be.
    pub(crate) async fn run(
        self,
        connection: Connection,
        mut outgoing: mpsc::Receiver<Outgoing>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                () = self.until_it_is_ours() => {}
                () = stop::asked(&mut stop) => return,
            }
            let (end, ended) = watch::channel(false);
            let (client, arrivals) = session::open(connection.clone(), ended);
            // Of an earlier turn: what another has said since is newer, and all of it is said again with the session.
            while outgoing.try_recv().is_ok() {}
            self.heart.change(|hearing| hearing.here = true);
            let mut work = Work { ingest: &self, client, said_to: None, asked: HashMap::new(), later: Vec::new() };
            let lost = work.hear(arrivals, &mut outgoing, &mut stop).await;
            end.send_replace(true);
            self.heart.change(|hearing| (hearing.connected, hearing.here) = (false, false));
            if !lost {
                return self.leave().await;
            }
            tracing::error!("another may hear the boxes now; waits for its turn");
        }
    }

    /// Whether the lease was taken or renewed; `None` when the store does not say.
    async fn lease(&self) -> Option<bool> {
        let (name, holder, now) = (self.cell.own(lease::INGEST), self.holder.clone(), clock::now());
        let taken = self.store.write(move |tx| lease::take(tx, &name, &holder, now)).await;
        taken.inspect_err(|error| tracing::error!(error = error as &dyn std::error::Error, "no lease")).ok()
    }

    /// The next one hears at once. Its session ends this one's, if the broker still has it.
    async fn leave(&self) {
        let (name, holder) = (self.cell.own(lease::INGEST), self.holder.clone());
        let given = self.store.write(move |tx| lease::give_back(tx, &name, &holder)).await;
        if let Err(error) = given {
            tracing::warn!(error = &error as &dyn std::error::Error, "the lease was not given back and ends by itself");
        }
    }

    async fn until_it_is_ours(&self) {
        while self.lease().await != Some(true) {
            tokio::time::sleep(lease::RENEW).await;
        }
    }
}

struct Work<'i> {
    ingest: &'i Ingest,
    client: session::Handle,
    /// The broker that was told everything.
    said_to: Option<u32>,
    asked: HashMap<DeviceId, Instant>,
    later: Vec<(Instant, DeviceId, StreamId, FactNumber)>,
}

impl Work<'_> {
    /// Until the end (false) or until the lease is lost (true).
    async fn hear(
        &mut self,
        mut arrivals: mpsc::Receiver<Arrived>,
        outgoing: &mut mpsc::Receiver<Outgoing>,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let (mut alive, mut held, mut renewed) = (Instant::now(), Instant::now(), Instant::now());
        loop {
            let outcome = tokio::select! {
                arrived = arrivals.recv() => match arrived {
                    Some(arrived) => self.arrived(arrived, &mut arrivals).await,
                    None => return false,
                },
                Some((topic, payload)) = outgoing.recv() => { self.say(&topic, payload); Ok(()) }
                _ = tick.tick() => {
                    if alive.elapsed() >= ALIVE_EVERY {
                        alive = Instant::now();
                        self.note_alive().await;
                    }
                    if renewed.elapsed() >= lease::RENEW {
                        renewed = Instant::now();
                        match self.ingest.lease().await {
                            Some(true) => held = Instant::now(),
                            Some(false) => return true,
                            None => {}
                        }
                    }
                    self.look_again().await
                }
                () = stop::asked(stop) => return false,
            };
            // Also while the store stands still: another may have taken over before it moves again.
            if held.elapsed() >= lease::GIVE_UP {
                return true;
            }
            if let Err(error) = outcome {
                // Nothing was acknowledged: the broker still has all of it, and gives it again with a new session.
                tracing::error!(error = &error as &dyn std::error::Error, "a batch could not be stored");
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.client.again();
            }
        }
    }

    async fn arrived(&mut self, arrived: Arrived, more: &mut mpsc::Receiver<Arrived>) -> Result<(), StoreError> {
        let mut batch = Vec::new();
        let mut next = Some(arrived);
        let until = Instant::now() + LINGER;
        while let Some(arrived) = next.take() {
            match arrived {
                Arrived::Up { epoch, forgot } => {
                    self.store(std::mem::take(&mut batch)).await?;
                    self.connected(epoch, forgot).await?;
                    return Ok(());
                }
                Arrived::Down => {
                    self.store(std::mem::take(&mut batch)).await?;
                    self.ingest.heart.change(|hearing| hearing.connected = false);
                    return Ok(());
                }
                Arrived::Dropped(count) => self.dropped(count),
                Arrived::Message { epoch, message } => batch.push((epoch, message)),
            }
            if batch.len() < BATCH {
                next = tokio::time::timeout_at(until, more.recv()).await.ok().flatten();
            }
        }
        self.store(batch).await
    }

    async fn store(&mut self, batch: Vec<(u64, rumqttc::Publish)>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let heard: Vec<Heard> = batch.iter().filter_map(|(_, message)| heard(message)).collect();
        let (cell, now) = (self.ingest.cell.clone(), clock::now());
        let effects = self.ingest.store.write(move |tx| apply(tx, &cell, &heard, now)).await?;
        for (epoch, message) in batch {
            self.client.acknowledge(epoch, message);
        }
        self.take_effect(effects);
        Ok(())
    }

    fn take_effect(&mut self, effects: Effects) {
        for (device, mut ack) in effects.acks {
            if ack.want.is_some() && !self.may_ask(device) {
                ack.want = None;
            }
            self.acknowledge(device, &ack);
        }
        for (topic, payload) in effects.say {
            self.say(&topic, payload);
        }
        let settled = Instant::now() + SETTLE;
        self.later.extend(effects.behind.into_iter().map(|(device, stream, last)| (settled, device, stream, last)));
        for news in effects.news {
            // Nobody watches.
            let _ = self.ingest.news.send(news);
        }
        self.ingest.heart.change(|hearing| {
            let (sum, new) = (&mut hearing.tally, effects.tally);
            sum.facts += new.facts;
            sum.copies += new.copies;
            sum.strangers += new.strangers;
            sum.refused += new.refused;
            sum.early += new.early;
            hearing.batches += 1;
        });
    }

    /// Nothing is lost by it: who was not acknowledged says it again. But somebody should look why a queue was full.
    fn dropped(&self, count: u64) {
        self.ingest.heart.change(|hearing| {
            if count > hearing.dropped {
                tracing::error!(count, "the broker threw messages away: a queue is full");
            }
            hearing.dropped = count;
        });
    }

    fn may_ask(&mut self, device: DeviceId) -> bool {
        let now = Instant::now();
        let free = self.asked.get(&device).is_none_or(|asked| now.duration_since(*asked) >= ASK_EVERY);
        if free {
            self.asked.insert(device, now);
        }
        free
    }

    /// Facts that a birth knew of and that did not come: the box believes we have them.
    async fn look_again(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, ..)| *at <= now);
        self.later = later;
        let due: Vec<(Instant, DeviceId, StreamId, FactNumber)> = due;
        for (_, device, stream, last) in due {
            let sql = "SELECT watermark FROM stream WHERE device = $1 AND id = $2";
            let row = self.ingest.store.read(move |tx| first(tx, sql, &values![device, stream])).await?;
            let watermark = row.map(|row| row.number(0)).transpose()?.unwrap_or(0);
            if watermark < last.get() && self.may_ask(device) {
                let n = FactNumber::saturating(watermark);
                let ack = Ack { v: V1, stream, n, ts: clock::now(), want: Some(n.next()) };
                tracing::info!(%device, watermark, last = last.get(), "facts are missing and asked for");
                self.acknowledge(device, &ack);
            }
        }
        self.asked.retain(|_, asked| now.duration_since(*asked) < ASK_EVERY);
        Ok(())
    }

    fn acknowledge(&self, device: DeviceId, ack: &Ack) {
        match encode(ack) {
            Ok(json) => self.say(&Topic::Down(device, Down::Ack), json),
            Err(error) => tracing::error!(%device, %error, "an acknowledgement could not be written"),
        }
    }

    /// Acknowledgements go without one of their own: they are retained, a box that missed one gets it with its next subscription or
    /// with the next copy of its fact, and half of all packets are spared.
    fn say(&self, topic: &Topic, payload: Vec<u8>) {
        let options = match topic {
            Topic::Down(_, Down::Ack) => PublishOptions::at_most_once(),
            _ => PublishOptions::at_least_once(),
        };
        let options = options.retain(topic.is_retained());
        self.client.publish(topic.to_string(), payload, options);
    }

    /// A session stands. A broker that forgot us forgot what boxes should find there, too; and one that was started anew has it from
    /// a minute ago.
    async fn connected(&mut self, epoch: u64, forgot: bool) -> Result<(), StoreError> {
        let (cell, now) = (self.ingest.cell.clone(), clock::now());
        let deaf = self.ingest.store.write(move |tx| deaf_until(tx, &cell, now)).await?;
        self.ingest.heart.change(|hearing| {
            hearing.connected = true;
            hearing.deaf = deaf;
        });
        tracing::info!(epoch, forgot, "the ingest hears");
        let broker = self.ingest.broker.as_ref().map(|broker| *broker.borrow());
        if forgot || broker.is_none() || self.said_to != broker {
            self.said_to = broker;
            let cell = self.ingest.cell.clone();
            let said = self.ingest.store.read(move |tx| everything_to_say(tx, &cell, clock::now())).await?;
            for (topic, payload) in said {
                self.say(&topic, payload);
            }
        }
        self.note_alive().await;
        Ok(())
    }

    async fn note_alive(&self) {
        let hearing = self.ingest.heart.look();
        if !hearing.connected {
            return;
        }
        let (cell, now) = (self.ingest.cell.clone(), clock::now());
        let sql = "INSERT INTO counter (name, value) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let written = self.ingest.store.write(move |tx| {
            tx.execute(sql, &values![cell.own(HEARD), now])?;
            follow::write_down(tx, &cell, &hearing)
        });
        let written = written.await;
        if let Err(error) = written {
            tracing::error!(error = &error as &dyn std::error::Error, "the store is not there");
        }
    }
}

/// The time without ears that ends now. One that ended not long before goes on: a box needs some minutes to come back, and a
/// server that restarts twice must not take that for silence.
fn deaf_until(tx: &mut dyn Tx, cell: &Cell, now: Timestamp) -> Result<Option<(Timestamp, Timestamp)>, StoreError> {
    let sql = "SELECT value FROM counter WHERE name = $1";
    let mut noted = |name: &'static str| {
        let row = first(tx, sql, &values![cell.own(name)])?;
        row.map(|row| row.maybe_time(0)).transpose().map(Option::flatten)
    };
    let (heard, from, to) = (noted(HEARD)?, noted(DEAF_FROM)?, noted(DEAF_TO)?);
    let Some(heard) = heard else { return Ok(None) };
    let from = match (from, to) {
        (Some(from), Some(to)) if heard.since(to) < COME_BACK => from,
        _ => heard,
    };
    let sql = "INSERT INTO counter (name, value) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    tx.execute(sql, &values![cell.own(DEAF_FROM), from])?;
    tx.execute(sql, &values![cell.own(DEAF_TO), now])?;
    Ok(Some((from, now)))
}

/// All that boxes find at the broker of a cell, who belong there or were heard there last: desired documents, how far their facts are
/// here, and commands that wait.
fn everything_to_say(tx: &mut dyn Tx, cell: &Cell, now: Timestamp) -> Result<Vec<Outgoing>, StoreError> {
    let mut said = Vec::new();
    let sql = "SELECT id, desired FROM appliance WHERE revoked_ms IS NULL AND (cell = $1 OR heard_in = $1)";
    for row in tx.query(sql, &values![cell])? {
        said.push((Topic::Down(row.parse(0)?, Down::Desired), row.text(1)?.as_bytes().to_vec()));
    }
    let sql = "SELECT s.device, s.id, s.watermark FROM stream s JOIN appliance a ON a.id = s.device AND a.stream = s.id
        WHERE a.revoked_ms IS NULL AND s.watermark > 0 AND (a.cell = $1 OR a.heard_in = $1)";
    for row in tx.query(sql, &values![cell])? {
        let n = FactNumber::saturating(row.number(2)?);
        let ack = Ack { v: V1, stream: row.parse(1)?, n, ts: now, want: None };
        let json = encode(&ack).map_err(|_| StoreError::Damaged("an acknowledgement"))?;
        said.push((Topic::Down(row.parse(0)?, Down::Ack), json));
    }
    let sql = "SELECT c.device, c.json FROM command c JOIN appliance a ON a.id = c.device
        WHERE c.ended_ms IS NULL AND c.until_ms > $1 AND (a.cell = $2 OR a.heard_in = $2) ORDER BY c.id";
    for row in tx.query(sql, &values![now, cell])? {
        said.push((Topic::Down(row.parse(0)?, Down::Command), row.text(1)?.as_bytes().to_vec()));
    }
    Ok(said)
}

fn heard(message: &rumqttc::Publish) -> Option<Heard> {
    let topic = std::str::from_utf8(&message.topic).ok()?;
    match topic.parse() {
        Ok(Topic::Up(device, up)) => {
            Some(Heard { device, up, payload: message.payload.to_vec(), retained: message.retain })
        }
        // Below a box's own `up/`, where it may write what it likes: not in the contract, so nothing.
        _ => None,
    }
}
