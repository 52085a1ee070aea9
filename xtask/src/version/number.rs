//! The number of a release, as Semantic Versioning 2.0.0 orders it, and what raising it means.

use anyhow::{Context, bail, ensure};
use std::fmt;
use std::str::FromStr;

/// `1.2.3`, or `1.2.3-rc.4` of a prerelease: no other form is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    numbers: [u32; 3],
    candidate: Option<u32>,
}

/// By how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Patch,
    Minor,
    Major,
    /// The next candidate of the release that is to come; of a patch, where none is under way.
    Prerelease,
}

impl Version {
    pub(crate) fn is_prerelease(&self) -> bool {
        self.candidate.is_some()
    }

    /// The next one. A candidate is raised to the release that it is one of, where that is high enough.
    pub(crate) fn raised(self, level: Level) -> Version {
        let [major, minor, patch] = self.numbers;
        let (numbers, candidate) = match (level, self.candidate) {
            (Level::Prerelease, Some(number)) => (self.numbers, Some(number + 1)),
            (Level::Prerelease, None) => ([major, minor, patch + 1], Some(1)),
            (Level::Patch, Some(_)) => (self.numbers, None),
            (Level::Minor, Some(_)) if patch == 0 => (self.numbers, None),
            (Level::Major, Some(_)) if minor == 0 && patch == 0 => (self.numbers, None),
            (Level::Patch, None) => ([major, minor, patch + 1], None),
            (Level::Minor, _) => ([major, minor + 1, 0], None),
            (Level::Major, _) => ([major + 1, 0, 0], None),
        };
        Version { numbers, candidate }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // A candidate comes before its release.
        let key = |version: &Version| (version.numbers, version.candidate.unwrap_or(u32::MAX));
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        self.candidate.map_or(Ok(()), |number| write!(f, "-rc.{number}"))
    }
}

impl FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Version> {
        let (core, candidate) = match text.split_once("-rc.") {
            Some((core, number)) => (core, Some(plain(number).filter(|number| (1..u32::MAX).contains(number)))),
            None => (text, None),
        };
        let numbers: Option<Vec<u32>> = core.split('.').map(plain).collect();
        let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
        let version =
            || Some(Version { numbers: numbers?, candidate: candidate.map_or(Some(None), |one| one.map(Some))? });
        let version = version().with_context(|| format!("`{text}` is no version like 1.2.3 or 1.2.3-rc.4"))?;
        ensure!(version.to_string() == text, "`{text}` is no version like 1.2.3 or 1.2.3-rc.4");
        Ok(version)
    }
}

/// Digits only, without a sign.
fn plain(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl FromStr for Level {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Level> {
        Ok(match text {
            "patch" => Level::Patch,
            "minor" => Level::Minor,
            "major" => Level::Major,
            "prerelease" => Level::Prerelease,
            other => bail!("`{other}` is none of patch, minor, major, prerelease"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect("a version")
    }

    #[test]
    fn each_level_raises_what_it_says() {
        for (from, level, to) in [
            ("0.1.0", Level::Patch, "0.1.1"),
            ("0.1.9", Level::Minor, "0.2.0"),
            ("0.1.9", Level::Major, "1.0.0"),
            ("0.1.0", Level::Prerelease, "0.1.1-rc.1"),
            ("0.1.1-rc.1", Level::Prerelease, "0.1.1-rc.2"),
            ("0.1.1-rc.2", Level::Patch, "0.1.1"),
            ("0.1.1-rc.2", Level::Minor, "0.2.0"),
            ("0.2.0-rc.1", Level::Minor, "0.2.0"),
            ("0.2.0-rc.1", Level::Major, "1.0.0"),
            ("1.0.0-rc.7", Level::Major, "1.0.0"),
        ] {
            assert_eq!(version(from).raised(level).to_string(), to, "{from} {level:?}");
            assert!(version(from) < version(to), "{from} {to}");
        }
    }

    #[test]
    fn they_are_ordered_by_number_and_a_candidate_comes_before_its_release() {
        let sorted = ["0.1.9", "0.1.10-rc.2", "0.1.10-rc.10", "0.1.10", "1.0.0-rc.1", "1.0.0"].map(version);
        assert!(sorted.is_sorted() && sorted.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn other_forms_are_none() {
        for text in
            ["", "1", "1.2", "1.2.3.4", "v1.2.3", "01.2.3", "1.2.3-rc.0", "1.2.3-rc.", "1.2.3-beta", "1.2.+3", " 1.2.3"]
        {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
        assert!("patches".parse::<Level>().is_err());
    }
}
