//! The one button of a box: what a finger meant, from a contact that bounces.
//!
//! A contact counts once it was quiet for [`QUIET`]. What it meant is told when it is let go: a long press can still be taken
//! back by holding it further, to where it means nothing, and a person reads on the display what letting go would do.

use crate::HalError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One button.
pub trait Button: Send {
    /// Whether it is pressed now; bounces and all.
    fn is_down(&mut self) -> Result<bool, HalError>;
}

/// What a finger meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gesture {
    /// Shorter than [`TAP`]: go on.
    Tap,
    /// Between [`HOLD`] and [`NOTHING`]: yes, do it.
    Hold,
    /// Ten seconds and more: the first level of a reset.
    TenSeconds,
    /// Twenty.
    TwentySeconds,
    /// Thirty, and nothing beyond.
    ThirtySeconds,
}

/// A contact settles within: makers of switches promise 5 to 10 ms, worn ones need more.
pub const QUIET: Duration = Duration::from_millis(30);
/// A tap is shorter.
pub const TAP: Duration = Duration::from_millis(900);
/// A yes is at least so long; between the two nobody knows what was meant.
pub const HOLD: Duration = Duration::from_millis(1500);
/// From here to the first level of a reset it means nothing: whoever leans on the box for 9.9 s resets nothing.
pub const NOTHING: Duration = Duration::from_secs(6);
/// A button that is down for longer is jammed, or something stands on it.
pub const JAMMED: Duration = Duration::from_secs(60);

impl Gesture {
    /// What it means to let go after so long.
    #[must_use]
    pub fn of(held: Duration) -> Option<Gesture> {
        let reset = |seconds| held >= Duration::from_secs(seconds);
        match () {
            () if held >= JAMMED => None,
            () if reset(30) => Some(Gesture::ThirtySeconds),
            () if reset(20) => Some(Gesture::TwentySeconds),
            () if reset(10) => Some(Gesture::TenSeconds),
            () if held >= NOTHING => None,
            () if held >= HOLD => Some(Gesture::Hold),
            () if held >= TAP => None,
            () => Some(Gesture::Tap),
        }
    }
}

/// Looks at a contact from time to time and says what was meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finger {
    /// What the contact said last, and since when.
    raw: Option<(bool, Duration)>,
    /// Since when it is held, bounces aside.
    down: Option<Duration>,
    /// It was seen up: what is down at the start was not pressed by anybody who meant us.
    armed: bool,
}

impl Finger {
    /// The contact at a moment, on a clock that never steps back; what was meant, when it was let go.
    pub fn look(&mut self, down: bool, at: Duration) -> Option<Gesture> {
        let since = match self.raw {
            Some((same, since)) if same == down => since,
            _ => {
                self.raw = Some((down, at));
                at
            }
        };
        if at.saturating_sub(since) < QUIET {
            return None;
        }
        match (down, self.down) {
            (true, None) if self.armed => self.down = Some(since),
            (false, Some(began)) => {
                self.down = None;
                return Gesture::of(since.saturating_sub(began));
            }
            (false, None) => self.armed = true,
            _ => {}
        }
        None
    }

    /// For how long it is held now.
    #[must_use]
    pub fn held(&self, at: Duration) -> Option<Duration> {
        self.down.map(|began| at.saturating_sub(began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lets go after so many milliseconds, the contact bouncing for `bounce` at both ends; looks every 10 ms.
    fn press(held: u64, bounce: u64) -> Vec<Gesture> {
        let mut finger = Finger::default();
        let (from, until) = (500, 500 + held);
        let contact = |ms: u64| match ms {
            ms if ms >= from && ms < from + bounce => (ms / 10).is_multiple_of(2),
            ms if ms >= until && ms < until + bounce => !(ms / 10).is_multiple_of(2),
            ms => (from..until).contains(&ms),
        };
        (0..until + 1000).step_by(10).filter_map(|ms| finger.look(contact(ms), Duration::from_millis(ms))).collect()
    }

    #[test]
    fn it_means_what_its_length_says() {
        assert_eq!(press(100, 0), [Gesture::Tap]);
        assert_eq!(press(1200, 0), [], "neither a tap nor a yes");
        assert_eq!(press(2000, 0), [Gesture::Hold]);
        assert_eq!(press(9900, 0), [], "leant on it");
        assert_eq!(press(10_000, 0), [Gesture::TenSeconds]);
        assert_eq!(press(19_900, 0), [Gesture::TenSeconds]);
        assert_eq!(press(20_000, 0), [Gesture::TwentySeconds]);
        assert_eq!(press(30_000, 0), [Gesture::ThirtySeconds]);
        assert_eq!(press(61_000, 0), [], "jammed");
        assert_eq!(press(20, 0), [], "a spark");
    }

    #[test]
    fn a_button_that_is_down_at_the_start_means_nothing() {
        let mut finger = Finger::default();
        let mut said = (0..3000).step_by(10).filter_map(|ms| finger.look(ms < 2500, Duration::from_millis(ms)));
        assert_eq!(said.next(), None);
    }

    proptest! {
        #[test]
        fn bounces_are_no_presses(held in 150u64..8000, bounce in 0u64..50) {
            let said = press(held, bounce);
            prop_assert!(said.len() <= 1, "{said:?}");
            let edge = |at: Duration| held.abs_diff(u64::try_from(at.as_millis()).unwrap_or(0)) < 120;
            if ![TAP, HOLD, NOTHING].into_iter().any(edge) {
                let meant: Vec<Gesture> = Gesture::of(Duration::from_millis(held)).into_iter().collect();
                prop_assert_eq!(said, meant);
            }
        }

        #[test]
        fn no_contact_makes_it_panic_or_tell_twice(contacts in prop::collection::vec((any::<bool>(), 0u64..5000), 0..200)) {
            let (mut finger, mut at, mut ups) = (Finger::default(), Duration::ZERO, 0);
            let mut said = 0;
            for (down, later) in contacts {
                at += Duration::from_millis(later);
                said += usize::from(finger.look(down, at).is_some());
                ups += usize::from(!down);
            }
            prop_assert!(said <= ups);
        }
    }
}
