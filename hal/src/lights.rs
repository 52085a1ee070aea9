//! The three lights of a box, and how they glow: what a person sees from the other end of the room.

use crate::HalError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One of the lights. Boards may have fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Light {
    /// Green: nothing is wrong.
    Ready,
    /// White or blue: a disk is being worked on and must stay plugged in.
    Working,
    /// Red: somebody has to do something.
    Help,
}

impl Light {
    /// In the order in which they stand on a panel.
    pub const ALL: [Light; 3] = [Light::Ready, Light::Working, Light::Help];
}

/// How a light glows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Glow {
    /// Dark.
    #[default]
    Off,
    /// Lit.
    On,
    /// Once a second.
    Slow,
    /// Four times a second.
    Fast,
}

impl Glow {
    /// Whether a light that glows so is lit at a moment. Blinking is done here and not by the kernel: a light that goes on
    /// blinking after its program died would lie.
    #[must_use]
    pub fn is_lit(self, at: Duration) -> bool {
        let half = match self {
            Glow::Off => return false,
            Glow::On => return true,
            Glow::Slow => 500,
            Glow::Fast => 125,
        };
        (at.as_millis() / half).is_multiple_of(2)
    }

    /// How a light glows that is lit now and changed so often within the last two seconds: what an eye would say.
    #[must_use]
    pub fn seen(lit: bool, changes: usize) -> Glow {
        match (changes, lit) {
            (0 | 1, true) => Glow::On,
            (0 | 1, false) => Glow::Off,
            (2..=7, _) => Glow::Slow,
            _ => Glow::Fast,
        }
    }
}

/// One light.
pub trait Lamp: Send {
    /// Lights it, or puts it out.
    fn set(&mut self, lit: bool) -> Result<(), HalError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes in the two seconds that end at `end`, as somebody sees them who looks every 20 ms.
    fn changes(glow: Glow, end: u64) -> usize {
        let lit = |ms: u64| glow.is_lit(Duration::from_millis(ms));
        (end - 2000..end).step_by(20).filter(|ms| lit(*ms) != lit(ms + 20)).count()
    }

    #[test]
    fn who_watches_for_two_seconds_knows_how_it_glows() {
        for glow in [Glow::Off, Glow::On, Glow::Slow, Glow::Fast] {
            for end in (2000..4000).step_by(37) {
                assert_eq!(
                    Glow::seen(glow.is_lit(Duration::from_millis(end)), changes(glow, end)),
                    glow,
                    "at {end} ms"
                );
            }
        }
    }
}
