//! Whatever starts the program in production says what it understands: units of systemd, compose, Kubernetes, the image.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;

/// The words of every line that starts the program, and the file.
fn begun() -> Vec<(&'static str, Vec<String>)> {
    let files = [
        "saveos-server.service",
        "docker-compose.prod.yml",
        "Dockerfile.prod",
        "k8s/base/api.yaml",
        "k8s/cell/worker.yaml",
        "k8s/cell/broker.yaml",
        "k8s/base/migrate.yaml",
    ];
    let mut all = Vec::new();
    for file in files {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file);
        let text = std::fs::read_to_string(path).expect(file);
        for line in text.lines().map(str::trim) {
            let words = ["command: [", "args: [", "CMD ["].iter().find_map(|start| line.strip_prefix(start));
            let unit = line.strip_prefix("ExecStart=/usr/bin/saveos-server ");
            let words: Vec<String> = match (words, unit) {
                (Some(list), _) => {
                    list.trim_end_matches(']').split(',').map(|word| word.trim().replace('"', "")).collect()
                }
                (None, Some(line)) => line.split(' ').map(str::to_owned).collect(),
                (None, None) => continue,
            };
            // Other services of compose begin with an option.
            if !words[0].starts_with('-') {
                all.push((file, words));
            }
        }
    }
    all
}

#[test]
fn every_word_that_starts_it_is_understood() {
    let begun = begun();
    for (file, count) in
        [("docker-compose.prod.yml", 5), ("k8s/base/api.yaml", 1), ("saveos-server.service", 1), ("Dockerfile.prod", 1)]
    {
        assert_eq!(begun.iter().filter(|(name, _)| *name == file).count(), count, "{file}: {begun:?}");
    }
    let understood = |program: &OsStr, words: &[String]| {
        // What stands before `--help` is read first.
        let output = Command::new(program).args(words).arg("--help").output();
        output.expect("it starts").status.success()
    };
    // The way back starts the program before with the words of today.
    let ours = OsString::from(env!("CARGO_BIN_EXE_saveos-server"));
    for program in [Some(ours), std::env::var_os("SAVEOS_TEST_OLDER")].into_iter().flatten() {
        for (file, words) in &begun {
            assert!(understood(&program, words), "{}, {file}: {words:?}", program.display());
            let wrong = [&words[..], &["--replicas".to_owned()]].concat();
            assert!(!understood(&program, &wrong), "the judge can say no");
        }
    }
}
