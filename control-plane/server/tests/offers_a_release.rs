//! A release is offered to one box by hand: its document says so, an offer after a failure is another one, policies do not end it; the
//! release's files are served in ranges, and nothing beside them.

mod support;

use serde_json::{Value, json};
use std::io::Write;
use support::Server;
use support::bucket::Bucket;

const NOTHING: Value = Value::Null;

fn put(path: &std::path::Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("room");
    std::fs::File::create(path).and_then(|mut file| file.write_all(bytes)).expect("room");
}

#[test]
fn an_offer_stays_until_it_is_taken_back() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let site = server.site(&admin, "own");
    let device = server.enrolled(&admin, &site).0.device.to_string();
    let path = format!("/api/v1/appliances/{device}/release");
    let desired = || admin.get(&format!("/api/v1/appliances/{device}/desired"));
    let before = desired();
    assert_eq!(before["release"], NOTHING);

    let (status, offered) = admin.ask("PUT", &path, &json!({ "release": "2.0.0" }));
    assert_eq!((status, &offered["release"]), (200, &json!("2.0.0")), "{offered}");
    let first = desired();
    assert_eq!(first["release"], json!({ "release": "2.0.0", "ring_token": offered["attempt"] }));
    assert!(first["ver"].as_u64() > before["ver"].as_u64());
    let same = |mut document: Value| {
        for field in ["release", "ver", "ts"] {
            document.as_object_mut().expect("an object").remove(field);
        }
        document
    };
    assert_eq!(same(first.clone()), same(before), "nothing else changes");

    let stands = |token: &Value| {
        let path = format!("/api/v1/go/{device}/{}", token.as_str().expect("a token"));
        let (status, answer) = server.place().request("GET", &path, &[], b"").expect("an answer");
        assert_eq!(status, 200);
        serde_json::from_slice::<Value>(&answer).expect("JSON")["stands"].clone()
    };
    assert_eq!(stands(&offered["attempt"]), true);
    assert_eq!(stands(&json!("00000000")), false);

    // A box tries what failed there once more when the attempt is another.
    let (_, again) = admin.ask("PUT", &path, &json!({ "release": "2.0.0" }));
    assert_ne!(again["attempt"], offered["attempt"]);
    assert_eq!((stands(&offered["attempt"]), stands(&again["attempt"])), (json!(false), json!(true)));
    let policy = admin.get(&format!("/api/v1/nodes/{site}/policy"))["policy"].clone();
    let mut policy = policy;
    policy["heartbeat_s"] = json!(120);
    assert_eq!(admin.ask("PUT", &format!("/api/v1/nodes/{site}/policy"), &policy).0, 200);
    assert_eq!(desired()["release"]["ring_token"], again["attempt"], "a policy does not end an offer");
    assert_eq!(desired()["uplink"]["heartbeat_s"], json!(120));

    for wrong in [json!({}), json!({ "release": "" }), json!({ "release": "../2" }), json!({ "release": 2 })] {
        let (status, problem) = admin.ask("PUT", &path, &wrong);
        assert!([400, 422].contains(&status), "{wrong}: {status} {problem}");
    }
    assert_eq!(admin.ask("DELETE", &path, &NOTHING).0, 204);
    assert_eq!(desired()["release"], NOTHING);
    assert_eq!(stands(&again["attempt"]), false);
    let ver = desired()["ver"].clone();
    assert_eq!(admin.ask("DELETE", &path, &NOTHING).0, 204, "there is none");
    assert_eq!(desired()["ver"], ver, "and no document was made for it");
    let trail = admin.get("/api/v1/audit").to_string();
    assert!(trail.contains("offered a release") && trail.contains("withdrew a release"), "{trail}");
}

#[test]
fn files_of_releases_are_served_in_ranges_and_nothing_beside_them() {
    let Some(server) = Server::new() else { return };
    put(&server.data().join("releases/metadata/timestamp.json"), b"{\"signed\": {}}");
    put(&server.data().join("releases/targets/bundle"), b"0123456789");
    are_served(&server);
}

