//! `cargo xtask yocto`: writes the list of crates that BitBake fetches, which is Cargo.lock in its language (a test says when it is old);
//! has BitBake read the recipes, or build an image.

use crate::setup::python_packages;
use crate::shell::{each_line, root};
use anyhow::{Context, bail, ensure};
use std::fmt::Write as _;
use std::io::Write as _;

const LIST: &str = "yocto/meta-saveos/recipes-saveos/saveos/saveos-crates.inc";

/// What fetches the layers and starts BitBake.
const KAS: &str = "kas==5.5";

/// The task.
pub(crate) fn run_task(words: &[&str]) -> anyhow::Result<()> {
    match words {
        [] => write(),
        // Recipes with faults, and those that nothing provides, are errors.
        ["parse", machine] => kas(machine, &["shell", "--command", "bitbake --parse-only"]),
        ["build", machine] => kas(machine, &["build"]),
        _ => bail!("cargo xtask yocto [parse|build MACHINE]"),
    }
}

fn kas(machine: &str, words: &[&str]) -> anyhow::Result<()> {
    let file = format!("yocto/kas/{machine}.yml");
    ensure!(!machine.contains('/') && root().join(&file).is_file(), "no machine `{machine}`: there is no {file}");
    let (venv, work) = (root().join("target/kas-venv"), root().join("target/yocto"));
    if !venv.join("bin/kas").exists() {
        python_packages(&venv, &[KAS])?;
    }
    std::fs::create_dir_all(&work)?;
    let (program, work) = (venv.join("bin/kas"), work.to_string_lossy().into_owned());
    let (before, rest) = words.split_at(1);
    let words = [before, &[&file], rest].concat();
    each_line(&program.to_string_lossy(), &words, &[("KAS_WORK_DIR", &work)], &mut |line| println!("{line}"))
}

fn write() -> anyhow::Result<()> {
    let text = list(&std::fs::read_to_string(root().join("Cargo.lock"))?)?;
    std::fs::File::create(root().join(LIST))?.write_all(text.as_bytes())?;
    println!("wrote {LIST}");
    Ok(())
}

/// Every crate of a registry: cargo resolves the whole workspace, also where one package of it is built.
fn list(lock: &str) -> anyhow::Result<String> {
    let mut crates = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
        };
        let (name, version) = (value("name").context("a name")?, value("version").context("a version")?);
        match (value("source"), value("checksum")) {
            (None, _) => {}
            (Some(source), Some(sum)) if source.starts_with("registry+") => crates.push((name, version, sum)),
            _ => anyhow::bail!("{name} {version} comes from no registry: BitBake cannot fetch it"),
        }
    }
    ensure!(!crates.is_empty(), "no crates in Cargo.lock");
    let mut text = "# Made of Cargo.lock by `cargo xtask yocto`: what cargo must find when there is no network.\nSRC_URI += \"\\\n".to_owned();
    for (name, version, _) in &crates {
        writeln!(text, "    crate://crates.io/{name}/{version} \\")?;
    }
    text.push_str("\"\n\n");
    for (name, version, sum) in &crates {
        writeln!(text, "SRC_URI[{name}-{version}.sha256sum] = \"{sum}\"")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(path: &str) -> String {
        std::fs::read_to_string(root().join(path)).expect(path)
    }

    #[test]
    fn what_bitbake_fetches_is_what_cargo_locked() {
        assert_eq!(read(LIST), list(&read("Cargo.lock")).expect("a list"), "cargo xtask yocto");
        let git = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"git+https://example.org/a#1\"\n";
        assert!(list(git).is_err() && list("").is_err());
    }

    /// Name, id, size in MiB where the file says one.
    type Partitions = BTreeMap<String, (String, Option<u32>)>;

    fn of_genimage(text: &str) -> Partitions {
        let mut all = Partitions::new();
        for block in text.split("partition ").skip(1) {
            let value = |key: &str| {
                let line = block.lines().map(str::trim).find(|line| line.starts_with(&format!("{key} =")))?;
                Some(line.split('=').nth(1)?.trim().trim_matches('"').to_owned())
            };
            let name = block.split_whitespace().next().expect("a name").to_owned();
            let size = value("size").map(|size| size.trim_end_matches('M').parse().expect("MiB"));
            all.insert(name, (value("partition-uuid").expect("an id"), size));
        }
        all
    }

    fn of_wic(text: &str) -> Partitions {
        let lines = text.lines().filter(|line| line.starts_with("part "));
        lines
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let after = |key: &str| {
                    words.iter().position(|word| *word == key).map(|at| words[at + 1].to_owned()).expect(key)
                };
                let size = after("--fixed-size").trim_end_matches('M').parse().expect("MiB");
                (after("--part-name"), (after("--uuid"), Some(size)))
            })
            .collect()
    }

    #[test]
    fn partitions_are_those_of_every_machine() {
        let (ours, wic) =
            (of_genimage(&read("images/qemu/genimage.cfg")), of_wic(&read("yocto/meta-saveos/wic/saveos.wks.in")));
        assert_eq!(ours.len(), 8, "{ours:?}");
        assert_eq!(ours.keys().collect::<Vec<_>>(), wic.keys().collect::<Vec<_>>());
        for (name, (id, size)) in &ours {
            assert_eq!(*id, wic[name].0, "{name}");
            assert!(size.is_none() || *size == wic[name].1, "{name}: {size:?} and {:?}", wic[name].1);
        }
        // Those whose size is that of the image in them.
        let disk = read("images/build/disk.sh");
        for (name, size) in [("config", 32), ("data", 256)] {
            assert!(disk.contains(&format!("extended {name} {size}M ")) && wic[name].1 == Some(size), "{name}");
        }
        let disk_id = "5a7e0500-0000-4000-8000-000000000000";
        assert!(
            read("images/qemu/genimage.cfg").contains(disk_id)
                && read("yocto/meta-saveos/wic/saveos.wks.in").contains(disk_id)
        );
    }
}
