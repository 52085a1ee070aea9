//! `kill -9` at any moment costs nothing but the work since: what was committed stays, and nobody clears a lock by hand.
//!
//! The real binary is killed 200 times, while it backs up, prunes, forgets or restores. After each kill the repository
//! verifies; every tenth time all its snapshots are restored and compared, and an undisturbed backup works.

#[path = "support/support.rs"]
mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};
use support::{Image, Ran, Repo, noise, text, write_at};

const MIB: u64 = 1 << 20;
const KILLS: usize = 200;
const DISK: u64 = 8 * MIB;

/// xorshift64*: the seed is printed, so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

/// A repository, the disk that is backed up to it, and what each snapshot must hold.
struct Battered {
    repo: Repo,
    disk: Image,
    hash: blake3::Hash,
    expected: BTreeMap<String, blake3::Hash>,
    dice: Dice,
}

impl Battered {
    fn new(seed: u64) -> Battered {
        let disk = Image::blank(DISK);
        write_at(&disk.path(), 0, &noise(seed, DISK as usize / 2));
        let hash = blake3::hash(&disk.bytes());
        let repo = Repo::new();
        let mut battered = Battered { repo, disk, hash, expected: BTreeMap::new(), dice: Dice(seed | 1) };
        battered.repo.backup(&battered.disk.path(), "disk");
        battered.learn();
        battered
    }

    /// The disk changes a little in many places and a lot in one.
    fn change_the_disk(&mut self) {
        for _ in 0..8 {
            let (at, seed) = (self.dice.below(DISK - 4096), self.dice.below(u64::MAX));
            write_at(&self.disk.path(), at, &noise(seed, 1 + self.dice.below(4096) as usize));
        }
        let (at, seed) = (self.dice.below(DISK - 2 * MIB), self.dice.below(u64::MAX));
        write_at(&self.disk.path(), at, &noise(seed, 2 << 20));
        self.hash = blake3::hash(&self.disk.bytes());
    }

    /// New snapshots can only be of the disk as it is now.
    fn learn(&mut self) -> Vec<String> {
        let listed: Vec<String> = self.snapshots();
        self.expected.retain(|id, _| listed.contains(id));
        for id in &listed {
            self.expected.entry(id.clone()).or_insert(self.hash);
        }
        listed
    }

    fn snapshots(&self) -> Vec<String> {
        let objects = self.repo.json(&["snapshots"]).exits(0).objects();
        objects.iter().map(|object| object["id"].as_str().expect("an id").to_owned()).collect()
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.repo.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
    }

    /// How long each deed takes when nobody disturbs it, so that kills fall all over it and a little beyond.
    fn measure(&mut self) -> [Duration; 4] {
        let mut times = [Duration::ZERO; 4];
        self.change_the_disk();
        for (deed, time) in times.iter_mut().enumerate() {
            let begun = Instant::now();
            let target = self.repo.beside("measured");
            assert!(self.start(&self.words(deed, text(&target))).wait().expect("it ends").success());
            *time = begun.elapsed();
        }
        self.learn();
        times
    }

    fn words<'a>(&self, deed: usize, target: &'a str) -> Vec<&'a str> {
        match deed {
            0 => vec!["backup", self.disk_text(), "--name", "disk"],
            1 => vec!["prune"],
            2 => vec!["forget", "--keep-last", "3"],
            _ => vec!["restore", "latest", target, "--force"],
        }
    }

    fn disk_text(&self) -> &'static str {
        Box::leak(self.disk.text().into_boxed_str()) // some bytes a test
    }

    /// Starts something and kills it. Tells which deed it was.
    fn kill_one(&mut self, times: &[Duration; 4]) -> usize {
        // More of what writes most.
        let deed = [0, 0, 0, 0, 1, 1, 1, 2, 3, 3][self.dice.below(10) as usize];
        if deed == 0 {
            self.change_the_disk();
        }
        let target = self.repo.beside("target");
        let mut child = self.start(&self.words(deed, text(&target)));
        let limit = (times[deed].as_micros() as u64 * 5 / 4).max(2000);
        std::thread::sleep(Duration::from_micros(self.dice.below(limit)));
        child.kill().expect("a signal");
        child.wait().expect("it ends");
        deed
    }

    /// Every byte that is stored can be read, and what was committed is still there.
    fn is_whole(&mut self, before: &[String], may_forget: bool) {
        let verified = self.repo.json(&["verify"]).exits(0).last("verified");
        assert_eq!(verified["problems"], 0, "{verified}");
        let now = self.learn();
        assert!(may_forget || before.iter().all(|id| now.contains(id)), "a snapshot is gone");
    }

    fn restores_all(&self) {
        for (id, hash) in &self.expected {
            let ran = self.repo.run(&["restore", id, "-"]).exits(0);
            assert_eq!(blake3::hash(&ran.out), *hash, "snapshot {id} differs");
        }
    }
}

