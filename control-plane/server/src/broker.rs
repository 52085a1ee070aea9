//! The broker: a Mosquitto of our own, with files that we write, kept running.
//!
//! What it holds is a cache: whatever it forgets is sent again from the database. A server that was killed leaves its broker
//! behind; the next one ends it, by the number it wrote down, before it starts its own.

mod files;

pub(crate) use files::{Files, FilesError, Revoked};

use crate::files::{self as durable, FileError};
use crate::stop;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    /// Its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not installed.
    #[error("there is no mosquitto: install it (`apt-get install mosquitto`)")]
    NotInstalled,
    /// It could not be started or asked.
    #[error("could not run mosquitto")]
    Run(#[source] std::io::Error),
    /// It does not take the files.
    #[error("mosquitto refuses its files: {0}")]
    Refused(String),
}

/// Where Debian puts it: not always on the path of who is not root.
const PROGRAMS: [&str; 3] = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto"];
/// What a broker has to open its port or to end.
const PATIENCE: Duration = Duration::from_secs(10);
const PID: &str = "pid";

/// The program.
pub(crate) fn program() -> Result<&'static str, BrokerError> {
    PROGRAMS.into_iter().find(|path| Path::new(path).exists()).ok_or(BrokerError::NotInstalled)
}

/// Keeps a broker running until `stop`; tells each start by its process id.
pub(crate) async fn keep_running(files: Files, started: watch::Sender<u32>, mut stop: watch::Receiver<bool>) {
    let mut wait = Duration::from_millis(100);
    while !*stop.borrow() {
        match start(&files, &started).await {
            Ok(mut child) => {
                let begun = Instant::now();
                tokio::select! {
                    status = child.wait() => {
                        // Its number may soon be another process's, which must get no signal of ours.
                        started.send_replace(0);
                        tracing::error!(?status, "the broker ended");
                    }
                    () = stop::asked(&mut stop) => return end(child).await,
                }
                wait = if begun.elapsed() > PATIENCE { Duration::from_millis(100) } else { (wait * 2).min(PATIENCE) };
            }
            Err(error) => {
                started.send_replace(0);
                tracing::error!(error = &error as &dyn std::error::Error, "no broker");
                wait = (wait * 2).min(PATIENCE);
            }
        }
        let _ = tokio::time::timeout(wait, stop::asked(&mut stop)).await;
    }
}

async fn start(files: &Files, started: &watch::Sender<u32>) -> Result<Child, BrokerError> {
    end_left_behind(files.folder()).await?;
    let mut command = Command::new(program()?);
    command.arg("-c").arg(files.config()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(BrokerError::Run)?;
    let id = child.id().unwrap_or(0);
    durable::write(&files.folder().join(PID), &format!("{id}\n"))?;
    // Before it listens: whoever connects to it knows that it is another one.
    started.send_replace(id);
    if let Some(log) = child.stderr.take() {
        tokio::spawn(async move {
            let mut lines = BufReader::new(log).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                tracing::info!(target: "broker", "{line}");
            }
        });
    }
    let deadline = Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(files.address()).await.is_err() {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(BrokerError::Refused(status.to_string()));
        }
        if Instant::now() > deadline {
            return Err(BrokerError::Refused("it opens no port".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tracing::info!(id, port = files.address().port(), "the broker runs");
    Ok(child)
}

/// It writes down its sessions when it is asked to end.
async fn end(mut child: Child) {
    if let Some(id) = child.id().and_then(pid) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Ends a broker of an earlier life of ours: only a process whose command line names our config is one.
async fn end_left_behind(folder: &Path) -> Result<(), BrokerError> {
    let Some(text) = durable::read(&folder.join(PID))? else { return Ok(()) };
    let Some(id) = text.trim().parse().ok().and_then(pid) else { return Ok(()) };
    let config = folder.join(files::CONFIG);
    let deadline = Instant::now() + PATIENCE;
    while is_ours(id, &config) {
        let signal =
            if Instant::now() < deadline { rustix::process::Signal::TERM } else { rustix::process::Signal::KILL };
        let _ = rustix::process::kill_process(id, signal);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn is_ours(id: rustix::process::Pid, config: &Path) -> bool {
    let line = std::fs::read(format!("/proc/{}/cmdline", id.as_raw_nonzero())).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == config.as_os_str().as_encoded_bytes())
}

fn pid(id: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(id).ok()?)
}

/// Ends the running broker at once; the supervisor starts another.
pub(crate) fn kill(id: u32) {
    if let Some(id) = pid(id) {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
    }
}

/// Has the running broker read its rules and lists again.
pub(crate) fn reload(id: u32) {
    if let Some(id) = pid(id) {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::HUP);
    }
}
