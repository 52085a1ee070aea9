//! `saveos-slots` between a daemon and RAUC. RAUC itself is played by a script that does what it is told to: what the real one does
//! with these partitions, the bench shows.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{create_dir, read, remove_file};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Given {
    folder: tempfile::TempDir,
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::File::create(path).and_then(|mut file| file.write_all(bytes)).expect("room");
}

fn given() -> Given {
    let folder = tempfile::tempdir().expect("a folder");
    let given = Given { folder };
    create_dir(given.path("slots")).expect("a folder");
    put(&given.path("slots/bootstate"), &vec![0; 4 << 20]);
    given.bootctl(&["init"]);
    put(&given.path("slots/root-b"), &[0; 4096]);
    put(&given.path("slots/kernel-b"), &[0; 4096]);
    put(&given.path("bundle"), b"");
    given.runs("A");
    given.rauc("");
    given
}

impl Given {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn runs(&self, slot: &str) {
        put(&self.path("cmdline"), format!("console=ttyAMA0 rauc.slot={slot} ro\n").as_bytes());
    }

    /// A RAUC that writes two images, and does what else is said.
    fn rauc(&self, before: &str) {
        let sum = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (root, kernel) = (sum(b"a root"), sum(b"a kernel"));
        let slots = self.path("slots");
        let text = format!(
            "#!/bin/sh\n{before}\ncase $1 in\ninfo) printf '%s\\n' \"RAUC_MF_IMAGES=2\" \"RAUC_IMAGE_CLASS_0='kernel'\" \
             \"RAUC_IMAGE_DIGEST_0='{kernel}'\" RAUC_IMAGE_SIZE_0=8 \"RAUC_IMAGE_CLASS_1='rootfs'\" \"RAUC_IMAGE_DIGEST_1='{root}'\" \
             RAUC_IMAGE_SIZE_1=6 ;;\ninstall) printf 'a kernel' >{slots}/kernel-b; printf 'a root' >{slots}/root-b ;;\nesac\n",
            slots = slots.display()
        );
        put(&self.path("rauc"), text.as_bytes());
        std::fs::set_permissions(self.path("rauc"), PermissionsExt::from_mode(0o755)).expect("ours");
    }

    fn bootctl(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saveos-bootctl"));
        let output = command.arg("--file").arg(self.path("slots/bootstate")).args(words).output().expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn start(&self) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saveos-slots"));
        for name in ["order", "answer", "bundle", "slots", "rauc", "last-words", "cmdline"] {
            command.arg(format!("--{name}")).arg(self.path(name));
        }
        command.output().expect("it starts")
    }

    fn order(&self, verb: &str) -> Value {
        self.order_json(&json!(verb))
    }

    fn order_json(&self, verb: &Value) -> Value {
        put(&self.path("order"), json!({"id": "7", "verb": verb}).to_string().as_bytes());
        let output = self.start();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!self.path("order").exists(), "an order is taken away");
        let answer: Value = serde_json::from_slice(&read(self.path("answer")).expect("an answer")).expect("JSON");
        assert_eq!(answer["id"], "7");
        answer
    }
}

#[test]
fn an_update_is_installed_armed_and_kept() {
    let given = given();
    assert_eq!(given.order("look"), json!({"id": "7", "hopeless": false, "current": "A", "on_trial": false}));
    assert_eq!(given.order("install")["failed"], Value::Null);
    assert!(given.bootctl(&["status"]).contains("next   A"), "what is installed is not armed");
    put(&given.path("last-words"), b"of the release before");
    given.order("arm");
    assert!(!given.path("last-words").exists(), "nobody takes them for those of this one");
    assert!(given.bootctl(&["status"]).contains("B      in trial, tries left: 3\nnext   B"));
    given.runs("B");
    assert_eq!(given.order("look")["on_trial"], true);
    let refused = given.order("install");
    assert!(refused["failed"].as_str().expect("refused").contains("on trial"), "{refused}");
    assert_eq!(given.order("keep")["on_trial"], false);
    assert!(given.bootctl(&["status"]).contains("B      good, proved itself last"));
}

