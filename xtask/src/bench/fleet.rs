//! `cargo xtask bench fleet`: a real control plane under simulated boxes with real certificates, all on this machine. Prints what
//! server and broker needed for a fact, because the simulation shares their cores and the clock is noisy.

use crate::{setup, shell};
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What happens beside the load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// A browser follows.
    Browser,
    /// In the end the broker is killed, and all come back.
    Death,
}

/// Boxes, facts a second, seconds.
const ROUNDS: [(&str, &str, &str, Beside); 3] = [
    ("500", "500", "20", Beside::Browser),
    ("5000", "5000", "60", Beside::Nothing),
    ("5000", "100", "5", Beside::Death),
];

/// The task.
pub(crate) fn run() -> anyhow::Result<()> {
    setup::for_demo()?;
    shell::run("cargo", &["build", "--release", "--locked", "-p", "saveos-server", "-p", "saveos-fleet-sim"])?;
    for (boxes, rate, seconds, beside) in ROUNDS {
        println!("\n{boxes} boxes, {rate} facts a second for {seconds} s");
        round(boxes, rate, seconds, beside)?;
    }
    println!("\nthe device list of 100,000 boxes");
    shell::run("cargo", &["bench", "--locked", "-p", "saveos-server", "--bench", "pages_of_a_large_fleet"])
}

fn round(boxes: &str, rate: &str, seconds: &str, beside: Beside) -> anyhow::Result<()> {
    let (folder, bin) = (shell::root().join("target/bench-fleet"), shell::root().join("target/release"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let data = folder.join("data");
    let (server, sim) = (bin.join("saveos-server"), bin.join("saveos-fleet-sim"));
    let (https, mqtt) = (free_port()?, free_port()?);
    let (admin, data_text) = ("admin@example.org", data.to_string_lossy().into_owned());
    let shown = shell::output(
        &server.to_string_lossy(),
        &[
            "init",
            "--json",
            "--data",
            &data_text,
            "--host",
            "localhost",
            "--bind",
            "127.0.0.1",
            "--organisation",
            "Bench",
            "--admin",
            admin,
            "--https-port",
            &https,
            "--mqtt-port",
            &mqtt,
        ],
    )?;
    let shown: Value = serde_json::from_str(&shown)?;
    let log = std::fs::File::create(folder.join("log"))?;
    let mut command = Command::new(&server);
    command.args(["run", "--data", &data_text]).env("SAVEOS_LOG", "warn").stdin(Stdio::null()).stderr(log);
    let running = Running(command.spawn()?);
    let broker = wait_for_broker(&data)?;
    let mut command = Command::new(&sim);
    command.args(["--server", &format!("https://localhost:{https}"), "--email", admin, "--boxes", boxes]);
    command.args(["--rate", rate, "--seconds", seconds]).arg("--authority").arg(data.join("authority.pem"));
    match beside {
        Beside::Nothing => {}
        Beside::Browser => {
            command.arg("--watch");
        }
        Beside::Death => {
            command.arg("--kill").arg(data.join("broker/pid"));
        }
    }
    command.env("SAVEOS_PASSWORD", shown["password"].as_str().context("a password")?);
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("the simulation ended with {}", output.status);
    }
    let report: Value = serde_json::from_slice(&output.stdout)?;
    println!("{report:#}");
    let facts = report["ledger"].as_f64().context("a number")?;
    if beside == Beside::Death {
        return Ok(());
    }
    for (name, id) in [("server", running.0.id().to_string()), ("broker", broker)] {
        let (cpu, peak) = used(&id)?;
        println!(
            "{name}: {:.1} CPU s, {:.0} us a fact with enrolment and connecting; peak {peak}",
            cpu,
            cpu * 1e6 / facts
        );
    }
    Ok(())
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = Command::new("kill").arg(self.0.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

fn wait_for_broker(data: &Path) -> anyhow::Result<String> {
    for _ in 0..200 {
        if let Ok(id) = std::fs::read_to_string(data.join("broker/pid")) {
            std::thread::sleep(Duration::from_secs(1));
            return Ok(id.trim().to_owned());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("there is no broker; target/bench-fleet/log says why")
}

/// CPU seconds and the peak of its memory, from /proc.
fn used(id: &str) -> anyhow::Result<(f64, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // After the name, which may hold spaces: utime and stime are fields 14 and 15, in ticks of 10 ms.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_owned();
    Ok(((ticks(11) + ticks(12)) / 100.0, peak))
}

fn free_port() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string())
}
