//! Boards and their other sides: simulated, on fake pins, on folders that look like the kernel's.

mod kernel;
mod pins;

pub(crate) use kernel::KernelRig;
pub(crate) use pins::PinRig;

use saveos_hal::button::Gesture;
use saveos_hal::conformance::OtherSide;
use saveos_hal::display::Frame;
use saveos_hal::fan::Duty;
use saveos_hal::lights::Light;
use saveos_hal::parts::MilliCelsius;
use saveos_hal::sim::Sim;
use std::time::Duration;

/// The panel in this process.
pub(crate) struct SimRig(pub(crate) Sim);

impl OtherSide for SimRig {
    fn is_lit(&mut self, light: Light) -> Option<bool> {
        Some(self.0.is_lit(light))
    }

    fn press(&mut self, down: bool) -> bool {
        if down {
            self.0.gesture(Gesture::ThirtySeconds);
        } else {
            self.0.press(Duration::ZERO);
        }
        true
    }

    fn frame(&mut self) -> Option<Frame> {
        Some(self.0.seen().text.draw())
    }

    fn duty(&mut self) -> Option<Duty> {
        Some(self.0.seen().fan)
    }

    fn turn(&mut self, turns: bool) -> Option<u32> {
        self.0.jam(!turns);
        Some(if turns { 4000 } else { 0 })
    }

    fn warm(&mut self, warm: Option<MilliCelsius>) -> bool {
        self.0.warm(warm);
        true
    }

    fn fed(&mut self) -> Option<Option<u64>> {
        Some(self.0.fed())
    }

    fn bay(&mut self) -> Option<bool> {
        Some(self.0.seen().bay)
    }
}
