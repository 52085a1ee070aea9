//! Mistakes of a ceremony, each refused with its reason before anything is written.

mod support;
use support::workshop;

#[test]
fn a_root_by_which_one_hand_could_do_what_two_should_is_not_drafted() {
    let Some(workshop) = workshop() else { return };
    let machines = "--snapshot-key snapshot.pub --timestamp-key timestamp.pub";
    let root = |people: &str, machines: &str| format!("root {people} --targets-threshold 1 {machines} root.json");
    for (people, machines, why) in [
        (
            "--root-key anna.pub --root-threshold 2 --targets-key dora.pub",
            machines,
            "1 keys cannot give 2 signatures of root",
        ),
        ("--root-key anna.pub --root-threshold 0 --targets-key dora.pub", machines, "cannot give 0 signatures"),
        (
            "--root-key anna.pub --root-key anna.pub --root-threshold 2 --targets-key dora.pub",
            machines,
            "given twice for root",
        ),
        ("--root-key anna.pub --root-threshold 1", machines, "nobody is named who signs targets"),
        (
            "--root-key anna.pub --root-threshold 1 --targets-key dora.pub",
            "--snapshot-key dora.pub --timestamp-key timestamp.pub",
            "who steals it has both",
        ),
        ("--root-key anna.pem --root-threshold 1 --targets-key dora.pub", machines, "holds no public key"),
    ] {
        workshop.refuses(&root(people, machines), why);
        assert!(!workshop.path("root.json").exists(), "{why}");
    }
    workshop.does(&root("--root-key anna.pub --root-threshold 1 --targets-key dora.pub", machines));
    workshop
        .refuses(&root("--root-key bela.pub --root-threshold 1 --targets-key dora.pub", machines), "could not make");
    workshop.refuses("key new anna.pem", "could not use anna.pem");
    workshop.refuses("sign --key anna.pem root.json", "--yes");
    workshop.refuses("sign --yes --key bela.pem root.json", "none of those that sign root");
}

