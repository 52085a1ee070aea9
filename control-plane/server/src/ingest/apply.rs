//! What boxes say becomes rows: one batch, one transaction. Plain values in, effects out; the caller acknowledges and publishes
//! them after the commit, never before.
//!
//! | message | what makes it count once |
//! |---|---|
//! | fact | its name (device, stream, number) is the primary key; only the first copy is projected |
//! | birth, departure | the session number; an older one changes nothing |
//! | report | `command::step` |
//!
//! Nothing that a box sends is an error here: what cannot be believed flags the box, and the others go on.

use super::project;
use crate::cell::Cell;
use crate::fleet;
use crate::store::{StoreError, Tx, first, take_numbers, values};
use saveos_protocol::ack::Ack;
use saveos_protocol::birth::{Birth, Departure, Presence};
use saveos_protocol::command::{Report, State, Step, step};
use saveos_protocol::fact::{Body, Fact, StreamBirth};
use saveos_protocol::heartbeat::Heartbeat;
use saveos_protocol::hex::DeviceKey;
use saveos_protocol::id::{DeviceId, StreamId};
use saveos_protocol::shadow::{Desired, Reported};
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::{Down, Up};
use saveos_protocol::unit::{DesiredVersion, FactNumber};
use saveos_protocol::{Message, Topic, V1, decode, encode};
use std::collections::{BTreeMap, BTreeSet};

/// A message of a box, as the broker brought it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) device: DeviceId,
    pub(crate) up: Up,
    pub(crate) payload: Vec<u8>,
    /// From the broker's memory: it says nothing about now.
    pub(crate) retained: bool,
}

/// What to tell after the commit.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) say: Vec<(Topic, Vec<u8>)>,
    pub(crate) acks: Vec<(DeviceId, Ack)>,
    /// Births that know of facts which are not here: looked at again when those had time to come.
    pub(crate) behind: Vec<(DeviceId, StreamId, FactNumber)>,
    pub(crate) news: Vec<News>,
    pub(crate) tally: Tally,
}

/// Something that a browser wants to know.
#[derive(Clone, Debug, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct News {
    /// Counts facts; what has none is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seq: Option<u64>,
    pub(crate) device: DeviceId,
    /// The names from the top of the tree to the box: who may see it.
    #[serde(skip)]
    pub(crate) path: String,
    /// `presence`, `progress`, `command`, or the kind of a fact.
    pub(crate) kind: String,
    pub(crate) body: serde_json::Value,
}

/// Counts for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Facts that were new.
    pub(crate) facts: u64,
    /// Facts that were here.
    pub(crate) copies: u64,
    /// From boxes that nobody knows or that are revoked.
    pub(crate) strangers: u64,
    /// That could not be read or believed.
    pub(crate) refused: u64,
    /// Facts of a stream whose signed birth has not been seen: they come again.
    pub(crate) early: u64,
}

struct Known {
    key: DeviceKey,
    path: String,
    stream: Option<StreamId>,
    session: u64,
    gone: bool,
    desired: u64,
}

struct Stream {
    watermark: u64,
    highest: u64,
    stored: u64,
    touched: bool,
}

struct Batch<'t> {
    tx: &'t mut dyn Tx,
    cell: &'t Cell,
    now: Timestamp,
    next_seq: u64,
    boxes: BTreeMap<DeviceId, Option<Known>>,
    streams: BTreeMap<(DeviceId, StreamId), Option<Stream>>,
    effects: Effects,
    /// Boxes that said something now.
    heard: BTreeSet<DeviceId>,
    /// Boxes whose protection may have changed.
    changed: BTreeSet<DeviceId>,
}

/// Applies a batch of that cell in the order in which it came.
pub(crate) fn apply(tx: &mut dyn Tx, cell: &Cell, heard: &[Heard], now: Timestamp) -> Result<Effects, StoreError> {
    let facts = heard.iter().filter(|heard| matches!(heard.up, Up::Event(_) | Up::NewerEvent(_))).count() as u64;
    let next_seq = if facts > 0 { take_numbers(tx, "seq", facts)? } else { 0 };
    let (boxes, streams) = (BTreeMap::new(), BTreeMap::new());
    let (effects, heard_from, changed) = (Effects::default(), BTreeSet::new(), BTreeSet::new());
    let mut batch = Batch { tx, cell, now, next_seq, boxes, streams, effects, heard: heard_from, changed };
    for message in heard {
        batch.take(message)?;
    }
    batch.finish()
}

