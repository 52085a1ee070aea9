//! A place whose instruments are shell scripts and files, and whose board is a pseudo-terminal that talks. It shows that the bench
//! switches in the right order and writes to the right disk; that a real relay does what it is told is for a real rack to show.

use super::*;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::io::{Read, Write};

struct Fake {
    folder: tempfile::TempDir,
    board: File,
    serial: PathBuf,
}

impl Fake {
    fn new() -> Fake {
        let board = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&board).expect("it is ours");
        unlockpt(&board).expect("it is ours");
        let serial = ptsname(&board, Vec::new()).expect("a name").into_string().expect("text").into();
        Fake { folder: tempfile::tempdir().expect("a folder"), board: File::from(board), serial }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program that writes down that it was called.
    fn program(&self, says: &str) -> Vec<String> {
        let script = format!("echo {says} >>{}", self.path("log").display());
        ["sh", "-c", &script].map(str::to_owned).into()
    }

    fn switched(&self, name: &str) -> Switched {
        // It is away until it is switched here.
        let disk = self.path(name);
        let mut here = self.program(&format!("{name} here"));
        here[2].push_str(&format!("; truncate -s 64K {}", disk.display()));
        Switched { disk, here, to_box: self.program(&format!("{name} to the box")) }
    }

    fn place(&self) -> Place {
        let relay =
            format!("power = {{ relay = {{ on = {:?}, off = {:?} }} }}", self.program("on"), self.program("off"));
        let text = format!("[here]\nserial = {:?}\naddress = \"127.0.0.1\"\n{relay}\n", self.serial);
        let place = place::read(&text, "here").expect("a place");
        Place { system: Some(self.switched("system")), stick: Some(self.switched("stick")), ..place }
    }

    fn bench(&self) -> anyhow::Result<RackBench> {
        RackBench::at("here", self.place(), self.folder.path(), Duration::ZERO)
    }

    /// What was switched, in order.
    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn image(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.path(name);
        std::fs::File::create(&path).and_then(|mut file| file.write_all(&vec![7; bytes])).expect("room");
        path
    }
}

#[test]
fn a_board_is_written_started_heard_and_cut_off() {
    let fake = Fake::new();
    let mut bench = fake.bench().expect("a place");
    bench.flash(&fake.image("disk.img", 4096)).expect("it is written");
    let written = std::fs::read(fake.path("system")).expect("readable");
    assert!(written.len() == 64 << 10 && written[..4096].iter().all(|byte| *byte == 7) && written[4096] == 0);
    bench.power_on().expect("it starts");
    let mut board = fake.board.try_clone().expect("a terminal");
    let talks = std::thread::spawn(move || {
        board.write_all(b"U-Boot\r\nSAVEOS-READY slot=A \r\n").expect("heard");
        // A shell that repeats what is typed and then does it.
        let mut typed = Vec::new();
        while !typed.ends_with(b"\n") {
            let mut byte = [0];
            board.read_exact(&mut byte).expect("somebody types");
            typed.push(byte[0]);
        }
        board.write_all(b"BEGUN=\r\nLinux\r\nENDED=0.\r\n").expect("heard");
        String::from_utf8(typed).expect("text")
    });
    let console = bench.console().expect("it is on");
    console.expect("SAVEOS-READY slot=A", Duration::from_secs(10)).expect("it is ready");
    assert_eq!(console.run("uname", Duration::from_secs(10)).expect("an answer"), "Linux");
    assert!(talks.join().expect("no panic").contains("; uname; "), "bytes arrive as they were sent");
    assert!(bench.flash(Path::new("/nowhere")).is_err(), "and it was switched off for that");
    assert!(bench.console().is_err());
    drop(bench);
    let log = fake.log();
    assert_eq!(log[..5], ["off", "off", "system here", "system to the box", "system to the box"], "{log:?}");
    assert_eq!(log[5..], ["on", "off", "system here", "off"], "{log:?}");
}

#[test]
fn a_customer_s_disk_comes_and_goes_while_the_board_runs() {
    let fake = Fake::new();
    let mut bench = fake.bench().expect("a place");
    let image = fake.image("stick.img", 512);
    assert!(bench.plug(Bus::Usb, &image).is_err(), "it is off");
    bench.power_on().expect("it starts");
    assert!(bench.plug(Bus::Sata, &image).is_err() && bench.system_disk().is_err());
    bench.plug(Bus::Usb, &image).expect("it is plugged in");
    bench.unplug().expect("it is pulled");
    assert_eq!(fake.log()[3..], ["stick here", "stick to the box", "stick here"]);
    assert!(bench.plug(Bus::Usb, &fake.image("large.img", 65 << 10)).is_err(), "it has no room");
    bench.power_off().expect("it is cut off");
    assert_eq!(bench.system_disk().expect("it is here"), fake.path("system"));
    for (ability, lacks) in
        [(Ability::Shell, false), (Ability::SystemDisk, false), (Ability::BlockLog, true), (Ability::Panel, true)]
    {
        assert_eq!(bench.lacks(ability).is_some(), lacks, "{ability:?}");
    }
}

#[test]
fn a_place_is_one_person_s_at_a_time_and_a_switch_that_fails_says_why() {
    let fake = Fake::new();
    let bench = fake.bench().expect("a place");
    let other = format!("{:#}", fake.bench().err().expect("it is taken"));
    assert!(other.contains("somebody else's"), "{other}");
    drop(bench);
    let mut place = fake.place();
    let broken = ["sh", "-c", "echo the hub is away >&2; exit 3"].map(str::to_owned);
    place.system.as_mut().expect("a disk").here = broken.into();
    let mut bench = RackBench::at("here", place, fake.folder.path(), Duration::ZERO).expect("it is free again");
    let why = format!("{:#}", bench.flash(&fake.image("disk.img", 1)).expect_err("it does not switch"));
    assert!(why.contains("the hub is away"), "{why}");
}
