//! Whether a box is there: a pure function of what was heard, what we could not hear, and the time.
//!
//! Silence counts only while somebody listened. So a restart of the server, or a broker that was away, makes nobody offline,
//! and makes nobody online either.

use saveos_protocol::time::Timestamp;
use std::time::Duration;

/// Two heartbeats of a minute.
const ONLINE: Duration = Duration::from_secs(120);
/// A link that flaps or a router that restarts is no outage yet.
const LATE: Duration = Duration::from_secs(15 * 60);

/// The state.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Presence {
    /// Heard a moment ago.
    Online,
    /// Silent for a while, or its connection broke.
    Late,
    /// Silent for long, or it said that it stops.
    Offline,
    /// Enrolled and never heard.
    Never,
}

impl Presence {
    /// As it is asked for.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Presence::Online => "online",
            Presence::Late => "late",
            Presence::Offline => "offline",
            Presence::Never => "never",
        }
    }
}

/// What is known of a box.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signs {
    /// The last message.
    pub(crate) heard: Option<Timestamp>,
    /// When its session ended, if it did.
    pub(crate) gone: Option<Timestamp>,
    /// It said so itself.
    pub(crate) stopped: bool,
}

/// Judges. `deaf` is the last time in which nobody listened.
pub(crate) fn presence(signs: Signs, deaf: Option<(Timestamp, Timestamp)>, now: Timestamp) -> Presence {
    let Some(heard) = signs.heard else { return Presence::Never };
    if signs.gone.is_some() && signs.stopped {
        return Presence::Offline;
    }
    let missed = deaf.map_or(Duration::ZERO, |(from, to)| to.min(now).since(from.max(heard)));
    let silent = now.since(heard).saturating_sub(missed);
    match silent {
        silent if silent <= ONLINE && signs.gone.is_none() => Presence::Online,
        silent if silent < LATE => Presence::Late,
        _ => Presence::Offline,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::saturating(seconds * 1000)
    }

    fn heard(seconds: u64) -> Signs {
        Signs { heard: Some(at(seconds)), ..Signs::default() }
    }

    #[test]
    fn silence_makes_late_and_then_offline() {
        for (now, expected) in [
            (1000, Presence::Online),
            (1120, Presence::Online),
            (1121, Presence::Late),
            (1899, Presence::Late),
            (1900, Presence::Offline),
        ] {
            assert_eq!(presence(heard(1000), None, at(now)), expected, "{now}");
        }
        assert_eq!(presence(Signs::default(), None, at(5)), Presence::Never);
        // A clock that was set back makes nobody silent.
        assert_eq!(presence(heard(1000), None, at(10)), Presence::Online);
    }

    #[test]
    fn a_session_that_broke_is_late_at_once_and_one_that_ended_is_offline() {
        let lost = Signs { gone: Some(at(1001)), ..heard(1000) };
        assert_eq!(presence(lost, None, at(1002)), Presence::Late);
        assert_eq!(presence(lost, None, at(1900)), Presence::Offline);
        assert_eq!(presence(Signs { stopped: true, ..lost }, None, at(1002)), Presence::Offline);
    }

    #[test]
    fn what_nobody_could_hear_counts_neither_for_nor_against() {
        let night = Some((at(1010), at(9000)));
        assert_eq!(presence(heard(1000), night, at(9001)), Presence::Online);
        assert_eq!(presence(heard(1000), night, at(9200)), Presence::Late);
        let long_gone = Some((at(5000), at(9000)));
        assert_eq!(presence(heard(1000), long_gone, at(9001)), Presence::Offline);
        assert_eq!(presence(heard(9500), night, at(9501)), Presence::Online);
    }
}