impl Batch<'_> {
    fn take(&mut self, heard: &Heard) -> Result<(), StoreError> {
        let device = heard.device;
        if self.known(device)?.is_none() {
            self.effects.tally.strangers += 1;
            return Ok(());
        }
        if !heard.retained {
            self.heard.insert(device);
        }
        match &heard.up {
            Up::State => match self.read::<Presence>(device, &heard.payload)? {
                Some(Presence::Here(birth)) => self.born(device, &birth),
                Some(Presence::Gone(departure)) => self.gone(device, &departure),
                None => Ok(()),
            },
            Up::Heartbeat => match self.read::<Heartbeat>(device, &heard.payload)? {
                Some(heartbeat) => self.beat(device, &heartbeat, &heard.payload),
                None => Ok(()),
            },
            Up::Event(kind) => match self.read::<Fact>(device, &heard.payload)? {
                Some(fact) if fact.body.kind() == Some(*kind) => {
                    self.fact(device, &fact, kind.as_str(), &heard.payload)
                }
                Some(_) => self.refuse(device, "a fact under the name of another kind"),
                None => Ok(()),
            },
            Up::NewerEvent(name) => match self.read::<Fact>(device, &heard.payload)? {
                Some(fact) => self.fact(device, &fact, &name.to_string(), &heard.payload),
                None => Ok(()),
            },
            Up::Result(command) => match self.read::<Report>(device, &heard.payload)? {
                Some(report) if report.id == *command => self.report(device, &report),
                Some(_) => self.refuse(device, "a report under the name of another command"),
                None => Ok(()),
            },
            Up::Reported => match self.read::<Reported>(device, &heard.payload)? {
                Some(reported) => self.reported(device, &reported, &heard.payload),
                None => Ok(()),
            },
        }
    }

    fn known(&mut self, device: DeviceId) -> Result<Option<&mut Known>, StoreError> {
        if !self.boxes.contains_key(&device) {
            let sql = "SELECT a.public_key, n.path, a.stream, a.session, a.gone_ms, a.desired_ver
                FROM appliance a JOIN node n ON n.id = a.node WHERE a.id = $1 AND a.revoked_ms IS NULL";
            let row = first(self.tx, sql, &values![device])?;
            let known = row.map(|row| {
                Ok::<_, StoreError>(Known {
                    key: row.parse(0)?,
                    path: row.text(1)?.to_owned(),
                    stream: row.maybe_text(2)?.and_then(|stream| stream.parse().ok()),
                    session: row.maybe_number(3)?.unwrap_or(0),
                    gone: row.maybe_number(4)?.is_some(),
                    desired: row.number(5)?,
                })
            });
            self.boxes.insert(device, known.transpose()?);
        }
        Ok(self.boxes.get_mut(&device).and_then(Option::as_mut))
    }

    fn must_know(&mut self, device: DeviceId) -> Result<&mut Known, StoreError> {
        self.known(device)?.ok_or(StoreError::Damaged("a box that went in the middle of a batch"))
    }

    fn read<M: Message>(&mut self, device: DeviceId, payload: &[u8]) -> Result<Option<M>, StoreError> {
        match decode::<M>(payload) {
            Ok(message) => Ok(Some(message)),
            Err(error) => self.refuse(device, &error.to_string()).map(|()| None),
        }
    }

    fn refuse(&mut self, device: DeviceId, why: &str) -> Result<(), StoreError> {
        self.effects.tally.refused += 1;
        tracing::warn!(%device, reason = why, "a message was refused");
        project::flag(self.tx, device, why, self.now)
    }

    fn born(&mut self, device: DeviceId, birth: &Birth) -> Result<(), StoreError> {
        if !self.stream_is_real(device, &birth.stream)? {
            return Ok(());
        }
        let (now, stream, session) = (self.now, birth.stream.stream, birth.session.get());
        if !self.follow(device, stream)? {
            return self.refuse(device, "a stream that was followed by another one comes back");
        }
        let known = self.must_know(device)?;
        let same = known.stream == Some(stream);
        let news = !same || session > known.session || (session == known.session && known.gone);
        if news {
            (known.stream, known.session, known.gone) = (Some(stream), session, false);
            let sql = "UPDATE appliance SET stream = $1, session = $2, born_ms = $3, gone_ms = NULL, gone_why = NULL,
                firmware = $4 WHERE id = $5";
            self.tx.execute(sql, &values![stream, session, now, birth.firmware.to_string(), device])?;
            self.tell(device, "presence", serde_json::json!({ "on": true }))?;
            self.repeat_commands(device)?;
        }
        let watermark = self.stream(device, stream)?.map_or(0, |stream| stream.watermark);
        if birth.last_fact.get() > watermark {
            self.effects.behind.push((device, stream, birth.last_fact));
        }
        Ok(())
    }

    /// What nobody has answered: a broker that lost its memory had no session to keep it in.
    fn repeat_commands(&mut self, device: DeviceId) -> Result<(), StoreError> {
        let sql = "SELECT json FROM command WHERE device = $1 AND ended_ms IS NULL AND state IS NULL AND until_ms > $2
            ORDER BY id";
        for row in self.tx.query(sql, &values![device, self.now])? {
            self.effects.say.push((Topic::Down(device, Down::Command), row.text(0)?.as_bytes().to_vec()));
        }
        Ok(())
    }

    /// Whether a stream is the present one or may become it; the one before never comes back.
    fn follow(&mut self, device: DeviceId, stream: StreamId) -> Result<bool, StoreError> {
        let Some(current) = self.must_know(device)?.stream.filter(|current| *current != stream) else {
            return Ok(true);
        };
        let sql = "SELECT followed_ms FROM stream WHERE device = $1 AND id = $2";
        let row = first(self.tx, sql, &values![device, stream])?;
        if row.map(|row| row.maybe_number(0)).transpose()?.flatten().is_some() {
            return Ok(false);
        }
        let sql = "UPDATE stream SET followed_ms = $1 WHERE device = $2 AND id = $3";
        self.tx.execute(sql, &values![self.now, device, current])?;
        Ok(true)
    }

    fn gone(&mut self, device: DeviceId, departure: &Departure) -> Result<(), StoreError> {
        let now = self.now;
        let known = self.must_know(device)?;
        if known.stream != Some(departure.stream) || departure.session.get() < known.session || known.gone {
            return Ok(());
        }
        known.gone = true;
        let why = departure.why.to_string();
        let sql = "UPDATE appliance SET gone_ms = $1, gone_why = $2 WHERE id = $3";
        self.tx.execute(sql, &values![now, why.as_str(), device])?;
        self.tell(device, "presence", serde_json::json!({ "on": false, "why": why }))
    }

    fn beat(&mut self, device: DeviceId, heartbeat: &Heartbeat, payload: &[u8]) -> Result<(), StoreError> {
        let json = String::from_utf8_lossy(payload).into_owned();
        let sql = "UPDATE appliance SET heartbeat = $1, applied_ver = $2 WHERE id = $3";
        self.tx.execute(sql, &values![json, heartbeat.desired, device])?;
        if heartbeat.desired.get() > self.must_know(device)?.desired {
            self.overtake(device, heartbeat.desired)?;
        }
        match &heartbeat.job {
            Some(job) => {
                let body = serde_json::to_value(job).map_err(|_| StoreError::Damaged("progress that is no JSON"))?;
                self.tell(device, "progress", body)
            }
            None => Ok(()),
        }
    }

    /// The box has a newer document than we remember: we came back from an old backup, and go on above it.
    fn overtake(&mut self, device: DeviceId, theirs: DesiredVersion) -> Result<(), StoreError> {
        let row = first(self.tx, "SELECT desired FROM appliance WHERE id = $1", &values![device])?;
        let row = row.ok_or(StoreError::Damaged("a box that went in the middle of a batch"))?;
        let mut desired: Desired =
            decode(row.text(0)?.as_bytes()).map_err(|_| StoreError::Damaged("a desired document"))?;
        // A signature is of the document as it was.
        (desired.ver, desired.ts, desired.sig) = (theirs.next(), self.now, None);
        let json = encode(&desired).map_err(|_| StoreError::Damaged("a desired document"))?;
        let text = String::from_utf8_lossy(&json).into_owned();
        let sql = "UPDATE appliance SET desired = $1, desired_ver = $2 WHERE id = $3";
        self.tx.execute(sql, &values![text, desired.ver, device])?;
        self.must_know(device)?.desired = desired.ver.get();
        self.effects.say.push((Topic::Down(device, Down::Desired), json));
        Ok(())
    }

    fn fact(&mut self, device: DeviceId, fact: &Fact, kind: &str, payload: &[u8]) -> Result<(), StoreError> {
        let seq = self.next_seq;
        self.next_seq += 1;
        let n = fact.n.get();
        if n == 0 {
            return self.refuse(device, "a fact without a number");
        }
        if let Body::StreamBorn(birth) = &fact.body {
            let is_first = n == 1 && birth.stream == fact.stream;
            if !is_first {
                return self.refuse(device, "a stream that is born in its middle");
            }
            if !self.stream_is_real(device, birth)? {
                return Ok(());
            }
        }
        if self.stream(device, fact.stream)?.is_none() {
            self.effects.tally.early += 1;
            return Ok(());
        }
        let json = String::from_utf8_lossy(payload).into_owned();
        let sql = "INSERT INTO fact (device, stream, n, seq, kind, at_ms, received_ms, json)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (device, stream, n) DO NOTHING";
        let row = values![device, fact.stream, fact.n, seq, kind, fact.ts, self.now, json];
        let is_new = self.tx.execute(sql, &row)? > 0;
        if is_new {
            self.effects.tally.facts += 1;
            if project::fact(self.tx, device, fact, self.now)? {
                self.changed.insert(device);
            }
            let path = self.must_know(device)?.path.clone();
            // A kind of a newer release has no JSON here: a browser learns its name and reads the fact itself.
            let body = serde_json::to_value(&fact.body).unwrap_or_default();
            self.effects.news.push(News { seq: Some(seq), device, path, kind: kind.to_owned(), body });
        } else {
            self.effects.tally.copies += 1;
        }
        self.advance(device, fact.stream, n)
    }

    /// Moves the watermark over all that is here without a hole.
    fn advance(&mut self, device: DeviceId, id: StreamId, n: u64) -> Result<(), StoreError> {
        let Some(Some(stream)) = self.streams.get_mut(&(device, id)) else { return Ok(()) };
        stream.touched = true;
        stream.highest = stream.highest.max(n);
        if n == stream.watermark + 1 {
            stream.watermark = n;
        }
        let sql = "SELECT n FROM fact WHERE device = $1 AND stream = $2 AND n = $3";
        while stream.highest > stream.watermark
            && first(self.tx, sql, &values![device, id, stream.watermark + 1])?.is_some()
        {
            stream.watermark += 1;
        }
        Ok(())
    }

    /// Whether the box began this stream; the first time, it is remembered.
    fn stream_is_real(&mut self, device: DeviceId, birth: &StreamBirth) -> Result<bool, StoreError> {
        if self.stream(device, birth.stream)?.is_some() {
            return Ok(true);
        }
        let key = self.must_know(device)?.key;
        if birth.verify(device, &key).is_err() {
            self.refuse(device, "a stream that the box did not sign")?;
            return Ok(false);
        }
        let sql = "INSERT INTO stream (device, id, born_ms, received_ms, watermark) VALUES ($1, $2, $3, $4, 0)";
        self.tx.execute(sql, &values![device, birth.stream, birth.born, self.now])?;
        let stream = Stream { watermark: 0, highest: 0, stored: 0, touched: false };
        self.streams.insert((device, birth.stream), Some(stream));
        Ok(true)
    }

    fn stream(&mut self, device: DeviceId, id: StreamId) -> Result<Option<&mut Stream>, StoreError> {
        if !self.streams.contains_key(&(device, id)) {
            let sql = "SELECT s.watermark, (SELECT MAX(f.n) FROM fact f WHERE f.device = s.device AND f.stream = s.id)
                FROM stream s WHERE s.device = $1 AND s.id = $2";
            let row = first(self.tx, sql, &values![device, id])?;
            let stream = row.map(|row| {
                let watermark = row.number(0)?;
                let highest = row.maybe_number(1)?.unwrap_or(0);
                Ok::<_, StoreError>(Stream { watermark, highest, stored: watermark, touched: false })
            });
            self.streams.insert((device, id), stream.transpose()?);
        }
        Ok(self.streams.get_mut(&(device, id)).and_then(Option::as_mut))
    }

    /// The newest document of the box's stream. One of another stream waits for the birth that decides between them, which comes
    /// before it whenever a box connects.
    fn reported(&mut self, device: DeviceId, reported: &Reported, payload: &[u8]) -> Result<(), StoreError> {
        let stream = reported.ver.stream;
        if self.known(device)?.and_then(|known| known.stream) != Some(stream) {
            self.effects.tally.early += 1;
            return Ok(());
        }
        let sql = "INSERT INTO reported (device, stream, n, received_ms, json) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (device) DO UPDATE SET stream = excluded.stream, n = excluded.n,
            received_ms = excluded.received_ms, json = excluded.json
            WHERE reported.stream <> excluded.stream OR reported.n < excluded.n";
        let text = String::from_utf8_lossy(payload);
        self.tx.execute(sql, &values![device, stream, reported.ver.n, self.now, &*text])?;
        Ok(())
    }

    fn report(&mut self, device: DeviceId, report: &Report) -> Result<(), StoreError> {
        let sql = "SELECT state FROM command WHERE id = $1 AND device = $2";
        let Some(row) = first(self.tx, sql, &values![report.id, device])? else {
            return self.refuse(device, "a report of no command");
        };
        let known = row.maybe_text(0)?.map(serde_json::from_str::<State>).transpose();
        let known = known.map_err(|_| StoreError::Damaged("the state of a command"))?;
        match step(known.as_ref(), &report.state) {
            Step::Advance => {}
            Step::Repeat | Step::Late => return Ok(()),
            Step::Contradiction => return self.refuse(device, "two ends of one command"),
        }
        let body = serde_json::to_value(&report.state).map_err(|_| StoreError::Damaged("the state of a command"))?;
        let ended = report.state.is_end().then_some(self.now);
        let sql = "UPDATE command SET state = $1, ended_ms = $2 WHERE id = $3";
        self.tx.execute(sql, &values![body.to_string(), ended, report.id])?;
        self.tell(device, "command", serde_json::json!({ "id": report.id, "state": body }))
    }

    fn tell(&mut self, device: DeviceId, kind: &str, body: serde_json::Value) -> Result<(), StoreError> {
        let path = self.must_know(device)?.path.clone();
        self.effects.news.push(News { seq: None, device, path, kind: kind.to_owned(), body });
        Ok(())
    }

    fn finish(mut self) -> Result<Effects, StoreError> {
        for device in &self.heard {
            let sql = "UPDATE appliance SET heard_ms = $1 WHERE id = $2 AND heard_ms IS NULL";
            if self.tx.execute(sql, &values![self.now, *device])? == 1 {
                self.changed.insert(*device);
            }
            let sql = "UPDATE appliance SET heard_ms = $1, heard_in = $2 WHERE id = $3";
            self.tx.execute(sql, &values![self.now, self.cell, *device])?;
        }
        for device in &self.changed {
            fleet::judge(self.tx, *device, self.now)?;
        }
        for ((device, id), stream) in &self.streams {
            let Some(stream) = stream.as_ref().filter(|stream| stream.touched) else { continue };
            if stream.watermark > stream.stored {
                let sql = "UPDATE stream SET watermark = $1 WHERE device = $2 AND id = $3";
                self.tx.execute(sql, &values![stream.watermark, *device, *id])?;
            }
            let n = FactNumber::saturating(stream.watermark);
            let want = (stream.highest > stream.watermark).then(|| n.next());
            self.effects.acks.push((*device, Ack { v: V1, stream: *id, n, ts: self.now, want }));
        }
        Ok(self.effects)
    }
}

#[cfg(test)]
mod tests;
