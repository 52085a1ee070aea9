//! The server of a test: the real program on its own folder and ports, with its own broker, asked through its API and compared
//! with what its database holds.

#![allow(dead_code, reason = "every test uses another part")]

use rustix::process::{Pid, Signal, kill_process};
use saveos_fleet_sim::{Appliance, Entry, Identity, Place, enrol};
use saveos_protocol::enrol::{EnrolReply, Enrolment};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) mod balancer;
#[path = "../../../../images/release/tests/support/bucket.rs"]
pub(crate) mod bucket;
pub(crate) mod database;
pub(crate) mod line;
pub(crate) mod parts;
pub(crate) mod ports;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod traffic;

pub(crate) const ADMIN: &str = "admin@example.org";

/// A control plane. Its folder outlives its process.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    process: Option<Child>,
    /// What the program finds in its environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Where it serves metrics from its next start on.
    pub(crate) metrics: Option<std::net::SocketAddr>,
    pub(crate) https: u16,
    pub(crate) mqtt: u16,
    /// Its data lie on a file system of so many mebibytes that only it sees, and that ends with it.
    small: Option<u32>,
    /// The database that is not in its folder.
    database: Option<String>,
    password: String,
    setup_link: Option<String>,
    pub(crate) passphrase: String,
    pub(crate) organisation: String,
    pub(crate) runtime: tokio::runtime::Runtime,
}

/// A person who is signed in.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) token: String,
    place: Place,
}

impl Server {
    /// `None` where no Mosquitto is installed.
    pub(crate) fn new() -> Option<Server> {
        Server::on(None, Some(ADMIN))
    }

    /// Nobody has an account yet; the link that makes the first.
    pub(crate) fn without_people() -> Option<(Server, String)> {
        let server = Server::on(None, None)?;
        let link = server.setup_link.clone().expect("a link");
        Some((server, link))
    }

    /// Its database is a file, whatever the tests run on.
    pub(crate) fn in_a_file() -> Option<Server> {
        Server::made(None, Some(ADMIN), false)
    }

    /// Its data lie on a file system of so many mebibytes, which ends with its process.
    pub(crate) fn on_a_small_disk(mebibytes: u32) -> Option<Server> {
        Server::on(Some(mebibytes), Some(ADMIN))
    }

    /// Set up in a new database of `server`, for people and boxes behind the port `https`; nothing of it runs.
    pub(crate) fn in_parts(server: &postgres::Postgres, https: u16) -> Option<Server> {
        Server::set_up(None, Some(ADMIN), Some(&server.url()), Some(https))
    }

    /// Runs another of its commands; whether it did it, and what it said.
    pub(crate) fn command(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = self.program();
        command.args(arguments).arg("--data").arg(self.data()).envs(self.environment.iter().cloned());
        let output = command.output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// One more process of it, which does a part.
    pub(crate) fn part(&self, name: &str, arguments: &[&str]) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = self.program();
        command.args(["run", "--replica", name, "--data"]).arg(self.data()).args(arguments);
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(log.expect("a log")).spawn().expect("it starts")
    }

    fn on(small: Option<u32>, admin: Option<&str>) -> Option<Server> {
        Server::made(small, admin, small.is_none())
    }

    fn made(small: Option<u32>, admin: Option<&str>, anywhere: bool) -> Option<Server> {
        let databases = std::env::var(database::SERVER).ok().filter(|_| anywhere);
        let mut server = Server::set_up(small, admin, databases.as_deref(), None)?;
        server.start();
        Some(server)
    }

    fn set_up(small: Option<u32>, admin: Option<&str>, databases: Option<&str>, port: Option<u16>) -> Option<Server> {
        let found = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].into_iter().any(|path| Path::new(path).exists());
        if !found {
            println!("SKIPPED: no mosquitto");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let [https, mqtt] = free_ports();
        let https = port.unwrap_or(https);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let database = databases.map(|server| database::new(&runtime, server));
        let environment: Vec<_> = database.iter().map(|url| (database::URL, url.clone())).collect();
        let output = Command::new(env!("CARGO_BIN_EXE_saveos-server"))
            .args(["init", "--json", "--host", "localhost", "--bind", "127.0.0.1", "--organisation", "A test"])
            .args(["--https-port", &https.to_string(), "--mqtt-port", &mqtt.to_string()])
            .envs(environment.iter().cloned())
            .args(admin.map(|admin| ["--admin", admin]).into_iter().flatten())
            .arg("--data")
            .arg(folder.path().join("data"))
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
        Some(Server {
            password: text("password"),
            setup_link: shown["setup_link"].as_str().map(str::to_owned),
            passphrase: text("command_passphrase"),
            organisation: text("organisation"),
            folder,
            process: None,
            environment,
            metrics: None,
            https,
            mqtt,
            small,
            database,
            runtime,
        })
    }

