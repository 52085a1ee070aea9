//! What is acknowledged is on the disk: system calls of a running server, in their order. Whoever takes the sync out of the commit
//! fails here.

mod support;

use saveos_protocol::fact::{Body, StoreCapacity, StoreLevel};
use saveos_protocol::unit::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::Server;

const FACTS: u64 = 20;

/// What counts of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Something came from the broker.
    Heard,
    /// The log of the database reached the disk.
    Synced,
    /// Something went to the broker.
    Said,
}

/// Calls in the order that counts: what goes out when it begins, all else when it has happened. A line of strace is
/// `PID call(FD<what it is>, …) = result`; one that another thread's call cut in two is two lines.
fn calls(trace: &str, broker: &str) -> Vec<Call> {
    let (mut calls, mut begun) = (Vec::new(), BTreeMap::new());
    for line in trace.lines() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(begin) = text.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, begin.to_owned());
            calls.extend(call(begin, broker, None).filter(|call| *call == Call::Said));
        } else if let Some((_, rest)) = text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>")) {
            let whole = format!("{}{rest}", begun.remove(thread).unwrap_or_default());
            calls.extend(call(&whole, broker, result(rest)).filter(|call| *call != Call::Said));
        } else {
            calls.extend(call(text, broker, result(text)));
        }
    }
    calls
}

fn result(text: &str) -> Option<i64> {
    text.rsplit_once("= ").and_then(|(_, result)| result.split(' ').next()?.parse().ok())
}

/// What a call is; without a result, it has begun.
fn call(text: &str, broker: &str, result: Option<i64>) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let to_broker = rest.contains(broker);
    match name {
        "fdatasync" | "fsync" if rest.contains("-wal>") && result == Some(0) => Some(Call::Synced),
        "recvfrom" | "read" | "readv" if to_broker && result > Some(0) => Some(Call::Heard),
        "sendto" | "write" | "writev" | "sendmsg" if to_broker && result.is_none_or(|sent| sent > 0) => {
            Some(Call::Said)
        }
        _ => None,
    }
}

#[test]
fn nothing_is_said_of_a_fact_before_it_is_on_the_disk() {
    if !Path::new("/usr/bin/strace").exists() {
        println!("SKIPPED: no strace");
        return;
    }
    let Some(server) = Server::in_a_file() else { return };
    let one = server.fleet(1).remove(0);
    server.until("all is heard", || (one.level().waiting == 0).then_some(()));
    std::thread::sleep(Duration::from_secs(1));

    let config: Value =
        serde_json::from_slice(&std::fs::read(server.data().join("config.json")).expect("a config")).expect("JSON");
    let broker = format!("->127.0.0.1:{}]", config["mqtt_port"]);
    let trace = server.data().join("trace");
    let watched = "trace=fdatasync,fsync,recvfrom,read,readv,sendto,write,writev,sendmsg";
    let mut strace = Command::new("/usr/bin/strace")
        .args(["-f", "-yy", "-qq", "-s", "0", "-e", watched, "-p", &server.id().to_string(), "-o"])
        .arg(&trace)
        .stderr(Stdio::inherit())
        .spawn()
        .expect("strace starts");
    std::thread::sleep(Duration::from_secs(1));
    for n in 0..FACTS {
        let (size_bytes, free_bytes) = (Bytes::saturating(n), Bytes::ZERO);
        one.tell(Body::StoreCapacity(StoreCapacity { disk: None, level: StoreLevel::Roomy, size_bytes, free_bytes }));
        server.until("it is acknowledged", || (one.level().waiting == 0).then_some(()));
        // One at a time: what is said next belongs to what was heard last.
        std::thread::sleep(Duration::from_millis(200));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&strace), rustix::process::Signal::INT)
        .expect("it runs");
    strace.wait().expect("it ran");

    let text = std::fs::read_to_string(&trace).expect("a trace");
    let calls = calls(&text, &broker);
    let count = |wanted| calls.iter().filter(|call| **call == wanted).count() as u64;
    assert!(count(Call::Heard) >= FACTS && count(Call::Said) >= FACTS, "it was not watched: {text}");
    let mut synced = true;
    for (place, call) in calls.iter().enumerate() {
        match call {
            Call::Heard => synced = false,
            Call::Synced => synced = true,
            Call::Said => assert!(synced, "call {place} acknowledges what is not on the disk: {calls:?}"),
        }
    }
}
