//! Every route × every role × own and foreign node. A route without a row fails the test.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::{Person, Server};

/// What a route asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Anybody; boxes prove themselves in the body.
    Nothing,
    /// Somebody who is signed in; what he sees is cut to what is his.
    Session,
    /// Somebody who is signed in, and his own things only: who_signs_in.rs.
    Own,
    /// This role on the thing that the path or the body names.
    Viewer,
    Operator,
    Admin,
    /// The top of the tree.
    Top,
}

const ROUTES: &[(&str, &str, Needs)] = &[
    ("GET", "/livez", Needs::Nothing),
    ("GET", "/readyz", Needs::Nothing),
    ("GET", "/version", Needs::Nothing),
    ("GET", "/api/v1/openapi.json", Needs::Nothing),
    ("POST", "/api/v1/enrol/challenge", Needs::Nothing),
    ("POST", "/api/v1/enrol", Needs::Nothing),
    ("POST", "/api/v1/renew", Needs::Nothing),
    ("PUT", "/api/v1/logs/{token}", Needs::Nothing),
    ("GET", "/api/v1/go/{device}/{token}", Needs::Nothing),
    ("POST", "/api/v1/setup", Needs::Nothing),
    ("POST", "/api/v1/login", Needs::Nothing),
    ("GET", "/api/v1/me", Needs::Session),
    ("POST", "/api/v1/me/prove", Needs::Own),
    ("POST", "/api/v1/me/password", Needs::Own),
    ("POST", "/api/v1/me/second-factor", Needs::Own),
    ("DELETE", "/api/v1/me/second-factor", Needs::Own),
    ("POST", "/api/v1/me/second-factor/confirm", Needs::Own),
    ("GET", "/api/v1/me/sessions", Needs::Own),
    ("DELETE", "/api/v1/me/sessions/{session}", Needs::Own),
    ("GET", "/api/v1/me/tokens", Needs::Own),
    ("POST", "/api/v1/me/tokens", Needs::Own),
    ("DELETE", "/api/v1/me/tokens/{token}", Needs::Own),
    ("GET", "/api/v1/nodes", Needs::Session),
    ("GET", "/api/v1/accounts", Needs::Session),
    ("GET", "/api/v1/alerts", Needs::Session),
    ("POST", "/api/v1/alerts/{alert}/acknowledge", Needs::Operator),
    ("GET", "/api/v1/alert-routes", Needs::Session),
    ("POST", "/api/v1/alert-routes", Needs::Admin),
    ("POST", "/api/v1/alert-routes/{route}/test", Needs::Admin),
    ("DELETE", "/api/v1/alert-routes/{route}", Needs::Admin),
    ("GET", "/api/v1/silences", Needs::Session),
    ("POST", "/api/v1/silences", Needs::Operator),
    ("DELETE", "/api/v1/silences/{silence}", Needs::Operator),
    ("GET", "/api/v1/claims", Needs::Session),
    ("GET", "/api/v1/protection", Needs::Session),
    ("GET", "/api/v1/nodes/{node}/report", Needs::Viewer),
    ("GET", "/api/v1/appliances.csv", Needs::Session),
    ("GET", "/api/v1/bulk", Needs::Session),
    ("POST", "/api/v1/bulk", Needs::Operator),
    ("GET", "/api/v1/bulk/{id}", Needs::Viewer),
    ("GET", "/api/v1/appliances", Needs::Session),
    ("GET", "/api/v1/events", Needs::Session),
    ("POST", "/api/v1/nodes", Needs::Admin),
    ("GET", "/api/v1/nodes/{node}/policy", Needs::Viewer),
    ("PUT", "/api/v1/nodes/{node}/policy", Needs::Admin),
    ("POST", "/api/v1/accounts", Needs::Admin),
    ("PUT", "/api/v1/accounts/{account}/grants", Needs::Admin),
    ("POST", "/api/v1/accounts/{account}/reset", Needs::Admin),
    ("DELETE", "/api/v1/accounts/{account}", Needs::Admin),
    ("POST", "/api/v1/claims", Needs::Admin),
    ("GET", "/api/v1/appliances/{id}", Needs::Viewer),
    ("PATCH", "/api/v1/appliances/{id}", Needs::Admin),
    ("GET", "/api/v1/appliances/{id}/jobs", Needs::Viewer),
    ("GET", "/api/v1/appliances/{id}/recovery-points", Needs::Viewer),
    ("GET", "/api/v1/appliances/{id}/facts", Needs::Viewer),
    ("GET", "/api/v1/appliances/{id}/reported", Needs::Viewer),
    ("GET", "/api/v1/appliances/{id}/commands", Needs::Viewer),
    ("POST", "/api/v1/appliances/{id}/commands", Needs::Operator),
    ("POST", "/api/v1/appliances/{id}/logs", Needs::Operator),
    ("GET", "/api/v1/appliances/{id}/logs", Needs::Viewer),
    ("GET", "/api/v1/appliances/{id}/logs/{log}", Needs::Operator),
    ("GET", "/api/v1/appliances/{id}/desired", Needs::Viewer),
    ("PUT", "/api/v1/appliances/{id}/desired", Needs::Admin),
    ("POST", "/api/v1/appliances/{id}/commands/signed", Needs::Admin),
    ("POST", "/api/v1/appliances/{id}/revoke", Needs::Admin),
    ("GET", "/api/v1/appliances/{id}/release", Needs::Viewer),
    ("PUT", "/api/v1/appliances/{id}/release", Needs::Admin),
    ("DELETE", "/api/v1/appliances/{id}/release", Needs::Admin),
    ("GET", "/api/v1/releases", Needs::Top),
    ("GET", "/api/v1/rollouts", Needs::Top),
    ("POST", "/api/v1/rollouts", Needs::Top),
    ("GET", "/api/v1/rollouts/{id}", Needs::Top),
    ("PATCH", "/api/v1/rollouts/{id}", Needs::Top),
    ("GET", "/api/v1/audit", Needs::Top),
    ("POST", "/api/v1/logout", Needs::Session),
];

