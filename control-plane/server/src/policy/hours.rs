//! When boxes may restart into another release, by the clock where they stand: the server's side of the restart window.

use super::Policy;
use super::tree::Policies;
use crate::store::{StoreError, Tx};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use saveos_protocol::shadow::Window;
use saveos_protocol::time::{DAY_MINUTES, Timestamp};
use saveos_server::rollout::{Hours, Share};
use std::collections::HashMap;

/// A window on the wall.
#[derive(Clone, Debug)]
pub(crate) struct RestartHours {
    window: Window,
    zone: TimeZone,
}

impl RestartHours {
    /// None: at any time. A zone that went missing since it was checked counts as UTC, as on the box.
    pub(crate) fn of(policy: &Policy) -> Option<RestartHours> {
        let zone = TimeZone::get(&policy.backup.time_zone).unwrap_or(TimeZone::UTC);
        policy.restart_window.map(|window| RestartHours { window, zone })
    }

    /// As the engine sees them.
    pub(crate) fn at(&self, now: Timestamp) -> Hours {
        let share = u32::from(self.window.minutes()) * 1_000_000 / u32::from(DAY_MINUTES);
        Hours { open: self.is_open(&self.local(now)), share: Share::millionths(share) }
    }

    /// When it opens next; `now` when it is open.
    pub(crate) fn opens(&self, now: Timestamp) -> Timestamp {
        let local = self.local(now);
        if self.is_open(&local) {
            return now;
        }
        let from = self.window.from.minutes();
        let at = |day: jiff::civil::Date| {
            day.at((from / 60) as i8, (from % 60) as i8, 0, 0).to_zoned(self.zone.clone()).ok()
        };
        let today = at(local.date()).filter(|at| *at > local);
        let next = today.or_else(|| at(local.date().checked_add(1.day()).ok()?));
        let millis = next.and_then(|next| u64::try_from(next.timestamp().as_millisecond()).ok());
        millis.map_or(now, Timestamp::saturating)
    }

    fn is_open(&self, local: &Zoned) -> bool {
        self.window.contains(local.hour() as u16 * 60 + local.minute() as u16)
    }

    fn local(&self, now: Timestamp) -> Zoned {
        let instant = jiff::Timestamp::from_millisecond(now.as_millis() as i64).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        instant.to_zoned(self.zone.clone())
    }
}

/// The hours of every place in the tree, found once for many boxes.
pub(crate) struct HoursOfNodes {
    policies: Policies,
    known: HashMap<String, Hours>,
    now: Timestamp,
}

impl HoursOfNodes {
    pub(crate) fn read(tx: &mut dyn Tx, now: Timestamp) -> Result<HoursOfNodes, StoreError> {
        Ok(HoursOfNodes { policies: Policies::read(tx)?, known: HashMap::new(), now })
    }

    pub(crate) fn of(&mut self, node: &str) -> Result<Hours, StoreError> {
        if let Some(hours) = self.known.get(node) {
            return Ok(*hours);
        }
        let own = RestartHours::of(&self.policies.of(node)?);
        let hours = own.map_or(Hours::ANY, |own| own.at(self.now));
        self.known.insert(node.to_owned(), hours);
        Ok(hours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().expect("a time");
        Timestamp::saturating(at.as_millisecond().cast_unsigned())
    }

    fn hours(zone: &str, from: &str, to: &str) -> RestartHours {
        let mut policy = Policy::default();
        policy.backup.time_zone = zone.parse().expect("a zone");
        policy.restart_window = Some(Window { from: from.parse().expect("a time"), to: to.parse().expect("a time") });
        RestartHours::of(&policy).expect("it has a window")
    }

    #[test]
    fn who_says_nothing_may_restart_at_any_time() {
        assert!(RestartHours::of(&Policy::default()).is_none());
    }

    #[test]
    fn a_night_in_auckland_is_none_in_berlin() {
        let (berlin, auckland) =
            (hours("Europe/Berlin", "01:00", "04:00"), hours("Pacific/Auckland", "01:00", "04:00"));
        let night = at("2027-01-15T01:30:00Z");
        assert_eq!(berlin.at(night), Hours { open: true, share: Share::millionths(125_000) });
        assert!(!auckland.at(night).open && auckland.at(at("2027-01-15T12:30:00Z")).open);
        assert_eq!(berlin.opens(night), night);
        assert_eq!(auckland.opens(night), at("2027-01-15T12:00:00Z"));
    }

    /// Clocks go forward from 2 to 3 in the night of 28 March 2027, and back in that of 31 October.
    #[test]
    fn a_window_goes_by_the_clock_on_the_wall() {
        let berlin = hours("Europe/Berlin", "02:30", "03:30");
        assert_eq!(berlin.opens(at("2027-03-26T12:00:00Z")), at("2027-03-27T01:30:00Z"), "winter");
        assert_eq!(berlin.opens(at("2027-03-28T12:00:00Z")), at("2027-03-29T00:30:00Z"), "summer");
        let opens = berlin.opens(at("2027-03-27T12:00:00Z"));
        assert!(opens >= at("2027-03-28T01:00:00Z") && opens < at("2027-03-28T02:00:00Z"), "{opens}");
        assert!(berlin.at(at("2027-10-31T00:30:00Z")).open && berlin.at(at("2027-10-31T01:30:00Z")).open);
    }
}
