//! What goes into a statement and comes out of a query: the four kinds of value that every engine has.

use super::StoreError;
use saveos_protocol::hex::{DeviceKey, Digest, SnapshotId};
use saveos_protocol::id::{
    ClaimId, CommandId, CustomerId, DeviceId, DiskId, JobId, OrganisationId, RolloutId, SiteId, StreamId, UserId,
};
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{Bytes, Count, DesiredVersion, FactNumber};
use std::str::FromStr;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
}

/// A row of a query; columns by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(pub(super) Vec<Value>);

impl Row {
    /// Whatever it is.
    pub(crate) fn any(&self, column: usize) -> Result<&Value, StoreError> {
        self.0.get(column).ok_or(StoreError::Damaged("a row is too short"))
    }

    /// A number, where there is one.
    pub(crate) fn maybe_number(&self, column: usize) -> Result<Option<u64>, StoreError> {
        match self.any(column)? {
            Value::Null => Ok(None),
            Value::Integer(number) => {
                u64::try_from(*number).map(Some).map_err(|_| StoreError::Damaged("a negative number"))
            }
            Value::Text(_) => Err(StoreError::Damaged("a text, not a number")),
        }
    }

    /// A number.
    pub(crate) fn number(&self, column: usize) -> Result<u64, StoreError> {
        self.maybe_number(column)?.ok_or(StoreError::Damaged("no number"))
    }

    /// A text, where there is one.
    pub(crate) fn maybe_text(&self, column: usize) -> Result<Option<&str>, StoreError> {
        match self.any(column)? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            Value::Integer(_) => Err(StoreError::Damaged("a number, not a text")),
        }
    }

    /// A text.
    pub(crate) fn text(&self, column: usize) -> Result<&str, StoreError> {
        self.maybe_text(column)?.ok_or(StoreError::Damaged("no text"))
    }

    /// A name or another text with a form.
    pub(crate) fn parse<T: FromStr>(&self, column: usize) -> Result<T, StoreError> {
        self.text(column)?.parse().map_err(|_| StoreError::Damaged("a text of another form"))
    }

    /// A moment.
    pub(crate) fn time(&self, column: usize) -> Result<Timestamp, StoreError> {
        self.number(column).map(Timestamp::saturating)
    }

    /// A point in time, where there is one.
    pub(crate) fn maybe_time(&self, column: usize) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_number(column)?.map(Timestamp::saturating))
    }

    /// A JSON document, where there is one.
    pub(crate) fn maybe_json(&self, column: usize) -> Result<Option<serde_json::Value>, StoreError> {
        let parse = |text| serde_json::from_str(text).map_err(|_| StoreError::Damaged("a text that is no JSON"));
        self.maybe_text(column)?.map(parse).transpose()
    }
}

impl From<u64> for Value {
    /// Nothing of ours reaches 2^53.
    fn from(number: u64) -> Value {
        Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Value {
        Value::from(time.as_millis())
    }
}

macro_rules! names {
    ($($name:ty),*) => {$(
        impl From<$name> for Value {
            fn from(name: $name) -> Value {
                Value::Text(name.to_string())
            }
        }
    )*};
}
names!(
    OrganisationId,
    CustomerId,
    SiteId,
    UserId,
    ClaimId,
    DeviceId,
    StreamId,
    DiskId,
    JobId,
    CommandId,
    SnapshotId,
    Digest,
    DeviceKey,
    RolloutId
);

macro_rules! numbers {
    ($($name:ty),*) => {$(
        impl From<$name> for Value {
            fn from(number: $name) -> Value {
                Value::from(number.get())
            }
        }
    )*};
}
numbers!(Bytes, Count, FactNumber, DesiredVersion);

/// The values of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { [$($crate::store::Value::from($value)),*] };
}
pub(crate) use values;
