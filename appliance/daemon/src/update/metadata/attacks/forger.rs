//! What somebody does who has some of the keys, or none: takes signed metadata apart, changes it, signs it again. The tests beside it
//! are in the order of the roles.

use super::*;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use olpc_cjson::CanonicalFormatter;
use serde::Serialize;
use serde_json::{Value, json};

/// A role's key, and the name that the root has for it.
struct Key {
    id: String,
    pair: Ed25519KeyPair,
}

impl Key {
    /// A new one, which no root knows.
    fn new() -> Key {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).expect("random numbers");
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key");
        let mut key = Key { id: String::new(), pair };
        key.id = sha256(&canonical(&key.public()));
        key
    }

    fn public(&self) -> Value {
        let public = hex(self.pair.public_key().as_ref());
        json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } })
    }

    fn sign(&self, signed: &Value) -> Value {
        json!({ "keyid": self.id, "sig": hex(self.pair.sign(&canonical(signed)).as_ref()) })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut to = serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new());
    value.serialize(&mut to).expect("JSON");
    bytes
}

fn far() -> String {
    in_hours(1000).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn past() -> String {
    in_hours(-1).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

const ROLES: [&str; 4] = ["root", "targets", "snapshot", "timestamp"];

/// A server whose metadata is made here, with every key at hand.
struct Forger {
    given: Given,
    keys: Vec<Key>,
    root: Value,
}

impl Forger {
    /// Edition 1 of release 2.0.0, as its owner would publish it.
    fn new() -> Forger {
        let keys: Vec<Key> = ROLES.iter().map(|_| Key::new()).collect();
        let mut forger = Forger { given: given(), keys, root: Value::Null };
        forger.root = forger.make_root(1, 1);
        forger.trust();
        forger.publish(1);
        forger
    }

    fn key(&self, role: &str) -> &Key {
        &self.keys[ROLES.iter().position(|known| *known == role).expect("a role")]
    }

    fn make_root(&self, version: u64, threshold: u64) -> Value {
        let keys: serde_json::Map<_, _> = self.keys.iter().map(|key| (key.id.clone(), key.public())).collect();
        let role = |name: &&str| (name.to_string(), json!({ "keyids": [self.key(name).id], "threshold": threshold }));
        let roles: serde_json::Map<_, _> = ROLES.iter().map(role).collect();
        json!({
            "_type": "root", "spec_version": "1.0.0", "consistent_snapshot": true, "version": version, "expires": far(),
            "keys": keys, "roles": roles,
        })
    }

    /// The box was shipped with this root.
    fn trust(&mut self) {
        let signature = self.key("root").sign(&self.root);
        self.given.source.root = json!({ "signed": self.root, "signatures": [signature] }).to_string().into_bytes();
    }

    fn put(&self, name: &str, signed: &Value, signatures: Vec<Value>) -> Vec<u8> {
        let bytes = json!({ "signed": signed, "signatures": signatures }).to_string().into_bytes();
        std::fs::create_dir_all(self.given.path("served/metadata")).expect("room");
        crate::files::tests::put(&self.given.metadata(name), &bytes);
        bytes
    }

    fn targets(&self, version: u64) -> Value {
        json!({
            "_type": "targets", "spec_version": "1.0.0", "version": version, "expires": far(),
            "targets": { "saveos-qemu-2.0.0.raucb": {
                "length": 8, "hashes": { "sha256": sha256(b"a system") },
                "custom": { "release": "2.0.0", "compatible": "saveos-qemu", "security_epoch": 4 },
            } },
        })
    }

    fn publish(&self, version: u64) {
        self.publish_targets(version, &self.targets(version), vec![self.key("targets").sign(&self.targets(version))]);
    }

    /// Targets as they are given, and what leads to them.
    fn publish_targets(&self, version: u64, targets: &Value, signatures: Vec<Value>) {
        let bytes = self.put(&format!("{version}.targets.json"), targets, signatures);
        self.publish_snapshot(
            version,
            json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": sha256(&bytes) } }),
            |_| (),
        );
    }

    fn publish_snapshot(&self, version: u64, targets: Value, change: impl FnOnce(&mut Value)) {
        let mut snapshot = json!({
            "_type": "snapshot", "spec_version": "1.0.0", "version": version, "expires": far(),
            "meta": { "targets.json": targets },
        });
        change(&mut snapshot);
        let bytes =
            self.put(&format!("{version}.snapshot.json"), &snapshot, vec![self.key("snapshot").sign(&snapshot)]);
        let meta = json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": sha256(&bytes) } });
        self.publish_timestamp(version, meta, |_| ());
    }

    fn publish_timestamp(&self, version: u64, snapshot: Value, change: impl FnOnce(&mut Value)) {
        let mut timestamp = json!({
            "_type": "timestamp", "spec_version": "1.0.0", "version": version, "expires": far(),
            "meta": { "snapshot.json": snapshot },
        });
        change(&mut timestamp);
        self.put("timestamp.json", &timestamp, vec![self.key("timestamp").sign(&timestamp)]);
    }

    /// What lies there now, to be changed.
    fn there(&self, name: &str) -> Value {
        let bytes = std::fs::read(self.given.metadata(name)).expect("it is there");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn believe(&mut self) {
        match self.given.read() {
            Outcome::Known(_) => {}
            other => panic!("not believed: {other:?}"),
        }
    }

    fn refuse(&mut self, why: &str) {
        self.given.assert_refused(why);
    }

    /// The metadata are the owner's, and what they say of the release is not taken.
    fn refuse_release(&mut self, why: &str) {
        match self.given.read() {
            Outcome::Failed(UpdateFailure::Refused, text) => assert!(text.contains(why), "{text}"),
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[test]
fn what_the_forger_makes_is_believed_where_nothing_is_forged() {
    let mut forger = Forger::new();
    forger.believe();
    forger.publish(2);
    forger.believe();
}

#[test]
fn no_role_can_be_rolled_back_behind_newer_ones() {
    // By who stole the key of the timestamp: a new timestamp, an old snapshot.
    let mut forger = Forger::new();
    let old = forger.there("timestamp.json")["signed"]["meta"]["snapshot.json"].clone();
    forger.publish(2);
    forger.believe();
    forger.publish_timestamp(3, old, |_| ());
    forger.refuse("snapshot metadata is older");
    // And that of the snapshot: old targets.
    let mut forger = Forger::new();
    let old = forger.there("1.snapshot.json")["signed"]["meta"]["targets.json"].clone();
    forger.publish(2);
    forger.believe();
    forger.publish_snapshot(3, old, |_| ());
    forger.refuse("targets metadata is older");
}

#[test]
fn no_role_can_be_frozen() {
    let mut forger = Forger::new();
    let meta = forger.there("timestamp.json")["signed"]["meta"]["snapshot.json"].clone();
    forger.publish_timestamp(2, meta, |timestamp| timestamp["expires"] = json!(past()));
    forger.refuse("expired");
    let mut forger = Forger::new();
    let meta = forger.there("1.snapshot.json")["signed"]["meta"]["targets.json"].clone();
    forger.publish_snapshot(2, meta, |snapshot| snapshot["expires"] = json!(past()));
    forger.refuse("expired");
    let mut forger = Forger::new();
    let mut targets = forger.targets(2);
    targets["expires"] = json!(past());
    forger.publish_targets(2, &targets, vec![forger.key("targets").sign(&targets)]);
    forger.refuse("expired");
    let mut forger = Forger::new();
    forger.root["expires"] = json!(past());
    forger.trust();
    forger.refuse("expired");
}

#[test]
fn a_chain_of_thirty_expired_roots_leads_to_a_fresh_one_and_nowhere_without() {
    let mut forger = Forger::new();
    for version in 2..=31 {
        let mut root = forger.make_root(version, 1);
        root["expires"] = json!(past());
        forger.put(&format!("{version}.root.json"), &root, vec![forger.key("root").sign(&root)]);
    }
    forger.refuse("expired");
    let root = forger.make_root(32, 1);
    forger.put("32.root.json", &root, vec![forger.key("root").sign(&root)]);
    forger.believe();
}

#[test]
fn a_root_follows_only_the_one_before_it() {
    // With a gap.
    let mut forger = Forger::new();
    let stolen = Forger::new();
    let mut root = stolen.make_root(3, 1);
    forger.put("3.root.json", &root, vec![forger.key("root").sign(&root), stolen.key("root").sign(&root)]);
    forger.believe();
    assert_eq!(forger.given.marks.root, 1, "nobody asks for it");
    // With another number than its name.
    forger.put("2.root.json", &root, vec![forger.key("root").sign(&root), stolen.key("root").sign(&root)]);
    forger.refuse("");
    // Signed by the new key alone, or by the old one alone.
    root["version"] = json!(2);
    for signature in [stolen.key("root").sign(&root), forger.key("root").sign(&root)] {
        forger.put("2.root.json", &root, vec![signature]);
        forger.refuse("");
    }
    // It says another role.
    let mut other = forger.make_root(2, 1);
    other["_type"] = json!("targets");
    forger.put("2.root.json", &other, vec![forger.key("root").sign(&other)]);
    forger.refuse("");
}

#[test]
fn one_signature_is_not_two() {
    let mut forger = Forger::new();
    // Two of two keys sign targets.
    let second = Key::new();
    forger.root["keys"][&second.id] = second.public();
    forger.root["roles"]["targets"] = json!({ "keyids": [forger.key("targets").id, second.id], "threshold": 2 });
    forger.trust();
    let targets = forger.targets(2);
    let first = forger.key("targets").sign(&targets);
    forger.publish_targets(2, &targets, vec![first.clone()]);
    forger.refuse("");
    forger.publish_targets(2, &targets, vec![first.clone(), first.clone()]);
    forger.refuse("");
    // The same signature in the name of the other key.
    let mut renamed = first.clone();
    renamed["keyid"] = json!(second.id);
    forger.publish_targets(2, &targets, vec![first.clone(), renamed]);
    forger.refuse("");
    // A key that no root knows.
    forger.publish_targets(2, &targets, vec![first.clone(), Key::new().sign(&targets)]);
    forger.refuse("");
    forger.publish_targets(2, &targets, vec![first, second.sign(&targets)]);
    forger.believe();
}

#[test]
fn a_root_that_names_one_key_twice_is_refused() {
    let mut forger = Forger::new();
    let first = forger.key("targets");
    let (id, public) = (first.id.clone(), first.public());
    let alias = "00".repeat(32);
    forger.root["keys"][&alias] = public;
    forger.root["roles"]["targets"] = json!({ "keyids": [id, alias], "threshold": 2 });
    forger.trust();
    let targets = forger.targets(2);
    let first = forger.key("targets").sign(&targets);
    let mut again = first.clone();
    again["keyid"] = json!("00".repeat(32));
    forger.publish_targets(2, &targets, vec![first, again]);
    forger.refuse("");
}

#[test]
fn who_has_the_online_keys_makes_no_release() {
    let mut forger = Forger::new();
    let mut targets = forger.targets(2);
    targets["targets"]["saveos-qemu-2.0.0.raucb"]["hashes"]["sha256"] = json!("11".repeat(32));
    for role in ["snapshot", "timestamp"] {
        // Under its own name and under that of the targets' key.
        let own = forger.key(role).sign(&targets);
        let mut renamed = own.clone();
        renamed["keyid"] = json!(forger.key("targets").id);
        for signatures in [vec![own], vec![renamed], vec![]] {
            forger.publish_targets(2, &targets, signatures);
            forger.refuse("");
        }
    }
    let mut torn = forger.key("targets").sign(&targets);
    let text = torn["sig"].as_str().expect("a text").to_owned();
    torn["sig"] = json!(format!("{}{}", if text.starts_with('0') { "1" } else { "0" }, &text[1..]));
    forger.publish_targets(2, &targets, vec![torn]);
    forger.refuse("");
}

#[test]
fn the_roles_of_files_are_not_exchanged_and_a_later_specification_is_not_guessed_at() {
    let mut forger = Forger::new();
    let mut targets = forger.targets(2);
    targets["_type"] = json!("snapshot");
    forger.publish_targets(2, &targets, vec![forger.key("targets").sign(&targets)]);
    forger.refuse("");
    let meta = json!({ "version": 1 });
    forger.publish_timestamp(3, meta, |timestamp| timestamp["_type"] = json!("snapshot"));
    forger.refuse("");
}

#[test]
fn what_has_no_end_is_cut_off() {
    let forge = |name: &str, len: usize, meta: fn(&Forger, usize)| {
        let mut forger = Forger::new();
        forger.publish(2);
        meta(&forger, len);
        crate::files::tests::put(&forger.given.metadata(name), &vec![b' '; len]);
        let started = std::time::Instant::now();
        forger.refuse("");
        assert!(started.elapsed() < Duration::from_secs(10), "{name}");
    };
    let nothing = |_: &Forger, _: usize| ();
    forge("timestamp.json", (64 << 10) + 1, nothing);
    forge("2.root.json", (256 << 10) + 1, nothing);
    // What leads to them says that they are so long.
    let snapshot =
        |forger: &Forger, len: usize| forger.publish_timestamp(2, json!({ "version": 2, "length": len }), |_| ());
    forge("2.snapshot.json", (256 << 10) + 1, snapshot);
    let targets =
        |forger: &Forger, len: usize| forger.publish_snapshot(2, json!({ "version": 2, "length": len }), |_| ());
    forge("2.targets.json", (4 << 20) + 1, targets);
}

#[test]
fn a_release_under_the_name_of_another_is_refused() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 8] = [
        (|target| target["custom"]["compatible"] = json!("saveos-rpi4"), "is 2.0.0 for saveos-rpi4"),
        (|target| target["custom"]["release"] = json!("1.0.0"), "is 1.0.0 for saveos-qemu"),
        (
            |target| drop(target["custom"].as_object_mut().expect("an object").remove("security_epoch")),
            "not understood",
        ),
        (|target| target["custom"]["security_epoch"] = json!(-1), "not understood"),
        (|target| target["custom"]["release"] = json!("../../2.0.0"), "not understood"),
        (|target| target["length"] = json!(0), "would be 0 bytes"),
        (|target| target["length"] = json!(5u64 << 30), "bytes long"),
        (|target| target["hashes"]["sha256"] = json!("11"), "a hash of another length"),
    ];
    for (change, why) in cases {
        let mut forger = Forger::new();
        let mut targets = forger.targets(2);
        change(&mut targets["targets"]["saveos-qemu-2.0.0.raucb"]);
        forger.publish_targets(2, &targets, vec![forger.key("targets").sign(&targets)]);
        forger.refuse_release(why);
    }
}

#[test]
fn a_name_that_leads_elsewhere_is_no_release() {
    for name in ["../saveos-qemu-2.0.0.raucb", "/etc/saveos-qemu-2.0.0.raucb", "x/../../saveos-qemu-2.0.0.raucb"] {
        let mut forger = Forger::new();
        let mut targets = forger.targets(2);
        let target = targets["targets"]["saveos-qemu-2.0.0.raucb"].take();
        targets["targets"] = json!({ name: target });
        forger.publish_targets(2, &targets, vec![forger.key("targets").sign(&targets)]);
        forger.refuse_release("there is no signed bundle");
    }
}

#[test]
fn an_owner_recovers_from_keys_that_were_stolen_and_used_to_count_far_ahead() {
    let mut forger = Forger::new();
    forger.believe();
    // The thief of the two online keys: numbers that nobody will ever reach.
    let far_ahead = u64::from(u32::MAX);
    let meta = forger.there("1.snapshot.json")["signed"]["meta"]["targets.json"].clone();
    forger.publish_snapshot(far_ahead, meta, |_| ());
    forger.believe();
    forger.publish(2);
    forger.refuse("older than what was seen");
    // A root with new online keys, signed by the old root key.
    let old = std::mem::replace(&mut forger.keys[2], Key::new());
    forger.keys[3] = Key::new();
    let root = forger.make_root(2, 1);
    forger.put("2.root.json", &root, vec![forger.key("root").sign(&root)]);
    forger.publish(2);
    forger.believe();
    // What was stolen signs nothing any more.
    forger.keys[2] = old;
    forger.publish(3);
    forger.refuse("");
}
