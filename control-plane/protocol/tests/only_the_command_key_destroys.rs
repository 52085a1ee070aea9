//! A stolen server or broker without the command key makes no box do anything that costs data, and nobody makes it do an
//! old thing again.

#[path = "support/support.rs"]
mod support;

use proptest::prelude::*;
use saveos_protocol::command::{Action, Command, Rejection, admit};
use saveos_protocol::hex::CommandKey;
use saveos_protocol::id::DeviceId;
use saveos_protocol::shadow::Desired;
use saveos_protocol::sign::{self, SignatureFault, receive, sign};
use saveos_protocol::time::Timestamp;
use saveos_protocol::{V1, encode};
use serde_json::Value;
use std::time::Duration;
use support::{command, command_key, command_pair, desired, device, mark, now};

fn wipe() -> Command {
    let mut command = command(Action::Wipe { serial: mark("SV-0001") });
    let exp = command.exp;
    sign(&mut command, device(), exp, &command_pair(1)).expect("a command can be signed");
    command
}

fn judge(bytes: &[u8], device: DeviceId, key: &CommandKey, now: Option<Timestamp>) -> Result<Command, Rejection> {
    admit(receive(bytes).expect("a command"), device, key, now)
}

#[test]
fn a_signed_command_is_run_by_its_device_alone() {
    let bytes = encode(&wipe()).expect("it fits");
    assert_eq!(judge(&bytes, device(), &command_key(), Some(now())), Ok(wipe()));
    let other = DeviceId::from_parts(now(), [99; 10]);
    assert_eq!(judge(&bytes, other, &command_key(), Some(now())), Err(Rejection::WrongSignature));
    let wrong_key = sign::public_half(&command_pair(2));
    assert_eq!(judge(&bytes, device(), &wrong_key, Some(now())), Err(Rejection::WrongSignature));
    assert_eq!(judge(&bytes, device(), &CommandKey([0; 32]), Some(now())), Err(Rejection::WrongSignature));
}

#[test]
fn without_a_signature_only_harmless_commands_run() {
    for sample in support::all().into_iter().filter(|sample| sample.name.starts_with("command.")) {
        let mut json = sample.json;
        json.as_object_mut().expect("a command is an object").remove("sig");
        let bytes = serde_json::to_vec(&json).expect("JSON");
        let verdict = judge(&bytes, device(), &command_key(), Some(now()));
        let harmless =
            ["start_backup", "verify", "restore_test", "rescan", "identify", "reboot", "fetch_logs", "rebirth"];
        let expected = harmless.contains(&json["type"].as_str().expect("a type"));
        assert_eq!(verdict.is_ok(), expected, "{}", sample.name);
        assert!(expected || verdict == Err(Rejection::NotSigned), "{}", sample.name);
    }
}

#[test]
fn the_name_of_a_command_is_its_word_in_json() {
    for sample in support::all().into_iter().filter(|sample| sample.name.starts_with("command.")) {
        let command: Command = serde_json::from_value(sample.json.clone()).expect("a command");
        assert_eq!(sample.json["type"], command.action.name(), "{}", sample.name);
        assert!(Action::NAMES.contains(&command.action.name()), "{}", sample.name);
    }
}

#[test]
fn what_a_box_cannot_run_it_answers() {
    let mut json = serde_json::to_value(command(Action::Identify { period: 5u32.into() })).expect("JSON");
    json["args"] = serde_json::json!({"for_s": "long"});
    let verdict = |json: &Value| judge(&serde_json::to_vec(json).expect("JSON"), device(), &command_key(), Some(now()));
    assert_eq!(verdict(&json), Err(Rejection::BadArguments));
    json["type"] = "forget".into();
    json["args"] = serde_json::json!({"snapshots": []});
    assert_eq!(verdict(&json), Err(Rejection::BadArguments));
    json["type"] = "dance".into();
    assert_eq!(verdict(&json), Err(Rejection::UnknownType));
}

#[test]
fn time_decides_before_anything_else_and_its_absence_refuses() {
    let bytes = encode(&wipe()).expect("it fits");
    let late = now().after(Duration::from_secs(3600));
    assert_eq!(judge(&bytes, device(), &command_key(), Some(late)), Err(Rejection::Expired));
    assert_eq!(judge(&bytes, device(), &command_key(), None), Err(Rejection::ClockUnsure));
    let harmless = encode(&command(Action::Rescan {})).expect("it fits");
    assert_eq!(judge(&harmless, device(), &command_key(), None), Err(Rejection::ClockUnsure));
    assert_eq!(judge(&harmless, device(), &command_key(), Some(late)), Err(Rejection::Expired));
}

