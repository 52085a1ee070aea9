//! Roles, accounts and boxes move: what was allowed before is over at once, and nobody is left without an administrator.

mod support;

use serde_json::{Value, json};
use support::{ADMIN, Person, Server};

const NOTHING: Value = Value::Null;

/// An account with its password, and a session of it.
fn account(server: &Server, admin: &Person, email: &str, node: &str, role: &str) -> (String, String, Person) {
    let (status, made) = admin.ask("POST", "/api/v1/accounts", &json!({ "email": email, "node": node, "role": role }));
    assert_eq!(status, 201, "{made}");
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    let person = server.sign_in(email, &text("password"));
    (text("id"), text("password"), person)
}

#[test]
fn a_role_that_is_taken_away_is_gone_at_once_and_the_last_administrator_stays() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let (own, foreign) = (server.site(&admin, "own"), server.site(&admin, "foreign"));
    let (id, password, person) = account(&server, &admin, "one@example.org", &own, "operator");
    let grants = format!("/api/v1/accounts/{id}/grants");
    let sees = |person: &Person| person.get("/api/v1/nodes")["items"].as_array().expect("nodes").len();
    assert_eq!(sees(&person), 1);
    assert_eq!(admin.ask("PUT", &grants, &json!({ "node": foreign, "role": "admin" })).0, 204);
    assert_eq!(sees(&person), 2);
    assert_eq!(admin.ask("PUT", &grants, &json!({ "node": own, "role": null })).0, 204);
    assert_eq!((sees(&person), person.get("/api/v1/me")["grants"][0]["role"].clone()), (1, json!("admin")));
    // Whoever administers one of two places of somebody gives roles there, and does not end the whole account.
    let (_, _, two) = account(&server, &admin, "two@example.org", &own, "admin");
    assert_eq!(admin.ask("PUT", &grants, &json!({ "node": own, "role": "viewer" })).0, 204);
    assert_eq!(two.ask("PUT", &grants, &json!({ "node": own, "role": "operator" })).0, 204);
    assert_eq!(two.ask("DELETE", &format!("/api/v1/accounts/{id}"), &NOTHING).0, 403);

    let me = admin.get("/api/v1/me")["account"].as_str().expect("an id").to_owned();
    let own_grants = format!("/api/v1/accounts/{me}/grants");
    assert_eq!(admin.ask("PUT", &own_grants, &json!({ "node": server.organisation, "role": null })).0, 409);
    assert_eq!(admin.ask("DELETE", &format!("/api/v1/accounts/{me}"), &NOTHING).0, 409);
    assert!(sees(&admin) > 4, "nothing of that was done");

    assert_eq!(admin.ask("DELETE", &format!("/api/v1/accounts/{id}"), &NOTHING).0, 204);
    assert_eq!(person.ask("GET", "/api/v1/me", &NOTHING).0, 401);
    assert_eq!(server.try_sign_in(&json!({ "email": "one@example.org", "password": password })).0, 401);
    let trail = admin.get("/api/v1/audit").to_string();
    assert!(trail.contains("ended an account") && trail.contains("changed a role"), "{trail}");
}

#[test]
fn who_lost_the_second_factor_begins_anew_and_who_stole_the_first_is_out() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let (id, password, person) = account(&server, &admin, "one@example.org", &server.organisation, "viewer");
    let (_, made) = person.ask("POST", "/api/v1/me/second-factor", &NOTHING);
    let app = totp_rs::Totp::from_url(made["url"].as_str().expect("a URL")).expect("a URL");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let code = json!({ "code": app.generate(now).to_string() });
    assert_eq!(person.ask("POST", "/api/v1/me/second-factor/confirm", &code).0, 200);
    let (status, answer) = admin.ask("POST", &format!("/api/v1/accounts/{id}/reset"), &NOTHING);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(person.ask("GET", "/api/v1/me", &NOTHING).0, 401, "its sessions ended");
    assert_eq!(server.try_sign_in(&json!({ "email": "one@example.org", "password": password })).0, 401);
    let anew = server.sign_in("one@example.org", answer["password"].as_str().expect("a password"));
    assert_eq!(anew.get("/api/v1/me")["second_factor"], false);
}

