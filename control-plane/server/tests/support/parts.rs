//! An installation in parts: two replicas of the API behind a balancer, two workers and a broker, on a PostgreSQL and a Redis of their own.

use super::line::Line;
use super::ports::free_port;
use super::postgres::Postgres;
use super::redis::Redis;
use super::{Person, Server};
use rustix::process::{Pid, Signal, kill_process};
use saveos_fleet_sim::Place;
use std::collections::BTreeMap;
use std::process::Child;

/// The parts, and whatever they stand on.
pub(crate) struct Parts {
    pub(crate) server: Server,
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) https: [u16; 2],
    running: BTreeMap<&'static str, Child>,
    // Last: what stands on it ends first.
    _folder: tempfile::TempDir,
}

impl Parts {
    /// `None` where PostgreSQL, Redis or Mosquitto is missing.
    pub(crate) fn new() -> Option<Parts> {
        let folder = tempfile::Builder::new().permissions(open()).tempdir().expect("a folder");
        let Some(postgres) = Postgres::start(&folder.path().join("postgres")).expect("it starts") else {
            println!("SKIPPED: no postgresql");
            return None;
        };
        let redis = Redis::start()?;
        let https = [free_port(), free_port()];
        let balancer = Line::over(https.to_vec());
        let mut server = Server::in_parts(&postgres, balancer.port)?;
        server.environment.push(("SAVEOS_REDIS_URL", redis.url()));
        let mut parts = Parts { server, postgres, redis, https, running: BTreeMap::new(), _folder: folder };
        for name in ["broker", "one", "two", "left", "right"] {
            parts.begin(name);
        }
        parts.ready();
        Some(parts)
    }

    pub(crate) fn begin(&mut self, name: &'static str) {
        let [left, right] = self.https.map(|port| port.to_string());
        let arguments: &[&str] = match name {
            "broker" => &["--role", "broker"],
            "left" => &["--role", "api", "--https-port", &left],
            "right" => &["--role", "api", "--https-port", &right],
            _ => &["--role", "worker"],
        };
        self.begin_as(name, arguments);
    }

    pub(crate) fn begin_as(&mut self, name: &'static str, arguments: &[&str]) {
        self.running.insert(name, self.server.part(name, arguments));
    }

    /// Both replicas answer, and boxes are heard.
    pub(crate) fn ready(&self) {
        for port in self.https {
            let place = Place::new(&format!("https://localhost:{port}"), &self.server.authority());
            self.server.until("a replica is ready", || {
                place.request("GET", "/readyz", &[], b"").is_ok_and(|(status, _)| status == 200).then_some(())
            });
        }
        self.server.until("boxes are heard", || self.hears());
    }

    pub(crate) fn kill(&mut self, name: &str) {
        let mut process = self.running.remove(name).expect("it runs");
        process.kill().expect("it runs");
        process.wait().expect("it ran");
    }

    pub(crate) fn stop(&mut self, name: &str) {
        let mut process = self.running.remove(name).expect("it runs");
        kill_process(Pid::from_child(&process), Signal::TERM).expect("it runs");
        assert!(process.wait().expect("it ran").success(), "{}", self.server.log());
    }

    /// Which worker hears the boxes.
    pub(crate) fn hears(&self) -> Option<&'static str> {
        self.holds("ingest")
    }

    /// Which process has a lease.
    pub(crate) fn holds(&self, lease: &str) -> Option<&'static str> {
        let rows = self.server.db().rows(&format!("SELECT holder FROM lease WHERE name = '{lease}'"));
        let holder = rows.first()?.first()?.rsplit('/').next()?.to_owned();
        self.running.keys().copied().find(|name| *name == holder)
    }

    /// A person at one of the replicas.
    pub(crate) fn person_at(&self, port: u16) -> Person {
        let mut person = self.server.admin();
        person.move_to(Place::new(&format!("https://localhost:{port}"), &self.server.authority()));
        person
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for process in self.running.values_mut() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn open() -> std::fs::Permissions {
    // PostgreSQL runs as another user.
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
