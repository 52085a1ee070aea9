//! A release server in the wrong hands: what it can do is withhold, never install. (Specification, 1.5.2: attacks and weaknesses.)

use super::*;
use crate::update::folder_server;
use crate::update::journal::{SlotName, Written};
use saveos_release::{Edition, Keys, make_root, publish};
use std::net::TcpListener;
use std::path::PathBuf;

mod forger;

/// A server of a folder, and the box that asks it.
struct Given {
    folder: tempfile::TempDir,
    keys: Keys,
    source: Source,
    marks: Marks,
    /// From what release 2.0.0 may be reached.
    from: &'static [&'static str],
}

fn in_hours(hours: i64) -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)
}

fn given() -> Given {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = Keys::make(&folder.path().join("keys")).expect("keys");
    let root = folder.path().join("root.json");
    make_root(&keys, 1, in_hours(1000), &root).expect("a root");
    crate::files::tests::put(&folder.path().join("bundle"), b"a system");
    let source = Source {
        base: folder_server::serve(folder.path().join("served")).parse().expect("a URL"),
        root: std::fs::read(&root).expect("written"),
        compatible: "saveos-qemu".to_owned(),
        running: "1.0.0".parse().expect("a release"),
        spare: None,
        agent: ureq::Agent::config_builder().build().new_agent(),
    };
    Given { folder, keys, source, marks: Marks::default(), from: &[] }
}

impl Given {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn metadata(&self, name: &str) -> PathBuf {
        self.path("served/metadata").join(name)
    }

    /// Publishes release 2.0.0 for a machine.
    fn publish(&self, version: u64, hours: i64, compatible: &str) {
        let bundle = saveos_release::Bundle {
            file: self.path("bundle"),
            compatible: compatible.to_owned(),
            release: "2.0.0".to_owned(),
            security_epoch: 4,
            from: self.from.iter().map(|release| (*release).to_owned()).collect(),
            ..saveos_release::Bundle::default()
        };
        let edition = Edition { version, expires: in_hours(hours) };
        publish(&self.path("served"), &self.path("root.json"), &self.keys, edition, &[bundle]).expect("an edition");
    }

    fn read(&mut self) -> Outcome {
        self.source.read(&"2.0.0".parse().expect("a release"), &mut self.marks)
    }

    fn assert_refused(&mut self, why: &str) {
        let kept = self.marks;
        match self.read() {
            Outcome::Failed(UpdateFailure::Refused, text) => assert!(text.contains(why), "{text}"),
            other => panic!("not refused: {other:?}"),
        }
        assert_eq!(self.marks, kept, "what is refused moves no mark");
    }
}

#[test]
fn what_is_signed_is_believed() {
    let mut given = given();
    given.publish(1, 1, "saveos-qemu");
    let Outcome::Known(bundle) = given.read() else { panic!("not believed") };
    assert_eq!((bundle.length, bundle.epoch, bundle.path.as_str()), (8, 4, "saveos-qemu-2.0.0.raucb"));
    let url = given.source.url(&bundle).expect("an address");
    assert_eq!(given.source.agent.get(url.as_str()).call().expect("it is there").status(), 200);
}

#[test]
fn a_release_that_does_not_follow_the_running_one_is_refused() {
    let mut given = given();
    given.from = &["1.4.0", "1.5.0"];
    given.publish(1, 1, "saveos-qemu");
    let Outcome::Failed(UpdateFailure::Refused, text) = given.read() else { panic!("not refused") };
    assert!(text.contains("follows 1.4.0, 1.5.0, not 1.0.0"), "{text}");
    given.source.running = "1.5.0".parse().expect("a release");
    let Outcome::Known(bundle) = given.read() else { panic!("it follows") };
    // What the box came from, it may go back to; but to no other bundle of that name.
    given.source.running = "2.5.0".parse().expect("a release");
    let spare = |sha256| {
        let written = Written { sha256: Some(sha256), unproved: false };
        Some(Spare { slot: SlotName::B, release: "2.0.0".parse().expect("a release"), written })
    };
    given.source.spare = spare(Digest([1; 32]));
    assert!(matches!(given.read(), Outcome::Failed(UpdateFailure::Refused, _)));
    given.source.spare = spare(bundle.sha256);
    assert!(matches!(given.read(), Outcome::Known(_)));
}

#[test]
fn an_edition_that_is_older_than_what_was_seen_is_refused() {
    let mut given = given();
    given.publish(1, 1, "saveos-qemu");
    let older = std::fs::read(given.metadata("timestamp.json")).expect("written");
    given.publish(2, 1, "saveos-qemu");
    assert!(matches!(given.read(), Outcome::Known(_)));
    crate::files::tests::put(&given.metadata("timestamp.json"), &older);
    given.assert_refused("timestamp metadata is older");
}

#[test]
fn an_edition_that_expired_is_refused() {
    let mut given = given();
    given.publish(1, -1, "saveos-qemu");
    given.assert_refused("expired");
}

#[test]
fn what_others_signed_is_refused() {
    let mut given = given();
    let thief = Keys::make(&given.path("thief")).expect("keys");
    let owner = std::mem::replace(&mut given.keys, thief);
    make_root(&given.keys, 1, in_hours(1000), &given.path("root.json")).expect("a root");
    given.publish(1, 1, "saveos-qemu");
    given.assert_refused("");
    // With a root of their own as the next one.
    make_root(&given.keys, 2, in_hours(1000), &given.metadata("2.root.json")).expect("a root");
    given.assert_refused("");
    given.keys = owner;
}

#[test]
fn parts_of_two_editions_are_refused() {
    for part in ["snapshot.json", "targets.json"] {
        let mut given = given();
        given.publish(1, 1, "saveos-other");
        let other = std::fs::read(given.metadata(&format!("1.{part}"))).expect("written");
        given.publish(2, 1, "saveos-qemu");
        crate::files::tests::put(&given.metadata(&format!("2.{part}")), &other);
        given.assert_refused("");
    }
}

#[test]
fn a_bundle_for_another_machine_is_refused() {
    let mut given = given();
    given.publish(1, 1, "saveos-other");
    let Outcome::Failed(reason, text) = given.read() else { panic!("not refused") };
    assert_eq!(reason, UpdateFailure::Refused);
    assert!(text.contains("no signed bundle saveos-qemu-2.0.0.raucb"), "{text}");
}

#[test]
fn a_root_that_was_replaced_cannot_be_hidden_again() {
    let mut given = given();
    given.publish(1, 1, "saveos-qemu");
    make_root(&given.keys, 2, in_hours(1000), &given.metadata("2.root.json")).expect("a root");
    assert!(matches!(given.read(), Outcome::Known(_)));
    std::fs::remove_file(given.metadata("2.root.json")).expect("it was there");
    given.assert_refused("root metadata is older");
}

#[test]
fn what_is_no_metadata_is_refused_and_what_does_not_answer_is_asked_again() {
    let mut given = given();
    given.publish(1, 1, "saveos-qemu");
    for body in [b"<html>login</html>".to_vec(), Vec::new(), vec![b'{'; 100_000], br#"{"signed":{}"#.to_vec()] {
        crate::files::tests::put(&given.metadata("timestamp.json"), &body);
        given.assert_refused("");
    }
    let nowhere = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    given.source.base = format!("http://{nowhere}/").parse().expect("a URL");
    assert!(matches!(given.read(), Outcome::Failed(UpdateFailure::Download, _)));
}
