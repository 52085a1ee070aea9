//! Promise: a release that is offered becomes what runs and is kept, or the box is back on the slot before and says why. Root and the
//! boot loader are played by the test; with the real ones, the bench does the same.

#[path = "support/folder_server.rs"]
mod folder_server;
mod support;

use saveos_hal::sim::{self, Deed};
use saveos_release::{Bundle, Edition, Keys, make_root, publish};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Appliance, disk, put};

/// More than what a budget leaves when it is fetched a second time.
fn bundle() -> Vec<u8> {
    disk(7, 2)
}

/// What root did, and what it knows.
#[derive(Default)]
struct Slots {
    orders: Vec<String>,
    current: char,
    on_trial: bool,
    /// What an installation takes.
    slow: Duration,
}

struct Given {
    appliance: Appliance,
    slots: Arc<Mutex<Slots>>,
}

fn given() -> Given {
    let mut appliance = Appliance::new(Some("{}"));
    let at = |name: &str| appliance.folder.path().join(name);
    for folder in ["system", "served"] {
        std::fs::create_dir(at(folder)).expect("a folder");
    }
    let keys = Keys::make(&at("keys")).expect("keys");
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    make_root(&keys, 1, expires, &at("root.json")).expect("a root");
    put(&at("bundle"), &bundle());
    let bundle = Bundle {
        file: at("bundle"),
        compatible: "saveos-test".to_owned(),
        release: "2.0.0".to_owned(),
        security_epoch: 1,
        ..Bundle::default()
    };
    let edition = Edition { version: 1, expires };
    publish(&at("served"), &at("root.json"), &keys, edition, &[bundle]).expect("an edition");
    put(&at("system/compatible"), b"saveos-test\n");
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let options = [
        ("--system", text(at("system"))),
        ("--release-root", text(at("root.json"))),
        ("--releases", folder_server::serve(at("served"))),
        ("--slot-order", text(at("order.json"))),
        ("--slot-answer", text(at("answer.json"))),
        ("--reboot-file", text(at("reboot"))),
        ("--last-words", text(at("last-words"))),
        ("--trial", "6".to_owned()),
    ];
    let words = options.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect();
    let slots = Arc::new(Mutex::new(Slots { current: 'A', ..Slots::default() }));
    play_root(appliance.folder.path().to_owned(), Arc::clone(&slots));
    appliance.more = words;
    let given = Given { appliance, slots };
    given.runs('A', "1.0.0");
    given.offers(Value::Null);
    given
}

/// `saveos-slots` and the unit that watches for its orders, until the folder of the box is gone.
fn play_root(folder: PathBuf, slots: Arc<Mutex<Slots>>) {
    std::thread::spawn(move || {
        while folder.exists() {
            std::thread::sleep(Duration::from_millis(20));
            let Ok(order) = std::fs::read(folder.join("order.json")) else { continue };
            let _ = std::fs::remove_file(folder.join("order.json"));
            let Ok(order) = serde_json::from_slice::<Value>(&order) else { continue };
            let verb = order["verb"].as_str().map_or_else(|| order["verb"].to_string(), str::to_owned);
            let slow = slots.lock().expect("no panic").slow;
            if verb == "install" {
                std::thread::sleep(slow);
                let fetched = std::fs::read(folder.join("data/update/bundle.raucb")).expect("it was fetched");
                assert!(fetched == bundle());
            }
            let mut slots = slots.lock().expect("no panic");
            if verb == "keep" {
                slots.on_trial = false;
            }
            if verb != "look" {
                slots.orders.push(verb);
            }
            let answer = json!({"id": order["id"], "current": slots.current.to_string(), "on_trial": slots.on_trial});
            put(&folder.join("answer.new"), answer.to_string().as_bytes());
            let _ = rustix::fs::rename(folder.join("answer.new"), folder.join("answer.json"));
        }
    });
}

impl Given {
    fn path(&self, name: &str) -> PathBuf {
        self.appliance.folder.path().join(name)
    }

    fn runs(&self, slot: char, release: &str) {
        put(&self.path("system/slot"), format!("{slot}\n").as_bytes());
        put(&self.path("system/version"), format!("{release}\n").as_bytes());
        self.slots.lock().expect("no panic").current = slot;
    }

    fn offers(&self, release: Value) {
        let backup = json!({"on_plug": "backup", "time_zone": "UTC"});
        let policy = json!({"backup": backup, "new_disk": "backup", "release": release});
        put(&self.path("policy.json"), policy.to_string().as_bytes());
    }

    fn orders(&self) -> Vec<String> {
        self.slots.lock().expect("no panic").orders.clone()
    }

