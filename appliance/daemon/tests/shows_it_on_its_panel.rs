//! Promise: who stands in front of the box sees what it does and whether the disk may go, and does with one button what needs a
//! person: back up now, write the recovery words down.

mod support;

use saveos_hal::button::Gesture;
use saveos_hal::lights::{Glow, Light};
use saveos_hal::sim::{Deed, Seen, ask};
use saveos_protocol::fact::{Body, KeyState};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use support::{Appliance, EAGER, disk, put};

struct Given {
    appliance: Appliance,
    panel: PathBuf,
}

impl Given {
    fn new(policy: Option<&str>) -> Given {
        let mut appliance = Appliance::new(policy);
        let (board, panel) = (appliance.folder.path().join("board.json"), appliance.folder.path().join("panel.sock"));
        put(&board, format!(r#"{{"simulated": "{}"}}"#, panel.display()).as_bytes());
        appliance.more = vec!["--board".to_owned(), board.display().to_string()];
        appliance.start();
        Given { appliance, panel }
    }

    fn look(&self) -> Seen {
        ask(&self.panel, Deed::Look).expect("the panel answers")
    }

    #[track_caller]
    fn until_page(&self, beginning: &str) -> Seen {
        self.appliance.until(beginning, |_| Some(self.look()).filter(|seen| text(seen).starts_with(beginning)))
    }

    /// Presses the button and waits until the page is another, or the same for two seconds.
    fn gesture(&self, gesture: Gesture) {
        let before = self.look().text;
        let ms = if gesture == Gesture::Tap { 400 } else { 2500 };
        ask(&self.panel, Deed::Press { ms }).expect("the panel answers");
        std::thread::sleep(std::time::Duration::from_millis(ms + 100));
        for _ in 0..100 {
            if self.look().text != before {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    #[track_caller]
    fn turn_to(&self, beginning: &str) {
        for _ in 0..9 {
            if text(&self.look()).starts_with(beginning) {
                return;
            }
            self.gesture(Gesture::Tap);
        }
        panic!("no page {beginning}: {}", text(&self.look()));
    }
}

fn text(seen: &Seen) -> String {
    seen.text.lines().join("|")
}

fn glow(seen: &Seen) -> Vec<Glow> {
    Light::ALL.map(|light| seen.lights[&light]).to_vec()
}

#[test]
fn the_words_are_written_down_from_the_display_and_a_backup_is_asked_for_with_the_button() {
    let mut given = Given::new(Some(EAGER));
    let seen = given.until_page("NEEDS HELP||Recovery words are|not written down");
    assert_eq!(glow(&seen)[2], Glow::On);

    given.turn_to("24 recovery words");
    given.gesture(Gesture::Hold);
    let mut words = Vec::new();
    for _ in 0..6 {
        words.extend(given.look().text.lines()[..4].iter().map(|line| line[3..].to_owned()));
        given.gesture(Gesture::Tap);
    }
    assert_eq!(words.join(" "), given.appliance.ask("words")["words"].as_str().expect("words"));
    for _ in 0..2 {
        let page = given.look().text;
        let number: usize = page.lines()[0].trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number");
        for _ in 0..3 {
            if given.look().text.lines().contains(&format!("> {}", words[number - 1])) {
                break;
            }
            given.gesture(Gesture::Tap);
        }
        given.gesture(Gesture::Hold);
    }
    let seen = given.until_page("Ready||Plug a disk in");
    given.appliance.until("the light is out", |_| (glow(&given.look())[2] == Glow::Off).then_some(()));
    assert_eq!(given.appliance.ask("status")["recoverable"], true, "{}", text(&seen));
    let keys: Vec<KeyState> = given
        .appliance
        .facts()
        .into_iter()
        .filter_map(|fact| if let Body::Key(key) = fact.body { Some(key) } else { None })
        .collect();
    assert_eq!(keys.first(), Some(&KeyState::NotRecoverable));
    assert_eq!(keys.last(), Some(&KeyState::WordsConfirmed));
    assert!(!given.appliance.log().contains(&words[0..3].join(" ")), "they are in no log");

    given.appliance.plug("nas.img", &disk(1, 3));
    let seen = given.until_page("Safe to unplug||nas.img|backed up");
    assert_eq!(glow(&seen)[0], Glow::On);
    given.turn_to("nas.img|backed up||Hold 2 s:|back up now");
    given.gesture(Gesture::Hold);
    let jobs = given
        .appliance
        .until("a second backup", |appliance| Some(appliance.jobs("done")).filter(|jobs| jobs.len() == 2));
    assert!(jobs.iter().any(|job| job["trigger"]["by"] == "button"), "{jobs:?}");

    // Nobody who knows is there any more.
    given.appliance.stop();
    given.appliance.start();
    given.until_page("Safe to unplug||nas.img|backed up");
}

/// Ends with its value.
struct Slow(Child);

impl Drop for Slow {
    fn drop(&mut self) {
        // strace lets go of what it holds when it is asked to end.
        let id = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A disk that takes a tenth of a second for every read.
fn slow_disk(appliance: &Appliance, name: &str) -> Option<Slow> {
    let disk = appliance.folder.path().join("disks").join(name);
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "-p", &appliance.id().to_string(), "-P"]).arg(disk).args(["-o", "/dev/null"]);
    command.args(["-e", "trace=pread64", "-e", "inject=pread64:delay_exit=100000"]);
    let Ok(strace) = command.stderr(Stdio::null()).spawn() else {
        println!("SKIPPED: no strace");
        return None;
    };
    let status = format!("/proc/{}/status", appliance.id());
    appliance.until("strace holds it", |_| {
        let status = std::fs::read_to_string(&status).ok()?;
        (!status.contains("TracerPid:\t0\n")).then_some(())
    });
    Some(Slow(strace))
}

#[test]
fn a_disk_in_work_is_not_called_safe() {
    let mut given = Given::new(Some(EAGER));
    let Some(slow) = slow_disk(&given.appliance, "big.img") else { return };
    given.appliance.plug("big.img", &disk(3, 64));
    let work = given.until_page("Backing up|big.img");
    assert!(text(&work).ends_with("|Do not unplug"), "{}", text(&work));
    assert!(text(&work).split('|').any(|line| line.ends_with(" %")), "{}", text(&work));
    given.appliance.until("it blinks", |_| {
        let glow = glow(&given.look());
        (glow[1] == Glow::Slow && glow[0] == Glow::Off).then_some(())
    });
    drop(slow);
    given.appliance.until("its end", |appliance| appliance.jobs("done").pop());
    given.appliance.until("all is well but the words", |_| {
        text(&given.look()).starts_with("NEEDS HELP||Recovery words").then_some(())
    });
    given.appliance.until("it blinks no more", |_| (glow(&given.look())[1] == Glow::Off).then_some(()));
    given.appliance.stop();
}

#[test]
fn a_hot_box_begins_nothing_and_says_so() {
    let given = Given::new(Some(EAGER));
    ask(&given.panel, Deed::Warm { celsius: Some(90) }).expect("the panel answers");
    given.until_page("NEEDS HELP||Too hot: let air in,|work is paused");
    let seen = given.look();
    assert_eq!((seen.fan.percent(), seen.turns), (100, 4000));
    given.appliance.plug("nas.img", &disk(1, 1));
    given.appliance.until("it waits", |appliance| appliance.jobs("waiting").pop());
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(given.appliance.jobs("done"), Vec::<serde_json::Value>::new());
    ask(&given.panel, Deed::Jam { jammed: true }).expect("the panel answers");
    given.appliance.until("the fan stands", |_| {
        given.gesture(Gesture::Tap);
        text(&given.look()).contains("The fan stands still").then_some(())
    });
    ask(&given.panel, Deed::Warm { celsius: Some(40) }).expect("the panel answers");
    given.appliance.until("a backup", |appliance| appliance.jobs("done").pop());
}

#[test]
fn a_box_whose_panel_is_gone_backs_up_all_the_same() {
    for board in ["{", r#"{"parts": {"lights": {"help": {"led": "none"}}, "display": {"bus": "/dev/nothing"}}}"#] {
        let mut appliance = Appliance::new(Some(EAGER));
        let file = appliance.folder.path().join("board.json");
        put(&file, board.as_bytes());
        appliance.more = vec!["--board".to_owned(), file.display().to_string()];
        appliance.start();
        appliance.plug("nas.img", &disk(1, 1));
        appliance.until("a backup", |appliance| appliance.jobs("done").pop());
        let log = appliance.log();
        assert!(log.contains("without its panel") || log.contains("is left out"), "{log}");
        appliance.stop();
    }
}
