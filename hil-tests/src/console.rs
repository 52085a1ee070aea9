//! The serial console of a box: everything it said, with the time at which it said it, and a shell when the image has one.

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What follows a command, so that its end is seen; spelt so that the echo of the command does not look like it.
const END: &str = "ENDED=";
/// What comes before its output.
const BEGUN: &str = "BEGUN=";

#[derive(Default)]
struct Heard {
    text: String,
    /// For each chunk: how long the text was after it, and when it came.
    times: Vec<(usize, Instant)>,
    closed: bool,
}

/// A console.
pub(crate) struct Console {
    heard: Arc<(Mutex<Heard>, Condvar)>,
    port: Box<dyn Write + Send>,
    power_on: Instant,
    /// Up to here it was waited for.
    read: usize,
}

impl Console {
    /// Listens from now on, on a thread of its own.
    pub(crate) fn on(mut from: impl Read + Send + 'static, to: impl Write + Send + 'static) -> Console {
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let shared = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let count = from.read(&mut bytes).unwrap_or(0);
                let mut heard = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                heard.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                let length = heard.text.len();
                heard.times.push((length, Instant::now()));
                heard.closed = count == 0;
                shared.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Console { heard, port: Box::new(to), power_on: Instant::now(), read: 0 }
    }

    /// Waits until it says `wanted`; gives the time since power on, and goes on after it.
    pub(crate) fn expect(&mut self, wanted: &str, within: Duration) -> anyhow::Result<Duration> {
        self.expect_any(&[wanted], within).map(|(_, at)| at)
    }

    /// The same for several; gives which came first.
    pub(crate) fn expect_any(&mut self, wanted: &[&str], within: Duration) -> anyhow::Result<(usize, Duration)> {
        let deadline = Instant::now() + within;
        let mut heard = self.heard.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let text = &heard.text[self.read..];
            let found = wanted.iter().enumerate().filter_map(|(index, one)| Some((text.find(one)?, index)));
            if let Some((at, index)) = found.min() {
                self.read += at + wanted[index].len();
                let time = heard.times.iter().find(|(length, _)| *length >= self.read).map(|(_, time)| *time);
                let time = time.context("what was heard has a time")?;
                return Ok((index, time.duration_since(self.power_on)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || heard.closed {
                let why = if heard.closed { "the console closed" } else { "in time" };
                let tail: Vec<&str> = heard.text.lines().rev().take(25).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                bail!("never said {wanted:?} ({why}, {within:?}); its last words:\n{}", tail.join("\n"));
            }
            heard = self.heard.1.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Runs a command in the shell of a bench image; gives what it printed.
    pub(crate) fn run(&mut self, command: &str, within: Duration) -> anyhow::Result<String> {
        self.port.write_all(format!("echo BEGUN\"=\"; {command}; echo ENDED\"=\"$?.\n").as_bytes())?;
        self.port.flush()?;
        // A shell that has not started yet says other things first, and the terminal repeats the command.
        self.expect(BEGUN, within).with_context(|| format!("`{command}` did not begin"))?;
        let from = self.read;
        self.expect(END, within).with_context(|| format!("`{command}` did not end"))?;
        let printed = self.text()[from..self.read - END.len()].to_owned();
        self.expect(".", within)?;
        let text = self.text();
        let code = text[..self.read - 1].rsplit(END).next().unwrap_or_default().to_owned();
        let printed = printed.replace('\r', "").trim().to_owned();
        if code == "0" { Ok(printed) } else { bail!("`{command}` ended with {code}: {printed}") }
    }

    /// Runs a command that prints one JSON object in a line; others may talk on the console meanwhile.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, command: &str, within: Duration) -> anyhow::Result<T> {
        let printed = self.run(command, within)?;
        let json = printed.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
        serde_json::from_str(json).with_context(|| format!("`{command}` printed {printed}"))
    }

    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }
}
