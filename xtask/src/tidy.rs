//! `cargo xtask tidy`: removes images and artefacts of commits that nobody needs any more. Releases stay for ever, and of the rest what is
//! young, and the newest however old they are: somebody may go back to them. Without `--yes` it says what it would do.

use crate::environment::Tag;
use crate::shell::{output, run};
use anyhow::{Context, bail};
use serde::Deserialize;

/// How long a build of a commit is kept, in days.
const DAYS: i64 = 30;
/// How many of them are kept however old they are.
const NEWEST: usize = 20;

/// A version of an image in the registry.
#[derive(Clone, Debug, Deserialize)]
struct Image {
    id: u64,
    tags: Vec<String>,
    /// Days since 1970.
    day: i64,
}

/// An artefact of a workflow.
#[derive(Deserialize)]
struct Artefact {
    id: u64,
    name: String,
    day: i64,
}

/// The task.
pub(crate) fn run_task(words: &[&str]) -> anyhow::Result<()> {
    let really = match words {
        [] => false,
        ["--yes"] => true,
        _ => bail!("cargo xtask tidy [--yes]"),
    };
    let seconds: i64 = output("date", &["+%s"])?.trim().parse()?;
    let today = seconds / 86_400;
    let of = "orgs/saveos/packages/container/saveos-server/versions";
    let images: Vec<Image> = list(of, IMAGES)?;
    for one in superfluous(&images, today) {
        remove(&format!("{of}/{}", one.id), &one.tags.join(" "), really)?;
    }
    let repository = std::env::var("GITHUB_REPOSITORY").unwrap_or_else(|_| "saveos/saveos".to_owned());
    let of = format!("repos/{repository}/actions/artifacts");
    let artefacts: Vec<Artefact> = list(&of, ARTEFACTS)?;
    for one in artefacts.into_iter().filter(|one| one.day + 3 * DAYS < today) {
        remove(&format!("{of}/{}", one.id), &one.name, really)?;
    }
    Ok(())
}

/// What is asked of each page of a list, in the language of jq.
const IMAGES: &str =
    ".[] | {id, tags: .metadata.container.tags, day: (.updated_at | fromdateiso8601 / 86400 | floor)} | tojson";
const ARTEFACTS: &str =
    ".artifacts[] | select(.expired | not) | {id, name, day: (.created_at | fromdateiso8601 / 86400 | floor)} | tojson";

/// What may go: builds of commits only. What is called otherwise was called so by somebody, and what has no name at all may be a part
/// of what has one, or its attestation.
fn superfluous(all: &[Image], today: i64) -> Vec<Image> {
    let is_commit = |tag: &String| tag.parse::<Tag>().is_ok_and(|tag| tag.version().is_none());
    let commits = all.iter().filter(|one| !one.tags.is_empty() && one.tags.iter().all(is_commit));
    let mut commits: Vec<Image> = commits.cloned().collect();
    commits.sort_by_key(|one| std::cmp::Reverse((one.day, one.id)));
    commits.into_iter().skip(NEWEST).filter(|one| one.day + DAYS < today).collect()
}

/// Everything of a list, by GitHub's own program, which has the token from its environment.
fn list<T: for<'a> Deserialize<'a>>(path: &str, which: &str) -> anyhow::Result<Vec<T>> {
    let lines = output("gh", &["api", "--paginate", &format!("{path}?per_page=100"), "--jq", which])?;
    lines.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not understood: {line}"))).collect()
}

fn remove(path: &str, what: &str, really: bool) -> anyhow::Result<()> {
    if !really {
        println!("would remove {what}");
        return Ok(());
    }
    run("gh", &["api", "--method", "DELETE", path])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: u64, tags: &[&str], day: i64) -> Image {
        Image { id, tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), day }
    }

    fn gone(all: &[Image], today: i64) -> Vec<u64> {
        superfluous(all, today).iter().map(|one| one.id).collect()
    }

    #[test]
    fn old_builds_of_commits_go_and_nothing_else() {
        let commits = |count: u64| (1..=count).map(|id| image(id, &[&format!("sha-{id:07x}")], 0)).collect::<Vec<_>>();
        assert_eq!(gone(&commits(20), 1000), [0; 0], "the newest stay, however old they are");
        assert_eq!(gone(&commits(22), 1000), [2, 1], "and of those of a day the last");
        assert_eq!(gone(&commits(22), 30), [0; 0], "what is young stays, however many there are");
        let mut all = commits(22);
        all.push(image(100, &["1.2.3"], -1));
        all.push(image(101, &["sha-0123abc", "1.2.3-rc.1"], -1));
        all.push(image(102, &["latest"], -1));
        all.push(image(103, &[], -1));
        assert_eq!(gone(&all, 1000), [2, 1], "a release, what is also one, what somebody named, what has no name");
    }
}