    pub(crate) fn data(&self) -> PathBuf {
        let data = self.folder.path().join("data");
        match (self.small, &self.process) {
            (Some(_), Some(process)) => {
                let inside = data.strip_prefix("/").expect("an absolute path");
                Path::new("/proc").join(process.id().to_string()).join("root").join(inside)
            }
            _ => data,
        }
    }

    /// The program on its data, where necessary in a mount namespace of its own.
    fn program(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_saveos-server");
        let Some(mebibytes) = self.small else { return Command::new(program) };
        // The copy of the data is made before they are covered.
        let script = "set -e; cp -a \"$1\" \"$1.copy\"; mount -t tmpfs -o size=$2m,mode=0700 tmpfs \"$1\"
            cp -a \"$1.copy/.\" \"$1\"; shift 2; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(self.folder.path().join("data")).arg(mebibytes.to_string()).arg(program);
        command
    }

    /// Starts it and waits until it can do its work.
    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = self.program();
        command.arg("run").arg("--data").arg(self.folder.path().join("data")).envs(self.environment.iter().cloned());
        if let Some(address) = self.metrics {
            command.arg("--metrics").arg(address.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        self.process = Some(command.spawn().expect("it starts"));
        let place = self.place();
        self.until("the server is ready", || {
            place.request("GET", "/readyz", &[], b"").is_ok_and(|(status, _)| status == 200).then_some(())
        });
    }

    /// Changes what `init` decided, for a server that does not run.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut Value)) {
        let path = self.data().join("config.json");
        let mut config = serde_json::from_slice(&std::fs::read(&path).expect("a config")).expect("JSON");
        change(&mut config);
        let mut file = std::fs::File::create(path).expect("it can be written");
        std::io::Write::write_all(&mut file, config.to_string().as_bytes()).expect("it can be written");
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// `kill -9` of the server alone; its broker stays behind.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it runs");
        process.wait().expect("it ran");
    }

