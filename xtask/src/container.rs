//! `cargo xtask container`: makes the image of the control plane, with whichever of docker and buildah is there, says what it is called,
//! and puts it into the registry.

use crate::environment::Tag;
use crate::shell::{has, output, root, run};
use anyhow::{Context, bail, ensure};
use std::io::Write;
use std::process::{Command, Stdio};

/// As workflows, compose and Kubernetes name it.
pub(crate) const IMAGE: &str = "ghcr.io/saveos/saveos-server";
const DOCKERFILE: &str = "control-plane/deploy/Dockerfile.prod";

/// The task.
pub(crate) fn run_task(words: &[&str]) -> anyhow::Result<()> {
    match words {
        [] => make(&format!("{IMAGE}:{}", called(None, &here()?)?.0)),
        ["--tag", image] => make(image),
        ["tag"] => {
            let version = std::env::var("VERSION").ok().filter(|text| !text.is_empty());
            let (tag, of) = called(version.as_deref(), &here()?)?;
            to_github(&format!("tag={tag}\nref={of}\n"))
        }
        ["push", image] => push(image),
        _ => bail!("cargo xtask container [--tag IMAGE:TAG] | tag | push IMAGE:TAG"),
    }
}

fn make(image: &str) -> anyhow::Result<()> {
    crate::dashboard::build()?;
    if has("docker") {
        run("docker", &["build", "--pull", "--file", DOCKERFILE, "--tag", image, "."])?;
    } else if has("buildah") {
        build(&[], image, &[])?;
    } else {
        bail!("neither docker nor buildah is here: apt-get install buildah");
    }
    println!("made {image}");
    Ok(())
}

/// With buildah, without a daemon: `before` are options of buildah itself, `more` of the build.
pub(crate) fn build(before: &[&str], tag: &str, more: &[&str]) -> anyhow::Result<()> {
    let folder = root().to_string_lossy().into_owned();
    // The health check is no part of the OCI format.
    let how = ["build", "--isolation", "chroot", "--format", "docker", "--file", DOCKERFILE, "--tag", tag];
    run("buildah", &[before, &how, more, &[&folder]].concat())
}

/// The commit that the tree is at, whole: what checks it out knows no abbreviations.
fn here() -> anyhow::Result<String> {
    Ok(output("git", &["rev-parse", "HEAD"])?.trim().to_owned())
}

/// What a build is called, and what of the repository it is made of: a release where one is named, or else the commit.
fn called(version: Option<&str>, commit: &str) -> anyhow::Result<(Tag, String)> {
    let Some(version) = version else {
        let short = commit.get(..12).context("a commit")?;
        return Ok((format!("sha-{short}").parse()?, commit.to_owned()));
    };
    let tag: Tag = version.trim_start_matches('v').parse()?;
    ensure!(tag.version().is_some(), "{tag} is no release");
    let of = format!("v{tag}");
    Ok((tag, of))
}

/// With a password that is on no command line: SAVEOS_REGISTRY_USER and SAVEOS_REGISTRY_PASSWORD. A release that is there stays as it is:
/// whoever goes back to it finds what served.
fn push(image: &str) -> anyhow::Result<()> {
    let (name, tag) = image.rsplit_once(':').context("IMAGE:TAG")?;
    let tag: Tag = tag.parse()?;
    let secret = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let registry = name.split('/').next().unwrap_or_default();
    let user = secret("SAVEOS_REGISTRY_USER")?;
    let mut login = Command::new("docker");
    login.args(["login", registry, "--username", &user, "--password-stdin"]).stdin(Stdio::piped());
    let mut login = login.spawn().context("could not start docker")?;
    let mut to = login.stdin.take().context("a pipe was asked for")?;
    to.write_all(secret("SAVEOS_REGISTRY_PASSWORD")?.as_bytes())?;
    drop(to);
    ensure!(login.wait()?.success(), "docker does not get into {registry}");
    if tag.version().is_some() && crate::shell::succeeds("docker", &["manifest", "inspect", image]) {
        bail!("{image} is there already, and a release is never another one");
    }
    run("docker", &["push", image])?;
    let digests = output("docker", &["image", "inspect", "--format", "{{join .RepoDigests \"\\n\"}}", image])?;
    let digest = digests.lines().find_map(|line| line.strip_prefix(&format!("{name}@"))).context("no digest")?;
    to_github(&format!("digest={digest}\n"))
}

/// Outputs of a step, and for people.
pub(crate) fn to_github(text: &str) -> anyhow::Result<()> {
    print!("{text}");
    let Some(path) = std::env::var_os("GITHUB_OUTPUT") else { return Ok(()) };
    Ok(std::fs::File::options().append(true).open(path)?.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_called_after_its_release_or_its_commit() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let called = |version| called(version, commit).map(|(tag, of)| (tag.to_string(), of));
        let two = |tag: &str, of: &str| (tag.to_owned(), of.to_owned());
        assert_eq!(called(None).expect("a name"), two("sha-0123456789ab", commit));
        assert_eq!(called(Some("1.2.3-rc.1")).expect("a name"), two("1.2.3-rc.1", "v1.2.3-rc.1"));
        assert_eq!(called(Some("v1.2.3")).expect("a name"), two("1.2.3", "v1.2.3"));
        for wrong in ["latest", "sha-0123abc", "1.2.3\nref=main", "main"] {
            assert!(called(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
