//! No bytes make a reader panic, and what is accepted can be said again.

#[path = "support/support.rs"]
mod support;

use proptest::prelude::*;
use saveos_protocol::{DecodeError, limits};
use serde_json::{Value, json};

/// A value that somebody put where another belongs.
fn strange() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[{}]]])),
        Just(json!("9".repeat(2000))),
        Just(json!({"kind": "gap"})),
    ]
}

/// Counts the values in a document, itself included.
fn values(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(values).sum::<usize>(),
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

/// Puts `new` in the place of the value of that number.
fn replace(value: &mut Value, number: &mut usize, new: &Value) -> bool {
    if *number == 0 {
        *value = new.clone();
        return true;
    }
    *number -= 1;
    match value {
        Value::Object(fields) => fields.values_mut().any(|item| replace(item, number, new)),
        Value::Array(items) => items.iter_mut().any(|item| replace(item, number, new)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn sample() -> impl Strategy<Value = (String, Value)> {
    let samples: Vec<(String, Value)> = support::all().into_iter().map(|sample| (sample.name, sample.json)).collect();
    prop::sample::select(samples)
}

/// Accepted bytes can be said again, and then mean the same.
fn judge(name: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(read) = support::reader_of(name)(bytes)
        && !read.is_null()
    {
        let again = support::reader_of(name)(&serde_json::to_vec(&read).expect("what was read is JSON"));
        prop_assert_eq!(again.expect("what was said is read"), read);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_are_refused_without_a_panic((name, _) in sample(), bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        judge(&name, &bytes)?;
    }

    #[test]
    fn a_sample_with_changed_bytes_is_judged(
        (name, json) in sample(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.2),
    ) {
        let mut bytes = serde_json::to_vec(&json).expect("JSON");
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        judge(&name, &bytes)?;
    }

    #[test]
    fn a_sample_with_a_strange_value_is_judged((name, json) in sample(), at in any::<prop::sample::Index>(), new in strange()) {
        let mut json = json;
        let at = at.index(values(&json));
        let replaced = replace(&mut json, &mut { at }, &new);
        prop_assert!(replaced);
        judge(&name, &serde_json::to_vec(&json).expect("JSON"))?;
    }
}

#[test]
fn what_is_too_large_or_too_deep_is_never_parsed() {
    for sample in support::all() {
        let read = support::reader_of(&sample.name);
        // Not JSON at all: only a check before the parser can say that it is too large.
        assert!(matches!(read(&vec![b'x'; limits::PACKET]), Err(DecodeError::TooLarge { .. })), "{}", sample.name);
        let deep = "[".repeat(200);
        assert!(matches!(read(deep.as_bytes()), Err(DecodeError::TooDeep { .. })), "{}", sample.name);
        let mut other = sample.json.clone();
        if other.get("v").is_some() {
            other["v"] = json!(2);
            let bytes = serde_json::to_vec(&other).expect("JSON");
            assert!(matches!(read(&bytes), Err(DecodeError::Version { found: Some(2), .. })), "{}", sample.name);
        }
    }
}
