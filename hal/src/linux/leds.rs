//! Lights that the kernel drives: `/sys/class/leds`, Documentation/leds/leds-class.rst.

use super::{ask, tell};
use crate::HalError;
use crate::lights::Lamp;
use std::path::{Path, PathBuf};

/// One of them.
pub struct KernelLed {
    brightness: PathBuf,
    most: u32,
}

impl KernelLed {
    /// The light `name` below `class`, out from now on; what blinked it before blinks it no more.
    pub fn open(class: &Path, name: &str) -> Result<KernelLed, HalError> {
        let folder = class.join(name);
        if name.contains('/') || !folder.is_dir() {
            return Err(HalError::Missing { what: "light", name: name.to_owned(), hint: "/sys/class/leds" });
        }
        tell(&folder.join("trigger"), "none")?;
        let mut led = KernelLed { most: ask(&folder.join("max_brightness"))?, brightness: folder.join("brightness") };
        led.set(false)?;
        Ok(led)
    }
}

impl Lamp for KernelLed {
    fn set(&mut self, lit: bool) -> Result<(), HalError> {
        tell(&self.brightness, if lit { self.most } else { 0 })
    }
}