    /// Asks it to stop and waits for that.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        kill_process(Pid::from_child(&process), Signal::TERM).expect("it runs");
        assert!(process.wait().expect("it ran").success(), "{}", self.log());
    }

    /// `kill -9` of the broker: it forgets what it did not write down.
    pub(crate) fn kill_broker(&self) {
        if let Some(id) = self.broker_id() {
            let _ = kill_process(id, Signal::KILL);
        }
    }

    /// Has the broker read its files again.
    pub(crate) fn reload_broker(&self) {
        kill_process(self.broker_id().expect("it runs"), Signal::HUP).expect("it runs");
    }

    pub(crate) fn broker_id(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.data().join("broker/pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Takes the broker's memory away while it is dead.
    pub(crate) fn wipe_broker(&self) {
        self.kill_broker();
        let _ = std::fs::remove_file(self.data().join("broker/data/mosquitto.db"));
    }

    pub(crate) fn authority(&self) -> String {
        std::fs::read_to_string(self.data().join("authority.pem")).expect("an authority")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.https)
    }

    pub(crate) fn place(&self) -> Place {
        Place::new(&self.url(""), &self.authority())
    }

    /// Of the first administrator.
    pub(crate) fn password(&self) -> String {
        self.password.clone()
    }

    pub(crate) fn admin(&self) -> Person {
        self.sign_in(ADMIN, &self.password.clone())
    }

    /// What the first administrator sees.
    pub(crate) fn admin_get(&self, path: &str) -> Value {
        self.admin().get(path)
    }

    /// Signs with the command key, in a process of its own.
    pub(crate) fn sign(&self, what: &str, device: saveos_protocol::id::DeviceId, document: Value) -> Value {
        let mut child = Command::new(env!("CARGO_BIN_EXE_saveos-server"))
            .args(["sign", "--what", what, "--device", &device.to_string(), "--data"])
            .arg(self.data())
            .env("SAVEOS_COMMAND_PASSPHRASE", &self.passphrase)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut input = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut input, document.to_string().as_bytes()).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ran");
        assert!(output.status.success(), "{document}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Who holds this token.
    pub(crate) fn with(&self, token: &str) -> Person {
        Person { token: token.to_owned(), place: self.place() }
    }

    /// What a sign-in is answered.
    pub(crate) fn try_sign_in(&self, credentials: &Value) -> (u16, Value) {
        let headers = [("content-type", "application/json"), ("user-agent", "a test")];
        let sent = credentials.to_string();
        let (status, json) =
            self.place().request("POST", "/api/v1/login", &headers, sent.as_bytes()).expect("an answer");
        (status, serde_json::from_slice(&json).expect("JSON"))
    }

    pub(crate) fn sign_in(&self, email: &str, password: &str) -> Person {
        let (status, answer) = self.try_sign_in(&json!({ "email": email, "password": password }));
        assert_eq!(status, 200, "{answer}");
        self.with(answer["token"].as_str().expect("a token"))
    }

    /// A site below a new customer.
    pub(crate) fn site(&self, person: &Person, name: &str) -> String {
        let node = |parent: &str, kind: &str| {
            let (status, made) =
                person.ask("POST", "/api/v1/nodes", &json!({ "parent": parent, "kind": kind, "name": name }));
            assert_eq!(status, 201, "{made}");
            made["id"].as_str().expect("an id").to_owned()
        };
        node(&node(&self.organisation, "customer"), "site")
    }

    /// Claims a box for a site.
    pub(crate) fn claim(&self, person: &Person, site: &str, identity: &Identity) -> (u16, Value) {
        let claim = json!({ "code": identity.claim_code().to_string(), "site": site, "name": "a box" });
        person.ask("POST", "/api/v1/claims", &claim)
    }

    /// A box that is claimed and enrolled.
    pub(crate) fn enrolled(&self, person: &Person, site: &str) -> (Identity, Enrolment) {
        let identity = Identity::new();
        assert_eq!(self.claim(person, site, &identity).0, 201);
        match enrol(&self.place(), &identity, |_| {}).expect("an answer") {
            EnrolReply::Issued(enrolment) => (identity, enrolment),
            other => panic!("{other:?}"),
        }
    }

    /// Boxes that run.
    pub(crate) fn fleet(&self, count: usize) -> Vec<Arc<Appliance>> {
        self.fleet_behind(count, None)
    }

    /// Boxes that reach the broker at another port of this machine.
    pub(crate) fn fleet_behind(&self, count: usize, port: Option<u16>) -> Vec<Arc<Appliance>> {
        let person = self.admin();
        let site = self.site(&person, "a site");
        let boxes = (0..count).map(|_| {
            let (identity, mut enrolment) = self.enrolled(&person, &site);
            if let Some(port) = port {
                enrolment.uplink.brokers = vec![format!("mqtts://localhost:{port}").parse().expect("a URL")];
            }
            // A hundred heartbeats a second are enough.
            let appliance = Appliance::new(identity, Duration::from_secs(1 + count as u64 / 100));
            self.runtime.spawn(Arc::clone(&appliance).run(enrolment));
            appliance
        });
        boxes.collect()
    }

    /// What the database holds of facts, in order.
    pub(crate) fn facts(&self) -> Vec<Entry> {
        let rows = self.db().rows("SELECT stream, n, json, kind FROM fact ORDER BY stream, n");
        let entry = |row: Vec<String>| {
            let [stream, n, json, kind] = row.try_into().expect("four columns");
            let kind = saveos_protocol::fact::Kind::ALL.iter().find(|known| known.as_str() == kind);
            Entry {
                stream: stream.parse().expect("a stream"),
                n: n.parse().expect("a number"),
                json,
                kind: *kind.expect("a kind"),
            }
        };
        rows.into_iter().map(entry).collect()
    }

    /// Nothing lost, nothing twice: row by row what the boxes told.
    #[track_caller]
    pub(crate) fn compare(&self, boxes: &[Arc<Appliance>]) {
        self.compare_those(boxes, |_| true);
    }

    /// Among the facts for which `whose` stands.
    #[track_caller]
    pub(crate) fn compare_those(&self, boxes: &[Arc<Appliance>], whose: impl Fn(&Entry) -> bool) {
        let mut told: Vec<Entry> = boxes.iter().flat_map(|appliance| appliance.ledger()).collect();
        told.sort();
        let held: Vec<Entry> = self.facts().into_iter().filter(whose).collect();
        assert_eq!(held.len(), told.len(), "facts held and told");
        assert!(held == told, "a fact differs: {:?}", held.iter().zip(&told).find(|(held, told)| held != told));
    }

    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < deadline, "never: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Before the server ends: a folder that only it sees ends with it.
        let broker = self.broker_id();
        if self.process.is_some() {
            self.kill();
        }
        if let Some(broker) = broker.or_else(|| self.broker_id()) {
            let _ = kill_process(broker, Signal::KILL);
        }
    }
}

impl Person {
    /// Asks there from now on.
    pub(crate) fn move_to(&mut self, place: Place) {
        self.place = place;
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Asks with a JSON body; status and answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let (status, json) = self.place.request(method, path, &headers, body.as_bytes()).expect("an answer");
        (status, serde_json::from_slice(&json).unwrap_or(Value::Null))
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }
}

fn free_ports() -> [u16; 2] {
    let first = ports::free_row(2);
    [first, first + 1]
}
