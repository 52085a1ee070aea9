//! Parts on pins of any maker: whatever implements the traits of embedded-hal.

use crate::HalError;
use crate::button::Button;
use crate::fan::{Duty, Fan};
use crate::lights::Lamp;
use crate::parts::BayPower;
use embedded_hal::digital::{InputPin, OutputPin, PinState};
use embedded_hal::pwm::SetDutyCycle;
use std::fmt;

/// The traits of embedded-hal know an error by its name alone.
fn broken(part: &'static str, error: &impl fmt::Debug) -> HalError {
    HalError::Part { part, source: format!("{error:?}").into() }
}

/// A level that means yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// Three volts.
    High,
    /// Ground: buttons, and lights that hang on the supply.
    Low,
}

impl Active {
    fn level(self, yes: bool) -> PinState {
        PinState::from(yes == (self == Active::High))
    }
}

/// Something that is on or off: a light, the power of the bay.
pub struct Switch<P> {
    part: &'static str,
    pin: P,
    active: Active,
}

impl<P: OutputPin> Switch<P> {
    /// Off from now on.
    pub fn new(part: &'static str, pin: P, active: Active) -> Result<Switch<P>, HalError> {
        let mut switch = Switch { part, pin, active };
        switch.turn(false)?;
        Ok(switch)
    }

    fn turn(&mut self, on: bool) -> Result<(), HalError> {
        self.pin.set_state(self.active.level(on)).map_err(|error| broken(self.part, &error))
    }
}

impl<P: OutputPin + Send> Lamp for Switch<P> {
    fn set(&mut self, lit: bool) -> Result<(), HalError> {
        self.turn(lit)
    }
}

impl<P: OutputPin + Send> BayPower for Switch<P> {
    fn set(&mut self, on: bool) -> Result<(), HalError> {
        self.turn(on)
    }
}

/// A button between a pin and ground, or the supply.
pub struct PinButton<P> {
    pin: P,
    active: Active,
}

impl<P> PinButton<P> {
    /// The pin has its pull already.
    pub fn new(pin: P, active: Active) -> PinButton<P> {
        PinButton { pin, active }
    }
}

impl<P: InputPin + Send> Button for PinButton<P> {
    fn is_down(&mut self) -> Result<bool, HalError> {
        let high = self.pin.is_high().map_err(|error| broken("button", &error))?;
        Ok(high == (self.active == Active::High))
    }
}

/// A fan on a pulse-width output, without a tachometer.
pub struct PwmFan<P>(pub P);

impl<P: SetDutyCycle + Send> Fan for PwmFan<P> {
    fn set_duty(&mut self, duty: Duty) -> Result<(), HalError> {
        self.0.set_duty_cycle_percent(duty.percent()).map_err(|error| broken("fan", &error))
    }

    fn turns(&mut self) -> Result<Option<u32>, HalError> {
        Ok(None)
    }
}
