//! `up/state`: a box is there, or is gone. A birth and its will carry the same session number, so the will of an older
//! session, delivered late, kills nothing.

use crate::fact::{FactNumber, StreamBirth};
use crate::hex::BootId;
use crate::id::StreamId;
use crate::message::{Message, V1};
use crate::text::Release;
use crate::time::Timestamp;
use crate::unit::Count;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts the sessions of a stream, kept with the outbox and raised before every CONNECT.
pub type SessionNumber = Count;

crate::word::words! { open
    /// What a box can do, where a server must know before it asks.
    Capability {
        /// A panel with a button: words are shown there, restores confirmed.
        Panel = "panel",
        /// A light to find it by.
        IdentifyLed = "identify_led",
        /// Two firmware slots.
        Slots = "slots",
        /// Reads SMART values.
        Smart = "smart",
        /// Checks file systems of a restored copy.
        Fsck = "fsck",
    }
}

crate::word::words! { open
    /// Why a box is gone.
    Leaving {
        /// The broker says so: its connection broke.
        Lost = "lwt",
        /// Stopped by a person or by the system.
        Shutdown = "shutdown",
        /// Restarting into another release.
        Update = "update",
    }
}

/// What `up/state` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub enum Presence {
    /// There.
    Here(Birth),
    /// Gone; also the will.
    Gone(Departure),
}

/// The first words of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// This session.
    pub session: SessionNumber,
    /// The signed stream: it decides which of two streams is the newer one.
    pub stream: StreamBirth,
    /// The last fact that was written: what the server misses, it sees at once.
    pub last_fact: FactNumber,
    /// Which boot.
    pub boot: BootId,
    /// What runs.
    pub firmware: Release,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// By the box's clock.
    pub ts: Timestamp,
}

/// The last words of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The stream whose session it was.
    pub stream: StreamId,
    /// Which session.
    pub session: SessionNumber,
    /// Why.
    pub why: Leaving,
}

impl Departure {
    /// Whether this ends the session that `birth` began, and not an older one.
    pub fn ends(&self, birth: &Birth) -> bool {
        self.stream == birth.stream.stream && self.session >= birth.session
    }
}

impl Birth {
    /// The will to leave with the broker before this birth is sent.
    pub fn will(&self) -> Presence {
        self.departure(Leaving::Lost)
    }

    /// What to send before a clean end.
    pub fn departure(&self, why: Leaving) -> Presence {
        Presence::Gone(Departure { stream: self.stream.stream, session: self.session, why })
    }
}

impl Message for Presence {
    const NAME: &'static str = "presence";
    const LIMIT: usize = crate::limits::PRESENCE;
}

/// As it is written: `on` decides which fields there must be.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Presence")]
struct Raw {
    /// Major version.
    v: V1,
    /// There, or gone.
    on: bool,
    /// Counts sessions.
    sess: SessionNumber,
    /// Gone: the stream whose session it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<StreamId>,
    /// Gone: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<Leaving>,
    /// There: everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    birth: Option<RawBirth>,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Birth")]
struct RawBirth {
    stream: StreamBirth,
    last_fact: FactNumber,
    boot: BootId,
    fw: Release,
    #[serde(default)]
    caps: Vec<Capability>,
    ts: Timestamp,
}

impl JsonSchema for Presence {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        Raw::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Raw::json_schema(generator)
    }
}

impl From<Presence> for Raw {
    fn from(presence: Presence) -> Raw {
        match presence {
            Presence::Here(birth) => {
                let raw = RawBirth {
                    stream: birth.stream,
                    last_fact: birth.last_fact,
                    boot: birth.boot,
                    fw: birth.firmware,
                    caps: birth.capabilities,
                    ts: birth.ts,
                };
                Raw { v: V1, on: true, sess: birth.session, stream: None, why: None, birth: Some(raw) }
            }
            Presence::Gone(gone) => Raw {
                v: V1,
                on: false,
                sess: gone.session,
                stream: Some(gone.stream),
                why: Some(gone.why),
                birth: None,
            },
        }
    }
}

impl TryFrom<Raw> for Presence {
    type Error = &'static str;
    fn try_from(raw: Raw) -> Result<Presence, &'static str> {
        if !raw.on {
            let stream = raw.stream.ok_or("gone, but of no stream")?;
            let why = raw.why.ok_or("gone, but without a why")?;
            return Ok(Presence::Gone(Departure { stream, session: raw.sess, why }));
        }
        let birth = raw.birth.ok_or("on, but without a birth")?;
        Ok(Presence::Here(Birth {
            session: raw.sess,
            stream: birth.stream,
            last_fact: birth.last_fact,
            boot: birth.boot,
            firmware: birth.fw,
            capabilities: birth.caps,
            ts: birth.ts,
        }))
    }
}
