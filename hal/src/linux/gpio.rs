//! Pins by the character device of the kernel (`/dev/gpiochip*`), by the names of their lines.

use crate::HalError;
use crate::pins::{Active, PinButton, Switch};
use gpiocdev::Request;
use gpiocdev::line::{Bias, Value};
use gpiocdev::request::Builder;
use gpiocdev_embedded_hal::{InputPin, OutputPin};
use std::error::Error;

fn broken<E: Error + Send + Sync + 'static>(part: &'static str) -> impl Fn(E) -> HalError {
    move |error| HalError::Part { part, source: Box::new(error) }
}

/// The line of that name, on whatever chip it is, set as `ask` says.
fn request(
    part: &'static str,
    line: &str,
    ask: impl FnOnce(&mut Builder) -> &mut Builder,
) -> Result<Request, HalError> {
    // A machine without any chip has no such line either.
    let found = gpiocdev::find_named_line(line).ok_or_else(|| HalError::Missing {
        what: "pin",
        name: line.to_owned(),
        hint: "`gpioinfo`",
    })?;
    let mut builder = Request::builder();
    builder.on_chip(&found.chip).with_consumer("saveosd").with_line(found.info.offset);
    ask(&mut builder).request().map_err(broken(part))
}

/// A button on a line, with the pull that it needs.
pub fn input(line: &str, active: Active) -> Result<PinButton<InputPin>, HalError> {
    let pull = if active == Active::High { Bias::PullDown } else { Bias::PullUp };
    let request = request("button", line, |builder| builder.as_input().with_bias(pull))?;
    Ok(PinButton::new(InputPin::try_from(request).map_err(broken("button"))?, active))
}

/// A light, or the power of the bay, on a line: off from the first moment. The kernel is asked for plain levels; what is active is
/// known here.
pub fn output(part: &'static str, line: &str, active: Active) -> Result<Switch<OutputPin>, HalError> {
    let off = if active == Active::High { Value::Inactive } else { Value::Active };
    let request = request(part, line, |builder| builder.as_output(off))?;
    Switch::new(part, OutputPin::try_from(request).map_err(broken(part))?, active)
}
