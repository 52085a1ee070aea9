//! A box of a test: the real daemon on its own folders, asked over its socket, its facts read from its database.

#![allow(dead_code, reason = "every test uses another part")]

pub(crate) mod control_plane;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A box. What it holds outlives its process.
pub(crate) struct Appliance {
    pub(crate) folder: tempfile::TempDir,
    process: Option<Child>,
    policy: bool,
    /// Arguments of a box that is more than most.
    pub(crate) more: Vec<String>,
}

/// Everything is backed up when it is plugged in.
pub(crate) const EAGER: &str =
    r#"{"backup": {"on_plug": "backup", "time_zone": "Europe/Berlin"}, "new_disk": "backup"}"#;

impl Appliance {
    /// With a policy file, or without.
    pub(crate) fn new(policy: Option<&str>) -> Appliance {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("disks")).expect("a folder");
        if let Some(policy) = policy {
            put(&folder.path().join("policy.json"), policy.as_bytes());
        }
        Appliance { folder, process: None, policy: policy.is_some(), more: Vec::new() }
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saveosd"));
        command.arg("run").arg("--data").arg(self.data()).arg("--disks-dir").arg(self.folder.path().join("disks"));
        command.args(["--heartbeat", "2"]).args(&self.more);
        command.arg("--socket").arg(self.socket()).env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        if self.policy {
            command.arg("--policy").arg(self.folder.path().join("policy.json"));
        }
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        self.process = Some(command.spawn().expect("the daemon starts"));
        self.until("the daemon answers", |appliance| appliance.try_ask("status").map(drop));
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it runs");
        process.wait().expect("it ran");
    }

    /// Asks it to stop and waits for that.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let id = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
        let status = process.wait().expect("it ran");
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// Plugs a disk in: the image appears whole.
    pub(crate) fn plug(&self, name: &str, bytes: &[u8]) {
        let draft = self.folder.path().join(name);
        put(&draft, bytes);
        rustix::fs::rename(&draft, self.folder.path().join("disks").join(name)).expect("room");
    }

    pub(crate) fn unplug(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join("disks").join(name)).expect("it was plugged in");
    }

    /// Asks with the real command; `None` when it fails.
    pub(crate) fn try_ask(&self, question: &str) -> Option<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saveosd"));
        command.args(question.split(' ')).arg("--json").arg("--socket").arg(self.socket());
        let output = command.output().expect("it starts");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    #[track_caller]
    pub(crate) fn ask(&self, question: &str) -> Value {
        self.try_ask(question).unwrap_or_else(|| panic!("{question} was refused\n{}", self.log()))
    }

    /// All facts, in order of their number, which has no holes.
    #[track_caller]
    pub(crate) fn facts(&self) -> Vec<saveos_protocol::fact::Fact> {
        let db = rusqlite::Connection::open(self.data().join("state.sqlite")).expect("a database");
        let mut query = db.prepare("SELECT json FROM fact ORDER BY n").expect("a table");
        let rows = query.query_map([], |row| row.get::<_, Vec<u8>>(0)).expect("rows");
        let facts: Vec<saveos_protocol::fact::Fact> =
            rows.map(|json| saveos_protocol::decode(&json.expect("a row")).expect("a fact")).collect();
        let numbers: Vec<u64> = facts.iter().map(|fact| fact.n.get()).collect();
        assert_eq!(numbers, (1..=facts.len() as u64).collect::<Vec<_>>(), "numbers have no holes");
        facts
    }

    /// Waits for something, and says what it was when it never comes.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut(&Appliance) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Jobs that ended in this way.
    pub(crate) fn jobs(&self, state: &str) -> Vec<Value> {
        let answer = self.ask("jobs");
        let jobs = answer["jobs"].as_array().expect("jobs").iter();
        jobs.filter(|job| job["state"] == state).cloned().collect()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

pub(crate) fn put(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    std::fs::File::create(path).and_then(|mut file| file.write_all(bytes)).expect("room");
}

/// A disk of noise that no two seeds share: SplitMix64.
pub(crate) fn disk(seed: u64, mebibytes: usize) -> Vec<u8> {
    let mut state = seed << 32;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).to_le_bytes()
    };
    (0..mebibytes << 17).flat_map(|_| next()).collect()
}
