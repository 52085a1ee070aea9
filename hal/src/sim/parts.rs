//! This side of the simulated parts: what the program that is tested holds.

use super::{Sim, State};
use crate::HalError;
use crate::board::Board;
use crate::button::Button;
use crate::display::{Display, Page};
use crate::fan::{Duty, Fan};
use crate::lights::{Lamp, Light};
use crate::parts::{BayPower, MilliCelsius, Thermometer, Watchdog};
use std::time::{Duration, Instant};

/// At full speed.
const FULL_SPEED: u32 = 4000;
/// More changes than any glow makes within the time that is watched.
const REMEMBERED: usize = 64;

struct SimLamp(Sim, Light);
struct Rest(Sim);

pub(super) fn all(sim: &Sim) -> Board {
    let rest = || Box::new(Rest(sim.clone()));
    sim.state().armed = true;
    Board {
        lamps: Light::ALL.map(|light| (light, Box::new(SimLamp(sim.clone(), light)) as Box<dyn Lamp>)).into(),
        button: Some(rest()),
        display: Some(rest()),
        fan: Some(rest()),
        thermometer: Some(rest()),
        watchdog: Some(rest()),
        bay: Some(rest()),
    }
}

/// As fast as a fan turns that is told so.
pub(super) fn turns(state: &State) -> u32 {
    if state.jammed { 0 } else { FULL_SPEED * u32::from(state.duty.percent()) / 100 }
}

impl Lamp for SimLamp {
    fn set(&mut self, lit: bool) -> Result<(), HalError> {
        let mut state = self.0.state();
        let lamp = state.lamps.entry(self.1).or_default();
        if lamp.now != lit {
            lamp.now = lit;
            lamp.changed.push_back(Instant::now());
            while lamp.changed.len() > REMEMBERED {
                lamp.changed.pop_front();
            }
        }
        Ok(())
    }
}

impl Button for Rest {
    fn is_down(&mut self) -> Result<bool, HalError> {
        Ok(self.0.state().pressed.is_some_and(|until| Instant::now() < until))
    }
}

impl Display for Rest {
    fn show(&mut self, page: &Page) -> Result<(), HalError> {
        self.0.state().page = page.clone();
        Ok(())
    }
}

impl Fan for Rest {
    fn set_duty(&mut self, duty: Duty) -> Result<(), HalError> {
        self.0.state().duty = duty;
        Ok(())
    }

    fn turns(&mut self) -> Result<Option<u32>, HalError> {
        Ok(Some(turns(&self.0.state())))
    }
}

impl Thermometer for Rest {
    fn read(&mut self) -> Result<MilliCelsius, HalError> {
        let broken = || HalError::Part { part: "thermometer", source: "it is broken".into() };
        self.0.state().warm.ok_or_else(broken)
    }
}

impl Watchdog for Rest {
    fn feed(&mut self) -> Result<(), HalError> {
        self.0.state().fed += 1;
        Ok(())
    }

    fn timeout(&mut self) -> Result<Duration, HalError> {
        Ok(Duration::from_secs(60))
    }

    fn disarm(self: Box<Self>) -> Result<(), HalError> {
        self.0.state().armed = false;
        Ok(())
    }
}

impl BayPower for Rest {
    fn set(&mut self, on: bool) -> Result<(), HalError> {
        self.0.state().bay = on;
        Ok(())
    }
}
