//! On a clone of this tree: what a bump changes, and that nothing changes when it cannot change all.

use super::*;

/// A clone of what is committed here, with somebody who commits.
pub(crate) fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = folder.path().join("tree");
    let (from, to) = (root(), tree.clone());
    output("git", &["clone", "--quiet", "--no-hardlinks", &from.to_string_lossy(), &to.to_string_lossy()])
        .expect("it can be cloned");
    for (key, value) in [
        ("user.name", "Anna"),
        ("user.email", "anna@example.org"),
        ("commit.gpgsign", "false"),
        ("tag.gpgsign", "false"),
    ] {
        git(&tree, &["config", key, value]).expect("it can be set");
    }
    git(&tree, &["checkout", "--quiet", "-B", "main"]).expect("a branch");
    (folder, tree)
}

fn status(tree: &Path) -> String {
    git(tree, &["status", "--porcelain"]).expect("a status")
}

#[test]
fn every_file_says_the_same_number_and_the_lock_files_still_hold() {
    let (_folder, tree) = scratch();
    let before = current(&tree).expect("all files agree");
    let bump = bump(&tree, Level::Minor, "2026-11-30").expect("it can be raised");
    assert_eq!(current(&tree).expect("all files agree"), bump.version);
    assert!(bump.version > before && !bump.version.is_prerelease());
    let changed = status(&tree);
    for file in ["VERSION", "Cargo.toml", "Cargo.lock", "CHANGELOG.md", "appliance/engine/fuzz/Cargo.lock"] {
        assert!(changed.lines().any(|line| line == format!(" M {file}")), "{file}: {changed}");
    }
    assert_eq!(changed.lines().count(), bump.files, "{changed}");
    let manifest = tree.join("Cargo.toml").to_string_lossy().into_owned();
    output("cargo", &["metadata", "--locked", "--offline", "--format-version=1", "--manifest-path", &manifest])
        .expect("the lock file is as cargo would write it");
    let changelog = read(&tree, CHANGELOG).expect("a changelog");
    assert!(changelog.contains(&format!("\n## {} - 2026-11-30\n\n### ", bump.version)));
    assert!(bump.notes.starts_with("### ") && changelog.contains(&bump.notes));
}

#[test]
fn nothing_changes_when_a_file_says_another_number_or_the_changelog_nothing() {
    type Spoil = fn(&Path);
    let spoils: [(Spoil, &str); 4] = [
        (|tree| put(&tree.join("VERSION"), "9.9.9\n").expect("room"), "does not say 9.9.9"),
        (|tree| put(&tree.join("VERSION"), "one\n").expect("room"), "is no version"),
        (
            |tree| {
                let path = tree.join("appliance/daemon/fuzz/Cargo.lock");
                let text = std::fs::read_to_string(&path).expect("a lock file");
                put(
                    &path,
                    &text.replacen(
                        "name = \"saveos-protocol\"\nversion = \"",
                        "name = \"saveos-protocol\"\nversion = \"7",
                        1,
                    ),
                )
                .expect("room");
            },
            "appliance/daemon/fuzz/Cargo.lock",
        ),
        (|tree| put(&tree.join(CHANGELOG), "# Changelog\n\n## Unreleased\n").expect("room"), "nothing to release"),
    ];
    let (_folder, tree) = scratch();
    for (spoil, expected) in spoils {
        spoil(&tree);
        let before = git(&tree, &["diff"]).expect("a diff");
        let error = bump(&tree, Level::Patch, "2026-11-30").err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains(expected), "{error}");
        assert_eq!(git(&tree, &["diff"]).expect("a diff"), before);
        git(&tree, &["checkout", "--quiet", "--", "."]).expect("as before");
    }
}

#[test]
fn a_file_that_cannot_be_written_leaves_all_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    put(&path("a"), "1").expect("room");
    std::fs::create_dir(path("b")).expect("room");
    let change = |name: &str| (path(name), "1".to_owned(), "2".to_owned());
    assert!(write_all(&[change("a"), change("b")]).is_err());
    assert_eq!(std::fs::read_to_string(path("a")).expect("it is there"), "1");
}
