//! `saveos-fleet-sim`: enrols many simulated boxes with a real control plane, connects them, has them report at a rate, and says
//! what came of it. One JSON object on standard output; a fact that was not acknowledged in the end is a failure.

use anyhow::{Context, bail};
use clap::Parser;
use saveos_fleet_sim::{Ails, Appliance, Identity, Place, dying_disk, enrol};
use saveos_protocol::enrol::{EnrolReply, Enrolment};
use saveos_protocol::fact::{Body, StoreCapacity, StoreLevel};
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::Bytes;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Simulated appliances that report to a control plane.
#[derive(Debug, Parser)]
#[command(name = "saveos-fleet-sim", version)]
struct Arguments {
    /// The control plane, `https://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    server: String,
    /// PEM file with its authority.
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// An administrator; the password is in SAVEOS_PASSWORD.
    #[arg(long, value_name = "EMAIL")]
    email: String,
    /// How many boxes.
    #[arg(long, default_value_t = 100)]
    boxes: usize,
    /// Facts a second, of all boxes together.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// For how long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Of the boxes, so many fall silent once all are connected; they and the next three kinds report nothing of the load.
    #[arg(long, value_name = "BOXES", default_value_t = 0)]
    silent: usize,
    /// So many lose their connection every three seconds.
    #[arg(long, value_name = "BOXES", default_value_t = 0)]
    flapping: usize,
    /// The clocks of so many run two years ahead.
    #[arg(long, value_name = "BOXES", default_value_t = 0)]
    wrong_clock: usize,
    /// So many have a disk that dies.
    #[arg(long, value_name = "BOXES", default_value_t = 0)]
    bad_disk: usize,
    /// Follow the live events, and measure how long a fact takes from its box to a browser.
    #[arg(long)]
    watch: bool,
    /// In the end, kill the broker whose process id is in this file, and measure until all boxes are back.
    #[arg(long, value_name = "FILE")]
    kill: Option<PathBuf>,
}

fn main() -> ExitCode {
    match load(&Arguments::parse()) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("error: {}", chain.join(": "));
            ExitCode::FAILURE
        }
    }
}

fn load(arguments: &Arguments) -> anyhow::Result<Value> {
    let authority = std::fs::read_to_string(&arguments.authority).context("could not read the authority")?;
    let place = Place::new(&arguments.server, &authority);
    let begun = Instant::now();
    let token = sign_in(arguments, &place)?;
    let enrolled = enrol_all(arguments, &place, &token)?;
    let enrolling = begun.elapsed();

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let begun = Instant::now();
    let boxes: Vec<Arc<Appliance>> = enrolled
        .into_iter()
        .map(|(identity, enrolment)| {
            let appliance = Appliance::patient(identity, Duration::from_secs(60));
            runtime.spawn(Arc::clone(&appliance).run(enrolment));
            appliance
        })
        .collect();
    until(|| boxes.iter().all(|one| one.is_online()))?;
    until(|| waiting(&boxes) == 0)?;
    let connecting = begun.elapsed();

    let boxes = fall_ill(arguments, boxes)?;
    let watching = if arguments.watch { Some(watch(place.clone(), token.clone())?) } else { None };
    let begun = Instant::now();
    let mut moments = Vec::new();
    let mut told = 0;
    let mut most_waiting = 0;
    let total = arguments.rate * arguments.seconds;
    while told < total {
        let due = (begun.elapsed().as_secs_f64() * arguments.rate as f64) as u64;
        while told < due.min(total) {
            let (size_bytes, free_bytes) = (Bytes::saturating(told), Bytes::ZERO);
            let body = StoreCapacity { disk: None, level: StoreLevel::Roomy, size_bytes, free_bytes };
            boxes[usize::try_from(told).unwrap_or(0) % boxes.len()].tell(Body::StoreCapacity(body));
            moments.push(Instant::now());
            told += 1;
        }
        most_waiting = most_waiting.max(waiting(&boxes));
        std::thread::sleep(Duration::from_millis(10));
    }
    let telling = begun.elapsed();
    until(|| waiting(&boxes) == 0)?;
    let draining = begun.elapsed() - telling;
    let back = arguments.kill.as_deref().map(|file| come_back(&boxes, file)).transpose()?;
    Ok(json!({
        "boxes": boxes.len(), "enrolled_s": enrolling.as_secs_f64(), "connected_s": connecting.as_secs_f64(),
        "back_s": back, "facts": told, "told_s": telling.as_secs_f64(), "drained_s": draining.as_secs_f64(),
        "facts_per_s": told as f64 / (telling + draining).as_secs_f64(), "most_waiting": most_waiting,
        "to_browser_ms": watching.map(|seen| latencies(&seen, &moments)).transpose()?,
        "ledger": boxes.iter().map(|one| one.ledger().len()).sum::<usize>(),
    }))
}

