//! What an image is made of, as a CycloneDX 1.6 document: Debian's packages and the crates of our programs, with their versions. It names
//! no time and no machine, so that the same inputs give the same bytes.

use super::PROGRAMS;
use crate::shell::output;
use anyhow::Context;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

/// Writes the document of an image whose packages lie in `archive`.
pub(super) fn write(archive: &Path, version: &str, to: &Path) -> anyhow::Result<()> {
    let status = output("tar", &["-xOf", &archive.to_string_lossy(), "./var/lib/dpkg/status"])?;
    let components: Vec<Value> = packages(&status)
        .into_iter()
        .map(|(name, version)| {
            component("library", &name, &version, &format!("pkg:deb/debian/{name}@{version}?arch=arm64&distro=trixie"))
        })
        .chain(crates()?.into_iter().map(|(name, version)| {
            let kind = if PROGRAMS.contains(&name.as_str()) { "application" } else { "library" };
            component(kind, &name, &version, &format!("pkg:cargo/{name}@{version}"))
        }))
        .collect();
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": { "type": "firmware", "name": "SaveOS", "version": version } },
        "components": components,
    });
    let mut file = std::fs::File::create(to).with_context(|| format!("could not make {}", to.display()))?;
    writeln!(file, "{document:#}")?;
    Ok(())
}

fn component(kind: &str, name: &str, version: &str, purl: &str) -> Value {
    // A version of Debian's may hold what an address may not.
    let purl = purl.replace('+', "%2B");
    json!({ "type": kind, "name": name, "version": version, "purl": purl, "bom-ref": purl })
}

/// Name and version of each paragraph of dpkg's status.
fn packages(status: &str) -> BTreeSet<(String, String)> {
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    status
        .split("\n\n")
        .filter_map(|paragraph| Some((field(paragraph, "Package:")?, field(paragraph, "Version:")?)))
        .collect()
}

/// What is compiled into our programs.
fn crates() -> anyhow::Result<BTreeSet<(String, String)>> {
    let selected = PROGRAMS.iter().flat_map(|package| ["-p", package]);
    let words: Vec<&str> = "tree --locked --prefix none -e normal --format {p} --target aarch64-unknown-linux-gnu"
        .split(' ')
        .chain(selected)
        .collect();
    let tree = output("cargo", &words)?;
    Ok(tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_a_paragraph_with_a_name_and_a_version() {
        let status =
            "Package: rauc\nStatus: install\nVersion: 1.13-2+b1\n\nPackage: broken\n\nPackage: dash\nVersion: 0.5\n";
        let found: Vec<_> = packages(status).into_iter().collect();
        assert_eq!(found, [("dash".into(), "0.5".into()), ("rauc".into(), "1.13-2+b1".into())]);
        assert_eq!(
            component("library", "rauc", "1+b1", "pkg:deb/debian/rauc@1+b1")["purl"],
            "pkg:deb/debian/rauc@1%2Bb1"
        );
    }
}
