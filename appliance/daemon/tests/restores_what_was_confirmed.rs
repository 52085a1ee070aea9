//! Promise: what comes back is exact, on the disk that was named and confirmed at the box, and nothing beside it is touched; a
//! restore test tells a whole repository from a damaged one.

mod support;

use saveos_engine::files;
use saveos_engine::fs::NodeKind;
use saveos_engine::key::{Secret, escrow};
use saveos_engine::layout::identify::Filesystem;
use saveos_engine::layout::partition;
use saveos_engine::lease::LeaseKind;
use saveos_engine::read::Window;
use saveos_engine::repository::{OpenOptions, Repository};
use saveos_engine::restore::target::{FileTarget, Overwrite};
use saveos_engine::restore::{self, Part};
use saveos_engine::seal::Suite;
use saveos_engine::source::{DiskSource, Source};
use saveos_hal::sim::{self, Deed};
use saveos_protocol::command::{Action, Command, Extent, Rejection, Report, State};
use saveos_protocol::enrol::Enrolment;
use saveos_protocol::fact::{
    Body, End, FailureReason, JobEnded, JobResult, KeyState, RestoreSummary, RestoreTestSummary, VerifyVerdict,
};
use saveos_protocol::hex::{EscrowKey, SnapshotId};
use saveos_protocol::id::{CommandId, DeviceId};
use saveos_protocol::shadow::{Desired, Escrow};
use saveos_protocol::text::Mark;
use saveos_protocol::time::Timestamp;
use saveos_protocol::topic::{Down, Up};
use saveos_protocol::unit::{Count, DesiredVersion};
use saveos_protocol::{Topic, V1, decode, sign};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use support::control_plane::{ControlPlane, Ingest, command_key};
use support::{Appliance, EAGER, disk, put};

struct Given {
    appliance: Appliance,
    ingest: Ingest,
    device: DeviceId,
    asked: u8,
    control: ControlPlane,
}

impl Given {
    fn new() -> Option<Given> {
        let control = ControlPlane::new()?;
        let mut appliance = Appliance::new(Some(EAGER));
        appliance.start();
        let device = control.enrol(&appliance);
        let ingest = control.ingest();
        // A command is not kept by the broker for who has not subscribed yet.
        ingest.fact();
        Some(Given { appliance, ingest, device, asked: 0, control })
    }

    /// Plugs a disk in and waits for its snapshot.
    fn back_up(&self, name: &str, bytes: &[u8]) -> SnapshotId {
        let before = self.snapshots().len();
        self.appliance.plug(name, bytes);
        self.appliance.until("a backup", |_| self.snapshots().get(before).copied())
    }

    fn snapshots(&self) -> Vec<SnapshotId> {
        let made = |ended: JobEnded| match ended.result {
            JobResult::Backup(End::Done(summary)) => Some(summary.snapshot),
            _ => None,
        };
        self.ended().into_iter().filter_map(made).collect()
    }

    fn ended(&self) -> Vec<JobEnded> {
        let body = |fact: saveos_protocol::fact::Fact| match fact.body {
            Body::JobEnded(ended) => Some(ended),
            _ => None,
        };
        self.appliance.facts().into_iter().filter_map(body).collect()
    }

    fn now(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
    }

    fn order(&mut self, action: Action, signed: bool) -> State {
        self.asked += 1;
        let now = self.now();
        let id = CommandId::from_parts(Timestamp::saturating(now), [self.asked; 10]);
        let exp = Timestamp::saturating(now + 600_000);
        let idem = format!("order-{}", self.asked).parse().expect("a key");
        let mut command = Command { v: V1, id, action, exp, idem, sig: None };
        if signed {
            sign::sign(&mut command, self.device, exp, &command_key()).expect("it can be signed");
        }
        self.ingest.say(Topic::Down(self.device, Down::Command), &command);
        self.ingest.wait("a report", |arrived| {
            let is_it = arrived.topic == Topic::Up(self.device, Up::Result(id));
            is_it.then(|| decode::<Report>(&arrived.payload).expect("a report").state)
        })
    }

