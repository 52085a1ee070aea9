//! An alert leaves the house: by mail, signed to a webhook, into a chat; once, also when the server dies over it, and to nobody
//! whom it does not concern.

#[path = "support/sinks.rs"]
mod sinks;
mod support;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sinks::{Posted, Web, relay};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::{Person, Server};

const SOON: Duration = Duration::from_secs(70);

/// A server whose operator has a relay and lets webhooks lead to this machine.
fn server(web: &Web, relay: u16) -> Option<Server> {
    let mut server = Server::new()?;
    server.stop();
    server.configure(|config| {
        config["mail"] =
            json!({ "from": "SaveOS <saveos@example.org>", "host": "localhost", "port": relay, "tls": "none" });
        config["allowed_networks"] = json!(["127.0.0.0/8"]);
    });
    let trusted = server.data().join("trusted.pem");
    replace(&trusted, &web.certificate);
    server.environment.push(("SSL_CERT_FILE", trusted.display().to_string()));
    server.start();
    Some(server)
}

fn replace(path: &std::path::Path, text: &str) {
    use std::io::Write;
    std::fs::File::create(path).and_then(|mut file| file.write_all(text.as_bytes())).expect("it is written");
}

fn route(person: &Person, node: &Value, channel: &str, target: &str) -> Value {
    let new = json!({ "node": node, "channel": channel, "target": target });
    let (status, made) = person.ask("POST", "/api/v1/alert-routes", &new);
    assert_eq!(status, 201, "{made}");
    made
}

fn is_signed(posted: &Posted, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
    let text = format!("{}.{}.{}", posted.headers["webhook-id"], posted.headers["webhook-timestamp"], posted.body);
    let tag = STANDARD.decode(posted.headers["webhook-signature"].strip_prefix("v1,").expect("version 1"));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, text.as_bytes(), &tag.expect("base64")).is_ok()
}

#[test]
fn a_dark_site_is_told_once_to_those_whom_it_concerns_also_when_we_die_over_it() {
    let web = Web::listen();
    let (port, mails) = relay();
    let Some(mut server) = server(&web, port) else { return };
    let admin = server.admin();
    let boxes = server.fleet(3);
    let other = server.fleet(1).remove(0);
    let site_of = |device: String| admin.get(&format!("/api/v1/appliances/{device}"))["site"].clone();
    let site = site_of(boxes[0].identity().device.to_string());
    let elsewhere = site_of(other.identity().device.to_string());
    assert_ne!(site, elsewhere);
    server.until("all are heard", || boxes.iter().all(|one| one.level().waiting == 0).then_some(()));

    let url = |path: &str| format!("https://localhost:{}{path}", web.port);
    let secret = route(&admin, &json!(server.organisation), "webhook", &url("/hook"));
    let secret = secret["secret"].as_str().expect("a webhook is signed");
    route(&admin, &site, "email", "one@example.org");
    route(&admin, &site, "slack", &url("/chat"));
    route(&admin, &elsewhere, "email", "stranger@example.org");
    let silence = json!({ "node": elsewhere, "reason": "they move", "until_ms": 4_000_000_000_000_u64 });
    assert_eq!(admin.ask("POST", "/api/v1/silences", &silence).0, 422, "not for ever");

    // The receiver is down, and so are we in between.
    web.status.store(503, Ordering::SeqCst);
    boxes.iter().for_each(|one| one.unplug());
    server.until("their wills are read", || {
        let presence = |device| admin.get(&format!("/api/v1/appliances/{device}"))["presence"].clone();
        boxes.iter().all(|one| presence(one.identity().device) == "late").then_some(())
    });
    let db = server.db();
    let shift = |sign: &str| {
        let site = site.as_str().expect("a name");
        let sql = format!("UPDATE appliance SET heard_ms = heard_ms {sign} 60 * 60 * 1000 WHERE node = '{site}'");
        assert_eq!(db.run(&sql), 3);
    };
    shift("-");
    let hooked = |path: &str| {
        let mut found = web.posted.recv_timeout(SOON).expect("a notice");
        while found.path != path {
            found = web.posted.recv_timeout(SOON).expect("a notice");
        }
        found
    };
    let first = hooked("/hook");
    server.kill();
    server.start();
    let again = hooked("/hook");
    web.status.store(200, Ordering::SeqCst);
    let last = hooked("/hook");
    for posted in [&first, &again, &last] {
        assert!(is_signed(posted, secret));
        assert_eq!((&posted.headers["webhook-id"], &posted.body), (&first.headers["webhook-id"], &first.body));
    }
    let body: Value = serde_json::from_str(&last.body).expect("JSON");
    let alerts = body["alerts"].as_array().expect("alerts");
    assert_eq!(alerts.len(), 1, "one cause: {body}");
    assert_eq!((&alerts[0]["rule"], &alerts[0]["event"]), (&json!("site_dark"), &json!("raised")));
    assert_eq!(body["site"]["id"], site);
    // What was under way when we died comes again, under the same name; for a person it is one.
    let mut names = BTreeSet::new();
    let mut next_mail = || loop {
        let (to, letter) = mails.recv_timeout(SOON).expect("a mail");
        if names.insert(letter.lines().find(|line| line.starts_with("Message-ID")).expect("a name").to_owned()) {
            return (to, letter);
        }
    };
    let (to, letter) = next_mail();
    assert!(to.contains("one@example.org") && letter.contains("Subject: 1 to look at"), "{to} {letter}");
    assert!(letter.contains("3 of 3 boxes are offline"), "{letter}");
    let list = server.until("all is told", || {
        let list = admin.get("/api/v1/alert-routes");
        list["items"].as_array().expect("routes").iter().all(|one| one["waiting"] == 0).then_some(list)
    });
    assert!(list["items"].as_array().expect("routes").iter().all(|one| one["error"].is_null()), "{list}");

    // It is over: said once, as well, and nobody else ever heard of it.
    shift("+");
    let over: Value = serde_json::from_str(&hooked("/hook").body).expect("JSON");
    assert_eq!(over["alerts"][0]["event"], "ended");
    assert_eq!(over["alerts"][0]["id"], alerts[0]["id"]);
    let (to, letter) = next_mail();
    assert!(to.contains("one@example.org") && letter.contains("Subject: 1 over"), "{to} {letter}");
    std::thread::sleep(Duration::from_secs(12));
    assert!(mails.try_recv().is_err(), "nothing more, and nothing to a stranger");
    let more: Vec<Posted> = web.posted.try_iter().collect();
    assert!(more.iter().all(|posted| posted.path == "/chat"), "{more:?}");
}

