//! Every backend that can run without a board is held to the same suite: the simulated panel, parts on pins and buses of
//! embedded-hal, and the kernel's drivers on folders that look like the kernel's. And the suite finds what is broken.

mod rigs;

use rigs::{KernelRig, PinRig, SimRig};
use saveos_hal::conformance::{Report, check};
use saveos_hal::display::{Display, Page};
use saveos_hal::fan::{Duty, Fan};
use saveos_hal::lights::{Lamp, Light};
use saveos_hal::{HalError, sim::Sim};

const ALL: [&str; 7] = ["lights", "button", "display", "fan", "thermometer", "watchdog", "bay"];

fn all_but(skipped: &[&'static str]) -> Report {
    let passed = ALL.into_iter().filter(|part| !skipped.contains(part)).collect();
    Report { passed, failed: Vec::new(), skipped: skipped.to_vec() }
}

#[test]
fn the_simulated_panel_behaves() {
    let sim = Sim::default();
    assert_eq!(check(sim.board(), &mut SimRig(sim)), all_but(&[]));
}

#[test]
fn pins_and_buses_behave() {
    for active_low in [false, true] {
        let (board, mut rig) = PinRig::new(active_low);
        assert_eq!(check(board, &mut rig), all_but(&["thermometer", "watchdog"]));
    }
}

#[test]
fn drivers_of_the_kernel_behave() {
    let (board, mut rig) = KernelRig::new();
    assert_eq!(check(board, &mut rig), all_but(&["button", "display", "bay"]));
}

struct Stuck;

impl Lamp for Stuck {
    fn set(&mut self, _: bool) -> Result<(), HalError> {
        Ok(())
    }
}

impl Fan for Stuck {
    fn set_duty(&mut self, _: Duty) -> Result<(), HalError> {
        Ok(())
    }

    fn turns(&mut self) -> Result<Option<u32>, HalError> {
        Ok(Some(0))
    }
}

impl Display for Stuck {
    fn show(&mut self, _: &Page) -> Result<(), HalError> {
        Ok(())
    }
}

#[test]
fn what_is_broken_is_found() {
    let failed = |spoil: fn(&mut saveos_hal::board::Board, &Sim)| -> Vec<&'static str> {
        let sim = Sim::default();
        let mut board = sim.board();
        spoil(&mut board, &sim);
        check(board, &mut SimRig(sim)).failed.into_iter().map(|(part, _)| part).collect()
    };
    assert_eq!(failed(|_, _| ()), [""; 0]);
    assert_eq!(failed(|board, _| _ = board.lamps.insert(Light::Help, Box::new(Stuck))), ["lights"]);
    let swap = |board: &mut saveos_hal::board::Board, _: &Sim| {
        let (ready, help) = (board.lamps.remove(&Light::Ready), board.lamps.remove(&Light::Help));
        board
            .lamps
            .extend(ready.map(|lamp| (Light::Help, lamp)).into_iter().chain(help.map(|lamp| (Light::Ready, lamp))));
    };
    assert_eq!(failed(swap), ["lights"], "wires that were mixed up");
    assert_eq!(failed(|board, _| board.display = Some(Box::new(Stuck))), ["display"]);
    assert_eq!(failed(|board, _| board.fan = Some(Box::new(Stuck))), ["fan"]);
    assert_eq!(
        failed(|board, _| drop(board.watchdog.take().map(saveos_hal::parts::Watchdog::disarm))),
        [""; 0],
        "none"
    );
}
