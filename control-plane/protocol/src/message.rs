//! Bytes in, message out, and back. The one door for everything that comes over the wire.
//!
//! Order of checks: size, nesting, JSON, version. What is too large or too deep is refused before it is parsed; a wrong
//! major version is told apart from damage. Unknown fields are ignored at every level.

use crate::limits;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A document of the contract.
pub trait Message: Serialize + DeserializeOwned {
    /// What errors, fixtures and schema files call it.
    const NAME: &'static str;
    /// Bytes at most.
    const LIMIT: usize;
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Refused unread.
    #[error("{message} of {len} bytes is larger than {limit}")]
    TooLarge {
        /// Which message.
        message: &'static str,
        /// Bytes it has.
        len: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// Refused unparsed.
    #[error("{message} nests deeper than {} levels", limits::DEPTH)]
    TooDeep {
        /// Which message.
        message: &'static str,
    },
    /// Another major version, or none.
    #[error("{message} is of version {}, version 1 is read here", found.map_or("none".to_owned(), |found| found.to_string()))]
    Version {
        /// Which message.
        message: &'static str,
        /// What its `v` says.
        found: Option<u64>,
    },
    /// Not JSON, or not this message.
    #[error("could not read {message}")]
    Malformed {
        /// Which message.
        message: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// Why a message is not sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A sender shortens its lists (`Fact::fold`, `Reported::fold`) or gives up; a broker would drop the connection.
    #[error("{message} of {len} bytes is larger than {limit}")]
    TooLarge {
        /// Which message.
        message: &'static str,
        /// Bytes it would have.
        len: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// A value that has no JSON, such as a fact of an unknown kind.
    #[error("could not write {message}")]
    NoJson {
        /// Which message.
        message: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

/// Reads a message.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, DecodeError> {
    check_outside::<M>(bytes)?;
    serde_json::from_slice(bytes).map_err(|source| explain(bytes, M::NAME, source))
}

/// Reads a message and keeps the JSON it was made from: what is signed. A key that stands twice counts once, for both.
pub(crate) fn decode_value<M: Message>(bytes: &[u8]) -> Result<(M, serde_json::Value), DecodeError> {
    check_outside::<M>(bytes)?;
    let json: serde_json::Value = serde_json::from_slice(bytes).map_err(|source| explain(bytes, M::NAME, source))?;
    let message = M::deserialize(&json).map_err(|source| explain(bytes, M::NAME, source))?;
    Ok((message, json))
}

/// What can be said without parsing.
fn check_outside<M: Message>(bytes: &[u8]) -> Result<(), DecodeError> {
    let message = M::NAME;
    if bytes.len() > M::LIMIT {
        return Err(DecodeError::TooLarge { message, len: bytes.len(), limit: M::LIMIT });
    }
    if nests_deeper_than(bytes, limits::DEPTH) {
        return Err(DecodeError::TooDeep { message });
    }
    Ok(())
}

/// Writes a message, if it fits.
pub fn encode<M: Message>(value: &M) -> Result<Vec<u8>, EncodeError> {
    let message = M::NAME;
    let bytes = serde_json::to_vec(value).map_err(|source| EncodeError::NoJson { message, source })?;
    if bytes.len() > M::LIMIT {
        return Err(EncodeError::TooLarge { message, len: bytes.len(), limit: M::LIMIT });
    }
    Ok(bytes)
}

/// A failed read is looked at twice: another version explains anything else that is wrong.
fn explain(bytes: &[u8], message: &'static str, source: serde_json::Error) -> DecodeError {
    #[derive(Deserialize)]
    struct Peek {
        #[serde(default)]
        v: Option<u64>,
    }
    match serde_json::from_slice::<Peek>(bytes) {
        Ok(Peek { v }) if v != Some(1) => DecodeError::Version { message, found: v },
        _ => DecodeError::Malformed { message, source },
    }
}

/// Counts brackets outside of strings. Wrong JSON may be counted wrongly: the parser refuses it anyway, at its own depth
/// of 128.
fn nests_deeper_than(bytes: &[u8], limit: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// The major version, `1`: written by every message, and nothing else is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct V1;

impl Serialize for V1 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(1)
    }
}

impl<'de> Deserialize<'de> for V1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(V1),
            other => Err(serde::de::Error::custom(format_args!("version {other}"))),
        }
    }
}

impl schemars::JsonSchema for V1 {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "V1".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "const": 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ack::Ack;

    const ACK: &str = r#"{"v":1,"stream":"stream-01kjmma2g0nentqaxbnentqaxb","n":7,"ts":5}"#;

    #[test]
    fn size_is_checked_before_a_byte_is_read() {
        let bytes = vec![0xFF; limits::ACK + 1];
        assert!(matches!(decode::<Ack>(&bytes), Err(DecodeError::TooLarge { len: 257, limit: 256, .. })));
    }

    #[test]
    fn nesting_is_bounded_outside_of_strings() {
        let deep = format!("{{\"v\":1,\"x\":{}", "[".repeat(limits::DEPTH));
        assert!(matches!(decode::<Ack>(deep.as_bytes()), Err(DecodeError::TooDeep { .. })));
        let text = ACK.replace("\"v\":1", &format!("\"v\":1,\"x\":\"\\\"{}\"", "[".repeat(64)));
        assert!(decode::<Ack>(text.as_bytes()).is_ok());
    }

    #[test]
    fn another_version_is_not_damage() {
        for (text, found) in [(ACK.replace("\"v\":1", "\"v\":2"), Some(2)), (ACK.replace("\"v\":1,", ""), None)] {
            match decode::<Ack>(text.as_bytes()) {
                Err(DecodeError::Version { found: read, .. }) => assert_eq!(read, found),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(decode::<Ack>(b"{\"v\":1}"), Err(DecodeError::Malformed { .. })));
        assert!(matches!(decode::<Ack>(b"nonsense"), Err(DecodeError::Malformed { .. })));
    }
}