#[test]
fn a_system_that_is_abandoned_does_not_start_again_and_the_only_one_is_not_abandoned() {
    let given = given();
    assert!(given.order("abandon")["failed"].as_str().expect("refused").contains("no other system"));
    given.order("install");
    given.order("arm");
    given.runs("B");
    assert_eq!(given.order("abandon")["failed"], Value::Null);
    assert!(given.bootctl(&["status"]).contains("B      bad\nnext   A"), "{}", given.bootctl(&["status"]));
}

#[test]
fn what_nobody_signed_touches_no_slot_and_is_hopeless() {
    let given = given();
    given.rauc("[ $1 != info ] || { echo 'signature verification failed' >&2; exit 1; }");
    let answer = given.order("install");
    assert!(answer["failed"].as_str().expect("refused").contains("signature verification failed"), "{answer}");
    assert_eq!(answer["hopeless"], true);
    assert_eq!(read(given.path("slots/root-b")).expect("it is there"), [0; 4096]);
}

#[test]
fn a_bundle_that_brings_more_than_the_slots_hold_touches_none() {
    let given = given();
    given.rauc("[ $1 != info ] || { printf '%s\\n' RAUC_MF_IMAGES=1 RAUC_IMAGE_CLASS_0=bootloader RAUC_IMAGE_DIGEST_0=00 RAUC_IMAGE_SIZE_0=1; exit; }");
    let answer = given.order("install");
    assert_eq!(
        (answer["hopeless"].clone(), read(given.path("slots/root-b")).expect("it is there")),
        (json!(true), vec![0; 4096])
    );
    assert!(answer["failed"].as_str().expect("refused").contains("`bootloader`"), "{answer}");
}

#[test]
fn what_does_not_come_back_from_the_slot_is_not_installed() {
    let given = given();
    given.rauc("[ $1 != install ] || exit 0");
    let answer = given.order("install");
    assert!(answer["failed"].as_str().expect("not written").contains("kernel-b holds something else"), "{answer}");
    assert_eq!(answer["hopeless"], false);
    given.rauc("[ $1 != install ] || { echo 'no space' >&2; exit 1; }");
    assert!(given.order("install")["failed"].as_str().expect("it failed").contains("no space"));
}

#[test]
fn what_is_to_be_erased_is_left_for_the_next_start_and_not_during_a_trial() {
    let given = given();
    let answer = given.order_json(&json!({ "wipe": "pairing" }));
    assert_eq!(answer["failed"], Value::Null);
    assert!(given.bootctl(&["status"]).ends_with("erase  settings and owner\n"));
    given.bootctl(&["set-wipe", "none"]);
    given.bootctl(&["set-state", "B", "good"]);
    given.bootctl(&["set-state", "A", "good"]);
    given.bootctl(&["set-primary", "B"]);
    given.runs("B");
    let answer = given.order_json(&json!({ "wipe": "everything" }));
    assert!(answer["failed"].as_str().is_some_and(|why| why.contains("on trial")), "{answer}");
    assert!(!given.bootctl(&["status"]).contains("erase"));
}

#[test]
fn what_is_no_order_is_taken_away_and_nothing_is_done() {
    let given = given();
    let before = given.bootctl(&["status"]);
    let secret = given.path("secret");
    put(&secret, br#"{"id": "7", "verb": "arm"}"#);
    for order in ["", "{", r#"{"id": "7", "verb": "format"}"#, r#"{"id": "7", "verb": "arm", "bundle": "/etc/shadow"}"#]
    {
        put(&given.path("order"), order.as_bytes());
        assert!(!given.start().status.success(), "{order}");
        assert!(!given.path("order").exists());
    }
    symlink(&secret, given.path("order")).expect("a link");
    assert!(!given.start().status.success(), "a link is not followed");
    assert!(secret.exists() && !given.path("order").exists());
    let _ = remove_file(given.path("order"));
    assert_eq!(given.bootctl(&["status"]), before);
}
