//! Where the number stands, and how it is found there: each file says it in one way, and one that says it otherwise is a fault.

use super::number::Version;
use anyhow::ensure;

/// How a file says it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// It is all that is in it.
    Alone,
    /// On one line of its own, behind this and before the rest of the line.
    Line(&'static str, &'static str),
    /// As that of the packages that come from no registry.
    Lock,
}

/// Beside the lock files of this tree, which git names.
pub(super) const PLACES: &[(&str, Place)] = &[
    ("VERSION", Place::Alone),
    ("Cargo.toml", Place::Line("version = \"", "\"")),
    ("yocto/meta-saveos/conf/distro/saveos.conf", Place::Line("DISTRO_VERSION = \"", "\"")),
    ("yocto/meta-saveos/recipes-saveos/saveos/saveos_git.bb", Place::Line("PV = \"", "\"")),
    ("yocto/meta-saveos/recipes-saveos/saveos/saveos-system_git.bb", Place::Line("PV = \"", "\"")),
    ("control-plane/server/openapi.json", Place::Line("    \"version\": \"", "\"")),
];

impl Place {
    /// Whether a file says this number, and no other one.
    pub(super) fn find(self, text: &str, version: &Version) -> bool {
        match self {
            Place::Alone => text == format!("{version}\n"),
            Place::Line(before, after) => {
                let said = text.lines().filter(|line| says(line, before, after)).collect::<Vec<_>>();
                said == [format!("{before}{version}{after}")]
            }
            Place::Lock => {
                let mut own = packages(text).filter(|package| is_own(package)).peekable();
                own.peek().is_some() && own.all(|package| package.contains(&in_lock(version)))
            }
        }
    }

    /// The file with another number.
    pub(super) fn replace(self, text: &str, old: &Version, new: &Version) -> anyhow::Result<String> {
        ensure!(self.find(text, old), "it does not say {old}");
        Ok(match self {
            Place::Alone => format!("{new}\n"),
            Place::Line(before, after) => {
                text.replacen(&format!("{before}{old}{after}"), &format!("{before}{new}{after}"), 1)
            }
            Place::Lock => {
                let other = |package: &str| match is_own(package) {
                    true => package.replacen(&in_lock(old), &in_lock(new), 1),
                    false => package.to_owned(),
                };
                packages(text).map(other).collect()
            }
        })
    }
}

/// A line of this form with digits where the number is.
fn says(line: &str, before: &str, after: &str) -> bool {
    let between = line.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    between.is_some_and(|between| between.starts_with(|letter: char| letter.is_ascii_digit()))
}

/// What stands before the first package, then one package after the other.
fn packages(lock: &str) -> impl Iterator<Item = &str> {
    let mut rest = lock;
    std::iter::from_fn(move || {
        let end = rest.get(1..)?.find("[[package]]").map_or(rest.len(), |at| at + 1);
        let (package, others) = rest.split_at(end);
        rest = others;
        (!package.is_empty()).then_some(package)
    })
}

/// One of this workspace: it comes from nowhere, and is none that only fuzzes (those have no number).
fn is_own(package: &str) -> bool {
    package.starts_with("[[package]]")
        && !package.contains("\nsource = ")
        && !package.contains("\nversion = \"0.0.0\"\n")
}

fn in_lock(version: &Version) -> String {
    format!("\nversion = \"{version}\"\n")
}
