//! What the OpenAPI document says is so: Schemathesis (https://schemathesis.readthedocs.io) asks every operation what the document
//! allows and what it forbids, and holds the answers against it.

mod support;

use serde_json::json;
use std::path::Path;
use std::process::Command;
use support::Server;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/schemathesis-venv/bin/schemathesis");

#[test]
fn every_operation_answers_as_the_document_says() {
    if !Path::new(PROGRAM).exists() {
        println!("SKIPPED: no schemathesis, which `cargo xtask test server` installs");
        return;
    }
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let device = server.fleet(1).remove(0).identity().device.to_string();
    let site = admin.get(&format!("/api/v1/appliances/{device}"))["site"].as_str().expect("a site").to_owned();
    let sql = "INSERT INTO alert (id, fingerprint, rule, node, detail, raised_ms, ended_ms)";
    server.db().run(&format!("{sql} VALUES ('one', '-', 'flagged', '{site}', '-', 1, 1)"));
    let asked = |what: &str| admin.get(what).to_string();
    assert!(asked("/api/v1/alerts").contains("one"));

    let output = Command::new(PROGRAM)
        .args(["--config-file", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis.toml"), "run", "--no-color"])
        .arg(server.url("/api/v1/openapi.json"))
        .env("SAVEOS_TOKEN", &admin.token)
        .env("SAVEOS_CA", server.data().join("authority.pem"))
        .envs([("SAVEOS_DEVICE", device.as_str()), ("SAVEOS_SITE", &site)])
        .current_dir(server.data())
        .output()
        .expect("schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "an answer is not as the document says");
    assert_eq!(admin.ask("GET", "/api/v1/audit", &json!(null)).1["broken_at"], json!(null), "the log is whole");
}
