//! What was ever sent is read for ever: every fixture in `golden/v1` decodes, says the same again, and ignores what a newer
//! version adds at any level.
//!
//! A fixture is never edited. A message that changes gets a new file; `SAVEOS_WRITE_GOLDEN=1 cargo test -p saveos-protocol
//! --test reads_every_released_message` writes those that are missing.

#[path = "support/support.rs"]
mod support;

use saveos_protocol::command::{Action, Command};
use saveos_protocol::fact::{Body, Fact, Kind, Work};
use saveos_protocol::{Message, decode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

fn fixtures() -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = std::fs::read_dir(folder())
        .expect("golden/v1 is there")
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a fixture can be read"))
        })
        .collect();
    found.sort();
    found
}

fn write_missing(sample: &support::Sample) {
    let path = folder().join(format!("{}.json", sample.name));
    if let Ok(mut file) = std::fs::File::create_new(path) {
        let text = serde_json::to_string_pretty(&sample.json).expect("a sample is JSON");
        file.write_all(format!("{text}\n").as_bytes()).expect("a fixture can be written");
    }
}

#[test]
fn every_message_and_every_kind_of_fact_has_its_fixture() {
    if std::env::var_os("SAVEOS_WRITE_GOLDEN").is_some() {
        support::all().iter().for_each(write_missing);
    }
    let fixtures = fixtures();
    for sample in support::all() {
        let (_, bytes) = fixtures
            .iter()
            .find(|(name, _)| *name == sample.name)
            .unwrap_or_else(|| panic!("{} has no fixture", sample.name));
        let fixture: Value = serde_json::from_slice(bytes).expect("a fixture is JSON");
        assert_eq!(fixture, sample.json, "{} is written otherwise than it was released", sample.name);
    }
    let has =
        |prefix: String| fixtures.iter().any(|(name, _)| *name == prefix || name.starts_with(&format!("{prefix}.")));
    for kind in Kind::ALL {
        assert!(has(format!("fact.{kind}")), "{kind} has no fixture");
    }
    for (name, _) in saveos_protocol::schema::all() {
        assert!(has(name.to_owned()), "{name} has no fixture");
    }
}

#[test]
fn every_fixture_says_the_same_when_it_is_written_again() {
    for (name, bytes) in fixtures() {
        let compact = compact(&bytes);
        let again = support::reader_of(&name)(&compact).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(again, serde_json::from_slice::<Value>(&bytes).expect("a fixture is JSON"), "{name}");
    }
}

#[test]
fn fields_of_a_newer_version_are_ignored_at_every_level() {
    for (name, bytes) in fixtures() {
        let original: Value = serde_json::from_slice(&bytes).expect("a fixture is JSON");
        for level in 0..objects(&original) {
            let mut newer = original.clone();
            extend(&mut newer, &mut { level });
            let newer = serde_json::to_vec(&newer).expect("a value is JSON");
            let again = support::reader_of(&name)(&newer).unwrap_or_else(|error| panic!("{name}, {level}: {error:?}"));
            assert_eq!(again, original, "{name}, object {level}");
        }
    }
}

#[test]
fn a_fact_of_a_newer_kind_is_numbered_like_any_other() {
    let (_, bytes) = fixtures().into_iter().find(|(name, _)| name == "fact.gap").expect("a fixture");
    let mut value: Value = serde_json::from_slice(&bytes).expect("a fixture is JSON");
    value["body"] = json!({"kind": "heat_wave", "degrees": [1, {"deep": true}]});
    let fact: Fact = decode(&serde_json::to_vec(&value).expect("JSON")).expect("an unknown kind is read");
    assert_eq!((fact.n.get(), &fact.body, fact.body.kind()), (2, &Body::Unknown, None));
    assert!(saveos_protocol::encode(&fact).is_err(), "it is never written from here");
}

#[test]
fn a_word_of_a_newer_version_is_unknown_not_fatal() {
    let (_, bytes) = fixtures().into_iter().find(|(name, _)| name == "fact.job_started").expect("a fixture");
    let mut value: Value = serde_json::from_slice(&bytes).expect("a fixture is JSON");
    value["body"]["work"] = json!("heal");
    value["body"]["trigger"] = json!({"by": "moon", "phase": 3});
    let fact: Fact = decode(&serde_json::to_vec(&value).expect("JSON")).expect("an unknown word is read");
    let Body::JobStarted(started) = fact.body else { panic!("a job that started") };
    assert_eq!(started.work, Work::Unknown);
    assert_eq!(started.trigger, saveos_protocol::fact::Trigger::Unknown);
}

#[test]
fn a_command_of_a_newer_version_is_read_to_be_refused() {
    for args in [json!({}), json!({"deep": [1, 2]}), json!({"disk": 7}), Value::Null] {
        let mut value = serde_json::to_value(support::command(Action::Rescan {})).expect("a command is JSON");
        value["type"] = json!("dance");
        value["args"] = args;
        let command: Command = decode(&serde_json::to_vec(&value).expect("JSON")).expect("an unknown type is read");
        assert_eq!(command.action, Action::Unknown { name: "dance".to_owned() });
    }
}

#[test]
fn no_two_messages_have_one_name() {
    let names: Vec<_> = saveos_protocol::schema::all().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert!(names.contains(&Fact::NAME));
}

fn compact(bytes: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::from_slice::<Value>(bytes).expect("a fixture is JSON")).expect("a value is JSON")
}

fn objects(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(objects).sum::<usize>(),
        Value::Array(items) => items.iter().map(objects).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Adds a field to the object of that number.
fn extend(value: &mut Value, number: &mut usize) -> bool {
    match value {
        Value::Object(fields) => {
            if *number == 0 {
                fields.insert("added_later".to_owned(), json!({"deep": [1, "two", null]}));
                return true;
            }
            *number -= 1;
            fields.values_mut().any(|item| extend(item, number))
        }
        Value::Array(items) => items.iter_mut().any(|item| extend(item, number)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
