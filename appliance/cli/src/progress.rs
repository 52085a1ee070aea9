//! A progress bar with rate and ETA on a terminal; progress objects with `--json`; silence in a pipe.

use crate::output::{Output, complain};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static STOP: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C asks politely; a second one ends the process at once.
pub(crate) fn catch_interrupts() -> anyhow::Result<()> {
    Ok(ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        complain("\nstopping; press Ctrl-C again to end at once");
    })?)
}

/// Whether somebody pressed Ctrl-C.
pub(crate) fn interrupted() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// A bar over bytes.
pub(crate) struct Bar {
    bar: ProgressBar,
    json: Option<Mutex<Instant>>,
}

impl Bar {
    pub(crate) fn new(out: &Output, what: &str) -> Bar {
        let bar = ProgressBar::new(0);
        let shows = std::io::stderr().is_terminal() && !out.json && !out.quiet;
        bar.set_draw_target(if shows { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() });
        let style = "{prefix} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta} left";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(what.to_owned());
        Bar { bar, json: out.json.then(|| Mutex::new(Instant::now())) }
    }

    /// Bytes done, when nobody knows of how many.
    pub(crate) fn count(&self, done: u64) {
        let style = "{prefix} {spinner} {bytes} {binary_bytes_per_sec}";
        if self.bar.length().is_some() {
            self.bar.unset_length();
            self.bar
                .set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_spinner()));
        }
        self.bar.set_position(done);
        self.object(
            || serde_json::json!({"type": "progress", "done": done, "bytes_per_second": self.bar.per_sec() as u64}),
        );
    }

    /// Bytes done of a total. With `--json` at most one object a second.
    pub(crate) fn show(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.object(|| {
            // The bar's own estimate forgets: a burst at the start would halve the time left.
            let rate = done as f64 / self.bar.elapsed().as_secs_f64().max(0.001);
            let left = (total.saturating_sub(done) as f64 / rate.max(1.0)).ceil() as u64;
            let rate = rate as u64;
            serde_json::json!({
                "type": "progress", "done": done, "total": total, "bytes_per_second": rate, "seconds_left": left,
            })
        });
    }

    fn object(&self, make: impl Fn() -> serde_json::Value) {
        let Some(last) = &self.json else { return };
        let Ok(mut last) = last.try_lock() else { return };
        if last.elapsed() >= Duration::from_secs(1) {
            *last = Instant::now();
            // A reader that has gone does not end a backup.
            let _ = writeln!(std::io::stdout(), "{}", make());
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
