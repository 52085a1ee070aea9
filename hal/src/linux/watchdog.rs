//! A watchdog of the kernel: `/dev/watchdog0`, Documentation/watchdog/watchdog-api.rst. On an appliance systemd holds it; this is for
//! systems without, and for the conformance suite.

use super::{ask, file_error};
use crate::HalError;
use crate::parts::Watchdog;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One that runs from the moment it is opened.
pub struct KernelWatchdog {
    device: File,
    path: PathBuf,
    timeout: PathBuf,
}

impl KernelWatchdog {
    /// `device` is what is written to, `class` the folder that tells of it (`/sys/class/watchdog/watchdog0`).
    pub fn open(device: &Path, class: &Path) -> Result<KernelWatchdog, HalError> {
        let file = File::options().write(true).open(device).map_err(file_error(device))?;
        Ok(KernelWatchdog { device: file, path: device.to_owned(), timeout: class.join("timeout") })
    }

    fn write(&mut self, letter: &[u8; 1]) -> Result<(), HalError> {
        self.device.write_all(letter).map_err(file_error(&self.path))
    }
}

impl Watchdog for KernelWatchdog {
    fn feed(&mut self) -> Result<(), HalError> {
        self.write(b"\0")
    }

    fn timeout(&mut self) -> Result<Duration, HalError> {
        ask(&self.timeout).map(Duration::from_secs)
    }

    fn disarm(mut self: Box<Self>) -> Result<(), HalError> {
        // The letter that means: closed on purpose.
        self.write(b"V")
    }
}
