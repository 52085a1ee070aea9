//! Points in time and times of day. Knows no time zone table and never asks a clock.

use crate::unit::MAX_INTEGER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Unix milliseconds, UTC, below 2^53.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// `None` from 2^53: nobody means the year 287396.
    pub const fn from_millis(millis: u64) -> Option<Timestamp> {
        if millis <= MAX_INTEGER { Some(Timestamp(millis)) } else { None }
    }

    /// The last one instead of too late a one.
    pub const fn saturating(millis: u64) -> Timestamp {
        if millis <= MAX_INTEGER { Timestamp(millis) } else { Timestamp(MAX_INTEGER) }
    }

    /// The bare number.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Later by so much.
    pub fn after(self, wait: Duration) -> Timestamp {
        Timestamp::saturating(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// So long before; the beginning of time has nothing before it.
    pub fn before(self, time: Duration) -> Timestamp {
        Timestamp::saturating(self.0.saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long since `earlier`; nothing when that is in the future.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    /// As in RFC 3339: `2026-03-01T12:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0 / 86_400_000, self.0 % 86_400_000);
        // Days counted from 1 March of year 0, so that the leap day ends a year: 400 years are 146,097 days.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12 + 1;
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
        let (second, rest) = (millis / 1_000 % 60, millis % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:03}Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = u64::deserialize(deserializer)?;
        Timestamp::from_millis(millis)
            .ok_or_else(|| serde::de::Error::custom(format_args!("{millis} ms is not below 2^53")))
    }
}

impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "integer", "minimum": 0, "maximum": MAX_INTEGER, "description": "Unix milliseconds, UTC"
        })
    }
}

/// Minutes in a day.
pub const DAY_MINUTES: u16 = 1440;

/// A time on the wall, `22:30`, in whatever time zone stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// `None` when there is no such time.
    pub const fn new(hour: u16, minute: u16) -> Option<TimeOfDay> {
        if hour < 24 && minute < 60 { Some(TimeOfDay(hour * 60 + minute)) } else { None }
    }

    /// Minutes since midnight, below 1440.
    pub const fn minutes(self) -> u16 {
        self.0
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A text is no time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time of day: HH:MM is expected")]
pub struct NotATime;

impl FromStr for TimeOfDay {
    type Err = NotATime;
    fn from_str(text: &str) -> Result<TimeOfDay, NotATime> {
        let digits = |part: &str| {
            let both = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            both.then(|| part.parse::<u16>().ok()).flatten()
        };
        let (hour, minute) = text.split_once(':').ok_or(NotATime)?;
        digits(hour).zip(digits(minute)).and_then(|(hour, minute)| TimeOfDay::new(hour, minute)).ok_or(NotATime)
    }
}

crate::word::as_text!(TimeOfDay, "^([01][0-9]|2[0-3]):[0-5][0-9]$", 5);

crate::word::words! { closed
    /// A day of the week.
    Weekday {
        /// Monday.
        Monday = "mon",
        /// Tuesday.
        Tuesday = "tue",
        /// Wednesday.
        Wednesday = "wed",
        /// Thursday.
        Thursday = "thu",
        /// Friday.
        Friday = "fri",
        /// Saturday.
        Saturday = "sat",
        /// Sunday.
        Sunday = "sun",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_as_a_date() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_772_366_400_123, "2026-03-01T12:00:00.123Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::saturating(millis).to_string(), text);
        }
    }

    #[test]
    fn the_past_of_the_past_is_no_time() {
        let (early, late) = (Timestamp::saturating(1_000), Timestamp::saturating(4_000));
        assert_eq!(late.since(early), Duration::from_secs(3));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.after(Duration::MAX), Timestamp::saturating(u64::MAX));
        assert_eq!(early.after(Duration::from_secs(5)).before(Duration::from_secs(5)), early);
        assert_eq!(early.before(Duration::MAX), Timestamp::saturating(0));
    }

    #[test]
    fn a_time_of_day_has_one_spelling() {
        assert_eq!("22:30".parse(), Ok(TimeOfDay(1350)));
        assert_eq!(TimeOfDay(5).to_string(), "00:05");
        for wrong in ["24:00", "7:00", "07:60", "07:0", "0700", "+7:00", "07:00:00", ""] {
            assert_eq!(wrong.parse::<TimeOfDay>(), Err(NotATime), "{wrong}");
        }
    }
}
