//! docs/RELEASING.md is what people follow with their keys in hand: its commands work, one after the other.

use std::process::Command;

mod support;
use support::workshop;

#[test]
fn the_commands_of_the_document_make_a_release_and_then_another_root() {
    let Some(workshop) = workshop() else { return };
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/RELEASING.md")).expect("it is there");
    let commands: Vec<&str> = document.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(commands.len() >= 7, "the document lost its commands");

    // What the document takes for granted: a bundle, of what it is made, and the authority that signed it.
    workshop.bundle("1.0.0");
    let folder = workshop.path("hands");
    std::fs::create_dir(&folder).expect("a folder");
    for (from, to) in [("1.0.0.raucb", "bundle.raucb"), ("signers/authority.pem", "authority.pem")] {
        std::fs::copy(workshop.path(from), folder.join(to)).expect("a copy");
    }
    workshop.put("hands/sbom.json", r#"{"bomFormat": "CycloneDX", "specVersion": "1.6"}"#);
    // Nobody sits here who could be asked.
    let program = env!("CARGO_BIN_EXE_saveos-release");
    let asked = format!(
        "set -eu\nsaveos_release() {{\n  if [ \"$1\" = sign ]; then shift; '{program}' sign --yes \"$@\"; else '{program}' \"$@\"; fi\n}}\n"
    );
    let script = asked + &commands.concat().replace("saveos-release ", "saveos_release ");
    let out = Command::new("sh").args(["-c", &script]).current_dir(&folder).output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    for shipped in ["hands/1.root.json", "hands/2.root.json"] {
        let names = workshop.client_of_folder(shipped, "hands/releases").expect("it is believed");
        assert_eq!(names.len(), 3, "{names:?}");
    }
}
