//! The fan: silent while it can be, full when in doubt, and a word when it does not turn.

use crate::HalError;
use crate::parts::MilliCelsius;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Share of full speed, 0 to 100 percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Duty(u8);

impl Duty {
    /// It stands.
    pub const OFF: Duty = Duty(0);
    /// As fast as it can.
    pub const FULL: Duty = Duty(100);

    /// More than a hundred is a hundred.
    #[must_use]
    pub const fn of(percent: u8) -> Duty {
        Duty(if percent > 100 { 100 } else { percent })
    }

    /// Percent.
    #[must_use]
    pub const fn percent(self) -> u8 {
        self.0
    }
}

/// A fan.
pub trait Fan: Send {
    /// How fast it should turn.
    fn set_duty(&mut self, duty: Duty) -> Result<(), HalError>;
    /// Turns a minute by its tachometer; none: it has no such wire.
    fn turns(&mut self) -> Result<Option<u32>, HalError>;
}

/// Below, nobody hears it.
pub const QUIET_BELOW: MilliCelsius = MilliCelsius::of(50);
/// From here it turns.
pub const TURNS_FROM: MilliCelsius = MilliCelsius::of(58);
/// From here it turns as fast as it can.
pub const FULL_FROM: MilliCelsius = MilliCelsius::of(75);
/// From here no work begins: processors of such boards slow themselves down at 80 to 85 °C, and disks age.
pub const TOO_HOT_FROM: MilliCelsius = MilliCelsius::of(82);
/// Until here, once it was too hot.
pub const COOL_AGAIN: MilliCelsius = MilliCelsius::of(72);
/// Small fans do not start below.
const SLOWEST: u8 = 30;
/// A fan that starts gets full voltage for so long.
const KICK: Duration = Duration::from_secs(1);
/// A fan that should turn and does not for so long is stalled.
const STALL: Duration = Duration::from_secs(5);
/// Fewer turns a minute than this are a tachometer's noise.
const STANDS_BELOW: u32 = 200;

/// What to do, and what to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooled {
    /// For the fan.
    pub duty: Duty,
    /// It should turn and does not.
    pub stalled: bool,
    /// No work should begin.
    pub too_hot: bool,
}

/// Decides how fast a fan turns; a function of what it saw and when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cooling {
    /// Since when it turns.
    turning: Option<Duration>,
    /// Since when it stands although it should turn.
    standing: Option<Duration>,
    too_hot: bool,
}

impl Cooling {
    /// A board as warm as that (none: its thermometer is silent) and a fan that turns so fast (none: it cannot tell).
    pub fn step(&mut self, warm: Option<MilliCelsius>, turns: Option<u32>, at: Duration) -> Cooled {
        let limit = if self.too_hot { COOL_AGAIN } else { TOO_HOT_FROM };
        // A thermometer that fell silent is no reason to stop working, only to cool.
        self.too_hot = warm.is_some_and(|warm| warm >= limit);
        let from = if self.turning.is_some() { QUIET_BELOW } else { TURNS_FROM };
        let wanted = warm.map_or(Duty::FULL, |warm| if warm < from { Duty::OFF } else { curve(warm) });
        if wanted == Duty::OFF {
            (self.turning, self.standing) = (None, None);
            return Cooled { too_hot: self.too_hot, ..Cooled::default() };
        }
        let began = *self.turning.get_or_insert(at);
        match turns {
            Some(turns) if turns < STANDS_BELOW => _ = self.standing.get_or_insert(at),
            _ => self.standing = None,
        }
        let stalled = self.standing.is_some_and(|since| at.saturating_sub(since) >= STALL);
        let kicked = at.saturating_sub(began) < KICK;
        let duty = if kicked || stalled || self.standing.is_some() { Duty::FULL } else { wanted };
        Cooled { duty, stalled, too_hot: self.too_hot }
    }
}

/// A straight line from the slowest to full.
fn curve(warm: MilliCelsius) -> Duty {
    let (low, high) = (i64::from(QUIET_BELOW.0), i64::from(FULL_FROM.0));
    let above = (i64::from(warm.0) - low).clamp(0, high - low);
    let percent = i64::from(SLOWEST) + above * i64::from(100 - SLOWEST) / (high - low);
    Duty::of(u8::try_from(percent).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_silent_until_it_is_warm_and_again_when_it_is_cool() {
        let mut cooling = Cooling::default();
        let mut at = |warm, second| cooling.step(Some(MilliCelsius::of(warm)), Some(2000), s(second)).duty;
        assert_eq!(at(40, 0), Duty::OFF);
        assert_eq!(at(57, 1), Duty::OFF);
        assert_eq!(at(58, 2), Duty::FULL, "a kick to start");
        assert_eq!(at(58, 4), Duty::of(52));
        assert_eq!(at(52, 5), Duty::of(35), "it does not stop and start at one degree");
        assert_eq!(at(75, 6), Duty::FULL);
        assert_eq!(at(49, 7), Duty::OFF);
    }

    #[test]
    fn a_fan_that_stands_is_told_and_pushed() {
        let mut cooling = Cooling::default();
        let mut at = |turns, second| cooling.step(Some(MilliCelsius::of(60)), turns, s(second));
        assert!(!at(Some(0), 0).stalled, "it starts");
        assert!(!at(Some(0), 4).stalled);
        assert_eq!(at(Some(0), 5), Cooled { duty: Duty::FULL, stalled: true, too_hot: false });
        assert!(!at(Some(1800), 6).stalled, "it turns again");
        assert!(!at(None, 60).stalled, "a fan without a tachometer is believed");
    }

    #[test]
    fn no_work_begins_while_it_is_too_hot() {
        let mut cooling = Cooling::default();
        let mut at = |warm: i32| cooling.step(Some(MilliCelsius::of(warm)), None, s(1)).too_hot;
        assert_eq!([at(81), at(82), at(75), at(71), at(75)], [false, true, true, false, false]);
        assert_eq!(cooling.step(None, None, s(9)).duty, Duty::FULL, "a silent thermometer is no comfort");
    }

    proptest! {
        #[test]
        fn hotter_is_never_slower_and_hot_is_full(steps in prop::collection::vec((0i32..120, prop::option::of(0u32..4000), 0u64..10), 1..100)) {
            let (mut cooling, mut at) = (Cooling::default(), s(0));
            for (warm, turns, later) in steps {
                at += s(later);
                let cooled = cooling.step(Some(MilliCelsius::of(warm)), turns, at);
                prop_assert!(warm < 75 || cooled.duty == Duty::FULL);
                prop_assert!(warm >= 50 || cooled.duty == Duty::OFF);
                prop_assert!(cooled.duty == Duty::OFF || cooled.duty.percent() >= SLOWEST);
            }
        }
    }
}
