//! Names, sizes and times as FAT holds them. Names are compared without case, so no two of a folder may differ in case only.

use std::collections::HashSet;

/// Entries of 32 bytes in a directory.
const MOST_ENTRIES: usize = 65_535;
/// UTF-16 units of a name.
const LONGEST: usize = 255;

/// Whether a file of this size fits.
pub(super) const fn fits(size: u64) -> bool {
    size <= u32::MAX as u64
}

/// What two names have in common that FAT takes for the same.
pub(super) fn key(name: &str) -> String {
    name.to_uppercase()
}

/// Names that are taken in one folder.
pub(super) struct Directory {
    taken: HashSet<String>,
    entries: usize,
}

impl Directory {
    pub(super) fn new() -> Directory {
        // `.` and `..`, or a label.
        Directory { taken: HashSet::new(), entries: 2 }
    }

    /// A name for something new; `None` when the folder is full.
    pub(super) fn name(&mut self, wanted: &str) -> Option<String> {
        let name = allowed(wanted);
        let (stem, suffix) = match name.rsplit_once('.') {
            Some((stem, suffix)) if !stem.is_empty() && suffix.len() <= 8 => (stem.to_owned(), format!(".{suffix}")),
            _ => (name.clone(), String::new()),
        };
        let free = std::iter::once(name.clone())
            .chain((2..).map(|number| {
                let end = format!(" ({number}){suffix}");
                shorten(&stem, LONGEST - end.encode_utf16().count()) + &end
            }))
            .find(|name| !self.taken.contains(&key(name)))?;
        self.take(free)
    }

    /// Entries so far.
    pub(super) const fn entries(&self) -> usize {
        self.entries
    }

    fn take(&mut self, name: String) -> Option<String> {
        self.entries += 1 + name.encode_utf16().count().div_ceil(13);
        if self.entries > MOST_ENTRIES {
            return None;
        }
        self.taken.insert(key(&name));
        Some(name)
    }
}

/// Microsoft, "FAT32 File System Specification", 2000: letters of long names. A name of the DOS devices is one that Windows does
/// not open.
fn allowed(name: &str) -> String {
    let letter = |letter: char| match letter {
        '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|' => '_',
        // What does not fit into one UTF-16 unit is not in every table of capitals.
        control if control.is_control() => '_',
        other => other,
    };
    let clean: String = name.chars().map(letter).collect();
    let clean = shorten(clean.trim_start_matches(' ').trim_end_matches(['.', ' ']), LONGEST);
    let stem = clean.split('.').next().unwrap_or_default().to_uppercase();
    let is_port = |name: &str| stem.strip_prefix(name).is_some_and(|rest| matches!(rest.as_bytes(), [b'1'..=b'9']));
    let is_device = ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str()) || is_port("COM") || is_port("LPT");
    if clean.is_empty() || is_device { format!("_{clean}") } else { clean }
}

/// At a letter's end.
fn shorten(name: &str, units: usize) -> String {
    let mut left = units;
    let whole = name.chars().take_while(|letter| {
        let fits = letter.len_utf16() <= left;
        left = left.saturating_sub(letter.len_utf16());
        fits
    });
    whole.collect()
}

/// Date and time as FAT packs them, in UTC: it knows no zone, and that of the reader is not known. 1980 stands for what is before it
/// and for what is after 2107.
pub(super) fn time(modified: i64) -> (u16, u16) {
    const FIRST_DAY: (u16, u16) = ((1 << 5) | 1, 0);
    let Ok(time) = jiff::Timestamp::from_second(modified) else { return FIRST_DAY };
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    let Some(year) = u16::try_from(time.year()).ok().filter(|year| (1980..=2107).contains(year)) else {
        return FIRST_DAY;
    };
    let part = |number: i8| u16::from(number.unsigned_abs());
    let date = ((year - 1980) << 9) | (part(time.month()) << 5) | part(time.day());
    let clock = (part(time.hour()) << 11) | (part(time.minute()) << 5) | (part(time.second()) / 2);
    (date, clock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_fat_cannot_hold_become_others_and_no_two_are_the_same() {
        let mut directory = Directory::new();
        let mut name = |wanted| directory.name(wanted).expect("room");
        assert_eq!(name("report.txt"), "report.txt");
        assert_eq!(name("REPORT.TXT"), "REPORT (2).TXT");
        assert_eq!(name("Report.txt"), "Report (3).txt");
        assert_eq!(name("a:b?.md"), "a_b_.md");
        assert_eq!(name("a*b?.md"), "a_b_ (2).md");
        assert_eq!(
            (name("nul.tar.gz"), name("COM7"), name("COM10")),
            ("_nul.tar.gz".into(), "_COM7".into(), "COM10".into())
        );
        assert_eq!((name(" . "), name("..."), name("end. ")), ("_".into(), "_ (2)".into(), "end".into()));
        let long = "é".repeat(300);
        assert_eq!(name(&long), "é".repeat(255));
        assert_eq!(name(&long), "é".repeat(251) + " (2)");
    }

    #[test]
    fn time_is_packed_as_the_specification_says() {
        // 2026-03-28 20:00:58, by hand: 46 << 9 | 3 << 5 | 28, and 20 << 11 | 0 << 5 | 29.
        assert_eq!(time(1_774_728_058), ((46 << 9) | (3 << 5) | 28, (20 << 11) | 29));
        assert_eq!((time(0), time(i64::MAX), time(i64::MIN)), ((33, 0), (33, 0), (33, 0)));
    }

    #[test]
    fn a_folder_is_full_before_fat_says_so() {
        let mut directory = Directory::new();
        let made = (0..70_000).filter_map(|number| directory.name(&format!("{number:026}"))).count();
        assert_eq!(made, (MOST_ENTRIES - 2) / 3);
    }

    proptest! {
        #[test]
        fn every_name_is_one_that_fat_takes(names in prop::collection::vec(any::<String>(), 1..20)) {
            let mut directory = Directory::new();
            let mut seen = HashSet::new();
            for name in names {
                let own = directory.name(&name).expect("room");
                prop_assert!(!own.is_empty() && own.encode_utf16().count() <= LONGEST);
                prop_assert!(!own.contains(['"', '*', '/', ':', '<', '>', '?', '\\', '|', '\0']));
                prop_assert!(!own.ends_with(['.', ' ']) && seen.insert(key(&own)), "{own:?}");
            }
        }
    }
}
