//! Brings the box's log to the control plane that it belongs to, and to nobody else: whoever has the server and not the command key
//! learns from a log what he could learn from the box, and sends it nowhere.

use crate::enrol::Https;
use crate::trust::Trust;
use saveos_protocol::command::State;
use saveos_protocol::fact::{Failure, FailureReason};
use saveos_protocol::text::{Text, WebUrl};
use saveos_protocol::time::Timestamp;
use std::io::Read;
use std::process::{Command, Stdio};

/// What is read of a journal at most: the last of it is what is wanted.
const LONGEST: u64 = 64 << 20;
/// What is sent at most, whatever is asked for.
const LARGEST: u64 = 1 << 20;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) url: WebUrl,
    pub(crate) since: Timestamp,
    pub(crate) max_bytes: u64,
}

/// Whether the address is of our own server.
pub(crate) fn is_ours(trust: &Trust, url: &WebUrl) -> bool {
    let own = format!("{}/", trust.enrolment.uplink.server.trim_end_matches('/'));
    url.starts_with(&own) && !url.contains("..")
}

/// The end of a command that names another place.
pub(crate) fn not_ours() -> State {
    let message = Text::cut("logs are brought to the server that the box is enrolled with, and nowhere else");
    State::Failed { failure: Failure { reason: FailureReason::Internal, message } }
}

/// Reads and brings them; how that ended.
pub(crate) fn bring(journalctl: &str, trust: &Trust, wanted: &Wanted) -> State {
    let failed = |error: &dyn std::error::Error| {
        let message = Text::of_error(error);
        State::Failed { failure: Failure { reason: FailureReason::Internal, message } }
    };
    let text = match read(journalctl, wanted.since, wanted.max_bytes.min(LARGEST)) {
        Ok(text) => text,
        Err(error) => return failed(&error),
    };
    let sent =
        Https::new(&trust.enrolment.uplink.server, &trust.authorities).and_then(|https| https.put(&wanted.url, &text));
    match sent {
        Ok(()) => State::Succeeded { note: Some(Text::cut(&format!("{} bytes", text.len()))) },
        Err(error) => failed(&error),
    }
}

/// The last so many bytes, from the beginning of a line.
fn read(journalctl: &str, since: Timestamp, most: u64) -> std::io::Result<Vec<u8>> {
    let mut command = Command::new(journalctl);
    command.args(["--unit=saveosd.service", "--output=short-iso-precise", "--no-pager", "--quiet"]);
    command.arg(format!("--since=@{}", since.as_millis() / 1000));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut tail = Tail::of(usize::try_from(most).unwrap_or(usize::MAX));
    if let Some(pipe) = child.stdout.take() {
        let (mut pipe, mut piece) = (pipe.take(LONGEST), vec![0; 64 * 1024]);
        loop {
            let len = pipe.read(&mut piece)?;
            if len == 0 {
                break;
            }
            tail.add(&piece[..len]);
        }
    }
    // It may still have much to say; what was read is enough.
    let _ = child.kill();
    let status = child.wait()?;
    if tail.bytes.is_empty() && !status.success() {
        return Err(std::io::Error::other(format!("{journalctl}: {status}")));
    }
    Ok(tail.lines())
}

/// The end of what came so far, and a byte more: it tells whether the end begins with a line.
struct Tail {
    bytes: Vec<u8>,
    keep: usize,
}

impl Tail {
    fn of(most: usize) -> Tail {
        Tail { bytes: Vec::new(), keep: most.saturating_add(1) }
    }

    fn add(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
        // Not at every piece: each time moves what is kept.
        if self.bytes.len() / 2 > self.keep.max(piece.len()) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.bytes.drain(..self.bytes.len().saturating_sub(self.keep));
    }

    /// Whole lines; of one that is longer than all that is kept, its end.
    fn lines(mut self) -> Vec<u8> {
        self.cut();
        if self.bytes.len() == self.keep {
            let end = self.bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
            self.bytes.drain(..=end);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_go_to_our_own_server_and_nowhere_else() {
        let given = crate::desired::tests::given();
        let valid = (given.now.ts, given.now.ts);
        let trust = Trust { enrolment: given.enrolment, authorities: String::new(), valid };
        let ours = |url: &str| is_ours(&trust, &url.parse().expect("a URL"));
        assert!(ours("https://localhost:8443/api/v1/logs/0123"));
        for elsewhere in [
            "https://localhost:8443.example.org/api/v1/logs/0123",
            "https://localhost:84430/api/v1/logs/0123",
            "https://other.example.org/https://localhost:8443/",
            "https://localhost:8443/api/../../etc",
        ] {
            assert!(!ours(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn the_end_is_the_same_in_whatever_pieces_it_comes() {
        let said: String = (1..=1000).map(|line| format!("{line}\n")).collect();
        for (keep, end) in [(20, "997\n998\n999\n1000\n"), (13, "998\n999\n1000\n"), (12, "999\n1000\n"), (4, "")] {
            for size in 1..200 {
                let mut tail = Tail::of(keep);
                said.as_bytes().chunks(size).for_each(|piece| tail.add(piece));
                assert_eq!(String::from_utf8_lossy(&tail.lines()), end, "{keep} bytes in pieces of {size}");
            }
        }
    }

    #[test]
    fn the_last_whole_lines_of_a_long_journal_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = |name: &str, text: &str| crate::files::tests::script(&folder.path().join(name), text);
        let long = script("long", "#!/bin/sh\nseq 1 100000\n");
        let text = read(&long, Timestamp::saturating(0), 20).expect("it is read");
        assert_eq!(String::from_utf8_lossy(&text), "99998\n99999\n100000\n");
        let short = script("short", "#!/bin/sh\necho \"$*\"\n");
        let text = read(&short, Timestamp::saturating(7_000), 1000).expect("it is read");
        assert!(String::from_utf8_lossy(&text).contains("--since=@7"));
        let none = script("none", "#!/bin/sh\nexit 1\n");
        assert!(read(&none, Timestamp::saturating(0), 20).is_err());
        assert!(read("/nowhere", Timestamp::saturating(0), 20).is_err());
    }
}