    /// Waits for a state of the update to 2.0.0; what the box says of its system.
    fn until(&self, state: &str) -> Value {
        self.appliance.until(state, |appliance| {
            let firmware = appliance.ask("status")["firmware"].clone();
            (firmware["update"]["state"] == state && firmware["update"]["release"] == "2.0.0").then_some(firmware)
        })
    }

    /// Backs a disk up, is offered the release, and runs it on trial after the restart that it asked for.
    fn go_to_trial(&mut self) {
        self.appliance.start();
        self.appliance.plug("nas.img", &disk(9, 1));
        self.appliance.until("a backup", |appliance| appliance.jobs("done").pop());
        self.appliance.stop();
        self.offers(json!({"release": "2.0.0"}));
        self.appliance.start();
        self.until("trying");
        self.appliance.until("a restart", |_| self.path("reboot").exists().then_some(()));
        assert_eq!(self.orders(), ["install", "arm"]);
        self.appliance.stop();
        std::fs::remove_file(self.path("reboot")).expect("it was asked for");
        self.runs('B', "2.0.0");
        self.slots.lock().expect("no panic").on_trial = true;
    }
}

#[test]
fn a_good_release_is_kept_and_confirmed_by_its_first_backup() {
    let mut given = given();
    given.go_to_trial();
    given.appliance.start();
    let soaking = given.until("soaking");
    assert_eq!((&soaking["release"], &soaking["slot"]), (&json!("2.0.0"), &json!("good")));
    given.appliance.plug("another.img", &disk(10, 1));
    given.until("confirmed");
    given.appliance.stop();
    given.appliance.start();
    given.until("confirmed");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(given.orders(), ["install", "arm", "keep"], "what runs is not installed again");
    assert!(!given.path("data/update").exists(), "the bundle makes room");
}

#[test]
fn a_release_in_which_the_disks_are_gone_is_left_and_not_tried_again() {
    let mut given = given();
    given.go_to_trial();
    given.appliance.unplug("nas.img");
    given.appliance.start();
    let leaving = given.until("leaving");
    assert_eq!((&leaving["update"]["reason"], &leaving["slot"]), (&json!("unhealthy"), &json!("trial")));
    given.appliance.until("a restart", |_| given.path("reboot").exists().then_some(()));
    given.appliance.stop();
    given.runs('A', "1.0.0");
    given.slots.lock().expect("no panic").on_trial = false;
    given.appliance.start();
    let failed = given.until("failed");
    let why = "none of the disks that were there is there any more";
    assert_eq!((&failed["update"]["text"], &failed["release"]), (&json!(why), &json!("1.0.0")));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(given.orders(), ["install", "arm", "abandon"], "it is still offered, and not tried again");
    // Somebody offers it anew, and it is fetched once more.
    given.appliance.stop();
    given.offers(json!({"release": "2.0.0", "ring_token": "again"}));
    given.appliance.start();
    given.until("trying");
    assert_eq!(given.orders(), ["install", "arm", "abandon", "install", "arm"]);
}

#[test]
fn a_reset_waits_for_an_installation_and_nothing_follows_it() {
    let mut given = given();
    let (board, panel) = (given.path("board.json"), given.path("panel.sock"));
    put(&board, json!({ "simulated": panel }).to_string().as_bytes());
    given.appliance.more.extend(["--board".to_owned(), board.display().to_string()]);
    given.appliance.start();
    given.appliance.plug("nas.img", &disk(9, 1));
    given.appliance.until("a backup", |appliance| appliance.jobs("done").pop());
    given.appliance.stop();
    given.offers(json!({"release": "2.0.0"}));
    given.slots.lock().expect("no panic").slow = Duration::from_secs(20);
    given.appliance.start();
    given.until("installing");
    sim::ask(&panel, Deed::Press { ms: 11_000 }).expect("the panel answers");
    let page = |beginning: &str| {
        let seen = sim::ask(&panel, Deed::Look).expect("the panel answers");
        seen.text.lines().join("|").starts_with(beginning).then_some(())
    };
    given.appliance.until("what letting go would do", |_| page("Let go now:|reset the settings"));
    given.appliance.until("the question", |_| page("Reset the settings?"));
    sim::ask(&panel, Deed::Press { ms: 2500 }).expect("the panel answers");
    given.appliance.until("it is told", |_| page("Restarting"));
    assert!(!given.path("reboot").exists(), "root still writes a slot");
    given.appliance.until("a restart", |_| given.path("reboot").exists().then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(given.orders(), ["install", r#"{"wipe":"network"}"#], "what was installed is not armed");
}
