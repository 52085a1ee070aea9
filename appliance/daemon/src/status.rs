//! What a person at the box asks: over a socket that only its owner opens, one JSON object each way.

use crate::disks;
use crate::outbox::Level;
use crate::plan::Held;
use crate::queue::Job;
use saveos_protocol::shadow::Firmware;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Question {
    /// How are you?
    Status,
    /// What do you do?
    Jobs,
    /// What is plugged in?
    Disks,
    /// Show the recovery words, this once.
    Words,
    /// These two were asked back.
    Confirm {
        /// In the order in which they were asked.
        words: [String; 2],
    },
    /// This restore is wanted.
    Approve {
        /// Which job.
        job: String,
        /// Serial number of the disk that it overwrites.
        serial: String,
    },
    /// Back this disk up now.
    Backup {
        /// Which one.
        disk: String,
    },
}

/// An answer.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Answer {
    Status(Box<Status>),
    Jobs { jobs: Vec<Job> },
    Disks { disks: Vec<Disk> },
    Words { words: String, confirm: [usize; 2] },
    Confirmed,
    Queued { job: String },
    Refused { why: String },
}

/// The box at a glance.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) version: &'static str,
    /// The system, and the update under way.
    pub(crate) firmware: Firmware,
    pub(crate) device: String,
    pub(crate) claim_code: String,
    /// The page on which it is claimed, where there is a control plane and nobody has claimed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claim_link: Option<String>,
    /// Who claimed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// The desired document in force; zero before the first.
    pub(crate) desired: u64,
    pub(crate) repository: String,
    /// Who could open the backups without this box.
    pub(crate) recoverable: bool,
    /// The control plane took a heartbeat within the hour, since the daemon started.
    pub(crate) connected: bool,
    /// The clock is before what the control plane said: it cannot be reached until the time is right.
    pub(crate) clock_behind: bool,
    pub(crate) outbox: Level,
    pub(crate) disks: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<Running>,
}

/// The job at work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Running {
    pub(crate) job: Job,
    pub(crate) bytes_done: u64,
    pub(crate) bytes_total: u64,
}

/// A disk, and why it waits.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Disk {
    #[serde(flatten)]
    pub(crate) disk: disks::Row,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<Held>,
}

/// A question is short.
const LIMIT: u64 = 4096;
/// A client that says nothing is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Listens. A socket that a dead daemon left is taken over; one that answers is somebody's.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another saveosd answers there"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers who waits.
pub(crate) fn serve(listener: &UnixListener, answer: &mut dyn FnMut(Question) -> Answer) {
    while let Ok((stream, _)) = listener.accept() {
        if let Err(error) = serve_one(stream, answer) {
            tracing::debug!(%error, "a question was not answered");
        }
    }
}

fn serve_one(stream: UnixStream, answer: &mut dyn FnMut(Question) -> Answer) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?.take(LIMIT)).read_line(&mut line)?;
    let said = match serde_json::from_str(&line) {
        Ok(question) => answer(question),
        Err(error) => Answer::Refused { why: format!("not a question: {error}") },
    };
    let mut json = serde_json::to_vec(&said)?;
    json.push(b'\n');
    (&stream).write_all(&json)
}

/// Asks a running daemon.
pub(crate) fn ask(path: &Path, question: &Question) -> io::Result<serde_json::Value> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut json = serde_json::to_vec(question)?;
    json.push(b'\n');
    stream.write_all(&json)?;
    let mut text = String::new();
    stream.take(16 << 20).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}
