//! One spelling of a JSON value, so that two parties sign the same bytes: keys sorted by their bytes, no space, whole
//! numbers only. For our documents this is RFC 8785.
//!
//! Signs what was received, not what was understood: a field of a newer version stays in the bytes.

use crate::unit::MAX_INTEGER;
use serde_json::Value;

/// Why a value has no canonical bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// Two languages print the same fraction differently.
    #[error("{0} is not a whole number below 2^53")]
    Number(String),
}

/// The bytes.
pub fn bytes(value: &Value) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::new();
    write(value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        Value::Number(number) => {
            let size = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if size.is_none_or(|size| size > MAX_INTEGER) {
                return Err(NotCanonical::Number(number.to_string()));
            }
            out.extend(number.to_string().bytes());
        }
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(fields) => {
            // Sorted here: whether the map is sorted is a feature flag that any crate of the build may set.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_bytes());
            out.push(b'{');
            for (at, (key, item)) in fields.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write(item, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

/// Escapes what JSON must escape, in its shortest form, and nothing else.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            0x08 => out.extend(b"\\b"),
            0x09 => out.extend(b"\\t"),
            0x0A => out.extend(b"\\n"),
            0x0C => out.extend(b"\\f"),
            0x0D => out.extend(b"\\r"),
            0x00..=0x1F => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_and_nothing_is_added() {
        let value = json!({"b": [1, -2, null], "a": {"z": true, "é": "ü\n\u{1}\"\\"}, "B": 0});
        let expected = "{\"B\":0,\"a\":{\"z\":true,\"é\":\"ü\\n\\u0001\\\"\\\\\"},\"b\":[1,-2,null]}";
        assert_eq!(bytes(&value), Ok(expected.as_bytes().to_vec()));
    }

    #[test]
    fn a_fraction_has_no_canonical_form() {
        for value in [json!(1.5), json!(1e300), json!(u64::MAX), json!([1u64 << 53])] {
            assert!(matches!(bytes(&value), Err(NotCanonical::Number(_))), "{value}");
        }
    }

    proptest! {
        #[test]
        fn the_bytes_are_the_same_value(keys in prop::collection::btree_map(".*", ".*", 0..8)) {
            let value = serde_json::to_value(&keys).expect("a map of texts is JSON");
            let out = bytes(&value).expect("texts are canonical");
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).expect("canonical bytes are JSON"), value);
        }
    }
}
