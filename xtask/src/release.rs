//! `cargo xtask release`: a new number in every file, a section of the changelog, a commit and a tag, if the tree is fit for it; else
//! nothing. What is released is built and signed afterwards, from the tag (docs/RELEASING.md).

mod files;

use crate::shell::root;
use crate::version::number::{Level, Version};
use crate::version::{bump, current, git, tagged, today};
use crate::{shell, version};
use anyhow::{Context, bail, ensure};
use std::io::{IsTerminal, Write};
use std::path::Path;

/// From where releases are made; prereleases also from where they are tried.
const BRANCHES: &[&str] = &["main", "hotfix/"];
const BRANCHES_OF_PRERELEASES: &[&str] = &["main", "hotfix/", "develop"];

/// What is asked for.
struct Wishes<'a> {
    level: Level,
    /// What people read first.
    message: Option<&'a str>,
    /// Nobody is asked.
    yes: bool,
    /// Test suites; empty: all.
    suites: Vec<&'a str>,
}

impl<'a> Wishes<'a> {
    fn parse(words: &[&'a str]) -> anyhow::Result<Wishes<'a>> {
        let (level, mut words) = match words {
            [level, rest @ ..] => (level.parse()?, rest.iter()),
            [] => bail!("release patch|minor|major|prerelease [--message TEXT] [--suites \"SUITE…\"] [--yes]"),
        };
        let mut wishes = Wishes { level, message: None, yes: false, suites: Vec::new() };
        while let Some(word) = words.next() {
            match *word {
                "--yes" => wishes.yes = true,
                "--message" => wishes.message = Some(words.next().context("--message wants a text")?),
                "--suites" => wishes.suites = words.next().context("--suites wants names")?.split(' ').collect(),
                other => bail!("release has no option {other}: --message TEXT, --suites \"SUITE…\", --yes"),
            }
        }
        Ok(wishes)
    }
}

/// The task.
pub(crate) fn run(words: &[&str]) -> anyhow::Result<()> {
    match words {
        ["notes"] => {
            println!("{}", notes_of(&root())?);
            return Ok(());
        }
        ["tag"] => return crate::container::to_github(&files::tag(&root())?),
        ["firmware", machine] => return files::firmware(machine),
        ["draft"] => return files::draft(),
        // What only holders of keys do, where they have them.
        ["sign" | "publish", ..] => {
            let program = ["run", "--locked", "--quiet", "--package", "saveos-release", "--"];
            return shell::run("cargo", &[&program[..], words].concat());
        }
        _ => {}
    }
    let wishes = Wishes::parse(words)?;
    let root = root();
    let version = check(&root, wishes.level)?;
    println!("{} → {version}, a commit and the tag v{version} on {}", current(&root)?, branch(&root)?);
    if !wishes.yes {
        agree(&version)?;
    }
    let version =
        make(&root, &wishes, &today()?, &|| shell::run("cargo", &[&["xtask", "test"][..], &wishes.suites].concat()))?;
    println!("v{version} is made. Next: git push --follow-tags origin {}", branch(&root)?);
    Ok(())
}

/// What the release says that this commit is.
fn notes_of(root: &Path) -> anyhow::Result<String> {
    let version = current(root)?;
    Ok(git(root, &["tag", "--list", "--format=%(contents)", &format!("v{version}")])?.trim().to_owned())
}

/// A person types the number: one `y` too many is soon typed.
fn agree(version: &Version) -> anyhow::Result<()> {
    ensure!(std::io::stdin().is_terminal(), "nobody is here to agree: say --yes");
    print!("Type {version} to go on: ");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    ensure!(line.trim() == version.to_string(), "nothing was changed");
    Ok(())
}

/// Whether a release can be made here, and its number.
fn check(root: &Path, level: Level) -> anyhow::Result<Version> {
    let changes = git(root, &["status", "--porcelain"])?;
    ensure!(changes.is_empty(), "the tree has changes that are not committed:\n{changes}");
    let version = current(root)?.raised(level);
    let branch = branch(root)?;
    let allowed = if level == Level::Prerelease { BRANCHES_OF_PRERELEASES } else { BRANCHES };
    let fits = |name: &&str| branch == *name || name.ends_with('/') && branch.starts_with(*name);
    ensure!(allowed.iter().any(fits), "releases are made on {}, and this is {branch}", allowed.join(", "));
    if let Some(newer) = tagged(root)?.into_iter().filter(|tagged| *tagged >= version).max() {
        bail!("v{newer} is tagged already, and {version} is not newer: is this branch behind?");
    }
    Ok(version)
}

fn branch(root: &Path) -> anyhow::Result<String> {
    Ok(git(root, &["rev-parse", "--abbrev-ref", "HEAD"])?.trim().to_owned())
}

/// Tests, then changes all or nothing.
fn make(
    root: &Path,
    wishes: &Wishes<'_>,
    day: &str,
    tests: &dyn Fn() -> anyhow::Result<()>,
) -> anyhow::Result<Version> {
    check(root, wishes.level)?;
    tests().context("the tests fail: nothing was changed")?;
    // Tests may have left something; and somebody may have worked meanwhile.
    check(root, wishes.level)?;
    let before = git(root, &["rev-parse", "HEAD"])?;
    let done = commit(root, wishes, day);
    if done.is_err() {
        // The tree was clean: only what was made here is undone.
        git(root, &["reset", "--quiet", "--hard", before.trim()])?;
    }
    done
}

fn commit(root: &Path, wishes: &Wishes<'_>, day: &str) -> anyhow::Result<Version> {
    let version::Bump { version, notes, .. } = bump(root, wishes.level, day)?;
    let title = format!("SaveOS {version}");
    let text = wishes.message.map_or_else(|| notes.clone(), |message| format!("{message}\n\n{notes}"));
    git(root, &["commit", "--quiet", "--all", "-m", &title])?;
    // The heads of sections begin with what git takes for a comment.
    let tag = format!("v{version}");
    git(root, &["tag", "--annotate", &tag, "--cleanup=verbatim", "-m", &format!("{title}\n\n{text}\n")])?;
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::scratch;

    fn wishes(level: Level) -> Wishes<'static> {
        Wishes { level, message: Some("Restores are twice as fast."), yes: true, suites: Vec::new() }
    }

    fn head(tree: &Path) -> String {
        git(tree, &["log", "-1", "--format=%H %D"]).expect("a head")
    }

    #[test]
    fn a_release_is_a_commit_and_a_tag_that_says_what_is_new() {
        let (_folder, tree) = scratch();
        let version = make(&tree, &wishes(Level::Minor), "2026-11-30", &|| Ok(())).expect("it is made");
        assert_eq!(current(&tree).expect("all files agree"), version);
        assert_eq!(git(&tree, &["status", "--porcelain"]).expect("a status"), "");
        assert_eq!(git(&tree, &["log", "-1", "--format=%s"]).expect("a log").trim(), format!("SaveOS {version}"));
        let said = git(&tree, &["tag", "--list", "--format=%(contents)", &format!("v{version}")]).expect("a tag");
        assert!(said.starts_with(&format!("SaveOS {version}\n\nRestores are twice as fast.\n\n### ")), "{said}");
        // The next one has nothing to say until somebody says something.
        let error = make(&tree, &wishes(Level::Patch), "2026-12-01", &|| Ok(())).err();
        assert!(error.is_some_and(|error| format!("{error:#}").contains("nothing to release")));
    }

    #[test]
    fn candidates_are_numbered_and_end_in_the_release() {
        let (_folder, tree) = scratch();
        git(&tree, &["checkout", "--quiet", "-b", "develop"]).expect("a branch");
        let first = make(&tree, &wishes(Level::Prerelease), "2026-11-30", &|| Ok(())).expect("it is made");
        let second = make(&tree, &wishes(Level::Prerelease), "2026-11-30", &|| Ok(())).expect("it is made");
        assert!(first.is_prerelease() && second == first.raised(Level::Prerelease));
        let error = make(&tree, &wishes(Level::Patch), "2026-11-30", &|| Ok(())).err();
        assert!(error.is_some_and(|error| error.to_string().contains("this is develop")));
        git(&tree, &["checkout", "--quiet", "main"]).expect("a branch");
        git(&tree, &["merge", "--quiet", "develop"]).expect("a merge");
        let stable = make(&tree, &wishes(Level::Patch), "2026-11-30", &|| Ok(())).expect("it is made");
        assert_eq!(stable, second.raised(Level::Patch));
    }

    /// Each is refused, and leaves what was there.
    #[test]
    fn what_is_not_fit_for_a_release_is_refused_and_left_alone() {
        type Spoil = fn(&Path);
        let spoils: [(Spoil, &str); 5] = [
            (|tree| drop(std::fs::File::create(tree.join("new"))), "not committed"),
            (|tree| drop(git(tree, &["checkout", "--quiet", "-b", "feature/x"])), "this is feature/x"),
            (|tree| drop(git(tree, &["checkout", "--quiet", "--detach"])), "this is HEAD"),
            (|tree| drop(git(tree, &["tag", "v99.0.0"])), "v99.0.0 is tagged already"),
            (
                |tree| drop(git(tree, &["tag", &format!("v{}", current(tree).expect("one").raised(Level::Patch))])),
                "is tagged already",
            ),
        ];
        for (spoil, expected) in spoils {
            let (_folder, tree) = scratch();
            spoil(&tree);
            let before = head(&tree);
            let error =
                make(&tree, &wishes(Level::Patch), "2026-11-30", &|| panic!("tests of a tree that is not fit")).err();
            let error = error.map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(error.contains(expected), "{error}");
            assert_eq!(head(&tree), before);
        }
    }

    #[test]
    fn red_tests_and_a_commit_that_fails_leave_the_tree_as_it_was() {
        let (_folder, tree) = scratch();
        let before = head(&tree);
        let error = make(&tree, &wishes(Level::Patch), "2026-11-30", &|| bail!("one is red")).err();
        assert!(error.is_some_and(|error| format!("{error:#}").contains("one is red")));
        let hook = tree.join(".git/hooks/pre-commit");
        std::fs::create_dir_all(tree.join(".git/hooks")).expect("room");
        std::fs::File::create(&hook).and_then(|mut file| file.write_all(b"#!/bin/sh\nexit 1\n")).expect("room");
        shell::output("chmod", &["+x", &hook.to_string_lossy()]).expect("it is ours");
        assert!(make(&tree, &wishes(Level::Patch), "2026-11-30", &|| Ok(())).is_err());
        assert_eq!((head(&tree), git(&tree, &["status", "--porcelain"]).expect("a status")), (before, String::new()));
    }

    #[test]
    fn what_is_asked_for_is_understood_whole() {
        let wishes = Wishes::parse(&["minor", "--yes", "--suites", "format lint", "--message", "x"]).expect("wishes");
        assert_eq!((wishes.level, wishes.yes, wishes.suites), (Level::Minor, true, vec!["format", "lint"]));
        for words in [&[][..], &["big"], &["patch", "--force"], &["patch", "--message"]] {
            assert!(Wishes::parse(words).is_err(), "{words:?}");
        }
    }
}
