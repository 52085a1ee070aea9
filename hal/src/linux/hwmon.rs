//! Fans and thermometers that the kernel drives: `/sys/class/hwmon`, Documentation/hwmon/sysfs-interface.rst.

use super::{ask, named, tell};
use crate::HalError;
use crate::fan::{Duty, Fan};
use crate::parts::{MilliCelsius, Thermometer};
use std::path::{Path, PathBuf};

const HINT: &str = "/sys/class/hwmon/*/name";

/// The first fan of a chip.
pub struct HwmonFan {
    pwm: PathBuf,
    /// None: it has no tachometer.
    tacho: Option<PathBuf>,
}

impl HwmonFan {
    /// The chip `name` below `class`; from now on it turns as it is told and not as the chip likes.
    pub fn open(class: &Path, name: &str) -> Result<HwmonFan, HalError> {
        let chip = named(class, name, "fan", HINT)?;
        let enable = chip.join("pwm1_enable");
        if enable.exists() {
            tell(&enable, 1)?;
        }
        Ok(HwmonFan { pwm: chip.join("pwm1"), tacho: Some(chip.join("fan1_input")).filter(|file| file.exists()) })
    }
}

impl Fan for HwmonFan {
    fn set_duty(&mut self, duty: Duty) -> Result<(), HalError> {
        // 255 is full.
        tell(&self.pwm, (u32::from(duty.percent()) * 255).div_ceil(100))
    }

    fn turns(&mut self) -> Result<Option<u32>, HalError> {
        self.tacho.as_deref().map(ask).transpose()
    }
}

/// The first sensor of a chip.
pub struct HwmonThermometer(PathBuf);

impl HwmonThermometer {
    /// The chip `name` below `class`.
    pub fn open(class: &Path, name: &str) -> Result<HwmonThermometer, HalError> {
        Ok(HwmonThermometer(named(class, name, "thermometer", HINT)?.join("temp1_input")))
    }
}

impl Thermometer for HwmonThermometer {
    fn read(&mut self) -> Result<MilliCelsius, HalError> {
        ask(&self.0).map(MilliCelsius)
    }
}