    /// Orders a restore and confirms it at the box.
    fn restore(&mut self, snapshot: SnapshotId, extent: Extent, serial: &str) -> End<RestoreSummary> {
        let State::Accepted { job: Some(job) } = self.order(Action::Restore { snapshot, extent }, true) else {
            panic!("the restore was not accepted\n{}", self.appliance.log())
        };
        assert_eq!(self.appliance.jobs("asking").len(), 1, "nothing begins before somebody confirms");
        assert_eq!(self.appliance.try_ask(&format!("approve {job} another.img")), None);
        self.appliance.ask(&format!("approve {job} {serial}"));
        self.appliance.until("its end", |_| {
            let ended = self.ended().into_iter().find(|ended| ended.job == job)?;
            if let JobResult::Restore(end) = ended.result { Some(end) } else { None }
        })
    }

    fn test(&mut self) -> RestoreTestSummary {
        let state = self.order(Action::RestoreTest { snapshot: None }, false);
        let State::Accepted { job: Some(job) } = state else { panic!("{state:?}") };
        self.appliance.until("its end", |_| {
            let ended = self.ended().into_iter().find(|ended| ended.job == job)?;
            match ended.result {
                JobResult::RestoreTest(End::Done(summary)) => Some(summary),
                other => panic!("{other:?}"),
            }
        })
    }

    fn image(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.appliance.folder.path().join("disks").join(name)).expect("it is plugged in")
    }
}

fn mark(text: &str) -> Mark {
    text.parse().expect("a mark")
}

#[test]
fn a_disk_comes_back_onto_the_disk_that_was_named() {
    let Some(mut given) = Given::new() else { return };
    let bytes = disk(1, 3);
    let snapshot = given.back_up("nas.img", &bytes);
    given.back_up("new.img", &vec![0xAA; 3 << 20]);
    let extent = Extent::Disk { target: mark("new.img") };

    let unsigned = given.order(Action::Restore { snapshot, extent: extent.clone() }, false);
    assert!(matches!(unsigned, State::Rejected { reason: Rejection::NotSigned, .. }), "{unsigned:?}");
    let nowhere = Extent::Disk { target: mark("gone.img") };
    let nowhere = given.order(Action::Restore { snapshot, extent: nowhere }, true);
    assert!(matches!(nowhere, State::Rejected { reason: Rejection::NoSuchDisk, .. }), "{nowhere:?}");
    assert!(given.image("new.img") == vec![0xAA; 3 << 20], "nothing was written without leave");

    let end = given.restore(snapshot, extent, "new.img");
    assert!(matches!(&end, End::Done(summary) if summary.hole_bytes.get() == 0), "{end:?}");
    assert!(given.image("new.img") == bytes, "every byte came back");
    assert!(given.image("nas.img") == bytes, "the source is as it was");

    given.back_up("small.img", &vec![0xBB; 1 << 20]);
    let end = given.restore(snapshot, Extent::Disk { target: mark("small.img") }, "small.img");
    assert!(matches!(&end, End::Failed(failure) if failure.reason == FailureReason::TargetUnfit), "{end:?}");
    assert!(given.image("small.img") == vec![0xBB; 1 << 20], "a disk that is too small is not begun");
}

