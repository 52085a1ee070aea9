//! A box's facts, in memory: numbered, kept until they are acknowledged, and for ever in the ledger.

use crate::Identity;
use crate::identity::now;
use saveos_protocol::ack::Ack;
use saveos_protocol::fact::{Body, Fact, FactNumber, Kind, StreamBirth};
use saveos_protocol::hex::BootId;
use saveos_protocol::id::StreamId;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::Millis;
use saveos_protocol::{V1, encode};

/// One fact as it was told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its stream.
    pub stream: StreamId,
    /// Its number.
    pub n: u64,
    /// Its bytes.
    pub json: String,
    /// Its kind.
    pub kind: Kind,
}

/// How full an outbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// The last number.
    pub last: u64,
    /// Not acknowledged.
    pub waiting: u64,
}

pub(crate) struct Outbox {
    pub(crate) birth: StreamBirth,
    pub(crate) session: u64,
    /// Of this stream, from number 1.
    facts: Vec<Entry>,
    acked: u64,
    ledger: Vec<Entry>,
    boot: BootId,
}

impl Outbox {
    pub(crate) fn new(identity: &Identity) -> Outbox {
        let boot = BootId(crate::identity::random());
        let birth = identity.stream(None);
        let mut outbox = Outbox { birth, session: 0, facts: Vec::new(), acked: 0, ledger: Vec::new(), boot };
        outbox.tell(Body::StreamBorn(outbox.birth.clone()));
        outbox
    }

    /// The file is gone: another stream begins. What was not acknowledged is lost with it, and not in the ledger either.
    pub(crate) fn lose(&mut self, identity: &Identity) {
        let (stream, acked) = (self.birth.stream, self.acked);
        self.ledger.retain(|entry| entry.stream != stream || entry.n <= acked);
        self.birth = identity.stream(Some(stream));
        (self.session, self.acked) = (0, 0);
        self.facts.clear();
        self.tell(Body::StreamBorn(self.birth.clone()));
    }

    pub(crate) fn tell(&mut self, body: Body) {
        self.tell_at(body, now());
    }

    pub(crate) fn tell_at(&mut self, body: Body, ts: Timestamp) {
        let n = self.facts.len() as u64 + 1;
        let kind = body.kind().expect("nobody here tells what only a newer release knows");
        let fact = Fact {
            v: V1,
            stream: self.birth.stream,
            n: FactNumber::saturating(n),
            ts,
            boot: self.boot,
            uptime: Millis::from(1),
            body,
        };
        let json = encode(&fact).expect("a fact of a simulation fits");
        let json = String::from_utf8(json).expect("JSON is text");
        let entry = Entry { stream: fact.stream, n, json, kind };
        self.facts.push(entry.clone());
        self.ledger.push(entry);
    }

    /// Those after `sent`, at most `count`.
    pub(crate) fn waiting(&self, sent: u64, count: usize) -> Vec<Entry> {
        let from = usize::try_from(sent.max(self.acked)).unwrap_or(usize::MAX);
        self.facts.iter().skip(from).take(count).cloned().collect()
    }

    /// Takes an acknowledgement; from where to send again, if it asks for that.
    pub(crate) fn acknowledge(&mut self, ack: &Ack) -> Option<u64> {
        if ack.stream != self.birth.stream {
            return None;
        }
        match ack.want {
            Some(want) => {
                self.acked = want.get().saturating_sub(1).min(self.acked.max(ack.n.get()));
                Some(self.acked)
            }
            None => {
                self.acked = self.acked.max(ack.n.get().min(self.facts.len() as u64));
                None
            }
        }
    }

    pub(crate) fn level(&self) -> Level {
        let last = self.facts.len() as u64;
        Level { last, waiting: last - self.acked }
    }

    pub(crate) fn ledger(&self) -> Vec<Entry> {
        self.ledger.clone()
    }
}
