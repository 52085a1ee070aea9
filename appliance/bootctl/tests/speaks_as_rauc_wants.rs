//! The command line that RAUC calls: an installation that proves itself, and one that does not.

use std::path::Path;
use std::process::{Command, Output};

fn bootctl(file: &Path, words: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_saveos-bootctl");
    Command::new(program).arg("--file").arg(file).args(words).output().expect("it starts")
}

fn says(file: &Path, words: &[&str]) -> String {
    let output = bootctl(file, words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

fn partition() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(4 << 20).expect("room");
    says(file.path(), &["init"]);
    file
}

#[test]
fn an_installation_goes_from_one_slot_to_the_other() {
    let file = partition();
    let says = |words: &[&str]| says(file.path(), words);
    assert_eq!((says(&["get-primary"]), says(&["get-state", "B"])), ("A".into(), "bad".into()));
    says(&["set-state", "B", "bad"]);
    says(&["set-primary", "B"]);
    assert_eq!((says(&["get-primary"]), says(&["get-state", "B"])), ("B".into(), "good".into()));
    assert!(says(&["status"]).contains("B      in trial, tries left: 3\nnext   B"), "{}", says(&["status"]));
    says(&["set-state", "B", "good"]);
    assert!(says(&["status"]).contains("A      good\nB      good, proved itself last\nnext   B"));
    says(&["set-state", "B", "bad"]);
    assert_eq!(says(&["get-primary"]), "A");
    says(&["set-state", "A", "bad"]);
    let none = bootctl(file.path(), &["get-primary"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("rescue"));
    assert!(says(&["status"]).ends_with("next   B, to be repaired"));
    // Time went by in the rescue: one more try for the one that proved itself.
    says(&["revive"]);
    assert!(says(&["status"]).contains("B      in trial, tries left: 1\nnext   B"), "{}", says(&["status"]));
}

#[test]
fn what_it_does_not_understand_changes_nothing() {
    let file = partition();
    let before = std::fs::read(file.path()).expect("bytes");
    for words in [&["set-state", "C", "good"][..], &["set-state", "A", "fine"], &["fly"], &[]] {
        let output = bootctl(file.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("saveos-bootctl [--file PATH]"));
    }
    assert_eq!(std::fs::read(file.path()).expect("bytes"), before);
    assert_eq!(bootctl(Path::new("/nowhere"), &["status"]).status.code(), Some(1));
}