#[test]
fn the_button_says_yes_to_what_the_display_asks() {
    let Some(mut given) = Given::new() else { return };
    let bytes = disk(1, 2);
    let snapshot = given.back_up("nas.img", &bytes);
    given.back_up("new.img", &vec![0xAA; 2 << 20]);
    given.appliance.stop();
    let (board, panel) = (given.appliance.folder.path().join("board"), given.appliance.folder.path().join("panel"));
    put(&board, format!(r#"{{"simulated": "{}"}}"#, panel.display()).as_bytes());
    given.appliance.more.extend(["--board".to_owned(), board.display().to_string()]);
    given.appliance.start();
    given.ingest.fact();
    let page = |seen: sim::Seen| seen.text.lines().join("|");
    let look = || page(sim::ask(&panel, Deed::Look).expect("the panel answers"));
    // The broker tells whoever comes back; an order before that would be lost.
    given.appliance.until("the disks", |appliance| {
        appliance.ask("disks")["disks"].as_array()?.iter().all(|disk| !disk["path"].is_null()).then_some(())
    });
    let extent = Extent::Disk { target: mark("new.img") };
    let State::Accepted { job: Some(job) } = given.order(Action::Restore { snapshot, extent }, true) else {
        panic!("the restore was not accepted\n{}", given.appliance.log())
    };
    given.appliance.until("the question", |_| {
        (look() == "OVERWRITE this disk?|new.img||Hold 2 s: yes|Unplug it: no").then_some(())
    });
    assert_eq!(given.appliance.jobs("asking").len(), 1);
    std::thread::sleep(std::time::Duration::from_secs(4));
    sim::ask(&panel, Deed::Press { ms: 2000 }).expect("the panel answers");
    given.appliance.until("its end", |_| given.ended().into_iter().find(|ended| ended.job == job));
    assert!(given.image("new.img") == bytes, "every byte came back");
}

/// A disk with two partitions behind an MBR: the first of noise, the second of one byte.
fn partitioned(seed: u64, first: std::ops::Range<usize>, second: u8) -> Vec<u8> {
    let mut bytes = disk(seed, 8);
    bytes[..1 << 20].fill(0);
    for (entry, range) in [first.clone(), 6 << 20..8 << 20].into_iter().enumerate() {
        let at = 446 + 16 * entry;
        bytes[at + 4] = 0x83;
        bytes[at + 8..at + 12].copy_from_slice(&((range.start / 512) as u32).to_le_bytes());
        bytes[at + 12..at + 16].copy_from_slice(&((range.len() / 512) as u32).to_le_bytes());
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    bytes[6 << 20..].fill(second);
    bytes
}

#[test]
fn a_partition_goes_into_its_own_place_and_nothing_beside_it_changes() {
    let Some(mut given) = Given::new() else { return };
    let source = partitioned(1, 1 << 20..4 << 20, 1);
    let snapshot = given.back_up("nas.img", &source);
    let target = partitioned(2, 2 << 20..6 << 20, 2);
    given.back_up("new.img", &target);
    let extent = Extent::Partition { number: Count::from(1u32), target: mark("new.img") };
    let end = given.restore(snapshot, extent, "new.img");
    assert!(matches!(end, End::Done(_)), "{end:?}");
    let mut expected = target;
    expected[2 << 20..5 << 20].copy_from_slice(&source[1 << 20..4 << 20]);
    let found = given.image("new.img");
    let first = expected.iter().zip(&found).position(|(one, other)| one != other);
    assert_eq!((found.len(), first), (expected.len(), None), "the first byte that differs");
}

#[test]
fn a_restore_test_tells_a_whole_repository_from_a_damaged_one() {
    let Some(mut given) = Given::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("ext.img");
    put(&folder.path().join("letter.bin"), &disk(5, 2));
    std::fs::File::create(&image).and_then(|file| file.set_len(16 << 20)).expect("room");
    let from = folder.path().join("letter.bin");
    let mut command = std::process::Command::new("mke2fs");
    command.args(["-q", "-t", "ext4", "-O", "^has_journal"]).arg(&image);
    assert!(command.status().expect("mke2fs is installed").success());
    let mut command = std::process::Command::new("debugfs");
    command.arg("-w").arg("-R").arg(format!("write {} letter.bin", from.display())).arg(&image);
    assert!(command.output().expect("debugfs is installed").status.success());
    given.back_up("ext.img", &std::fs::read(&image).expect("an image"));
    let summary = given.test();
    assert_eq!((summary.verdict, summary.files.get()), (VerifyVerdict::Clean, 1), "{summary:?}");
    assert!(summary.bytes.get() >= 2 << 20, "{summary:?}");

    // A byte in the middle of the largest pack rots.
    let packs = given.appliance.data().join("repository/packs");
    let mut files: Vec<_> = walk(&packs);
    files.sort_by_key(|path| std::fs::metadata(path).expect("it is there").len());
    let largest = files.pop().expect("a pack");
    let mut bytes = std::fs::read(&largest).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&largest).expect("it is there");
    put(&largest, &bytes);
    let summary = given.test();
    assert_eq!(summary.verdict, VerifyVerdict::Damaged, "{summary:?}");
}

#[test]
fn a_dead_box_s_disk_comes_back_with_the_escrow_key() {
    let Some(mut given) = Given::new() else { return };
    let bytes = disk(7, 2);
    given.back_up("nas.img", &bytes);
    let (private, public) = escrow::generate();
    let text = std::fs::read(given.appliance.data().join("enrolment.json")).expect("it is enrolled");
    let mut desired = Desired::at_enrolment(&decode::<Enrolment>(&text).expect("an enrolment"));
    desired.ver = DesiredVersion::saturating(1);
    desired.retention.last = 7;
    desired.escrow = Some(Escrow { key: EscrowKey(public) });
    let states = |given: &Given| -> Vec<KeyState> {
        let facts = given.appliance.facts().into_iter();
        facts.filter_map(|fact| if let Body::Key(state) = fact.body { Some(state) } else { None }).collect()
    };
    let refused = |given: &Given| {
        let refused = |body: &Body| matches!(body, Body::PolicyRefused(_));
        given.appliance.facts().iter().any(|fact| refused(&fact.body)).then_some(())
    };

    // Whoever has the server and not the command key lets nobody in.
    given.ingest.say(Topic::Down(given.device, Down::Desired), &desired);
    given.appliance.until("the refusal", |_| refused(&given));
    assert_eq!(states(&given), [KeyState::NotRecoverable]);
    desired.ver = DesiredVersion::saturating(2);
    let until = Timestamp::saturating(given.now() + 600_000);
    sign::sign(&mut desired, given.device, until, &command_key()).expect("it can be signed");
    given.ingest.say(Topic::Down(given.device, Down::Desired), &desired);
    let sealed = KeyState::Escrowed { key: EscrowKey(public) };
    given.appliance.until("the seal", |_| states(&given).contains(&sealed).then_some(()));
    assert_eq!(given.appliance.ask("status")["recoverable"], true);

    // A restart without the document does not take it back, and the box dies.
    given.appliance.kill();
    given.control.kill_broker();
    put(&given.appliance.data().join("desired.json"), b"rotten");
    given.appliance.start();
    given.appliance.until("jobs may begin", |appliance| {
        let disks = appliance.ask("disks");
        (!disks["disks"][0]["path"].is_null() && !disks["disks"][0]["held"].is_null()).then_some(())
    });
    assert_eq!(states(&given), [KeyState::NotRecoverable, sealed]);
    given.appliance.kill();
    let path = given.appliance.data().join("repository");
    let scratch = given.appliance.folder.path();
    let options = OpenOptions { lease: LeaseKind::Reader, boot: "a PC", scratch, suite: Suite::for_this_cpu() };
    let repository = Repository::open(&path, &Secret::Escrow(private), &options).expect("the escrow key opens it");
    let (_, snapshot) = repository.find_snapshot("latest").expect("a snapshot");
    let restored = scratch.join("restored");
    let target = FileTarget::open(&restored, snapshot.source.size, &path, Overwrite::Refuse).expect("a new file");
    let part = Part::of(&snapshot, None).expect("all of it");
    let how = restore::Options { part, only_metadata: false, workers: 2 };
    restore::run(&repository, &snapshot, &target, &how, &|_| true).expect("it restores");
    assert!(std::fs::read(&restored).expect("it is there") == bytes, "every byte came back");
}

/// The files of a stick, as a reader that did not write it sees them.
fn files_on(image: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let disk = Arc::new(DiskSource::open(image).expect("a disk"));
    let table = partition::read(&*disk, disk.sector_size());
    let [own] = &table.partitions[..] else { panic!("{table:?}") };
    let part = image.with_extension("part");
    let bytes = std::fs::read(image).expect("an image");
    put(&part, &bytes[own.start as usize..][..own.len as usize]);
    let judged = std::process::Command::new("fsck.fat").arg("-n").arg(&part).output().expect("fsck.fat is installed");
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    let tree = files::browse(Arc::new(Window::new(disk, own.start, own.len)), Filesystem::Fat).expect("FAT");
    let (mut found, mut todo) = (BTreeMap::new(), vec![(String::new(), tree.root().expect("a root"))]);
    while let Some((at, node)) = todo.pop() {
        for entry in files::entries(&*tree, &node).entries {
            let path = format!("{at}/{}", String::from_utf8_lossy(&entry.name));
            match entry.node.kind {
                NodeKind::Directory => todo.push((path, entry.node)),
                _ => {
                    let mut bytes = Vec::new();
                    files::copy::stream(&*tree, &entry.node, &path, &mut bytes).expect("it can be read");
                    found.insert(path, bytes);
                }
            }
        }
    }
    found
}

#[test]
fn files_come_back_on_a_stick_that_everything_reads() {
    let Some(mut given) = Given::new() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let content = folder.path().join("content");
    let notes = disk(11, 2);
    for (path, bytes) in [
        ("office/letters/Müller & Söhne.txt", &b"dear all"[..]),
        ("office/letters/MÜLLER & söhne.TXT", b"another one"),
        ("office/what: why?.md", b"because"),
        ("office/empty", b""),
        ("notes.bin", &notes),
        ("private/diary", b"nobody asked for it"),
    ] {
        let path = content.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("room");
        put(&path, bytes);
    }
    std::os::unix::fs::symlink("empty", content.join("office/link")).expect("room");
    let image = folder.path().join("image");
    let mut command = std::process::Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-d"]).args([&content, &image]).arg("16M");
    assert!(command.status().expect("mke2fs is installed").success());
    let snapshot = given.back_up("till.img", &std::fs::read(&image).expect("an image"));
    // The stick held something else, with a table at its end.
    given.back_up("stick.img", &disk(12, 64));

    let files = |paths: &[&str], stick: &str| Extent::Files {
        partition: Count::ZERO,
        paths: paths.iter().map(|path| path.parse().expect("a path")).collect(),
        stick: mark(stick),
    };
    let end = given.restore(snapshot, files(&["office", "/notes.bin"], "stick.img"), "stick.img");
    let End::Done(summary) = end else { panic!("{end:?}") };
    let notes_told: Vec<String> = summary.notes.shown.iter().map(ToString::to_string).collect();
    let expected = ["1 links and devices were left out", "2 names were changed to such as FAT32 holds"];
    assert_eq!((notes_told, summary.bytes_written.get()), (expected.map(String::from).to_vec(), (2 << 20) + 26));
    let found = files_on(&given.appliance.folder.path().join("disks/stick.img"));
    let mut letters: Vec<&Vec<u8>> =
        found.iter().filter(|(path, _)| path.to_uppercase().contains("SÖHNE")).map(|(_, bytes)| bytes).collect();
    letters.sort();
    assert_eq!(letters, [b"another one".as_slice(), b"dear all"]);
    assert_eq!(found.get("/office/what_ why_.md").map(Vec::as_slice), Some(&b"because"[..]));
    assert_eq!((found.get("/notes.bin") == Some(&notes), found.get("/office/empty")), (true, Some(&Vec::new())));
    assert_eq!(found.len(), 5, "{:?}", found.keys());

    let end = given.restore(snapshot, files(&["nowhere"], "stick.img"), "stick.img");
    assert!(matches!(&end, End::Failed(failure) if failure.reason == FailureReason::SnapshotMissing), "{end:?}");
    given.back_up("tiny.img", &vec![0xCC; 3 << 20]);
    let end = given.restore(snapshot, files(&["notes.bin"], "tiny.img"), "tiny.img");
    assert!(matches!(&end, End::Failed(failure) if failure.reason == FailureReason::TargetUnfit), "{end:?}");
    assert_eq!(
        files_on(&given.appliance.folder.path().join("disks/stick.img")).len(),
        5,
        "a job that fails early writes nothing"
    );
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
