//! Parts on the pins of a Raspberry Pi by `rppal`, which writes the registers itself: for a Pi whose kernel has no character device for
//! them. That crate is maintained no more (its last release drives every board up to the Pi 5), so [`crate::linux`] is the way
//! that images go.

use crate::HalError;
use crate::oled::Oled;
use crate::pins::{Active, PinButton, PwmFan, Switch};
use rppal::gpio::{Gpio, InputPin, OutputPin};
use rppal::i2c::I2c;
use rppal::pwm::{Channel, Polarity, Pwm};

fn broken<E: std::error::Error + Send + Sync + 'static>(part: &'static str) -> impl Fn(E) -> HalError {
    move |error| HalError::Part { part, source: Box::new(error) }
}

/// A button on a pin, by its BCM number.
pub fn input(pin: u8, active: Active) -> Result<PinButton<InputPin>, HalError> {
    let pin = Gpio::new().and_then(|gpio| gpio.get(pin)).map_err(broken("button"))?;
    Ok(PinButton::new(if active == Active::High { pin.into_input_pulldown() } else { pin.into_input_pullup() }, active))
}

/// A light, or the power of the bay.
pub fn output(part: &'static str, pin: u8, active: Active) -> Result<Switch<OutputPin>, HalError> {
    let pin = Gpio::new().and_then(|gpio| gpio.get(pin)).map_err(broken(part))?;
    Switch::new(part, if active == Active::High { pin.into_output_low() } else { pin.into_output_high() }, active)
}

/// A fan on the first pulse-width output. 25 kHz, as Intel's specification of four-wire fans asks for (rev. 1.3, 2.1).
pub fn fan() -> Result<PwmFan<Pwm>, HalError> {
    Pwm::with_frequency(Channel::Pwm0, 25_000.0, 0.0, Polarity::Normal, true).map(PwmFan).map_err(broken("fan"))
}

/// A display on the bus of the header.
pub fn oled(address: u8) -> Result<Oled<I2c>, HalError> {
    I2c::new().map(|bus| Oled::new(bus, address)).map_err(broken("display"))
}
