//! The job that runs: how far it is, how fast it goes, how long it will still take.

use crate::queue::Job;
use crate::work::{Meter, Stop};
use saveos_protocol::heartbeat::Progress;
use saveos_protocol::unit::{Bytes, Percent, Seconds};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) struct AtWork {
    pub(super) job: Job,
    pub(super) meter: Arc<Meter>,
    pub(super) thread: JoinHandle<Stop>,
    pub(super) begun: Instant,
    pub(super) moved: (u64, Instant),
    pub(super) pace: Pace,
}

impl AtWork {
    /// How far it is, and how long it will still take when it goes on as it did.
    pub(super) fn progress(&mut self) -> Progress {
        let (done, total) = (self.meter.done.load(Ordering::Relaxed), self.meter.total.load(Ordering::Relaxed));
        let now = Instant::now();
        let mean = per_second(done, now.duration_since(self.begun)).filter(|rate| *rate > 0);
        let left = mean.filter(|_| total > done).map(|rate| (total - done) / rate);
        Progress {
            id: self.job.id,
            work: self.job.work,
            done: Percent::of(done.min(total), total.max(1)),
            rate: self.pace.look(done, now).or(mean).map(Bytes::saturating),
            left: left.map(Seconds::saturating),
        }
    }
}

/// How fast it went lately: a disk is slower at its end than at its beginning, and what did not change is skipped.
pub(super) struct Pace {
    since: (u64, Instant),
    rate: Option<u64>,
}

impl Pace {
    /// Long enough that one slow piece does not look like a slow disk.
    const WINDOW: Duration = Duration::from_secs(10);

    pub(super) fn begin(at: Instant) -> Pace {
        Pace { since: (0, at), rate: None }
    }

    /// Bytes a second of the last whole window; none before there is one.
    fn look(&mut self, done: u64, now: Instant) -> Option<u64> {
        let (before, since) = self.since;
        let took = now.duration_since(since);
        if took >= Self::WINDOW {
            self.rate = per_second(done.saturating_sub(before), took);
            self.since = (done, now);
        }
        self.rate
    }
}

fn per_second(bytes: u64, took: Duration) -> Option<u64> {
    let millis = took.as_millis();
    (millis > 0).then(|| u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_window() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut pace = Pace::begin(begun);
        assert_eq!(pace.look(900, at(9)), None);
        assert_eq!(pace.look(1_000, at(10)), Some(100));
        assert_eq!(pace.look(9_000, at(19)), Some(100));
        assert_eq!(pace.look(9_000, at(20)), Some(800));
        // What stands still is told so, and a counter that begins again is no reason to fall over.
        assert_eq!(pace.look(9_000, at(40)), Some(0));
        assert_eq!(pace.look(0, at(60)), Some(0));
    }

    #[test]
    fn nothing_is_divided_by_no_time() {
        assert_eq!(per_second(1, Duration::ZERO), None);
        assert_eq!(per_second(u64::MAX, Duration::from_millis(1)), Some(u64::MAX));
    }
}
