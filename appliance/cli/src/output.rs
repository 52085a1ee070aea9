//! What goes to the terminal. Text from disks is escaped, so a file name cannot move the cursor or hide a line.

use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// How to print.
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Complete,
    /// It ran and found something wrong.
    Failed,
    /// Something is missing, and was named.
    Partial,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Complete => 0,
            Exit::Failed => 1,
            Exit::Partial => 3,
        })
    }
}

impl Output {
    /// One object with `--json`, else nothing.
    pub(crate) fn object(&self, value: &impl Serialize) -> anyhow::Result<()> {
        if self.json {
            let mut line = serde_json::to_string(value)?;
            line.push('\n');
            print(&line)?;
        }
        Ok(())
    }

    /// What is shown this once. Unlike the rest, it fails when nobody reads it.
    pub(crate) fn once(&self, text: &str, value: &impl Serialize) -> anyhow::Result<()> {
        let line = if self.json { serde_json::to_string(value)? } else { text.to_owned() };
        let mut out = std::io::stdout().lock();
        Ok(writeln!(out, "{line}").and_then(|()| out.flush())?)
    }

    /// A line for people, not with `--json`.
    pub(crate) fn line(&self, text: &str) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { print(&format!("{text}\n")) }
    }

    /// A remark for people that scripts do not want.
    pub(crate) fn note(&self, text: &str) -> anyhow::Result<()> {
        if self.quiet { Ok(()) } else { self.line(text) }
    }

    /// A warning, on standard error.
    pub(crate) fn warn(&self, text: &str) {
        complain(&format!("warning: {}", printable(text.as_bytes())));
    }

    /// The error that ended the command, with its causes.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        if self.json {
            let line = serde_json::json!({"type": "error", "message": chain.join(": ")});
            // Best effort: the reader may have gone, and the exit code tells.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
        let mut shown: Vec<&str> = Vec::new();
        for part in &chain {
            // Some causes are already part of the sentence before them.
            if !shown.iter().any(|before| before.contains(part.as_str())) {
                shown.push(part);
            }
        }
        complain(&format!("error: {}", printable(shown.join(": ").as_bytes())));
    }
}

/// Prints. A reader that has gone (`saveos files ls … | head`) misses the rest and changes nothing else: the command goes on
/// and its exit code tells how it ended.
fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(text.as_bytes())
}

/// Prints what is no line: a man page, a map.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(gone) if gone.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// A line on standard error. Best effort: `eprintln` would panic when nobody reads it, and the exit code would be lost.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// One line of text, with control characters and broken UTF-8 escaped.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let hides =
                matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if character.is_control() || hides {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// A name in JSON: text, and the exact bytes as hex where they are no UTF-8.
pub(crate) fn json_name(bytes: &[u8]) -> serde_json::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::json!({"name": text}),
        Err(_) => serde_json::json!({
            "name": String::from_utf8_lossy(bytes), "name_hex": saveos_engine::chunk::hex(bytes)
        }),
    }
}

/// `1.4 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// `2026-03-01 12:00:00` of Unix seconds, UTC.
pub(crate) fn time(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    let (year, month, day) = saveos_engine::retention::civil_date(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(printable(b"a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable(b"a\nb\tc"), "a\\nb\\tc");
        assert_eq!(printable(b"ok \xff \xc3\xa9"), "ok \\xff é");
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(time(1_772_366_400), "2026-03-01 12:00:00");
    }
}
