//! A control plane for a bench: the real server with its broker on free ports of an address of this machine, which the box calls by the name
//! that its bench has for it.

use crate::bench::Bench;
use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// It ends with its value.
pub(crate) struct ControlPlane {
    folder: tempfile::TempDir,
    process: Child,
    /// `HOST:PORT` as the box calls it.
    host: String,
    /// Where it is reached from here.
    reached: SocketAddr,
    token: String,
    organisation: String,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Asked first, so that it ends its broker; whatever happens, it is waited for.
        let _ = Command::new("kill").arg(self.process.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.process.wait();
    }
}

impl ControlPlane {
    /// Sets one up for the boxes of a bench, and waits until it is ready.
    pub(crate) fn start(bench: &dyn Bench) -> anyhow::Result<ControlPlane> {
        let (host, address) = (bench.host(), bench.address());
        let program = std::env::current_exe()?.with_file_name("saveos-server");
        ensure!(program.exists(), "there is no {}: cargo build -p saveos-server", program.display());
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let (https, mqtt) = (free_port(address)?, free_port(address)?);
        let init = Command::new(&program)
            .args([
                "init",
                "--json",
                "--bind",
                &address.to_string(),
                "--organisation",
                "Bench",
                "--admin",
                "a@example.org",
            ])
            .args(["--host", &host, "--https-port", &https.to_string(), "--mqtt-port", &mqtt.to_string()])
            .arg("--data")
            .arg(&data)
            .output()?;
        ensure!(init.status.success(), "saveos-server init: {}", String::from_utf8_lossy(&init.stderr));
        let shown: Value = serde_json::from_slice(&init.stdout)?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut run = Command::new(&program);
        run.arg("run").arg("--data").arg(&data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut control = ControlPlane {
            process: run.spawn()?,
            host: format!("{host}:{https}"),
            reached: SocketAddr::new(address, https),
            token: String::new(),
            organisation: shown["organisation"].as_str().context("an organisation")?.to_owned(),
            folder,
        };
        control.until("the control plane is ready", |control| Ok(control.ask("/readyz", None).ok()))?;
        let login = json!({ "email": shown["email"], "password": shown["password"] });
        let login = control.ask("/api/v1/login", Some(&login))?;
        control.token = login["token"].as_str().context("a token")?.to_owned();
        Ok(control)
    }

    /// Where a box enrols.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.host)
    }

    /// As it stands on a panel.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// PEM of the authority of its certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("data/authority.pem")
    }

    /// Somebody types the code that the box shows; for a new customer with one site.
    pub(crate) fn claim(&self, code: &str) -> anyhow::Result<()> {
        let customer = json!({ "parent": self.organisation, "kind": "customer", "name": format!("Bakery {code}") });
        let customer = self.ask("/api/v1/nodes", Some(&customer))?["id"].clone();
        let site = json!({ "parent": customer, "kind": "site", "name": "Main street" });
        let site = self.ask("/api/v1/nodes", Some(&site))?["id"].clone();
        self.ask("/api/v1/claims", Some(&json!({ "code": code, "site": site, "name": "Below the till" }))).map(drop)
    }

    /// Where the files of releases lie.
    pub(crate) fn releases(&self) -> PathBuf {
        self.folder.path().join("data/releases")
    }

    /// A GET, or a POST of a body; the answer, or what is wrong.
    pub(crate) fn ask(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.send(if body.is_some() { "POST" } else { "GET" }, path, body)
    }

    /// A PUT of a body.
    pub(crate) fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send("PUT", path, Some(body))
    }

    /// A PATCH of a body.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send("PATCH", path, Some(body))
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "30", "--config", "-"]).stdin(Stdio::piped());
        curl.arg("--cacert").arg(self.authority()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The name of the box's network is none of ours.
        curl.args(["--connect-to", &format!("{}:{}", self.host, self.reached)]);
        let mut config = format!("url = \"{}{path}\"\nrequest = \"{method}\"\n", self.url());
        if !self.token.is_empty() {
            config.push_str(&format!("header = \"authorization: Bearer {}\"\n", self.token));
        }
        if let Some(body) = body {
            let quoted = body.to_string().replace('\\', "\\\\").replace('"', "\\\"");
            config.push_str(&format!("header = \"content-type: application/json\"\ndata = \"{quoted}\"\n"));
        }
        let mut child = curl.spawn().context("could not start curl")?;
        child.stdin.take().context("a pipe")?.write_all(config.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr).trim());
        if output.stdout.is_empty() {
            return Ok(Value::Null);
        }
        let answer: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{path}: no JSON"))?;
        match answer["status"].as_u64() {
            Some(status) if status >= 400 => bail!("{path}: {answer}"),
            _ => Ok(answer),
        }
    }

    /// Asks until it is as wanted.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        look: impl Fn(&ControlPlane) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        self.until_within(PATIENCE, what, look)
    }

    /// The same, for what takes its time.
    pub(crate) fn until_within<T>(
        &mut self,
        patience: Duration,
        what: &str,
        look: impl Fn(&ControlPlane) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if let Some(ended) = self.process.try_wait()? {
                bail!("the control plane ended with {ended}: {}", self.log());
            }
            ensure!(began.elapsed() < patience, "never: {what}; the control plane says\n{}", self.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Its last words.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<&str>>().join("\n")
    }
}

fn free_port(on: IpAddr) -> std::io::Result<u16> {
    Ok(TcpListener::bind((on, 0))?.local_addr()?.port())
}
