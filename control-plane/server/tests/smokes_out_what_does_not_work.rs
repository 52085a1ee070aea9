//! What is asked of a control plane after it was put somewhere: all is well with one that works, and what does not work is named.

#[path = "support/sinks.rs"]
#[allow(dead_code, reason = "no mail arrives here")]
mod sinks;
mod support;

use saveos_fleet_sim::smoke::{self, Check, Target};
use serde_json::json;
use sinks::Web;
use std::io::Write;
use std::time::Duration;
use support::{ADMIN, Server};

fn target(server: &Server) -> Target {
    Target {
        server: server.url(""),
        authority: server.authority(),
        email: ADMIN.to_owned(),
        password: server.password(),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        site: None,
        route: None,
        metrics: server.metrics.map(|address| format!("http://{address}/metrics")),
        budget: Duration::from_secs(2),
    }
}

fn wrong(checks: &[Check]) -> Vec<(&str, &str)> {
    checks.iter().filter_map(|check| Some((check.name, check.outcome.as_ref().err()?.as_str()))).collect()
}

#[test]
fn all_is_well_with_one_that_works_and_what_does_not_is_named() {
    let web = Web::listen();
    let Some(mut server) = Server::new() else { return };
    server.stop();
    server.configure(|config| config["allowed_networks"] = json!(["127.0.0.0/8", "::1/128"]));
    let trusted = server.data().join("trusted.pem");
    let written = std::fs::File::create(&trusted).map(|mut file| file.write_all(web.certificate.as_bytes()));
    written.expect("a file").expect("room");
    server.environment.push(("SSL_CERT_FILE", trusted.display().to_string()));
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    server.metrics = Some(port);
    server.start();
    let admin = server.admin();
    let new = json!({
        "node": server.organisation, "channel": "webhook", "target": format!("https://localhost:{}/hook", web.port),
    });
    let (status, route) = admin.ask("POST", "/api/v1/alert-routes", &new);
    assert_eq!(status, 201, "{route}");
    let whole = || Target { route: route["id"].as_str().map(str::to_owned), ..target(&server) };
    let checks = smoke::run(&whole());
    assert_eq!(wrong(&checks), []);
    let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
    let all = ["tls", "headers", "health", "version", "sign-in", "latency", "enrolment", "report", "command"];
    assert_eq!(names, [&all[..], &["revocation", "alert", "metrics"]].concat());
    assert!(web.posted.recv_timeout(Duration::from_secs(5)).expect("a test").body.contains(r#""test":true"#));
    let report = smoke::report(&whole(), &checks);
    assert!(report["passed"] == true && !report.to_string().contains(&server.password()), "{report}");

    // Whatever is wrong is said by its name, and what does not depend on it is looked at all the same.
    let other = Target { version: Some("9.9.9".to_owned()), budget: Duration::ZERO, ..whole() };
    web.status.store(500, std::sync::atomic::Ordering::SeqCst);
    let checks = smoke::run(&other);
    let names: Vec<&str> = wrong(&checks).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["version", "latency", "alert"]);
    let stranger = Target { password: "not the one that it is".to_owned(), metrics: None, ..whole() };
    let checks = smoke::run(&stranger);
    assert!(matches!(wrong(&checks).as_slice(), [("sign-in", said)] if said.contains("401")), "{:?}", wrong(&checks));
    let elsewhere = Target { server: "https://localhost:1".to_owned(), metrics: None, ..whole() };
    let names: Vec<String> = wrong(&smoke::run(&elsewhere)).iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, ["tls", "headers", "health", "version", "sign-in"]);
}
