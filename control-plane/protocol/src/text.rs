//! Text with a bound, so that no message outgrows its size class by what somebody printed on a disk.
//!
//! `cut` makes any text fit; reading refuses what does not, because a sender that keeps the contract has cut it. A bound
//! never shrinks between versions. Holds no control characters: these texts reach terminals and mails.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// A text breaks the rule of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {what}: {rule}, at most {max} bytes")]
pub struct NotThatText {
    what: &'static str,
    rule: &'static str,
    max: usize,
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident $max:literal $what:literal $rule:literal $pattern:literal $check:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Bytes at most.
            pub const MAX: usize = $max;
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotThatText;
            fn from_str(text: &str) -> Result<Self, NotThatText> {
                let check: fn(&str) -> bool = $check;
                let fits = text.len() <= $max && check(text);
                fits.then(|| $name(text.to_owned())).ok_or(NotThatText { what: $what, rule: $rule, max: $max })
            }
        }

        crate::word::as_text!($name, $pattern, $max);
    )*};
}

texts! {
    /// A sentence for a person: a note, an error, a reason.
    Text 256 "a text" "no control characters" "^[^\\u0000-\\u001f\\u007f-\\u009f]*$" |text| !text.chars().any(char::is_control);
    /// What a disk or board calls itself: serial number, model, GUID, filesystem id.
    Mark 64 "a mark" "printable ASCII, not empty" "^[ -~]+$" |text| !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    /// A version of the firmware, or a release: `1.4.0-rc.1`.
    Release 64 "a release" "letters, digits and . - + _" "^[0-9A-Za-z.+_-]+$" is_release;
    /// A name out of the time zone database: `Europe/Berlin`. Whether it exists is for those who have the table.
    TimeZone 64 "a time zone" "letters, digits and _ - + /" "^[0-9A-Za-z_+/-]+$" is_time_zone;
    /// Names one intent: two commands with the same key are one.
    IdempotencyKey 64 "an idempotency key" "letters, digits and _ - :" "^[0-9A-Za-z:_-]+$" is_key;
    /// Where a broker is: `mqtts://host:port`.
    BrokerUrl 256 "a broker URL" "mqtts://, a host, nothing secret" "^mqtts://[!-?A-~]+$" |text| is_url(text, "mqtts://");
    /// Where something is on the web: `https://host/path`. It may carry a signature in its query.
    WebUrl 1024 "a web URL" "https://, a host, no user" "^https://[!-~]+$" |text| is_url(text, "https://");
    /// A path inside a snapshot, as the engine prints it.
    FilePath 1024 "a path" "not empty, no NUL" "^[^\\u0000]+$" |text| !text.is_empty() && !text.contains('\0');
    /// Certificates or a signing request in PEM.
    Pem 16384 "PEM" "ASCII between -----BEGIN and -----END" "^-----BEGIN [\\n\\r -~]*-----\\s*$" is_pem;
}

impl Text {
    /// Makes any text fit: control characters become spaces, what is too long ends with an ellipsis.
    pub fn cut(text: &str) -> Text {
        let clean: String = text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        if clean.len() <= Text::MAX {
            return Text(clean);
        }
        let room = clean.floor_char_boundary(Text::MAX - '…'.len_utf8());
        Text(format!("{}…", &clean[..room]))
    }

    /// An error with its causes.
    pub fn of_error(error: &dyn std::error::Error) -> Text {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        Text::cut(&causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")))
    }
}

impl Mark {
    /// What is printable of a text that a disk gave; `None` when that is nothing.
    pub fn cut(text: &str) -> Option<Mark> {
        let clean: String = text.chars().filter(|letter| matches!(letter, ' '..='~')).collect();
        let short = &clean.trim()[..clean.trim().len().min(Mark::MAX)];
        (!short.trim().is_empty()).then(|| Mark(short.trim().to_owned()))
    }
}

fn made_of(text: &str, also: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
}

fn is_release(text: &str) -> bool {
    made_of(text, b".-+_")
}

fn is_time_zone(text: &str) -> bool {
    // The name becomes a path below /usr/share/zoneinfo on some systems.
    made_of(text, b"_-+/") && text.split('/').all(|part| !part.is_empty())
}

fn is_key(text: &str) -> bool {
    made_of(text, b"_-:")
}

fn is_url(text: &str, scheme: &str) -> bool {
    let Some(rest) = text.strip_prefix(scheme) else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A user or password in an address ends up in logs.
    !host.is_empty()
        && !host.starts_with(':')
        && !host.contains('@')
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_pem(text: &str) -> bool {
    let printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r'));
    printable && text.starts_with("-----BEGIN ") && text.trim_end().ends_with("-----")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_is_cut_between_letters() {
        let long = "ü".repeat(200);
        let cut = Text::cut(&long);
        assert!(cut.ends_with("ü…") && cut.len() <= Text::MAX);
        assert_eq!(Text::cut("two\nlines\t").to_string(), "two lines");
    }

    #[test]
    fn a_disk_cannot_smuggle_an_escape_sequence() {
        assert_eq!(Mark::cut(" WD\x1b[31m-1 \u{0}"), Some("WD[31m-1".parse().expect("a mark")));
        assert_eq!(Mark::cut(" \u{0}ß "), None);
        assert!("a\x1bb".parse::<Mark>().is_err());
    }

    #[test]
    fn an_address_is_encrypted_and_carries_no_password() {
        assert!("mqtts://broker.example:8883".parse::<BrokerUrl>().is_ok());
        assert!("https://objects.example/log?sig=a@b".parse::<WebUrl>().is_ok());
        for wrong in ["mqtt://broker", "https://", "https://:443", "https://user:pw@host/", "https://host/ x"] {
            assert!(wrong.parse::<WebUrl>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_zone_is_no_path_out_of_its_folder() {
        assert!("America/Argentina/Buenos_Aires".parse::<TimeZone>().is_ok());
        for wrong in ["../../etc/passwd", "/etc/passwd", "Europe/", "", "Europe//Berlin"] {
            assert!(wrong.parse::<TimeZone>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_was_cut_is_read(text: String) {
            let cut = Text::cut(&text);
            prop_assert_eq!(cut.parse(), Ok(cut.clone()));
            if let Some(mark) = Mark::cut(&text) {
                prop_assert_eq!(mark.parse(), Ok(mark.clone()));
            }
        }
    }
}