#[test]
fn a_session_that_nobody_uses_ends() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let db = server.db();
    let age = |minutes: u64| {
        let ago = minutes * 60_000;
        db.run(&format!("UPDATE session SET made_ms = made_ms - 6000000, seen_ms = made_ms - {ago}"));
    };
    age(59);
    assert_eq!(admin.ask("GET", "/api/v1/me", &NOTHING).0, 200);
    let seen: i64 = db.one("SELECT seen_ms - made_ms FROM session").parse().expect("a session");
    assert!(seen > 0, "it counts from its last use");
    age(61);
    assert_eq!(admin.ask("GET", "/api/v1/me", &NOTHING).0, 401);
}

#[test]
fn a_box_takes_the_policy_of_where_it_stands_and_none_that_keeps_less() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let (here, there, weaker) =
        (server.site(&admin, "here"), server.site(&admin, "there"), server.site(&admin, "weaker"));
    let (identity, _) = server.enrolled(&admin, &here);
    let path = format!("/api/v1/appliances/{}", identity.device);
    let mut policy = admin.get(&format!("/api/v1/nodes/{here}/policy"))["policy"].clone();
    policy["retention"]["daily"] = json!(60);
    assert_eq!(admin.ask("PUT", &format!("/api/v1/nodes/{there}/policy"), &policy).0, 200);
    policy["retention"]["daily"] = json!(20);
    assert_eq!(admin.ask("PUT", &format!("/api/v1/nodes/{weaker}/policy"), &policy).0, 200);

    let kept = || admin.get(&format!("{path}/desired"))["retention"]["daily"].clone();
    let before = admin.get(&path)["desired"].clone();
    assert_eq!(admin.ask("PATCH", &path, &json!({ "name": "till", "site": here })).0, 204);
    let appliance = admin.get(&path);
    assert_eq!((&appliance["name"], &appliance["desired"]), (&json!("till"), &before), "nothing changed for it");
    assert_eq!(admin.ask("PATCH", &path, &json!({ "site": there })).0, 204);
    assert_eq!((kept(), admin.get(&path)["site"].clone()), (json!(60), json!(there)));
    let (status, answer) = admin.ask("PATCH", &path, &json!({ "site": weaker }));
    assert_eq!((status, &answer["type"]), (422, &json!("urn:saveos:problem:signature-required")), "{answer}");
    assert_eq!((kept(), admin.get(&path)["site"].clone()), (json!(60), json!(there)), "it stays where it is");
    assert_eq!(admin.ask("PATCH", &path, &json!({ "site": server.organisation })).0, 422);

    // Who administers one of two customers moves nothing between them.
    let (_, _, one) = account(&server, &admin, "one@example.org", &there, "admin");
    assert_eq!(one.ask("PATCH", &path, &json!({ "site": here })).0, 404);
    assert_eq!(one.ask("PATCH", &path, &json!({ "name": "mine" })).0, 204);
}