#[test]
fn two_hundred_kills_lose_no_committed_snapshot() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
    let given = std::env::var("SAVEOS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or(now.as_nanos() as u64);
    eprintln!("SAVEOS_TEST_SEED={seed}");
    let mut battered = Battered::new(seed);
    let times = battered.measure();
    for kill in 1..=KILLS {
        let before: Vec<String> = battered.expected.keys().cloned().collect();
        let deed = battered.kill_one(&times);
        battered.is_whole(&before, deed == 2);
        if kill % 10 == 0 {
            battered.restores_all();
            battered.change_the_disk();
            let made = battered.repo.backup(&battered.disk.path(), "disk")["snapshot"].as_str().map(str::to_owned);
            let now = battered.learn();
            assert!(made.is_some_and(|id| now.contains(&id)));
            battered.repo.run(&["forget", "--keep-last", "3"]).exits(0);
            battered.repo.run(&["prune"]).exits(0);
            battered.learn();
        }
    }
    leaves_nothing_behind(&battered);
}

/// After two undisturbed prunes only what the snapshots need is left, and no draft.
fn leaves_nothing_behind(battered: &Battered) {
    battered.repo.run(&["forget", "--keep-last", "1"]).exits(0);
    battered.repo.backup(&battered.disk.path(), "disk");
    battered.repo.run(&["prune"]).exits(0);
    battered.repo.run(&["prune"]).exits(0);
    battered.repo.run(&["prune"]).exits(0);
    let bytes = battered.repo.pack_bytes();
    assert!(bytes < 2 * DISK, "{bytes} bytes of packs for a disk of {DISK}");
    let drafts: Vec<_> = std::fs::read_dir(battered.repo.path().join("tmp")).expect("a folder").flatten().collect();
    assert!(drafts.is_empty(), "{drafts:?}");
}

/// A backup that takes a while: 24 MiB at 4 MiB a second.
fn slow_backup(repo: &Repo) -> (Image, Child) {
    let disk = Image::blank(24 * MIB);
    write_at(&disk.path(), 0, &noise(7, 24 << 20));
    let mut command = repo.command(&["backup", &disk.text(), "--name", "slow", "--limit-read", "4", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let begun = Instant::now();
    while std::fs::metadata(repo.path().join("locks/writer")).map_or(0, |gate| gate.len()) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the backup does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    (disk, child)
}

#[test]
fn a_second_writer_is_told_who_the_first_is() {
    let repo = Repo::new();
    let (disk, mut first) = slow_backup(&repo);
    let refused = repo.run(&["backup", &disk.text()]).refuses("the repository is in use");
    assert!(refused.err.contains(&format!("process {}", first.id())), "{}", refused.err);
    // Readers and the sweeper are not in the way.
    repo.run(&["snapshots"]).exits(0);
    repo.run(&["prune"]).exits(0);
    first.kill().expect("a signal");
    first.wait().expect("it ends");
    repo.backup(&disk.path(), "second");
}

#[test]
fn an_interrupt_leaves_a_checkpoint_that_the_next_backup_uses() {
    let repo = Repo::new();
    let (disk, child) = slow_backup(&repo);
    let tmp = repo.path().join("tmp");
    let begun = Instant::now();
    let drafted = || -> u64 {
        let files = std::fs::read_dir(&tmp).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    while drafted() < 4 * MIB {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing is written");
        std::thread::sleep(Duration::from_millis(20));
    }
    let process = rustix::process::Pid::from_raw(child.id() as i32).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("a signal");
    let ran = Ran::from(child.wait_with_output().expect("it ends"), "interrupted backup".to_owned()).refuses("stopped");
    let objects = ran.objects();
    assert_eq!(objects.last().map(|object| &object["type"]), Some(&Value::from("error")));
    let checkpoints = || std::fs::read_dir(repo.path().join("checkpoints")).expect("a folder").count();
    assert_eq!(checkpoints(), 1);
    assert_eq!(repo.json(&["snapshots"]).exits(0).objects(), Vec::<Value>::new());
    // Prune leaves what the checkpoint names.
    repo.run(&["prune"]).exits(0);
    repo.run(&["prune"]).exits(0);
    let summary = repo.backup(&disk.path(), "slow");
    let (new, hashed) = (summary["bytes_new"].as_u64(), summary["bytes_hashed"].as_u64());
    assert_eq!(hashed, Some(24 * MIB), "every byte is read again");
    assert!(new < Some(21 * MIB), "{new:?} bytes stored again");
    assert_eq!(checkpoints(), 0);
    assert!(repo.run(&["restore", "latest", "-"]).exits(0).out == disk.bytes());
}
