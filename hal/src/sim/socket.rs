//! The simulated panel over a socket that only its owner opens: one JSON object each way, and a picture for who wants one.

use super::{Seen, Sim, picture as draw};
use crate::parts::MilliCelsius;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

/// What somebody does at the panel. Whatever it was, the answer is what is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Deed {
    /// Looks.
    Look,
    /// Looks, and gets a PNG instead of JSON.
    Picture,
    /// Presses the button.
    Press {
        /// Milliseconds.
        ms: u64,
    },
    /// Warms the board.
    Warm {
        /// Degrees; none: the thermometer breaks.
        celsius: Option<i32>,
    },
    /// Puts a finger into the fan, or takes it out.
    Jam {
        /// Which of both.
        jammed: bool,
    },
}

/// A deed is short.
const LIMIT: u64 = 4096;
/// Who says nothing is not waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// A picture is far smaller.
const ANSWER_LIMIT: u64 = 1 << 20;

/// Serves until the process ends. A socket that nobody answers is taken over.
pub fn serve(sim: Sim, path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let work = move || {
        for stream in listener.incoming().flatten() {
            // Who hung up has no use for an answer.
            drop(answer(&sim, stream));
        }
    };
    std::thread::Builder::new().name("panel-socket".to_owned()).spawn(work).map(drop)
}

fn answer(sim: &Sim, stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?.take(LIMIT)).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(Deed::Picture) => {
            let png = draw::png(&sim.seen()).map_err(io::Error::other)?;
            return (&stream).write_all(&png);
        }
        Ok(Deed::Look) => {}
        Ok(Deed::Press { ms }) => sim.press(Duration::from_millis(ms)),
        Ok(Deed::Warm { celsius }) => sim.warm(celsius.map(MilliCelsius::of)),
        Ok(Deed::Jam { jammed }) => sim.jam(jammed),
        Err(error) => return (&stream).write_all(format!("not a deed: {error}\n").as_bytes()),
    }
    let mut json = serde_json::to_vec(&sim.seen())?;
    json.push(b'\n');
    (&stream).write_all(&json)
}

fn exchange(path: &Path, deed: Deed) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut json = serde_json::to_vec(&deed)?;
    json.push(b'\n');
    stream.write_all(&json)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Does something at a panel that another process serves; what is seen after it.
pub fn ask(path: &Path, deed: Deed) -> io::Result<Seen> {
    Ok(serde_json::from_slice(&exchange(path, deed)?)?)
}

/// The panel as PNG.
pub fn picture(path: &Path) -> io::Result<Vec<u8>> {
    exchange(path, Deed::Picture)
}
