//! A repository that any released version wrote is opened, verified and restored by this one, byte for byte.
//!
//! The Python reader does the same from docs/FORMAT.md alone: `cargo xtask test reader`.

use std::path::Path;
use std::process::Command;

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("coreutils");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn version_1_opens_verifies_and_restores() {
    opens_verifies_and_restores("v1");
}

#[test]
fn version_1_sealed_without_aes_opens_verifies_and_restores() {
    opens_verifies_and_restores("v1-chacha");
}

fn opens_verifies_and_restores(name: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/golden").join(name);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let unpacked =
        Command::new("tar").arg("-xf").arg(golden.join("repository.tar")).arg("-C").arg(folder.path()).status();
    assert!(unpacked.expect("tar").success());
    let repository = std::fs::read_dir(folder.path())
        .expect("readable")
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("saveos.json").exists());
    let repository = repository.unwrap_or_else(|| folder.path().to_owned());
    let expected = std::fs::read(golden.join("expected.json")).expect("expected.json");
    let expected: serde_json::Value = serde_json::from_slice(&expected).expect("expected.json is JSON");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saveos"));
        command.args(arguments).arg("--repo").arg(&repository).env("SAVEOS_PASSPHRASE", "golden");
        let output = command.output().expect("saveos starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run(&["verify"]);
    let mut restored = 0;
    for snapshot in expected["snapshots"].as_array().expect("a list of snapshots") {
        let id = snapshot["snapshot"].as_str().expect("an id");
        let out = folder.path().join(format!("{id}.img"));
        run(&["restore", id, &out.to_string_lossy()]);
        assert_eq!(Some(sha256(&out).as_str()), snapshot["sha256"].as_str(), "snapshot {id}");
        restored += 1;
    }
    assert_eq!(restored, 2);
}
