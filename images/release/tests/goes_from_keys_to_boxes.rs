//! The way of a release: keys, a root that two of three signed, a draft, two of three signatures, publication, and a client that believes
//! it; then the keys change. With bundles that RAUC made and a token that keeps its key.

use std::process::Command;

mod support;
use support::{Workshop, workshop};

#[test]
fn two_of_three_make_a_release_and_one_does_not() {
    let Some(workshop) = workshop() else { return };
    workshop.root();
    workshop.does("check 1.json");
    workshop.bundle("1.0.0");
    workshop.put("sbom.json", r#"{"bomFormat": "CycloneDX", "specVersion": "1.6"}"#);
    let statement = workshop.does(
        "provenance --builder https://build.example/7 --source git+https://source.example/saveos --commit 0123abc \
         --parameter machine=qemu 1.0.0.raucb",
    );
    workshop.put("provenance.json", &statement);
    workshop.does(
        "draft --root 1.json --bundle 1.0.0.raucb --keyring signers/authority.pem --security-epoch 3 --sbom sbom.json \
         --provenance provenance.json targets.json",
    );
    workshop.does("sign --yes --root 1.json --key dora.pem targets.json");
    assert!(!workshop.run("check --root 1.json targets.json").ok, "one signature is not enough");
    let publish = workshop.online(
        "publish",
        "served",
        "1.json",
        "--file 1.0.0.raucb --file sbom.json --file provenance.json targets.json",
    );
    workshop.refuses(&publish, "targets 1 has 1 of 2 signatures");
    // A second time is not a second holder, and who signs roots signs no release.
    workshop.does("sign --yes --root 1.json --key dora.pem targets.json");
    workshop.refuses(&publish, "targets 1 has 1 of 2 signatures");
    workshop.refuses("sign --yes --root 1.json --key anna.pem targets.json", "none of those that sign targets");
    assert!(workshop.client_of_folder("1.json", "served").is_err(), "nothing is visible yet");

    // Elsewhere, on a copy.
    std::fs::copy(workshop.path("targets.json"), workshop.path("copy.json")).expect("a copy");
    workshop.does("sign --yes --root 1.json --key emil.pem copy.json");
    workshop.does("collect targets.json copy.json");
    let shown = workshop.run("check --root 1.json targets.json");
    assert!(shown.ok && shown.err.contains(&"ab".repeat(32)), "what a box must say that it runs: {}", shown.err);
    workshop.does(&publish);
    let names = workshop.client_of_folder("1.json", "served").expect("it is believed");
    assert_eq!(names, ["saveos-qemu-1.0.0.cdx.json", "saveos-qemu-1.0.0.intoto.json", "saveos-qemu-1.0.0.raucb"]);
    assert!(workshop.does("status --at served --root 1.json").contains("targets 1, until"));
}

#[test]
fn a_key_in_a_token_signs_beside_keys_in_files() {
    let Some(mut workshop) = workshop() else { return };
    let addresses = tokens(&mut workshop);
    for (name, address) in ["dora", "timestamp", "snapshot"].iter().zip(&addresses) {
        let public = workshop.run_words(&["key", "show", address]);
        assert!(public.ok, "{}", public.err);
        workshop.put(&format!("{name}.pub"), &public.out);
    }
    workshop.root();
    workshop.bundle("1.0.0");
    workshop.does("draft --root 1.json --bundle 1.0.0.raucb --keyring signers/authority.pem targets.json");
    workshop.does("sign --yes --root 1.json --key fritz.pem targets.json");
    let signed = workshop.run_words(&["sign", "--yes", "--root", "1.json", "--key", &addresses[0], "targets.json"]);
    assert!(signed.ok, "{}", signed.err);
    workshop.does("check --root 1.json targets.json");
    // Both machine keys in one token, in one run.
    let words = ["publish", "--to", "served", "--root", "1.json", "--file", "1.0.0.raucb", "targets.json"];
    let with = [&words[..], &["--timestamp-key", &addresses[1], "--snapshot-key", &addresses[2]]].concat();
    let published = workshop.run_words(&with);
    assert!(published.ok, "{}", published.err);
    assert_eq!(workshop.client_of_folder("1.json", "served").expect("it is believed"), ["saveos-qemu-1.0.0.raucb"]);

    workshop.put("pin", "wrong\n");
    workshop.refuses(&format!("key show {}", addresses[0]), "could not be unlocked");
    let other = addresses[0].replace("object=dora", "object=nobody");
    workshop.put("pin", "1234\n");
    workshop.refuses(&format!("key show {other}"), "no key with the label `nobody`");
}

/// A software token with three keys; their addresses.
fn tokens(workshop: &mut Workshop) -> Vec<String> {
    let run = |program: &str, variables: &[(&'static str, String)], line: &str| {
        let out = Command::new(program).args(line.split_whitespace()).envs(variables.iter().cloned()).output();
        let out = out.expect("it runs");
        assert!(out.status.success(), "{program} {line}: {}", String::from_utf8_lossy(&out.stderr));
    };
    std::fs::create_dir(workshop.path("tokens")).expect("a folder");
    let folder = workshop.path("tokens").display().to_string();
    workshop.put("softhsm2.conf", &format!("directories.tokendir = {folder}\nobjectstore.backend = file\n"));
    workshop.variables = vec![("SOFTHSM2_CONF", workshop.path("softhsm2.conf").display().to_string())];
    let set = &workshop.variables;
    run("softhsm2-util", set, "--init-token --free --label release --so-pin 5678 --pin 1234");
    workshop.put("pin", "1234\n");
    let key = workshop.path("p256.pem").display().to_string();
    let mut addresses = Vec::new();
    for (number, name) in ["dora", "timestamp", "snapshot"].iter().enumerate() {
        let new = format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {key}");
        run("openssl", &[], &new);
        let import = format!("--import {key} --token release --label {name} --id 0{number} --pin 1234");
        run("softhsm2-util", set, &import);
        let module = "/usr/lib/softhsm/libsofthsm2.so";
        addresses.push(format!("pkcs11:token=release;object={name}?module-path={module}&pin-source=pin"));
    }
    addresses
}

#[test]
fn a_new_root_needs_the_old_holders_and_the_new_ones_and_clients_follow_it() {
    let Some(workshop) = workshop() else { return };
    workshop.root();
    workshop.release("1.0.0", None, "");
    workshop.does(&workshop.online("publish", "served", "1.json", "--file 1.0.0.raucb targets-1.0.0.json"));

    // Cleo left, Gina came, and the key of the timestamp is a new one.
    workshop.key("gina");
    workshop.key("clock");
    workshop.does(
        "root --after 1.json --root-key anna.pub --root-key bela.pub --root-key gina.pub --root-threshold 2 \
         --timestamp-key clock.pub 2.json",
    );
    workshop.does("sign --yes --root 1.json --key gina.pem 2.json");
    workshop.does("sign --yes --root 1.json --key anna.pem 2.json");
    let refresh =
        "refresh --to served --root 1.json --root 2.json --snapshot-key snapshot.pem --timestamp-key clock.pem";
    workshop.refuses(refresh, "root 2 has 1 of 2 signatures that root 1 asks for");
    workshop.refuses("check --root 1.json 2.json", "root 2 has 1 of 2 signatures that root 1 asks for");
    workshop.does("sign --yes --root 1.json --key cleo.pem 2.json");
    workshop.does("check --root 1.json 2.json");
    workshop
        .refuses(&workshop.online("refresh", "served", "2.json", "--root 1.json"), "none of those that sign timestamp");
    workshop.refuses(&refresh.replace("--root 1.json ", ""), "give the root before as well");
    workshop.does(refresh);
    for shipped in ["1.json", "2.json"] {
        let names = workshop.client_of_folder(shipped, "served").expect("it is believed");
        assert_eq!(names, ["saveos-qemu-1.0.0.raucb"], "shipped with {shipped}");
    }
    workshop.refuses(&workshop.online("refresh", "served", "1.json", ""), "root 1 was replaced");
}

#[test]
fn what_is_published_is_signed_again_before_it_is_out_of_date() {
    let Some(workshop) = workshop() else { return };
    workshop.root();
    workshop.refuses(&workshop.online("refresh", "served", "1.json", ""), "nothing is published");
    workshop.release("1.0.0", None, "");
    let publish = workshop.online("publish", "served", "1.json", "--days 0 --file 1.0.0.raucb targets-1.0.0.json");
    workshop.does(&publish);
    assert!(workshop.client_of_folder("1.json", "served").expect_err("too old").contains("expired"));
    let status = workshop.run("status --at served --root 1.json --json");
    assert!(!status.ok && status.out.contains(r#""role":"timestamp","soon":true"#), "{}", status.out);
    workshop.does(&workshop.online("refresh", "served", "1.json", ""));
    workshop.client_of_folder("1.json", "served").expect("it is fresh");
    assert!(workshop.run("status --at served --root 1.json").ok);
    assert!(!workshop.run("status --at served --root 1.json --within 30").ok, "a week is less than 30 days");
}

#[test]
fn a_publication_that_was_cut_off_shows_the_state_before_and_is_run_again() {
    let Some(workshop) = workshop() else { return };
    workshop.root();
    workshop.release("1.0.0", None, "");
    workshop.does(&workshop.online("publish", "served", "1.json", "--file 1.0.0.raucb targets-1.0.0.json"));
    let visible = std::fs::read(workshop.path("served/metadata/timestamp.json")).expect("published");
    workshop.release("2.0.0", Some("served"), "");
    let publish = workshop.online("publish", "served", "1.json", "--json --file 2.0.0.raucb targets-2.0.0.json");
    workshop.does(&publish);
    // All but the last write.
    workshop.put("served/metadata/timestamp.json", &String::from_utf8(visible).expect("text"));
    let before = workshop.client_of_folder("1.json", "served").expect("the state before");
    assert_eq!(before, ["saveos-qemu-1.0.0.raucb"]);
    assert!(workshop.does(&publish).contains(r#""added":[]"#), "bundles that are there are not sent again");
    let bundle = std::fs::read_dir(workshop.path("served/targets")).expect("published").flatten();
    let bundle = bundle.map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with("2.0.0.raucb"));
    let half = std::fs::File::options().write(true).open(bundle.expect("published")).expect("it opens");
    half.set_len(1000).expect("it is cut");
    let again = workshop.does(&publish);
    assert!(again.contains(r#""added":["saveos-qemu-2.0.0.raucb"]"#), "half a bundle is none: {again}");
    let after = workshop.client_of_folder("1.json", "served").expect("the state after");
    assert_eq!(after, ["saveos-qemu-1.0.0.raucb", "saveos-qemu-2.0.0.raucb"]);
}