#[test]
fn a_signature_does_not_outlive_its_command_or_any_bound() {
    let mut command = command(Action::Wipe { serial: mark("SV-0001") });
    command.exp = Timestamp::saturating(u64::MAX);
    let exp = command.exp;
    sign(&mut command, device(), exp, &command_pair(1)).expect("a command can be signed");
    let bytes = encode(&command).expect("it fits");
    assert_eq!(judge(&bytes, device(), &command_key(), Some(now())), Err(Rejection::WrongSignature));
    let received = receive::<Command>(&bytes).expect("a command");
    assert_eq!(received.verify(device(), &command_key(), Some(now())), Err(SignatureFault::TooLong));
}

#[test]
fn a_field_of_a_newer_server_stays_signed_on_an_older_box() {
    let mut json = serde_json::to_value(wipe()).expect("JSON");
    json["sig"] = Value::Null;
    json["approved_by"] = "user-1".into();
    json["args"]["also"] = "the_stick".into();
    // Signed as a newer server would: over its own document.
    let exp = wipe().exp;
    let mut newer = Newer(json.clone(), None);
    sign(&mut newer, device(), exp, &command_pair(1)).expect("it can be signed");
    json["sig"] = serde_json::to_value(newer.1).expect("JSON");
    let bytes = serde_json::to_vec(&json).expect("JSON");
    assert!(judge(&bytes, device(), &command_key(), Some(now())).is_ok());
    json["args"]["also"] = "the_disk".into();
    let bytes = serde_json::to_vec(&json).expect("JSON");
    assert_eq!(judge(&bytes, device(), &command_key(), Some(now())), Err(Rejection::WrongSignature));
}

/// A command of a version that has more fields.
struct Newer(Value, Option<sign::Signature>);

impl serde::Serialize for Newer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Newer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Newer(value, None))
    }
}

impl saveos_protocol::Message for Newer {
    const NAME: &'static str = "newer";
    const LIMIT: usize = 4096;
}

impl sign::Signable for Newer {
    const PURPOSE: sign::Purpose = sign::Purpose::Command;
    fn signature(&self) -> Option<&sign::Signature> {
        self.1.as_ref()
    }
    fn signature_mut(&mut self) -> &mut Option<sign::Signature> {
        &mut self.1
    }
}

#[test]
fn a_key_that_stands_twice_means_one_thing_to_both() {
    // Whoever holds a signed harmless command must not turn it into another by writing `type` and `args` twice.
    let mut harmless = command(Action::Identify { period: 5u32.into() });
    let exp = harmless.exp;
    sign(&mut harmless, device(), exp, &command_pair(1)).expect("a command can be signed");
    let good = String::from_utf8(encode(&harmless).expect("it fits")).expect("UTF-8");
    let evil = r#""type":"wipe","args":{"serial":"SV-0001"},"#;
    let first = good.replacen("{\"v\":1,", &format!("{{\"v\":1,{evil}"), 1);
    let last = good.replacen("}}", &format!("}},{}}}", evil.trim_end_matches(',')), 1);
    for bytes in [first.as_bytes(), last.as_bytes()] {
        let Ok(received) = receive::<Command>(bytes) else { continue };
        if let Ok(command) = admit(received, device(), &command_key(), Some(now())) {
            assert_eq!(command.action, harmless.action);
        }
    }
}

#[test]
fn a_signature_is_for_one_kind_of_document() {
    let mut document: Desired = desired();
    sign(&mut document, device(), now().after(Duration::from_secs(60)), &command_pair(1)).expect("it can be signed");
    let mut command = wipe();
    command.sig = document.sig;
    let bytes = encode(&command).expect("it fits");
    assert_eq!(judge(&bytes, device(), &command_key(), Some(now())), Err(Rejection::WrongSignature));
}

/// Ed25519 is deterministic: the signature of version 1 over the sample, made with a seed of 32 ones.
const PINNED: &str = "b70e878e5016dc8635b0ea8fab847e1a4c8ba4eacf23e2849a1066ab4744c9ba\
                      88dbd8a7dd17a7b352f167c8cf2f2da0da88e69fde87d34b6552a6d60507f207";

#[test]
fn the_signed_bytes_never_change() {
    assert_eq!(wipe().v, V1);
    let signature = wipe().sig.expect("it is signed").ed25519.to_string();
    assert_eq!(signature, PINNED);
}

proptest! {
    #[test]
    fn no_changed_byte_passes(at in any::<prop::sample::Index>(), to: u8) {
        let good = encode(&wipe()).expect("it fits");
        let mut bytes = good.clone();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(received) = receive::<Command>(&bytes)
            && let Ok(command) = admit(received, device(), &command_key(), Some(now()))
        {
            // White space is the one thing that means nothing.
            let harmless = !command.action.is_destructive();
            prop_assert!(harmless || command == wipe());
        }
    }
}
