//! Builds for aarch64 on a machine of another kind: with rustup's target where it is installed, else with Debian's compiler,
//! unpacked beside the tree (installing it would replace the one that is there). No container engine, no emulation.

use crate::setup;
use crate::shell::{has, output, quiet, root, succeeds};
use anyhow::{Context, bail};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the boxes are.
const TARGET: &str = "aarch64-unknown-linux-gnu";

/// What builds for `TARGET` here.
enum Compiler {
    /// The one that cargo uses anyway.
    OfThisMachine,
    /// A script that starts Debian's.
    Debian(PathBuf),
    /// None, and why.
    Missing(String),
}

/// Finds a compiler or unpacks one.
fn compiler() -> anyhow::Result<Compiler> {
    let library = output("rustc", &["--print", "target-libdir", "--target", TARGET])?;
    if Path::new(library.trim()).is_dir() {
        return Ok(Compiler::OfThisMachine);
    }
    let folder = root().join("target/aarch64-compiler");
    let script = folder.join("rustc");
    if script.is_file() {
        return Ok(Compiler::Debian(script));
    }
    if !has("apt-get") || !succeeds("apt-cache", &["show", "rustc-web"]) {
        return Ok(Compiler::Missing(format!("no compiler for {TARGET}: `rustup target add {TARGET}` brings one")));
    }
    unpack(&folder)?;
    write_script(&folder, &script)?;
    Ok(Compiler::Debian(script))
}

/// Debian's packages of both kinds of machine, found by lists of our own: the machine's stay as they are.
fn unpack(folder: &Path) -> anyhow::Result<()> {
    let (lists, packages, tree) = (folder.join("lists"), folder.join("packages"), folder.join("tree"));
    for made in [&lists.join("partial"), &packages, &tree] {
        std::fs::create_dir_all(made).with_context(|| format!("could not make {}", made.display()))?;
    }
    let lists = format!("Dir::State::lists={}", lists.display());
    let options = [
        "-q",
        "-o",
        "Acquire::Retries=5",
        "-o",
        "APT::Architectures::=amd64",
        "-o",
        "APT::Architectures::=arm64",
        "-o",
        &lists,
    ];
    quiet("apt-get", &[&options[..], &["update"]].concat())?;
    let needed_by = |package: &str, start: &str| -> anyhow::Result<String> {
        let text = output("apt-cache", &[&options[1..], &["depends", package]].concat())?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        names
            .map(str::to_owned)
            .find(|name| name.starts_with(start))
            .with_context(|| format!("{package} needs no {start}"))
    };
    let library = needed_by("libstd-rust-web-dev", "libstd-rust-web-")?;
    let llvm = needed_by(&library, "libllvm")?;
    let wanted = ["rustc-web", "libstd-rust-web-dev", "libstd-rust-web-dev:arm64", &library, &llvm];
    println!("unpacking with apt, into {}: {}", folder.display(), wanted.join(" "));
    let status = Command::new("apt-get").args(options).arg("download").args(wanted).current_dir(&packages).status()?;
    if !status.success() {
        bail!("apt-get download ended with {status}");
    }
    for package in std::fs::read_dir(&packages)? {
        quiet("dpkg", &["-x", &package?.path().to_string_lossy(), &tree.to_string_lossy()])?;
    }
    Ok(())
}

/// Written last: where it is, all is unpacked.
fn write_script(folder: &Path, script: &Path) -> anyhow::Result<()> {
    let tree = folder.join("tree/usr");
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{0}/lib/x86_64-linux-gnu' exec '{0}/bin/rustc' --sysroot '{0}' \"$@\"\n",
        tree.display()
    );
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o755).open(script)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// Builds packages and gives the folder of their programs, or says why there is no compiler for them.
pub(crate) fn build(packages: &[&str], profile: &str) -> anyhow::Result<Result<PathBuf, String>> {
    setup::for_cross()?;
    let compiler = match compiler()? {
        Compiler::Missing(why) => return Ok(Err(why)),
        Compiler::OfThisMachine => None,
        Compiler::Debian(script) => Some(script),
    };
    let folder = root().join("target/aarch64");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--target", TARGET, "--profile", profile, "--target-dir"]);
    cargo
        .arg(&folder)
        .args(packages.iter().flat_map(|package| ["-p", package]))
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    if let Some(script) = compiler {
        cargo.env("RUSTC", script);
    }
    let packages = packages.join(" -p ");
    println!("$ cargo build --target {TARGET} --profile {profile} -p {packages}");
    let status = cargo.status().context("could not start cargo")?;
    if !status.success() {
        bail!("{packages} does not build for {TARGET}");
    }
    Ok(Ok(folder.join(TARGET).join(profile)))
}