/// Method, path, and whether it is open to anybody.
type Route = (String, String, bool);

/// As the OpenAPI document has them, which a unit test holds equal to what is served.
fn routes_of_the_document() -> BTreeSet<Route> {
    let document: Value = serde_json::from_str(include_str!("../openapi.json")).expect("JSON");
    let mut routes = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            routes.insert((method.to_uppercase(), path.clone(), operation["security"] == json!([{}])));
        }
    }
    routes
}

struct Customer {
    node: String,
    site: String,
    device: String,
    /// Somebody whose account is changed.
    account: String,
    /// Viewer, operator, administrator of this customer.
    people: [Person; 3],
}

fn customer(server: &Server, admin: &Person, name: &str) -> Customer {
    let make = |parent: &str, kind: &str| {
        let (_, made) = admin.ask("POST", "/api/v1/nodes", &json!({ "parent": parent, "kind": kind, "name": name }));
        made["id"].as_str().expect("an id").to_owned()
    };
    let node = make(&server.organisation, "customer");
    let site = make(&node, "site");
    let people = ["viewer", "operator", "admin"].map(|role| {
        let email = format!("{role}@{name}.example");
        let (status, made) =
            admin.ask("POST", "/api/v1/accounts", &json!({ "email": email, "node": node, "role": role }));
        assert_eq!(status, 201, "{made}");
        server.sign_in(&email, made["password"].as_str().expect("a password"))
    });
    let device = server.enrolled(admin, &site).0.device.to_string();
    let other = json!({ "email": format!("other@{name}.example"), "node": site, "role": "viewer" });
    let account = admin.ask("POST", "/api/v1/accounts", &other).1["id"].as_str().expect("an id").to_owned();
    Customer { node, site, device, account, people }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.as_millis() as u64
}

fn json_with(mut value: Value, field: &str, new: Value) -> Value {
    value[field] = new;
    value
}

fn policy() -> Value {
    json!({
        "backup": { "on_plug": "backup", "time_zone": "UTC", "quiet": [] },
        "retention": { "last": 7, "daily": 14, "weekly": 8, "monthly": 12 },
        "new_disk": "backup", "verify": { "sample_percent": 10, "sample_every_days": 7, "full_every_days": 30, "restore_test_every_days": 30 },
        "heartbeat_s": 60,
    })
}

