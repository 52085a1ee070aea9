//! Promise: a disk that is plugged in is backed up as its policy says, without a control plane, and comes back from a dead box
//! with the words alone.

mod support;

use saveos_engine::key::{Secret, words};
use saveos_engine::lease::LeaseKind;
use saveos_engine::repository::{OpenOptions, Repository};
use saveos_engine::restore::target::{FileTarget, Overwrite};
use saveos_engine::restore::{self, Part};
use saveos_engine::seal::Suite;
use saveos_protocol::fact::{Body, End, JobResult, KeyState};
use support::{Appliance, EAGER, disk};

#[test]
fn a_dead_box_s_disk_comes_back_with_the_words() {
    let (mut appliance, bytes) = (Appliance::new(Some(EAGER)), disk(1, 3));
    appliance.start();
    appliance.plug("nas.img", &bytes);
    appliance.until("a backup", |appliance| appliance.jobs("done").pop());

    // Nobody could open it until the words were read and two of them asked back.
    assert_eq!(appliance.ask("status")["recoverable"], false);
    let shown = appliance.ask("words");
    let phrase = shown["words"].as_str().expect("words").to_owned();
    let spelled: Vec<&str> = phrase.split(' ').collect();
    let asked = [0, 1].map(|at| spelled[shown["confirm"][at].as_u64().expect("a number") as usize - 1]);
    assert_eq!(appliance.try_ask(&format!("confirm {} zebra", asked[0])), None);
    assert_eq!(appliance.ask(&format!("confirm {} {}", asked[0], asked[1]))["type"], "confirmed");
    assert_eq!(appliance.ask("status")["recoverable"], true);
    assert_eq!(appliance.try_ask("words"), None);
    let states: Vec<KeyState> = appliance
        .facts()
        .into_iter()
        .filter_map(|fact| if let Body::Key(key) = fact.body { Some(key) } else { None })
        .collect();
    assert_eq!(states, [KeyState::NotRecoverable, KeyState::WordsShown, KeyState::WordsConfirmed]);

    // The box dies; its data disk is opened elsewhere.
    appliance.kill();
    let path = appliance.data().join("repository");
    let secret = Secret::Words(words::parse(&phrase).expect("24 words"));
    let scratch = appliance.folder.path();
    let options = OpenOptions { lease: LeaseKind::Reader, boot: "a PC", scratch, suite: Suite::for_this_cpu() };
    let repository = Repository::open(&path, &secret, &options).expect("the words open it");
    let (_, snapshot) = repository.find_snapshot("latest").expect("a snapshot");
    let restored = appliance.folder.path().join("restored");
    let target = FileTarget::open(&restored, snapshot.source.size, &path, Overwrite::Refuse).expect("a new file");
    let part = Part::of(&snapshot, None).expect("all of it");
    let how = restore::Options { part, only_metadata: false, workers: 2 };
    restore::run(&repository, &snapshot, &target, &how, &|_| true).expect("it restores");
    assert!(std::fs::read(&restored).expect("it is there") == bytes, "every byte came back");
}

#[test]
fn a_disk_that_was_never_seen_is_not_read_without_leave() {
    let mut appliance = Appliance::new(None);
    appliance.start();
    appliance.plug("stranger.img", &disk(2, 1));
    let held = appliance.until("the disk", |appliance| appliance.ask("disks")["disks"].as_array()?.first().cloned());
    let id = held["id"].as_str().expect("a name").to_owned();
    appliance.until("a reason", |appliance| (appliance.ask("disks")["disks"][0]["held"] == "no_policy").then_some(()));
    assert_eq!(appliance.ask("jobs")["jobs"], serde_json::json!([]));
    // A person at the box may.
    appliance.ask(&format!("backup {id}"));
    appliance.until("a backup", |appliance| appliance.jobs("done").pop());
    let ended = appliance.facts().into_iter().filter_map(|fact| match fact.body {
        Body::JobEnded(ended) => Some(ended),
        _ => None,
    });
    let ended: Vec<_> = ended.collect();
    assert!(matches!(&ended[..], [one] if matches!(one.result, JobResult::Backup(End::Done(_)))), "{ended:?}");
}

#[test]
fn a_disk_that_comes_again_is_known_and_backed_up_again() {
    let mut appliance = Appliance::new(Some(EAGER));
    appliance.start();
    let bytes = disk(3, 1);
    for times in 1..=2 {
        appliance.plug("stick.img", &bytes);
        appliance.until("a backup", |appliance| (appliance.jobs("done").len() == times).then_some(()));
        appliance.unplug("stick.img");
        appliance.until("it is gone", |appliance| appliance.ask("disks")["disks"][0]["path"].is_null().then_some(()));
    }
    let new: Vec<bool> = appliance
        .facts()
        .into_iter()
        .filter_map(|fact| if let Body::DiskSeen(seen) = fact.body { Some(seen.new) } else { None })
        .collect();
    assert_eq!(new, [true, false]);
}
