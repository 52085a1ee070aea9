//! What a person sees and touches of an appliance, and what keeps it cool: lights, a button, a text display, a fan with its
//! tachometer, a thermometer, a watchdog and the power of the drive bay.
//!
//! Each part is a small trait. [`pins`] and [`oled`] give them over [embedded-hal], whoever made the pin or the bus; [`linux`]
//! finds pins, buses and the kernel's own drivers by name; `rppal` (a feature) drives the pins of a Raspberry Pi; [`sim`] is a panel in
//! this process that a test reads and presses. [`conformance`] holds all of them to the same behaviour. A [`board`] is the set
//! of parts that one machine has, from a file.
//!
//! [embedded-hal]: https://docs.rs/embedded-hal

pub mod board;
pub mod button;
pub mod conformance;
pub mod display;
pub mod fan;
pub mod lights;
pub mod linux;
pub mod oled;
pub mod parts;
pub mod pins;
#[cfg(feature = "rppal")]
pub mod raspberry_pi;
pub mod sim;

use std::error::Error;
use std::path::PathBuf;

/// Why a part did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum HalError {
    /// A file of the kernel.
    #[error("could not use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A pin or a bus.
    #[error("the {part} does not answer")]
    Part {
        /// Which part of the board.
        part: &'static str,
        /// What its driver said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The board's file names something that this machine has not.
    #[error("this machine has no {what} called {name}; see {hint}")]
    Missing {
        /// A pin, a sensor, a light.
        what: &'static str,
        /// Its name in the board's file.
        name: String,
        /// Where the names are.
        hint: &'static str,
    },
    /// The board's file.
    #[error("{path} does not describe a board")]
    Board {
        /// Which file.
        path: PathBuf,
        /// Where it is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The kernel told something that is no number.
    #[error("{path} tells {text:?}, which is not a number")]
    NotANumber {
        /// Which file.
        path: PathBuf,
        /// What it told, cut.
        text: String,
    },
}
