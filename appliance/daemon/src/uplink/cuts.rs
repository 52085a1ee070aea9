//! Two boxes with one name take the broker's session from each other for ever, and neither hears why: MQTT closes the older one
//! without a word. What shows is a line that is cut again and again a moment after it stood.

use saveos_protocol::fact::SameIdTwice;
use saveos_protocol::unit::{Count, Seconds};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A session that was cut so soon was begun for nothing.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// So many of them in the window are no accident; a broker that dies is refused connections in between.
const MOST: usize = 5;
const WINDOW: Duration = Duration::from_secs(600);
/// And told so often.
const DAILY: Duration = Duration::from_secs(86_400);

/// Cuts of late.
#[derive(Default)]
pub(super) struct Cuts {
    of_late: VecDeque<Instant>,
    told: Option<Instant>,
}

impl Cuts {
    /// Another one; what to tell when they are too many.
    pub(super) fn add(&mut self, now: Instant) -> Option<SameIdTwice> {
        self.of_late.push_back(now);
        while self.of_late.front().is_some_and(|first| now.duration_since(*first) > WINDOW) {
            self.of_late.pop_front();
        }
        let told = self.told.is_some_and(|told| now.duration_since(told) < DAILY);
        if self.of_late.len() < MOST || told {
            return None;
        }
        self.told = Some(now);
        let within = self.of_late.front().map_or(Duration::ZERO, |first| now.duration_since(*first));
        let cuts = Count::saturating(self.of_late.len() as u64);
        Some(SameIdTwice { cuts, within: Seconds::of(within) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cuts_in_a_short_time_are_told_once_a_day() {
        let (mut cuts, begun) = (Cuts::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        for seconds in [0, 100, 200, 300] {
            assert_eq!(cuts.add(at(seconds)), None);
        }
        let told = cuts.add(at(400)).expect("five");
        assert_eq!((told.cuts.get(), told.within), (5, Seconds::from(400)));
        assert_eq!(cuts.add(at(500)), None);
        let mut rare = Cuts::default();
        assert!((0..50).all(|number| rare.add(at(number * 200)).is_none()), "a bad line is no second box");
    }
}
