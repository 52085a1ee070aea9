//! Pins, a pulse-width output and a bus that remember what was done to them.

use embedded_hal::digital::{self, InputPin, OutputPin};
use embedded_hal::i2c::{self, I2c, Operation};
use embedded_hal::pwm::{self, SetDutyCycle};
use saveos_hal::board::Board;
use saveos_hal::conformance::OtherSide;
use saveos_hal::display::Frame;
use saveos_hal::fan::Duty;
use saveos_hal::lights::{Lamp, Light};
use saveos_hal::oled::{ADDRESS, Oled};
use saveos_hal::parts::MilliCelsius;
use saveos_hal::pins::{Active, PinButton, PwmFan, Switch};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Wire(Arc<AtomicBool>);

impl digital::ErrorType for Wire {
    type Error = Infallible;
}

impl OutputPin for Wire {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.0.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.0.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl InputPin for Wire {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.load(Ordering::Relaxed))
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.0.load(Ordering::Relaxed))
    }
}

/// Counts to a thousand.
#[derive(Clone, Default)]
struct Pulses(Arc<AtomicU16>);

impl pwm::ErrorType for Pulses {
    type Error = Infallible;
}

impl SetDutyCycle for Pulses {
    fn max_duty_cycle(&self) -> u16 {
        1000
    }

    fn set_duty_cycle(&mut self, duty: u16) -> Result<(), Infallible> {
        self.0.store(duty, Ordering::Relaxed);
        Ok(())
    }
}

/// The memory of a display's chip, where its last commands point.
#[derive(Clone, Default)]
struct Bus(Arc<Mutex<(usize, Vec<u8>)>>);

impl i2c::ErrorType for Bus {
    type Error = i2c::ErrorKind;
}

impl I2c for Bus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), i2c::ErrorKind> {
        let mut chip = self.0.lock().map_err(|_| i2c::ErrorKind::Other)?;
        chip.1.resize(1024, 0xff);
        for operation in operations {
            match operation {
                Operation::Write([0x00, strip @ 0xb0..=0xb7, ..]) => chip.0 = usize::from(*strip & 7) * 128,
                Operation::Write([0x40, dots @ ..]) if address == ADDRESS => {
                    let place = chip.0;
                    chip.1.get_mut(place..place + dots.len()).ok_or(i2c::ErrorKind::Overrun)?.copy_from_slice(dots);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Parts on pins.
pub(crate) struct PinRig {
    active_low: bool,
    lamps: Vec<(Light, Wire)>,
    button: Wire,
    bay: Wire,
    fan: Pulses,
    bus: Bus,
}

impl PinRig {
    pub(crate) fn new(active_low: bool) -> (Board, PinRig) {
        let active = if active_low { Active::Low } else { Active::High };
        let lamps = Light::ALL.map(|light| (light, Wire::default())).to_vec();
        let rig = PinRig {
            active_low,
            lamps,
            button: Wire::default(),
            bay: Wire::default(),
            fan: Pulses::default(),
            bus: Bus::default(),
        };
        let switch = |part, wire: &Wire| Switch::new(part, wire.clone(), active).expect("wires do not fail");
        let lamp = |(light, wire): &(Light, Wire)| (*light, Box::new(switch("light", wire)) as Box<dyn Lamp>);
        let board = Board {
            lamps: rig.lamps.iter().map(lamp).collect(),
            button: Some(Box::new(PinButton::new(rig.button.clone(), active))),
            display: Some(Box::new(Oled::new(rig.bus.clone(), ADDRESS))),
            fan: Some(Box::new(PwmFan(rig.fan.clone()))),
            bay: Some(Box::new(switch("bay", &rig.bay))),
            ..Board::default()
        };
        (board, rig)
    }

    fn is_on(&self, wire: &Wire) -> bool {
        wire.0.load(Ordering::Relaxed) != self.active_low
    }
}

impl OtherSide for PinRig {
    fn is_lit(&mut self, light: Light) -> Option<bool> {
        self.lamps.iter().find(|(own, _)| *own == light).map(|(_, wire)| self.is_on(wire))
    }

    fn press(&mut self, down: bool) -> bool {
        self.button.0.store(down != self.active_low, Ordering::Relaxed);
        true
    }

    fn frame(&mut self) -> Option<Frame> {
        Frame::from_bytes(&self.bus.0.lock().ok()?.1)
    }

    fn duty(&mut self) -> Option<Duty> {
        u8::try_from(self.fan.0.load(Ordering::Relaxed) / 10).ok().map(Duty::of)
    }

    fn turn(&mut self, _: bool) -> Option<u32> {
        None
    }

    fn warm(&mut self, _: Option<MilliCelsius>) -> bool {
        false
    }

    fn fed(&mut self) -> Option<Option<u64>> {
        None
    }

    fn bay(&mut self) -> Option<bool> {
        Some(self.is_on(&self.bay))
    }
}
