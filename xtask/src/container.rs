//! `cargo xtask container`: makes the image of the control plane, with whichever of buildah and docker is there.

use crate::shell::{has, output, root, run};
use anyhow::bail;

/// As workflows, compose and Kubernetes name it.
pub(crate) const IMAGE: &str = "ghcr.io/saveos/saveos-server";
const DOCKERFILE: &str = "control-plane/deploy/Dockerfile.prod";

/// The task.
pub(crate) fn run_task(words: &[&str]) -> anyhow::Result<()> {
    let tag = match words {
        [] => format!("{IMAGE}:sha-{}", output("git", &["rev-parse", "--short=12", "HEAD"])?.trim()),
        ["--tag", tag] => (*tag).to_owned(),
        _ => bail!("cargo xtask container [--tag IMAGE:TAG]"),
    };
    crate::dashboard::build()?;
    if has("docker") {
        run("docker", &["build", "--pull", "--file", DOCKERFILE, "--tag", &tag, "."])?;
    } else if has("buildah") {
        build(&[], &tag, &[])?;
    } else {
        bail!("neither docker nor buildah is here: apt-get install buildah");
    }
    println!("made {tag}");
    Ok(())
}

/// With buildah, without a daemon: `before` are options of buildah itself, `more` of the build.
pub(crate) fn build(before: &[&str], tag: &str, more: &[&str]) -> anyhow::Result<()> {
    let folder = root().to_string_lossy().into_owned();
    // The health check is no part of the OCI format.
    let how = ["build", "--isolation", "chroot", "--format", "docker", "--file", DOCKERFILE, "--tag", tag];
    run("buildah", &[before, &how, more, &[&folder]].concat())
}
