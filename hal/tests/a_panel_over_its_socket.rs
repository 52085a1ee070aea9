//! What a test of the whole box does: reads lights and words over the socket of a simulated panel, presses its button, looks at its picture;
//! and what a board's file may get wrong.

use saveos_hal::HalError;
use saveos_hal::board::{Board, Kernel};
use saveos_hal::button::{Finger, Gesture};
use saveos_hal::display::Page;
use saveos_hal::fan::{Cooling, Duty};
use saveos_hal::lights::{Glow, Light};
use saveos_hal::sim::{self, Deed};
use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn open(folder: &Path, text: &str) -> Result<(Board, Vec<HalError>), HalError> {
    let file = folder.join("board.json");
    File::create(&file).and_then(|mut file| file.write_all(text.as_bytes())).expect("a temporary folder");
    Board::open(&file, &Kernel { leds: folder.join("leds"), hwmon: folder.join("hwmon") })
}

fn panel(folder: &Path) -> (Board, PathBuf) {
    let socket = folder.join("panel.sock");
    let (board, missing) = open(folder, &format!(r#"{{"simulated": "{}"}}"#, socket.display())).expect("a good file");
    assert!(missing.is_empty());
    (board, socket)
}

#[test]
fn lights_and_words_are_read_and_the_button_is_pressed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut board, socket) = panel(folder.path());
    let page = Page::of(["Backing up", "", "42 %"]);
    board.display.as_mut().expect("one").show(&page).expect("it is simulated");
    let (began, mut finger, mut meant) = (Instant::now(), Finger::default(), None);
    let mut pressed = false;
    while began.elapsed() < Duration::from_secs(3) {
        board.lamps.get_mut(&Light::Working).expect("one").set(Glow::Slow.is_lit(began.elapsed())).expect("simulated");
        board.lamps.get_mut(&Light::Ready).expect("one").set(true).expect("simulated");
        let down = board.button.as_mut().expect("one").is_down().expect("simulated");
        meant = meant.or(finger.look(down, began.elapsed()));
        if !pressed && began.elapsed() > Duration::from_millis(500) {
            pressed = true;
            sim::ask(&socket, Deed::Press { ms: 300 }).expect("it answers");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let seen = sim::ask(&socket, Deed::Look).expect("it answers");
    assert_eq!(seen.text, page);
    assert_eq!(seen.lights.into_values().collect::<Vec<Glow>>(), [Glow::On, Glow::Slow, Glow::Off]);
    assert_eq!(meant, Some(Gesture::Tap));
}

#[test]
fn heat_and_a_finger_in_the_fan_are_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut board, socket) = panel(folder.path());
    let mut cooling = Cooling::default();
    let mut step = |second| {
        let warm = board.thermometer.as_mut().expect("one").read().ok();
        let fan = board.fan.as_mut().expect("one");
        let cooled = cooling.step(warm, fan.turns().expect("simulated"), Duration::from_secs(second));
        fan.set_duty(cooled.duty).expect("simulated");
        cooled
    };
    assert_eq!(step(0).duty, Duty::OFF);
    sim::ask(&socket, Deed::Warm { celsius: Some(66) }).expect("it answers");
    for second in 1..10 {
        assert!(!step(second).stalled);
    }
    let seen = sim::ask(&socket, Deed::Jam { jammed: true }).expect("it answers");
    assert_eq!((seen.turns, seen.fan.percent() > 50), (0, true));
    let last = (10..20).map(&mut step).last().expect("steps");
    assert!(last.stalled);
    sim::ask(&socket, Deed::Warm { celsius: None }).expect("it answers");
    assert_eq!(step(20).duty, Duty::FULL);
}

#[test]
fn the_picture_is_a_png_with_the_words_on_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut board, socket) = panel(folder.path());
    let bright = || {
        let bytes = sim::picture(&socket).expect("it answers");
        let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().expect("a PNG");
        let mut dots = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut dots).expect("a picture");
        assert_eq!((info.width, info.height), (536, 312));
        dots.as_chunks::<3>().0.iter().filter(|dot| **dot == [0xc8, 0xe8, 0xff]).count()
    };
    assert_eq!(bright(), 0);
    let page = Page::of(["Safe to unplug"]);
    board.display.as_mut().expect("one").show(&page).expect("it is simulated");
    let frame = page.draw();
    let lit = (0..64).flat_map(|y| (0..128).map(move |x| (x, y))).filter(|(x, y)| frame.is_lit(*x, *y)).count();
    assert_eq!(bright(), lit * 16);
}

#[test]
fn nonsense_at_the_socket_is_answered_and_forgotten() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_board, socket) = panel(folder.path());
    for nonsense in [&b"\n"[..], b"{}\n", b"{\"do\":\"press\"}\n", b"\xff\xfe\n", &[b'x'; 10_000]] {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        // It may hang up before it read all.
        drop(stream.write_all(nonsense));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        assert!(!answer.starts_with('{'), "{answer}");
    }
    sim::ask(&socket, Deed::Look).expect("it still answers");
}

#[test]
fn a_part_that_does_not_answer_is_told_and_the_others_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let chip = folder.path().join("hwmon/hwmon0");
    std::fs::create_dir_all(&chip).expect("a folder");
    for (file, text) in [("name", "cpu_thermal\n"), ("temp1_input", "48212\n")] {
        File::create(chip.join(file)).and_then(|mut file| file.write_all(text.as_bytes())).expect("a folder");
    }
    let text = r#"{"parts": {"thermometer": "cpu_thermal", "fan": "pwmfan", "button": {"line": "NOT-A-LINE", "active_low": true},
        "display": {"bus": "/dev/i2c-none"}, "lights": {"help": {"led": "../red"}, "ready": {"pin": {"line": "NOR-THIS"}}}}}"#;
    let (mut board, missing) = open(folder.path(), text).expect("a good file");
    let told: Vec<String> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "this machine has no pin called NOR-THIS; see `gpioinfo`",
            "this machine has no light called ../red; see /sys/class/leds",
            "this machine has no pin called NOT-A-LINE; see `gpioinfo`",
            "the display does not answer",
            "this machine has no fan called pwmfan; see /sys/class/hwmon/*/name",
        ]
    );
    let warm = board.thermometer.as_mut().expect("it is there").read().expect("it tells");
    assert_eq!(warm.0, 48_212);
}

#[test]
fn a_file_that_describes_no_board_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for text in
        ["", "{}", r#"{"parts": {"ligths": {}}}"#, r#"{"parts": {"button": {}}}"#, r#"{"parts": {}, "simulated": "x"}"#]
    {
        let Err(error) = open(folder.path(), text) else { panic!("{text:?} was taken") };
        assert!(matches!(error, HalError::Board { .. }), "{error}");
    }
}
