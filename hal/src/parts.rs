//! The parts of a box that have one thing to say or to do: thermometer, watchdog, power of the drive bay.

use crate::HalError;
use std::time::Duration;

/// Thousandths of a degree Celsius, as the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MilliCelsius(pub i32);

impl MilliCelsius {
    /// Whole degrees.
    #[must_use]
    pub const fn of(degrees: i32) -> MilliCelsius {
        MilliCelsius(degrees.saturating_mul(1000))
    }
}

/// How warm the board is.
pub trait Thermometer: Send {
    /// Now.
    fn read(&mut self) -> Result<MilliCelsius, HalError>;
}

/// Starts the machine anew when nobody feeds it.
pub trait Watchdog: Send {
    /// All is well for another while.
    fn feed(&mut self) -> Result<(), HalError>;
    /// That while.
    fn timeout(&mut self) -> Result<Duration, HalError>;
    /// Lets it sleep. One that is dropped without this bites.
    fn disarm(self: Box<Self>) -> Result<(), HalError>;
}

/// The power of the disks, on a board that can switch it.
pub trait BayPower: Send {
    /// Gives it, or takes it away: a disk must be at rest before.
    fn set(&mut self, on: bool) -> Result<(), HalError>;
}