#[test]
fn what_is_asked_twice_under_one_key_is_done_once() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let post = |person: &Person, path: &str, key: &str, body: &Value| {
        let bearer = format!("Bearer {}", person.token);
        let headers =
            [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
        let (status, json) =
            server.place().request("POST", path, &headers, body.to_string().as_bytes()).expect("an answer");
        (status, serde_json::from_slice::<Value>(&json).unwrap_or_default())
    };
    let node = |name: &str| json!({ "parent": server.organisation, "kind": "customer", "name": name });
    let first = post(&admin, "/api/v1/nodes", "a", &node("one"));
    assert_eq!(first.0, 201, "{first:?}");
    assert_eq!(post(&admin, "/api/v1/nodes", "a", &node("one")), first);
    let (status, answer) = post(&admin, "/api/v1/nodes", "a", &node("two"));
    assert_eq!(answer["type"], "urn:saveos:problem:idempotency-mismatch", "{status}");
    assert_ne!(post(&admin, "/api/v1/nodes", "b", &node("one")).1, first.1);
    let nodes = admin.get("/api/v1/nodes")["items"].as_array().expect("nodes").len();
    assert_eq!(nodes, 3, "the organisation, and two that were meant");
    assert_eq!(post(&admin, "/api/v1/nodes", "c d", &node("one")).0, 400);
    // What was refused may be asked again, and is not remembered.
    assert_eq!(post(&admin, "/api/v1/nodes", "e", &node("")).0, 422);
    assert_eq!(post(&admin, "/api/v1/nodes", "e", &node("")).0, 422);

    // A password is shown once, and is nowhere.
    let new = json!({ "email": "one@example.org", "node": server.organisation, "role": "admin" });
    let (status, made) = post(&admin, "/api/v1/accounts", "f", &new);
    assert_eq!(status, 201);
    assert_eq!(post(&admin, "/api/v1/accounts", "f", &new).0, 409);
    let kept = server.db().rows("SELECT body FROM answered").concat().concat();
    let password = made["password"].as_str().expect("a password");
    assert!(!kept.contains(password) && kept.contains("\"id\":\"c-"), "{kept}");
    // The key of one is nothing to another, and to nobody.
    let other = server.sign_in("one@example.org", password);
    assert_ne!(post(&other, "/api/v1/nodes", "a", &node("one")).1, first.1);
    assert_eq!(post(&server.with("nobody"), "/api/v1/nodes", "a", &node("one")).0, 401);
    server.sign_in(ADMIN, &server.password());
}

#[test]
fn nobody_makes_more_than_anybody_needs() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let until = 1000
        * (7 * 86_400
            + std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs());
    let token = json!({ "name": "a program", "role": "viewer", "node": server.organisation, "until_ms": until });
    assert_eq!(admin.ask("POST", "/api/v1/me/tokens", &token).0, 201);
    let route = json!({ "node": server.organisation, "channel": "webhook", "target": "https://example.org/" });
    assert_eq!(admin.ask("POST", "/api/v1/alert-routes", &route).0, 201);
    let silence = json!({ "node": server.organisation, "reason": "they move", "until_ms": until });
    assert_eq!(admin.ask("POST", "/api/v1/silences", &silence).0, 201);
    let db = server.db();
    let numbers = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 499)";
    for sql in [
        "INSERT INTO api_token SELECT token || n, id || n, account, name, role, node, made_ms, until_ms, used_ms
            FROM n, api_token WHERE n < 100",
        "INSERT INTO alert_route (id, node, channel, target, secret, rules, made_ms, made_by)
            SELECT id || n, node, channel, target, secret, rules, made_ms, made_by FROM n, alert_route WHERE n < 50",
        "INSERT INTO silence (id, node, reason, made_ms, made_by, until_ms)
            SELECT id || n, node, reason, made_ms, made_by, until_ms FROM n, silence",
    ] {
        db.run(&format!("{numbers} {sql}"));
    }
    for (path, body) in
        [("/api/v1/me/tokens", &token), ("/api/v1/alert-routes", &route), ("/api/v1/silences", &silence)]
    {
        let (status, answer) = admin.ask("POST", path, body);
        assert!(status == 409 && answer.to_string().contains("already"), "{path}: {status} {answer}");
    }
    db.run("UPDATE silence SET until_ms = 1");
    assert_eq!(admin.ask("POST", "/api/v1/silences", &silence).0, 201, "what is over counts no more");
}

#[test]
fn two_servers_do_not_run_on_the_same_data() {
    let Some(server) = Server::new() else { return };
    let mut second = std::process::Command::new(env!("CARGO_BIN_EXE_saveos-server"));
    let output = second.arg("run").arg("--data").arg(server.data()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("another saveos-server"), "{said}");
    server.admin();
}
