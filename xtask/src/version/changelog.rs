//! The section of a release in the changelog: what people wrote under *Unreleased*, and what commits say that call themselves `feat:`,
//! `fix:` or `perf:` (Conventional Commits 1.0.0). People write better; a commit adds what they forgot.

use super::number::Version;
use anyhow::{Context, ensure};

const UNRELEASED: &str = "## Unreleased\n";

/// A changelog with the section of a release.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) text: String,
    /// That section, without its head.
    pub(crate) notes: String,
}

/// What is under *Unreleased* becomes the section of `version`. A prerelease says the same and leaves it where it is: the release
/// will say it.
pub(crate) fn cut(text: &str, commits: &[String], version: &Version, day: &str) -> anyhow::Result<Cut> {
    let (head, rest) = text.split_once(UNRELEASED).context("CHANGELOG.md has no section `Unreleased`")?;
    let end = rest.find("\n## ").map_or(rest.len(), |at| at + 1);
    let (written, older) = rest.split_at(end);
    let mut notes = written.trim().to_owned();
    for commit in commits.iter().rev() {
        if let Some((section, entry)) = entry(commit) {
            add(&mut notes, section, &entry);
        }
    }
    let says_something = notes.lines().any(|line| line.starts_with("- "));
    ensure!(
        says_something,
        "nothing to release: nothing is under `Unreleased`, and no commit since begins with feat: or fix:"
    );
    let text = match version.is_prerelease() {
        true => text.to_owned(),
        false => {
            let older = if older.is_empty() { String::new() } else { format!("\n{older}") };
            format!("{head}{UNRELEASED}\n## {version} - {day}\n\n{notes}\n{older}")
        }
    };
    Ok(Cut { text, notes })
}

/// Where a commit belongs, and what it says.
fn entry(commit: &str) -> Option<(&'static str, String)> {
    let (kind, subject) = commit.lines().next()?.split_once(": ")?;
    let (kind, breaks) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
    let breaks = breaks || commit.lines().any(|line| line.starts_with("BREAKING CHANGE: "));
    let kind = kind.split_once('(').map_or(Some(kind), |(kind, scope)| scope.ends_with(')').then_some(kind))?;
    let section = match kind {
        _ if breaks => "Changed",
        "feat" => "Added",
        "fix" => "Fixed",
        "perf" => "Changed",
        _ => return None,
    };
    let mut letters = subject.trim().chars();
    let subject = letters.next()?.to_uppercase().chain(letters).collect::<String>();
    let breaking = if breaks { "**Breaking:** " } else { "" };
    Some((section, format!("- {breaking}{}.", subject.trim_end_matches('.'))))
}

/// At the end of its section, which begins where there is none; not what stands there already.
fn add(notes: &mut String, section: &str, entry: &str) {
    if notes.lines().any(|line| line == entry) {
        return;
    }
    let head = format!("### {section}\n");
    match notes.find(&head) {
        Some(at) => {
            let body = at + head.len();
            let end = notes[body..].find("\n\n### ").map_or(notes.len(), |end| body + end);
            notes.insert_str(end, &format!("\n{entry}"));
        }
        None => {
            let gap = if notes.is_empty() { "" } else { "\n\n" };
            notes.push_str(&format!("{gap}{head}{entry}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Changelog\n\n## Unreleased\n\n### Added\n- A.\n\n### Fixed\n- B.\n\n## 0.1.0 - 2026-01-01\n\n### Added\n- Old.\n";

    fn cut_of(text: &str, commits: &[&str], version: &str) -> anyhow::Result<Cut> {
        let commits: Vec<String> = commits.iter().map(|commit| (*commit).to_owned()).collect();
        cut(text, &commits, &version.parse().expect("a version"), "2026-11-30")
    }

    #[test]
    fn what_people_wrote_and_what_commits_say_becomes_a_section() {
        let commits = [
            "fix(engine): read what was written.\n\nWhy.",
            "feat: restore files",
            "perf!: hash once\n",
            "Describe the restore",
            "docs: a page",
            "feat: restore files",
        ];
        let cut = cut_of(TEXT, &commits, "0.2.0").expect("a section");
        let notes = "### Added\n- A.\n- Restore files.\n\n### Fixed\n- B.\n- Read what was written.\n\n\
            ### Changed\n- **Breaking:** Hash once.";
        assert_eq!(cut.notes, notes);
        let expected = format!(
            "# Changelog\n\n## Unreleased\n\n## 0.2.0 - 2026-11-30\n\n{notes}\n\n## 0.1.0 - 2026-01-01\n\n### Added\n- Old.\n"
        );
        assert_eq!(cut.text, expected);
    }

    #[test]
    fn a_prerelease_says_it_and_leaves_it_for_the_release() {
        let cut = cut_of(TEXT, &["feat: more"], "0.2.0-rc.1").expect("a section");
        assert_eq!((cut.text.as_str(), cut.notes.contains("- More.")), (TEXT, true));
    }

    #[test]
    fn without_anything_to_say_there_is_no_release() {
        let empty = "# Changelog\n\n## Unreleased\n\n## 0.1.0 - 2026-01-01\n\n- Old.\n";
        for (text, commits) in [(empty, &["Tidy up"][..]), ("# Changelog\n", &["feat: more"])] {
            assert!(cut_of(text, commits, "0.2.0").is_err(), "{text}");
        }
        assert!(cut_of(empty, &["fix: it"], "0.2.0").is_ok());
    }

    #[test]
    fn only_a_form_of_commit_counts() {
        let kinds = ["feat: x", "feat(a b): x", "fix!: x", "fix: x\n\nBREAKING CHANGE: y"]
            .map(|commit| entry(commit).expect("one").0);
        assert_eq!(kinds, ["Added", "Added", "Changed", "Changed"]);
        for commit in ["", "feat", "feat:x", "feat(a: x", "feature: x", "Say: what is new"] {
            assert!(entry(commit).is_none(), "{commit}");
        }
    }
}
