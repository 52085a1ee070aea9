//! Parts by the kernel's own drivers, found by the names that the board's device tree gave them: numbers of chips and lines
//! change from one kernel to the next.

mod gpio;
mod hwmon;
mod leds;
mod watchdog;

pub use gpio::{input, output};
pub use hwmon::{HwmonFan, HwmonThermometer};
pub use leds::KernelLed;
pub use watchdog::KernelWatchdog;

use crate::HalError;
use crate::oled::Oled;
use linux_embedded_hal::I2cdev;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A display on a bus such as `/dev/i2c-1`.
pub fn oled(bus: &Path, address: u8) -> Result<Oled<I2cdev>, HalError> {
    let bus = I2cdev::new(bus).map_err(|error| HalError::Part { part: "display", source: Box::new(error) })?;
    Ok(Oled::new(bus, address))
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> HalError {
    let path = path.to_owned();
    move |source| HalError::File { path, source }
}

fn tell(path: &Path, value: impl ToString) -> Result<(), HalError> {
    // As a shell's `>`: the kernel takes a write as a whole, whatever was there before.
    let mut file = fs::File::options().write(true).truncate(true).open(path).map_err(file_error(path))?;
    file.write_all(value.to_string().as_bytes()).map_err(file_error(path))
}

/// A number of a file of one line.
fn ask<N: FromStr>(path: &Path) -> Result<N, HalError> {
    let text = fs::read_to_string(path).map_err(file_error(path))?;
    let number = text.trim().parse();
    number.map_err(|_| HalError::NotANumber { path: path.to_owned(), text: text.chars().take(40).collect() })
}

/// The folder below `class` whose file `name` says so.
fn named(class: &Path, name: &str, what: &'static str, hint: &'static str) -> Result<PathBuf, HalError> {
    let folders = fs::read_dir(class).map_err(file_error(class))?;
    let says = |folder: &PathBuf| fs::read_to_string(folder.join("name")).is_ok_and(|said| said.trim() == name);
    let mut found: Vec<PathBuf> = folders.flatten().map(|entry| entry.path()).filter(says).collect();
    found.sort();
    found.into_iter().next().ok_or_else(|| HalError::Missing { what, name: name.to_owned(), hint })
}
