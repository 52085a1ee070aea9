//! `cargo xtask version`: the number of the product stands in several files, and is read and raised in all of them or in none.

pub(crate) mod changelog;
pub(crate) mod number;
mod places;

use crate::shell::{output, root};
use anyhow::{Context, bail, ensure};
use changelog::Cut;
use number::{Level, Version};
use places::{PLACES, Place};
use std::io::Write;
use std::path::{Path, PathBuf};

const CHANGELOG: &str = "CHANGELOG.md";

/// The task.
pub(crate) fn run(words: &[&str]) -> anyhow::Result<()> {
    let root = root();
    match words {
        ["show"] => println!("{}", current(&root)?),
        ["bump", level] => {
            let bump = bump(&root, level.parse()?, &today()?)?;
            println!("{}: {} files changed, none of them committed", bump.version, bump.files);
        }
        _ => bail!("version show, or version bump patch|minor|major|prerelease"),
    }
    Ok(())
}

/// What a bump came to.
pub(crate) struct Bump {
    pub(crate) version: Version,
    /// What the release says of itself.
    pub(crate) notes: String,
    pub(crate) files: usize,
}

/// The number, when all files agree on it.
pub(crate) fn current(root: &Path) -> anyhow::Result<Version> {
    let text = read(root, "VERSION")?;
    let version: Version = text.trim().parse()?;
    for (path, place) in files(root)? {
        let found = place.find(&read(root, &path)?, &version);
        ensure!(found, "{path} does not say {version} as VERSION does");
    }
    Ok(version)
}

/// Raises the number in every file; in none when one cannot be changed. `day` is that of the release.
pub(crate) fn bump(root: &Path, level: Level, day: &str) -> anyhow::Result<Bump> {
    let old = current(root)?;
    let version = old.raised(level);
    let mut changes: Vec<(PathBuf, String, String)> = Vec::new();
    for (path, place) in files(root)? {
        let text = read(root, &path)?;
        let changed = place.replace(&text, &old, &version).with_context(|| path.clone())?;
        changes.push((root.join(path), text, changed));
    }
    let text = read(root, CHANGELOG)?;
    let Cut { text: changed, notes } = changelog::cut(&text, &commits(root)?, &version, day)?;
    changes.push((root.join(CHANGELOG), text, changed));
    let files = changes.iter().filter(|(_, before, after)| before != after).count();
    write_all(&changes)?;
    Ok(Bump { version, notes, files })
}

/// Every file that says the number, and how.
fn files(root: &Path) -> anyhow::Result<Vec<(String, Place)>> {
    let locks = git(root, &["ls-files", "Cargo.lock", "*/Cargo.lock"])?;
    let locks = locks.lines().map(|path| (path.to_owned(), Place::Lock));
    Ok(PLACES.iter().map(|(path, place)| ((*path).to_owned(), *place)).chain(locks).collect())
}

/// All of them, or what was there before.
fn write_all(changes: &[(PathBuf, String, String)]) -> anyhow::Result<()> {
    for (at, (path, _, text)) in changes.iter().enumerate() {
        let Err(error) = put(path, text) else { continue };
        for (path, before, _) in &changes[..=at] {
            // What cannot be put back is shown by git; nothing was committed.
            let _ = put(path, before);
        }
        return Err(error).with_context(|| format!("{} cannot be written: nothing was changed", path.display()));
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::File::create(path)?.write_all(text.as_bytes())
}

fn read(root: &Path, path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(root.join(path)).with_context(|| path.to_owned())
}

/// Messages of commits since the last release that was no prerelease, the newest first.
fn commits(root: &Path) -> anyhow::Result<Vec<String>> {
    let range = last_release(root)?.map_or_else(|| "HEAD".to_owned(), |last| format!("v{last}..HEAD"));
    let text = git(root, &["log", "--no-merges", "--format=%B%x00", &range])?;
    Ok(text.split('\0').map(|message| message.trim().to_owned()).filter(|message| !message.is_empty()).collect())
}

/// The newest of the releases that are tagged, prereleases left out.
fn last_release(root: &Path) -> anyhow::Result<Option<Version>> {
    Ok(tagged(root)?.into_iter().filter(|version| !version.is_prerelease()).max())
}

/// Every release that is tagged.
pub(crate) fn tagged(root: &Path) -> anyhow::Result<Vec<Version>> {
    let tags = git(root, &["tag", "--list", "v*"])?;
    Ok(tags.lines().filter_map(|tag| tag.strip_prefix('v')?.parse().ok()).collect())
}

/// Git in a tree.
pub(crate) fn git(root: &Path, words: &[&str]) -> anyhow::Result<String> {
    let folder = root.to_string_lossy();
    output("git", &[&["-C", &folder][..], words].concat())
}

/// Of the release, in UTC: releases are made in more than one place.
pub(crate) fn today() -> anyhow::Result<String> {
    Ok(output("date", &["--utc", "+%Y-%m-%d"])?.trim().to_owned())
}

#[cfg(test)]
pub(crate) mod tests;