fn body(server: &Server, (method, path): (&str, &str), customer: &Customer, unique: usize) -> Value {
    match (method, path) {
        ("PUT", path) if path.ends_with("/desired") => {
            let device = customer.device.parse().expect("a name");
            let current = server.admin_get(&format!("/api/v1/appliances/{}/desired", customer.device));
            server.sign("desired", device, json_with(current, "ver", json!(unique + 10)))
        }
        ("POST", path) if path.ends_with("/signed") => {
            let id = format!("cmd-00000000000000000000{unique:06}");
            let command = json!({
                "v": 1, "id": id, "type": "rescan", "args": {}, "exp": now_ms() + 3_600_000, "idem": id,
            });
            server.sign("command", customer.device.parse().expect("a name"), command)
        }
        ("POST", "/api/v1/nodes") => json!({ "parent": customer.node, "kind": "site", "name": "another" }),
        ("POST", "/api/v1/accounts") => {
            json!({ "email": format!("new{unique}@example.org"), "node": customer.site, "role": "viewer" })
        }
        ("POST", "/api/v1/alert-routes") => {
            json!({ "node": customer.site, "channel": "webhook", "target": "https://example.org/" })
        }
        ("POST", "/api/v1/silences") => {
            json!({ "node": customer.site, "reason": "they move", "until_ms": now_ms() + 60_000 })
        }
        ("POST", "/api/v1/claims") => {
            let code = saveos_fleet_sim::Identity::new().claim_code().to_string();
            json!({ "code": code, "site": customer.site, "name": "a box" })
        }
        ("PUT", path) if path.ends_with("/grants") => json!({ "node": customer.site, "role": "operator" }),
        ("POST", "/api/v1/bulk") => json!({ "action": "rescan", "appliances": [customer.device] }),
        ("PUT", path) if path.ends_with("/release") => json!({ "release": "0.2.0" }),
        ("POST", "/api/v1/rollouts") => json!({ "release": "9.0.0" }),
        ("PATCH", path) if path.starts_with("/api/v1/rollouts") => json!({ "change": "pause" }),
        ("PATCH", _) => json!({ "name": "renamed", "site": customer.site }),
        ("PUT", _) => policy(),
        ("POST", path) if path.ends_with("/commands") => json!({ "type": "rescan", "args": {} }),
        _ => json!({}),
    }
}

#[test]
fn every_route_has_a_row_here() {
    let row = |(method, path, needs): &(&str, &str, Needs)| {
        ((*method).to_owned(), (*path).to_owned(), *needs == Needs::Nothing)
    };
    let itself = ("GET", "/api/v1/openapi.json", Needs::Nothing);
    let rows: BTreeSet<Route> = ROUTES.iter().filter(|row| **row != itself).map(row).collect();
    assert_eq!(rows, routes_of_the_document());
    let others = include_str!("../src/api.rs").split(".route(").count() - 1;
    // The document itself, and nothing else, is served without being described.
    assert_eq!(others, 1, "a route that the document does not know");
}

