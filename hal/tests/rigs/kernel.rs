//! Folders as the kernel has them below `/sys/class`, with what its drivers would answer; opened by a board's file.

use saveos_hal::board::{Board, Kernel};
use saveos_hal::conformance::OtherSide;
use saveos_hal::display::Frame;
use saveos_hal::fan::Duty;
use saveos_hal::lights::Light;
use saveos_hal::linux::KernelWatchdog;
use saveos_hal::parts::MilliCelsius;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The kernel's side.
pub(crate) struct KernelRig {
    root: TempDir,
}

/// What a board's file says.
const PARTS: &str = r#"{"parts": {
    "lights": {"ready": {"led": "green:status"}, "working": {"led": "blue:disk"}, "help": {"led": "red:fault"}},
    "fan": "pwmfan",
    "thermometer": "cpu_thermal"
}}"#;

/// Makes a file with its folders.
pub(crate) fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("a temporary folder");
    File::create(path).expect("a temporary folder").write_all(text.as_bytes()).expect("there is room");
}

impl KernelRig {
    /// Three lights that blink at something, a fan between two other chips, a sensor.
    pub(crate) fn new() -> (Board, KernelRig) {
        let rig = KernelRig { root: tempfile::tempdir().expect("a temporary folder") };
        for led in ["green:status", "blue:disk", "red:fault"] {
            rig.put(&format!("leds/{led}/trigger"), "none timer [heartbeat]\n");
            rig.put(&format!("leds/{led}/max_brightness"), "255\n");
            rig.put(&format!("leds/{led}/brightness"), "255\n");
        }
        for (chip, name) in [("hwmon0", "rpi_volt"), ("hwmon1", "pwmfan"), ("hwmon2", "cpu_thermal")] {
            rig.put(&format!("hwmon/{chip}/name"), &format!("{name}\n"));
        }
        rig.put("hwmon/hwmon1/pwm1", "77\n");
        rig.put("hwmon/hwmon1/pwm1_enable", "2\n");
        rig.put("hwmon/hwmon1/fan1_input", "0\n");
        rig.put("watchdog", "");
        rig.put("watchdog0/timeout", "15\n");
        rig.put("board.json", PARTS);
        let (mut board, missing) = Board::open(&rig.path("board.json"), &rig.kernel()).expect("a good file");
        assert!(missing.is_empty(), "{missing:?}");
        let watchdog = KernelWatchdog::open(&rig.path("watchdog"), &rig.path("watchdog0")).expect("it is there");
        board.watchdog = Some(Box::new(watchdog));
        (board, rig)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        put(&self.path(name), text);
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("it is there")
    }

    fn kernel(&self) -> Kernel {
        Kernel { leds: self.path("leds"), hwmon: self.path("hwmon") }
    }

    fn number(&self, name: &str) -> u32 {
        let text = self.text(name);
        text.trim().parse().unwrap_or_else(|_| panic!("{name}: {text:?}"))
    }
}

impl OtherSide for KernelRig {
    fn is_lit(&mut self, light: Light) -> Option<bool> {
        let led = match light {
            Light::Ready => "green:status",
            Light::Working => "blue:disk",
            Light::Help => "red:fault",
        };
        assert_eq!(&self.text(&format!("leds/{led}/trigger"))[..4], "none", "it blinks at something else");
        Some(self.number(&format!("leds/{led}/brightness")) > 0)
    }

    fn press(&mut self, _: bool) -> bool {
        false
    }

    fn frame(&mut self) -> Option<Frame> {
        None
    }

    fn duty(&mut self) -> Option<Duty> {
        assert_eq!(&self.text("hwmon/hwmon1/pwm1_enable")[..1], "1", "by hand");
        u8::try_from(self.number("hwmon/hwmon1/pwm1") * 100 / 255).ok().map(Duty::of)
    }

    fn turn(&mut self, turns: bool) -> Option<u32> {
        let speed = if turns { 4875 } else { 0 };
        self.put("hwmon/hwmon1/fan1_input", &format!("{speed}\n"));
        Some(speed)
    }

    fn warm(&mut self, warm: Option<MilliCelsius>) -> bool {
        let told = warm.map_or("\n".to_owned(), |MilliCelsius(milli)| format!("{milli}\n"));
        self.put("hwmon/hwmon2/temp1_input", &told);
        true
    }

    fn fed(&mut self) -> Option<Option<u64>> {
        let written = self.text("watchdog");
        let fed = written.bytes().filter(|byte| *byte == 0).count();
        Some((!written.ends_with('V')).then_some(u64::try_from(fed).unwrap_or(u64::MAX)))
    }

    fn bay(&mut self) -> Option<bool> {
        None
    }
}