#[test]
fn a_route_is_tried_before_it_is_trusted_and_leads_nowhere_inside() {
    let web = Web::listen();
    let (port, mails) = relay();
    let Some(server) = server(&web, port) else { return };
    let admin = server.admin();
    let top = json!(server.organisation);
    let tried = |made: &Value| {
        let id = made["id"].as_str().expect("an id");
        admin.ask("POST", &format!("/api/v1/alert-routes/{id}/test"), &Value::Null)
    };
    let hook = route(&admin, &top, "webhook", &format!("https://localhost:{}/hook", web.port));
    assert_eq!(tried(&hook).0, 204);
    let posted = web.posted.recv_timeout(SOON).expect("a test");
    assert!(posted.body.contains(r#""test":true"#) && is_signed(&posted, hook["secret"].as_str().expect("a secret")));
    assert_eq!(tried(&route(&admin, &top, "email", "one@example.org")).0, 204);
    assert!(mails.recv_timeout(SOON).expect("a mail").1.contains("a test"));

    // It is neither followed nor taken for an arrival.
    web.status.store(302, Ordering::SeqCst);
    let (status, answer) = tried(&hook);
    assert_eq!(status, 409);
    assert!(answer["detail"].as_str().expect("why").contains("it answered 302"), "{answer}");
    assert_eq!(web.posted.try_iter().count(), 1);
    for target in [
        "http://example.org/",
        "https://user:word@example.org/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/x",
        "ftp://example.org/",
        "",
        "https://",
    ] {
        let new = json!({ "node": top, "channel": "webhook", "target": target });
        assert_eq!(admin.ask("POST", "/api/v1/alert-routes", &new).0, 422, "{target}");
    }
    let id = hook["id"].as_str().expect("an id");
    assert_eq!(admin.ask("DELETE", &format!("/api/v1/alert-routes/{id}"), &Value::Null).0, 204);
    assert_eq!(admin.get("/api/v1/alert-routes")["items"].as_array().map(Vec::len), Some(1));
    assert!(!admin.get("/api/v1/alert-routes").to_string().contains("whsec_"));
}

#[test]
fn a_route_on_which_nothing_arrives_is_an_alert_itself() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let db = server.db();
    let sql = "INSERT INTO alert_route (id, node, channel, target, secret, rules, made_ms, made_by, failing_ms, error)";
    db.run(&format!(
        "{sql} VALUES ('dead', '{}', 'mail', 'a@example.org', NULL, '', 1, '-', 1, 'refused')",
        server.organisation
    ));
    let open = || {
        let alerts = admin.get("/api/v1/alerts")["items"].as_array().expect("alerts").clone();
        alerts.into_iter().find(|alert| alert["rule"] == "route_failing")
    };
    let told = server.until("it is told of", open);
    assert_eq!(told["detail"], "nothing arrives by mail");
    db.run("UPDATE alert_route SET failing_ms = NULL");
    server.until("it is over", || open().is_none_or(|alert| !alert["ended_ms"].is_null()).then_some(()));
}
