//! The parts that one machine has, as a file of its image says. What is named and does not answer is left out and told: a box
//! without its display still backs up.

use crate::HalError;
use crate::button::Button;
use crate::display::Display;
use crate::fan::Fan;
use crate::lights::{Lamp, Light};
use crate::linux::{self, HwmonFan, HwmonThermometer, KernelLed};
use crate::oled;
use crate::parts::{BayPower, Thermometer, Watchdog};
use crate::pins::Active;
use crate::sim::{self, Sim};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The parts of a machine; all may be missing.
#[derive(Default)]
pub struct Board {
    /// Lights.
    pub lamps: BTreeMap<Light, Box<dyn Lamp>>,
    /// The button.
    pub button: Option<Box<dyn Button>>,
    /// The display.
    pub display: Option<Box<dyn Display>>,
    /// The fan.
    pub fan: Option<Box<dyn Fan>>,
    /// How warm it is.
    pub thermometer: Option<Box<dyn Thermometer>>,
    /// Never from a file: systemd holds it.
    pub watchdog: Option<Box<dyn Watchdog>>,
    /// Power of the drive bay.
    pub bay: Option<Box<dyn BayPower>>,
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum BoardFile {
    /// A panel that another process reads and presses at this socket.
    Simulated(PathBuf),
    /// Real parts.
    Parts(Parts),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Parts {
    lights: BTreeMap<Light, LightAt>,
    button: Option<PinAt>,
    display: Option<OledAt>,
    /// Name of a hwmon chip.
    fan: Option<String>,
    /// Name of a hwmon chip.
    thermometer: Option<String>,
    bay: Option<PinAt>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum LightAt {
    /// A light of the kernel, by its name.
    Led(String),
    /// A pin.
    Pin(PinAt),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinAt {
    /// Name of the line.
    line: String,
    #[serde(default)]
    active_low: bool,
}

impl PinAt {
    fn active(&self) -> Active {
        if self.active_low { Active::Low } else { Active::High }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OledAt {
    /// Such as `/dev/i2c-1`.
    bus: PathBuf,
    #[serde(default = "usual_address")]
    address: u8,
}

const fn usual_address() -> u8 {
    oled::ADDRESS
}

/// Where the kernel keeps what it drives.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Lights.
    pub leds: PathBuf,
    /// Fans and thermometers.
    pub hwmon: PathBuf,
}

impl Default for Kernel {
    fn default() -> Kernel {
        Kernel { leds: "/sys/class/leds".into(), hwmon: "/sys/class/hwmon".into() }
    }
}

impl Board {
    /// What the file names, and what of it did not answer.
    pub fn open(file: &Path, kernel: &Kernel) -> Result<(Board, Vec<HalError>), HalError> {
        let text = std::fs::read(file).map_err(|source| HalError::File { path: file.to_owned(), source })?;
        match serde_json::from_slice(&text) {
            Ok(BoardFile::Simulated(socket)) => {
                let sim = Sim::default();
                let board = sim.board();
                sim::serve(sim, &socket).map_err(|source| HalError::File { path: socket, source })?;
                Ok((board, Vec::new()))
            }
            Ok(BoardFile::Parts(parts)) => Ok(open_parts(parts, kernel)),
            Err(source) => Err(HalError::Board { path: file.to_owned(), source }),
        }
    }
}

fn open_parts(parts: Parts, kernel: &Kernel) -> (Board, Vec<HalError>) {
    let mut missing = Vec::new();
    let mut board = Board::default();
    for (light, at) in &parts.lights {
        let lamp = match at {
            LightAt::Led(name) => KernelLed::open(&kernel.leds, name).map(|led| Box::new(led) as Box<dyn Lamp>),
            LightAt::Pin(pin) => linux::output("light", &pin.line, pin.active()).map(|pin| Box::new(pin) as _),
        };
        if let Some(lamp) = keep(lamp, &mut missing) {
            board.lamps.insert(*light, lamp);
        }
    }
    let button = parts.button.map(|pin| Ok(Box::new(linux::input(&pin.line, pin.active())?) as _));
    let display = parts.display.map(|at| Ok(Box::new(linux::oled(&at.bus, at.address)?) as _));
    let fan = parts.fan.map(|name| Ok(Box::new(HwmonFan::open(&kernel.hwmon, &name)?) as _));
    let thermometer = parts.thermometer.map(|name| Ok(Box::new(HwmonThermometer::open(&kernel.hwmon, &name)?) as _));
    let bay = parts.bay.map(|pin| Ok(Box::new(linux::output("bay", &pin.line, pin.active())?) as _));
    board.button = button.and_then(|part| keep(part, &mut missing));
    board.display = display.and_then(|part| keep(part, &mut missing));
    board.fan = fan.and_then(|part| keep(part, &mut missing));
    board.thermometer = thermometer.and_then(|part| keep(part, &mut missing));
    board.bay = bay.and_then(|part| keep(part, &mut missing));
    (board, missing)
}

fn keep<T>(part: Result<T, HalError>, missing: &mut Vec<HalError>) -> Option<T> {
    part.map_err(|error| missing.push(error)).ok()
}
