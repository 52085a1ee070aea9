//! Numbers with their unit: a type in Rust, the unit in the JSON key (`uptime_ms`), a whole number on the wire.
//!
//! No number reaches 2^53, so every JSON reader keeps it exact; a larger one is refused, not rounded.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// The largest whole number that survives a reader which only has doubles.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident $suffix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = $name(0);

            /// `None` from 2^53.
            pub const fn new(value: u64) -> Option<Self> {
                if value <= MAX_INTEGER { Some($name(value)) } else { None }
            }

            /// The largest one instead of too large a one.
            pub const fn saturating(value: u64) -> Self {
                if value <= MAX_INTEGER { $name(value) } else { $name(MAX_INTEGER) }
            }

            /// The bare number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl From<u32> for $name {
            fn from(value: u32) -> Self {
                $name(u64::from(value))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{}", $suffix), self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = u64::deserialize(deserializer)?;
                $name::new(value).ok_or_else(|| serde::de::Error::custom(format_args!("{value} is not below 2^53")))
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "integer", "minimum": 0, "maximum": MAX_INTEGER })
            }
        }
    )*};
}

integers! {
    /// Bytes of anything.
    Bytes " bytes";
    /// How many of something.
    Count "";
    /// Milliseconds.
    Millis " ms";
    /// Seconds.
    Seconds " s";
    /// Minutes.
    Minutes " min";
    /// Hours.
    Hours " h";
    /// Days.
    Days " days";
    /// The number of a fact in its stream: 1 is the stream's birth, and there are no holes. 0 stands before all.
    FactNumber "";
    /// The version of a desired document. A server that came back from an old backup goes on above what the box reports.
    DesiredVersion "";
}

impl FactNumber {
    /// The one after it.
    pub const fn next(self) -> FactNumber {
        FactNumber::saturating(self.0 + 1)
    }
}

impl DesiredVersion {
    /// The one after it.
    pub const fn next(self) -> DesiredVersion {
        DesiredVersion::saturating(self.0 + 1)
    }
}

macro_rules! durations {
    ($($name:ident $millis:literal;)*) => {$(
        impl $name {
            /// As the standard library has it.
            pub const fn duration(self) -> Duration {
                Duration::from_millis(self.0.saturating_mul($millis))
            }

            /// Whole units; what is left over is dropped.
            pub fn of(duration: Duration) -> Self {
                $name::saturating(u64::try_from(duration.as_millis() / $millis).unwrap_or(u64::MAX))
            }
        }
    )*};
}

durations! {
    Millis 1;
    Seconds 1_000;
    Minutes 60_000;
    Hours 3_600_000;
    Days 86_400_000;
}

/// Parts of a hundred, 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Percent(#[schemars(range(max = 100))] u8);

impl Percent {
    /// All of it.
    pub const WHOLE: Percent = Percent(100);

    /// `None` above a hundred.
    pub const fn new(value: u8) -> Option<Percent> {
        if value <= 100 { Some(Percent(value)) } else { None }
    }

    /// `part` of `whole`, rounded down, so that 100 means done. Of nothing, all is done.
    pub fn of(part: u64, whole: u64) -> Percent {
        let hundredths = u128::from(part.min(whole)) * 100;
        Percent(hundredths.checked_div(u128::from(whole)).unwrap_or(100) as u8)
    }

    /// The bare number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u8::deserialize(deserializer)?;
        Percent::new(value).ok_or_else(|| serde::de::Error::custom(format_args!("{value} is more than 100 %")))
    }
}

/// Degrees, whole ones: sensors are no better.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct Celsius(pub i16);

impl fmt::Display for Celsius {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} °C", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_a_double_would_round_is_refused() {
        assert_eq!(serde_json::from_str::<Bytes>("9007199254740991").ok(), Bytes::new(MAX_INTEGER));
        for wrong in ["9007199254740992", "18446744073709551616", "-1", "1.0", "\"1\""] {
            assert!(serde_json::from_str::<Bytes>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hundred_percent_means_done() {
        assert_eq!(Percent::of(999, 1000), Percent(99));
        assert_eq!(Percent::of(u64::MAX, u64::MAX), Percent::WHOLE);
        assert_eq!(Percent::of(0, 0), Percent::WHOLE);
        assert_eq!(Percent::of(7, 3), Percent::WHOLE);
        assert!(serde_json::from_str::<Percent>("101").is_err());
    }

    #[test]
    fn a_duration_keeps_its_unit() {
        assert_eq!(Minutes::from(20).duration(), Duration::from_secs(1200));
        assert_eq!(Seconds::of(Duration::from_millis(1999)), Seconds::from(1));
        assert_eq!(Days::saturating(u64::MAX).duration(), Duration::from_millis(u64::MAX));
    }
}