/// Makes some of them ill, as ordered; those that stay well.
fn fall_ill(arguments: &Arguments, mut boxes: Vec<Arc<Appliance>>) -> anyhow::Result<Vec<Arc<Appliance>>> {
    let ill = arguments.silent + arguments.flapping + arguments.wrong_clock + arguments.bad_disk;
    let well = boxes.len().checked_sub(ill).filter(|well| *well > 0).context("no box would be left that is well")?;
    let mut patients = boxes.split_off(well).into_iter();
    let mut next = |count: usize| patients.by_ref().take(count).collect::<Vec<_>>();
    for one in next(arguments.silent) {
        one.suffer(Ails { silent: true, ..Ails::default() });
    }
    for one in next(arguments.flapping) {
        one.suffer(Ails { flaps: Some(Duration::from_secs(3)), ..Ails::default() });
    }
    for one in next(arguments.wrong_clock) {
        one.suffer(Ails { ahead: Duration::from_secs(2 * 365 * 86_400), ..Ails::default() });
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    for one in next(arguments.bad_disk) {
        dying_disk(Timestamp::saturating(u64::try_from(now)?)).into_iter().for_each(|body| one.tell(body));
    }
    Ok(boxes)
}

/// Kills the broker with all connected. Seconds until 99 % and all of them are back, each with a fact that is acknowledged.
fn come_back(boxes: &[Arc<Appliance>], file: &Path) -> anyhow::Result<Value> {
    let id = std::fs::read_to_string(file).context("there is no broker to kill")?;
    let killed = std::process::Command::new("kill").args(["-9", id.trim()]).status()?;
    if !killed.success() {
        bail!("the broker could not be killed");
    }
    let begun = Instant::now();
    // Nobody takes these before there is another broker.
    for one in boxes {
        let (size_bytes, free_bytes) = (Bytes::ZERO, Bytes::ZERO);
        let body = StoreCapacity { disk: None, level: StoreLevel::Roomy, size_bytes, free_bytes };
        one.tell(Body::StoreCapacity(body));
    }
    let back = |one: &&Arc<Appliance>| one.is_online() && one.level().waiting == 0;
    until(|| boxes.iter().filter(back).count() * 100 >= boxes.len() * 99)?;
    let most = begun.elapsed();
    until(|| boxes.iter().all(|one| back(&one)))?;
    Ok(json!({ "of_99_percent": most.as_secs_f64(), "of_all": begun.elapsed().as_secs_f64() }))
}

/// Numbers of facts as a browser sees them, and when.
fn watch(place: Place, token: String) -> anyhow::Result<Receiver<(u64, Instant)>> {
    let stream = place.stream("/api/v1/events", &token, None)?;
    let (sender, seen) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let data = line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Value>(data).ok());
            let number = data.filter(|data| data["kind"] == "store_capacity");
            if let Some(number) = number.and_then(|data| data["body"]["size_bytes"].as_u64())
                && sender.send((number, Instant::now())).is_err()
            {
                return;
            }
        }
    });
    Ok(seen)
}

/// Median and 99th percentile, in milliseconds; all facts must have been seen.
fn latencies(seen: &Receiver<(u64, Instant)>, moments: &[Instant]) -> anyhow::Result<Value> {
    let mut all = Vec::new();
    while all.len() < moments.len() {
        let (number, at) = seen.recv_timeout(Duration::from_secs(30)).context("a fact was not seen live")?;
        let told = moments.get(usize::try_from(number)?).context("a fact that nobody told")?;
        all.push(at.duration_since(*told).as_millis());
    }
    all.sort_unstable();
    let part = |percent: usize| all.get((all.len() * percent / 100).min(all.len() - 1)).copied();
    Ok(json!({ "p50": part(50).map(|ms| ms as u64), "p99": part(99).map(|ms| ms as u64) }))
}

/// A token of the administrator.
fn sign_in(arguments: &Arguments, place: &Place) -> anyhow::Result<String> {
    let password = std::env::var("SAVEOS_PASSWORD").context("SAVEOS_PASSWORD does not hold the password")?;
    let login = ask(place, "", "/api/v1/login", &json!({ "email": arguments.email, "password": password }))?;
    Ok(login["token"].as_str().context("a token")?.to_owned())
}

fn waiting(boxes: &[Arc<Appliance>]) -> u64 {
    boxes.iter().map(|one| one.level().waiting).sum()
}

fn until(mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(300);
    while !holds() {
        if Instant::now() > deadline {
            bail!("something did not happen in five minutes");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Four at a time: the server's one writer is what they wait for.
fn enrol_all(arguments: &Arguments, place: &Place, token: &str) -> anyhow::Result<Vec<(Identity, Enrolment)>> {
    let nodes = ask(place, token, "/api/v1/nodes", &Value::Null)?;
    let top = nodes["items"][0]["id"].clone();
    let customer = ask(place, token, "/api/v1/nodes", &json!({ "parent": top, "kind": "customer", "name": "Load" }))?;
    let site = json!({ "parent": customer["id"], "kind": "site", "name": "Load" });
    let site = ask(place, token, "/api/v1/nodes", &site)?["id"].as_str().context("a site")?.to_owned();
    let threads = 4;
    let parts: Vec<anyhow::Result<Vec<_>>> = std::thread::scope(|scope| {
        let spawn = |part: usize| {
            let site = site.as_str();
            scope.spawn(move || {
                let count = arguments.boxes / threads + usize::from(part < arguments.boxes % threads);
                (0..count).map(|_| enrol_one(place, token, site)).collect()
            })
        };
        let spawned: Vec<_> = (0..threads).map(spawn).collect();
        spawned
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    Ok(parts.into_iter().collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn enrol_one(place: &Place, token: &str, site: &str) -> anyhow::Result<(Identity, Enrolment)> {
    let identity = Identity::new();
    let claim = json!({ "code": identity.claim_code().to_string(), "site": site, "name": "simulated" });
    ask(place, token, "/api/v1/claims", &claim)?;
    match enrol(place, &identity, |_| {})? {
        EnrolReply::Issued(enrolment) => Ok((identity, enrolment)),
        other => bail!("a box was not enrolled: {other:?}"),
    }
}

fn ask(place: &Place, token: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let (method, sent) = if body.is_null() { ("GET", String::new()) } else { ("POST", body.to_string()) };
    let (status, json) = place.request(method, path, &headers, sent.as_bytes())?;
    if status >= 400 {
        bail!("{path}: {status} {}", String::from_utf8_lossy(&json));
    }
    Ok(serde_json::from_slice(&json)?)
}
