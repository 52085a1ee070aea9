//! When a store will be full: a straight line through what was used in the last month. Pure.
//!
//! Backups add and prunes take away, so the line goes through both (least squares); what fell, or has not been watched for three
//! days, has no forecast.

use saveos_protocol::time::Timestamp;
use std::time::Duration;

/// How far the forecast looks back.
pub(crate) const WINDOW: Duration = Duration::from_secs(30 * 86_400);
/// Less than this tells of one busy night, not of a trend.
const WATCHED: Duration = Duration::from_secs(3 * 86_400);
/// A forecast for longer is none.
const HORIZON: Duration = Duration::from_secs(3 * 365 * 86_400);

/// Bytes that were used at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) at: Timestamp,
    pub(crate) used: u64,
}

/// How fast a store fills.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Growth {
    /// Bytes a millisecond.
    rate: f64,
    last: Timestamp,
}

/// How fast it fills, where it does. Samples in the order of time.
pub(crate) fn growth(samples: &[Sample]) -> Option<Growth> {
    let (first, last) = (samples.first()?, samples.last()?);
    if samples.len() < 3 || last.at.since(first.at) < WATCHED {
        return None;
    }
    // Milliseconds and bytes from the first sample, so that nothing is lost in the large numbers.
    let point =
        |sample: &Sample| (sample.at.since(first.at).as_millis() as f64, sample.used as f64 - first.used as f64);
    let points: Vec<(f64, f64)> = samples.iter().map(point).collect();
    let count = points.len() as f64;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (mut rises, mut spread) = (0.0, 0.0);
    for (x, y) in points {
        rises += (x - mean_x) * (y - mean_y);
        spread += (x - mean_x) * (x - mean_x);
    }
    let rate = rises / spread;
    (rate > 0.0 && rate.is_finite()).then_some(Growth { rate, last: last.at })
}

impl Growth {
    /// When a store with so much free will be full, if it goes on like this.
    pub(crate) fn full_at(&self, free: u64) -> Option<Timestamp> {
        let left = free as f64 / self.rate;
        (left <= HORIZON.as_millis() as f64).then(|| self.last.after(Duration::from_millis(left as u64)))
    }

    /// Bytes a day.
    pub(crate) fn of_a_day(&self) -> u64 {
        (self.rate * 86_400_000.0) as u64
    }
}

/// The retention that would help: so many days of snapshots fit into nine tenths of a store, when their first ones take `base` and
/// each day adds as much as now.
pub(crate) fn holds_days(size: u64, base: u64, day: u64) -> u64 {
    (size / 10 * 9).saturating_sub(base) / day.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const GB: u64 = 1_000_000_000;

    fn samples(used: impl Fn(u64) -> u64, days: u64) -> Vec<Sample> {
        (0..days).map(|day| Sample { at: Timestamp::saturating((100 + day) * DAY), used: used(day) }).collect()
    }

    fn days_left(samples: &[Sample], free: u64) -> Option<u64> {
        let last = samples.last().expect("a sample").at;
        growth(samples).and_then(|growth| growth.full_at(free)).map(|full| full.since(last).as_millis() as u64 / DAY)
    }

    #[test]
    fn a_steady_growth_ends_where_it_must() {
        assert_eq!(days_left(&samples(|day| day * 10 * GB, 10), 100 * GB), Some(10));
        assert_eq!(days_left(&samples(|day| day * 10 * GB, 10), 0), Some(0), "it is full");
        // A prune every seventh day takes away half of the week's growth.
        let saw = samples(|day| day * 10 * GB - day / 7 * 35 * GB, 29);
        let left = days_left(&saw, 100 * GB).expect("it grows");
        assert!((17..=23).contains(&left), "5 GB a day: {left}");
    }

    #[test]
    fn as_many_days_are_kept_as_fit() {
        let grows = growth(&samples(|day| day * 10 * GB, 10)).expect("it grows");
        assert_eq!(grows.of_a_day(), 10 * GB);
        assert_eq!(holds_days(1000 * GB, 300 * GB, grows.of_a_day()), 60);
        assert_eq!((holds_days(1000 * GB, 950 * GB, GB), holds_days(10, 0, 0)), (0, 9));
    }

    #[test]
    fn what_does_not_grow_or_was_not_watched_has_no_forecast() {
        assert_eq!(days_left(&samples(|_| 5 * GB, 30), GB), None);
        assert_eq!(days_left(&samples(|day| 500 * GB - day * GB, 30), GB), None);
        assert_eq!(days_left(&samples(|day| day * GB, 3), GB), None, "two days");
        assert_eq!(days_left(&samples(|day| day, 30), u64::MAX / 2), None, "not in our time");
        assert_eq!(growth(&[]), None);
        let mut one_moment = samples(|day| day, 5);
        one_moment.iter_mut().for_each(|sample| sample.at = Timestamp::saturating(DAY));
        assert_eq!(growth(&one_moment), None);
    }
}