#[test]
fn every_role_gets_what_it_may_and_nothing_of_others() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let (own, foreign) = (customer(&server, &admin, "own"), customer(&server, &admin, "foreign"));
    let db = server.db();
    let sql = "INSERT INTO alert (id, fingerprint, rule, node, detail, raised_ms, ended_ms)";
    for (id, site) in [("alert-own", &own.site), ("alert-foreign", &foreign.site)] {
        db.run(&format!("{sql} VALUES ('{id}', '-', 'flagged', '{site}', '-', 1, 1)"));
    }
    // More than a list holds: they must not crowd out what is one's own.
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1100)";
    db.run(&format!("{numbers} {sql} SELECT 'alert-z' || i, '-', 'flagged', '{}', '-', 1, 1 FROM n", foreign.site));
    let alerts = own.people[0].get("/api/v1/alerts");
    let seen = |id: &str| alerts["items"].as_array().expect("a list").iter().any(|alert| alert["id"] == id);
    assert!(seen("alert-own") && !seen("alert-z1"), "{alerts}");
    let (site, device, now) = (&own.site, &own.device, now_ms());
    let sql = "INSERT INTO alert_route (id, node, channel, target, secret, rules, made_ms, made_by)";
    db.run(&format!("{sql} VALUES ('route-own', '{site}', 'slack', 'https://127.0.0.1:1/', NULL, '', 1, '-')"));
    let sql = "INSERT INTO silence (id, node, reason, made_ms, made_by, until_ms)";
    db.run(&format!("{sql} VALUES ('silence-own', '{site}', '-', 1, '-', 1)"));
    db.run(&format!(
        "INSERT INTO log_request (id, device, token, asked_ms, asked_by, until_ms, got_ms, bytes)
            VALUES ('log-own', '{device}', '-', {now}, '-', 1, 1, 1)"
    ));
    // What the path names is a box's name here.
    db.run(&format!("INSERT INTO bulk (id, email, action, made_ms) VALUES ('{device}', '-', '\"rescan\"', {now})"));
    db.run(&format!("INSERT INTO bulk_part (bulk, n, device) VALUES ('{device}', 1, '{device}')"));
    std::fs::create_dir(server.data().join("logs")).expect("room");
    std::fs::copy(server.data().join("authority.pem"), server.data().join("logs/log-own")).expect("room");
    let mut unique = 0;
    for (method, template, needs) in ROUTES.iter().filter(|(_, path, _)| !path.ends_with("/events")) {
        let path = template.replace("{id}", &own.device).replace("{node}", &own.site).replace("{alert}", "alert-own");
        let path = path
            .replace("{route}", "route-own")
            .replace("{silence}", "silence-own")
            .replace("{account}", &own.account)
            .replace("{log}", "log-own");
        let mut ask = |person: Option<&Person>| {
            unique += 1;
            let body = body(&server, (method, template), &own, unique);
            match person {
                Some(person) => person.ask(method, &path, &body),
                None => {
                    let headers = [("content-type", "application/json")];
                    let sent = if *method == "GET" { String::new() } else { body.to_string() };
                    let (status, json) =
                        server.place().request(method, &path, &headers, sent.as_bytes()).expect("an answer");
                    (status, serde_json::from_slice(&json).unwrap_or_default())
                }
            }
        };
        let (nobody, answer) = ask(None);
        if *needs == Needs::Nothing {
            assert!(nobody != 401 && nobody != 403 && nobody != 404, "{method} {path}: {nobody} {answer}");
            continue;
        }
        assert_eq!((nobody, &answer["status"]), (401, &json!(401)), "{method} {path}");
        if template.ends_with("/logout") || *needs == Needs::Own {
            continue; // logout below: it ends the sessions that the other rows need
        }
        for (role, (mine, theirs)) in own.people.iter().zip(&foreign.people).enumerate() {
            let needed = match needs {
                Needs::Nothing | Needs::Session | Needs::Own | Needs::Viewer => Some(0),
                Needs::Operator => Some(1),
                Needs::Admin => Some(2),
                Needs::Top => None,
            };
            let (status, answer) = ask(Some(mine));
            match needed {
                // It may try, and what it tries leads nowhere.
                Some(needed) if role >= needed && template.ends_with("/test") => assert_eq!(status, 409, "{answer}"),
                Some(needed) if role >= needed => {
                    assert!((200..300).contains(&status), "{method} {path} {role}: {status} {answer}");
                }
                Some(_) => assert_eq!(status, 403, "{method} {path} {role}"),
                None => assert_eq!(status, 404, "{method} {path} {role}"),
            }
            let text = answer.to_string();
            for hidden in [&foreign.node, &foreign.site, &foreign.device] {
                assert!(!text.contains(hidden.as_str()), "{method} {path} {role} tells of {hidden}");
            }
            if *needs != Needs::Session && !(template.ends_with("/revoke") && role == 2) {
                assert_eq!(ask(Some(theirs)).0, 404, "{method} {path} foreign {role}");
            }
        }
    }
    assert_eq!(admin.ask("GET", "/api/v1/audit", &Value::Null).1["broken_at"], Value::Null);
    let [viewer, ..] = &own.people;
    assert_eq!(viewer.ask("POST", "/api/v1/logout", &Value::Null).0, 204);
    assert_eq!(viewer.ask("GET", "/api/v1/me", &Value::Null).0, 401);
}

#[test]
fn a_cookie_alone_changes_nothing_and_what_is_no_route_is_told_so() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let cookie = format!("__Host-saveos={}", admin.token);
    let ask = |method: &str, path: &str, more: &[(&str, &str)]| {
        let headers = [&[("cookie", cookie.as_str()), ("content-type", "application/json")], more].concat();
        server.place().request(method, path, &headers, b"{}").expect("an answer").0
    };
    assert_eq!(ask("GET", "/api/v1/me", &[]), 200);
    assert_eq!(ask("POST", "/api/v1/logout", &[]), 403);
    assert_eq!(ask("POST", "/api/v1/logout", &[("x-saveos", "1")]), 204);
    assert_eq!(ask("GET", "/api/v1/me", &[]), 401);
    assert_eq!(ask("GET", "/api/v2/me", &[]), 404);
    assert_eq!(ask("PUT", "/api/v1/me", &[]), 405);
}

#[test]
fn guessing_passwords_is_slowed_by_account() {
    let Some(server) = Server::new() else { return };
    let guess = |email: &str| {
        let body = json!({ "email": email, "password": "a guess" }).to_string();
        let headers = [("content-type", "application/json")];
        server.place().request("POST", "/api/v1/login", &headers, body.as_bytes()).expect("an answer").0
    };
    let statuses: Vec<u16> = (0..7).map(|_| guess("somebody@example.org")).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
    server.admin();
}

#[test]
fn a_connection_outlives_bodies_that_nobody_wants_and_answers_that_are_no_success() {
    let Some(server) = Server::new() else { return };
    // One connection: a request that fails by itself would show as an error here.
    let place = server.place();
    for round in 0..300 {
        for path in ["/api/v1/enrol/challenge", "/api/v1/logout", "/api/v1/nodes", "/nowhere"] {
            let body = vec![b' '; 7 * round];
            place.request("POST", path, &[("content-type", "application/json")], &body).expect("an answer");
        }
    }
}