#[test]
fn a_draft_that_says_something_untrue_of_its_bundle_is_refused() {
    let Some(workshop) = workshop() else { return };
    workshop.root();
    workshop.bundle("1.0.0");
    let draft =
        |more: &str| format!("draft --root 1.json --bundle 1.0.0.raucb --keyring signers/authority.pem {more} t.json");
    workshop.put("sbom.json", r#"{"spdxVersion": "SPDX-2.3"}"#);
    workshop.refuses(&draft("--sbom sbom.json"), "no CycloneDX document");
    workshop.bundle("1.0.1");
    let other = workshop.does("provenance --builder a --source b --commit c 1.0.1.raucb");
    workshop.put("provenance.json", &other);
    workshop.refuses(&draft("--provenance provenance.json"), "it speaks of another bundle");
    workshop.put("provenance.json", r#"{"_type": "https://in-toto.io/Statement/v1"}"#);
    workshop.refuses(&draft("--provenance provenance.json"), "no in-toto statement");
    workshop.put("noise.raucb", "no bundle");
    let noise = "draft --root 1.json --bundle noise.raucb --keyring signers/authority.pem t.json";
    workshop.refuses(noise, "rauc does not take noise.raucb for a bundle");
    workshop.put("stranger.pem", "");
    let openssl = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=x -keyout x.key -out stranger.pem";
    let made = std::process::Command::new("openssl").args(openssl.split(' ')).current_dir(workshop.path("")).output();
    assert!(made.expect("it runs").status.success());
    workshop.refuses(
        "draft --root 1.json --bundle 1.0.0.raucb --keyring stranger.pem t.json",
        "rauc does not take 1.0.0.raucb for a bundle",
    );
    workshop.refuses("draft --root 1.json t.json", "there is nothing to sign");
    workshop.does(&draft(""));
}

#[test]
fn a_release_never_changes_and_two_next_states_are_not_both_published() {
    let Some(workshop) = workshop() else { return };
    workshop.root();
    workshop.release("1.0.0", None, "");
    let publish = |name: &str, files: &str| workshop.online("publish", "served", "1.json", &format!("{files} {name}"));
    workshop.refuses(&publish("targets-1.0.0.json", ""), "its file was not given");
    workshop.bundle("9.0.0");
    workshop.refuses(&publish("targets-1.0.0.json", "--file 9.0.0.raucb"), "none of the signed files");
    workshop.does(&publish("targets-1.0.0.json", "--file 1.0.0.raucb"));

    // Two draft from the same state.
    workshop.release("2.0.0", Some("served"), "");
    workshop.release("3.0.0", Some("served"), "");
    workshop.does(&publish("targets-2.0.0.json", "--file 2.0.0.raucb"));
    workshop.refuses(&publish("targets-3.0.0.json", "--file 3.0.0.raucb"), "another targets 2 is published");
    workshop.refuses(&publish("targets-1.0.0.json", ""), "older than what is published");

    std::fs::remove_dir_all(workshop.path("slot-2.0.0")).expect("it was there");
    workshop.bundle("2.0.0");
    workshop.refuses(
        "draft --at served --root 1.json --bundle 2.0.0.raucb --keyring signers/authority.pem t.json",
        "a release never changes",
    );
    workshop.refuses("draft --at served --root 1.json --withdraw saveos-qemu-7 t.json", "no release saveos-qemu-7");
    workshop.does("draft --at served --root 1.json --withdraw saveos-qemu-2.0.0 t.json");
    for key in ["dora", "emil"] {
        workshop.does(&format!("sign --yes --root 1.json --key {key}.pem t.json"));
    }
    workshop.does(&publish("t.json", ""));
    assert_eq!(workshop.client_of_folder("1.json", "served").expect("it is believed"), ["saveos-qemu-1.0.0.raucb"]);
}

#[test]
fn a_signature_under_the_name_of_another_key_counts_for_nobody() {
    let Some(workshop) = workshop() else { return };
    workshop.root();
    workshop.bundle("1.0.0");
    workshop.does("draft --root 1.json --bundle 1.0.0.raucb --keyring signers/authority.pem t.json");
    workshop.does("sign --yes --root 1.json --key dora.pem t.json");
    let text = std::fs::read_to_string(workshop.path("t.json")).expect("written");
    let mut signed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let emil = workshop.run("key show emil.pem").err.trim().trim_start_matches("key ").to_owned();
    let signatures = signed["signatures"].as_array_mut().expect("a list");
    let mut copy = signatures[0].clone();
    copy["keyid"] = emil.into();
    signatures.push(copy);
    workshop.put("t.json", &signed.to_string());
    assert!(!workshop.run("check --root 1.json t.json").ok);
    let publish = workshop.online("publish", "served", "1.json", "--file 1.0.0.raucb t.json");
    workshop.refuses(&publish, "targets 1 has 1 of 2 signatures");
}

#[test]
fn what_expired_is_not_published() {
    let Some(workshop) = workshop() else { return };
    workshop.root();
    workshop.release("1.0.0", None, "--days 0");
    let publish = |root: &str| workshop.online("publish", "served", root, "--file 1.0.0.raucb targets-1.0.0.json");
    workshop.refuses(&publish("1.json"), "targets 1 expired on");
    workshop.does("root --after 1.json --days 0 old.json");
    let text = std::fs::read_to_string(workshop.path("old.json")).expect("written");
    workshop.put("old.json", &text.replacen(r#""version": 2"#, r#""version": 1"#, 1));
    workshop.does("sign --yes --key anna.pem old.json");
    workshop.does("sign --yes --key cleo.pem old.json");
    workshop.refuses(&publish("old.json"), "root 1 expired on");
}

#[test]
fn who_has_the_keys_of_the_machines_makes_no_start_for_the_next_release() {
    let (Some(workshop), Some(thief)) = (workshop(), workshop()) else { return };
    for key in ["snapshot.pem", "snapshot.pub", "timestamp.pem", "timestamp.pub"] {
        std::fs::copy(workshop.path(key), thief.path(key)).expect("a copy");
    }
    workshop.root();
    thief.root();
    thief.release("1.0.0", None, "");
    let served = workshop.path("served").display().to_string();
    thief.does(&thief.online("publish", &served, "1.json", "--file 1.0.0.raucb targets-1.0.0.json"));
    std::fs::remove_file(workshop.path("served/metadata/1.root.json")).expect("it was there");
    workshop.refuses("draft --at served --root 1.json t.json", "signed by nobody whom this root");
}

#[test]
fn what_somebody_else_published_is_no_start_for_the_next_release() {
    let (Some(workshop), Some(thief)) = (workshop(), workshop()) else { return };
    thief.root();
    thief.release("1.0.0", None, "");
    let served = workshop.path("served").display().to_string();
    thief.does(&thief.online("publish", &served, "1.json", "--file 1.0.0.raucb targets-1.0.0.json"));
    workshop.root();
    workshop.refuses("status --at served --root 1.json", "another root 1 is published");
    workshop.put("served/metadata/1.root.json", &" ".repeat((4 << 20) + 1));
    workshop.refuses("status --at served --root 1.json", "that is no metadata");
    std::fs::remove_file(workshop.path("served/metadata/1.root.json")).expect("it was there");
    workshop.refuses("status --at served --root 1.json", "signed by nobody whom this root");

    // The owner's next root, and in front of it one of the thief's that says that the owner's holders count, and the thief's too.
    workshop.does("root --after 1.json --days 30 2.json");
    workshop.does("sign --yes --key anna.pem 2.json");
    workshop.does("sign --yes --key bela.pem 2.json");
    std::fs::copy(workshop.path("anna.pub"), thief.path("owner.pub")).expect("a copy");
    thief.does(
        "root --root-key owner.pub --root-key anna.pub --root-threshold 1 --targets-key dora.pub --targets-key emil.pub \
         --targets-key fritz.pub --snapshot-key snapshot.pub --timestamp-key timestamp.pub forged.json",
    );
    thief.does("sign --yes --key anna.pem forged.json");
    std::fs::copy(thief.path("forged.json"), workshop.path("served/metadata/1.root.json")).expect("a copy");
    workshop.refuses("status --at served --root 2.json", "signed by nobody whom this root");
    workshop.refuses("draft --at served --root 2.json t.json", "signed by nobody whom this root");
}

#[test]
fn the_oldest_release_to_come_from_is_written_out_as_a_list() {
    let Some(workshop) = workshop() else { return };
    workshop.root();
    let publish = |release: &str| {
        let files = format!("--file {release}.raucb targets-{release}.json");
        workshop.does(&workshop.online("publish", "served", "1.json", &files));
    };
    workshop.release("1.9.0", None, "");
    publish("1.9.0");
    for release in ["1.10.0", "1.2.0", "2.0.0"] {
        let lowest = if release == "2.0.0" { "--minimum-previous 1.9.0" } else { "" };
        workshop.release(release, Some("served"), lowest);
        publish(release);
    }
    let shown = workshop.run("check --root 1.json targets-2.0.0.json").out;
    assert!(shown.contains("2 of 2 signatures"), "{shown}");
    let targets = std::fs::read_to_string(workshop.path("targets-2.0.0.json")).expect("written");
    let targets: serde_json::Value = serde_json::from_str(&targets).expect("JSON");
    let said = &targets["signed"]["targets"]["saveos-qemu-2.0.0.raucb"]["custom"];
    assert_eq!(said["from"], serde_json::json!(["1.10.0", "1.9.0"]));
    workshop.bundle("next");
    workshop.refuses(
        "draft --at served --root 1.json --bundle next.raucb --keyring signers/authority.pem --minimum-previous old t.json",
        "`old` has no order",
    );
}