#[test]
fn files_in_a_bucket_are_served_alike() {
    let Some(bucket) = Bucket::start() else { return };
    let Some(mut server) = Server::new() else { return };
    let put = |name: &str, bytes: &[u8]| {
        let (status, ..) = bucket.send("PUT", &format!("/releases/ours/{name}"), bytes);
        assert!(status.contains(" 200 "), "{status}");
    };
    put("releases/metadata/timestamp.json", b"{\"signed\": {}}");
    put("releases/targets/bundle", b"0123456789");
    put("config.json", b"mqtt_port");
    server.stop();
    server.environment.extend(bucket.environment());
    server.environment.push(("SAVEOS_OBJECTS", "s3://releases/ours".to_owned()));
    server.start();
    are_served(&server);
    // What is published there is what can be rolled out.
    put("releases/metadata/timestamp.json", br#"{"signed": {"meta": {"snapshot.json": {"version": 1}}}}"#);
    put("releases/metadata/1.snapshot.json", br#"{"signed": {"meta": {"targets.json": {"version": 1}}}}"#);
    let said = r#"{"release": "2.0", "compatible": "saveos-qemu", "security_epoch": 1, "from": ["1.0"]}"#;
    let targets = format!(r#"{{"signed": {{"targets": {{"bundle": {{"length": 10, "custom": {said}}}}}}}}}"#);
    put("releases/metadata/1.targets.json", targets.as_bytes());
    assert_eq!(server.admin_get("/api/v1/releases")["items"][0]["release"], "2.0");
}

fn are_served(server: &Server) {
    let get =
        |path: &str, headers: &[(&str, &str)]| server.place().request("GET", path, headers, b"").expect("an answer");
    assert_eq!(get("/releases/metadata/timestamp.json", &[]), (200, b"{\"signed\": {}}".to_vec()));
    assert_eq!(get("/releases/targets/bundle", &[("range", "bytes=3-6")]), (206, b"3456".to_vec()));
    assert_eq!(get("/releases/targets/bundle", &[("range", "bytes=20-30")]).0, 416);
    for path in [
        "/releases/targets/other",
        "/releases/",
        "/releases/targets",
        "/releases/../config.json",
        "/releases/%2e%2e/config.json",
        "/releases/targets/..%2f..%2fconfig.json",
        "/releases//etc/passwd",
    ] {
        let (status, body) = get(path, &[]);
        let text = String::from_utf8_lossy(&body);
        assert!(status != 200 || text.contains("<div id=\"root\">"), "{path}: {status} {text}");
        assert!(!text.contains("mqtt_port") && !text.contains("root:"), "{path}: {text}");
    }
}

/// Asks with curl from an address of this machine; the status, and what it is to wait.
fn fetch(server: &Server, from: &str, path: &str) -> (String, u64) {
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--show-error", "--insecure", "--max-time", "20", "--interface", from]);
    curl.args(["--output", "/dev/null", "--write-out", "%{http_code} %header{retry-after}"]);
    let done = curl.arg(server.url(path)).output().expect("curl is here");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let (status, wait) = said.split_once(' ').unwrap_or_else(|| panic!("{said} {done:?}"));
    (status.to_owned(), wait.parse().unwrap_or_default())
}

#[test]
fn a_line_that_is_full_sends_boxes_away_for_a_while_and_metadata_is_free() {
    let Some(mut server) = Server::new() else { return };
    put(&server.data().join("releases/metadata/timestamp.json"), b"{\"signed\": {}}");
    put(&server.data().join("releases/targets/qemu/2.0.0.raucb"), b"0123456789");
    server.stop();
    server.configure(|config| config["release_line_mbit"] = json!(1));
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    server.metrics = Some(port);
    server.start();
    let bundle = "/releases/targets/qemu/2.0.0.raucb";
    assert_eq!(fetch(&server, "127.0.0.1", bundle).0, "200");
    let (status, wait) = fetch(&server, "127.0.0.2", bundle);
    assert_eq!((status.as_str(), (30..60).contains(&wait)), ("503", true), "{wait}");
    assert_eq!(fetch(&server, "127.0.0.2", "/releases/metadata/timestamp.json").0, "200");
    assert_eq!(fetch(&server, "127.0.0.1", bundle).0, "200", "who fetches goes on");
    let said = std::process::Command::new("curl").args(["--silent", &format!("http://{port}/metrics")]).output();
    let said = String::from_utf8(said.expect("curl is here").stdout).expect("text");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let value = |name: &str| -> u64 {
        let line = said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {said}"));
        line.trim().parse().expect("a number")
    };
    let failed = value("saveos_http_requests_total{status=\"5xx\"}");
    assert_eq!(
        (value("saveos_releases_sent_away_total"), failed),
        (1, 0),
        "that is no failure, nor is not to be ready yet"
    );
    assert!(value("saveos_http_requests_total{status=\"2xx\"}") >= 3 && value("saveos_data_free_bytes") > 0);
    for what in ["authority", "server", "revocations"] {
        assert!(value(&format!("saveos_expires_seconds{{what=\"{what}\"}}")) > now + 86_400, "{what}");
    }
}
