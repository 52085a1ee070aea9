//! People prove who they are and programs do no more than they were made for: second factor, fresh proof, sessions, tokens.

mod support;

use serde_json::{Value, json};
use support::{ADMIN, Person, Server};
use totp_rs::Totp;

const NOTHING: Value = Value::Null;

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// An account of its own, so that tries are counted for it alone.
fn account(server: &Server, admin: &Person, role: &str) -> (&'static str, String, Person) {
    let new = json!({ "email": "one@example.org", "node": server.organisation, "role": role });
    let (status, made) = admin.ask("POST", "/api/v1/accounts", &new);
    assert_eq!(status, 201, "{made}");
    let password = made["password"].as_str().expect("a password").to_owned();
    let person = server.sign_in("one@example.org", &password);
    ("one@example.org", password, person)
}

/// Gives an account a second factor; the app and the codes.
fn factor(person: &Person) -> (Totp, Vec<String>) {
    let (status, made) = person.ask("POST", "/api/v1/me/second-factor", &NOTHING);
    assert_eq!(status, 201, "{made}");
    let app = Totp::from_url(made["url"].as_str().expect("a URL")).expect("a URL");
    let confirm = |code: &str| person.ask("POST", "/api/v1/me/second-factor/confirm", &json!({ "code": code }));
    assert_eq!(confirm("000000").0, 422);
    assert_eq!(person.get("/api/v1/me")["second_factor"], false, "it does not count before it is confirmed");
    // A step back, so that the test has two more before it must wait.
    let (status, made) = confirm(&app.generate(now_s() - 30).to_string());
    assert_eq!(status, 200, "{made}");
    assert_eq!(confirm(&app.generate(now_s()).to_string()).0, 409, "there is nothing left to confirm");
    assert_eq!(person.get("/api/v1/me")["second_factor"], true);
    let codes = made["codes"].as_array().expect("codes").iter().map(|code| code.as_str().expect("a code").to_owned());
    (app, codes.collect())
}

#[test]
fn the_first_account_is_of_who_has_the_link_and_the_link_counts_once() {
    let Some((server, link)) = Server::without_people() else { return };
    let (page, token) = link.split_once('#').expect("a token behind #");
    assert_eq!(page, format!("https://localhost:{}/setup", server.https));
    let stored: String = server.db().one("SELECT token FROM setup");
    assert_ne!(stored, token, "who reads the database cannot use it");
    let place = server.place();
    let set_up = |token: &str, email: &str, password: &str| {
        let body = json!({ "token": token, "email": email, "password": password }).to_string();
        let headers = [("content-type", "application/json")];
        place.request("POST", "/api/v1/setup", &headers, body.as_bytes()).expect("an answer").0
    };
    const PASSWORD: &str = "of my own choice";
    assert_eq!(set_up(&stored, "me@example.org", PASSWORD), 404);
    assert_eq!(set_up("", "me@example.org", PASSWORD), 404);
    assert_eq!(set_up(token, "me", PASSWORD), 422);
    assert_eq!(set_up(token, "me@example.org", "short"), 422, "and the link still counts");
    assert_eq!(set_up(token, "Me@Example.org", PASSWORD), 204);
    assert_eq!(set_up(token, "another@example.org", PASSWORD), 404);

    let me = server.sign_in("me@example.org", PASSWORD);
    assert_eq!(me.get("/api/v1/me")["grants"][0]["role"], "admin");
    let trail = me.get("/api/v1/audit");
    let deeds: Vec<_> = trail["items"].as_array().expect("deeds").iter().map(|deed| &deed["what"]).collect();
    assert_eq!(deeds, ["signed in", "made the first account", "set up"]);
    assert_eq!(trail["broken_at"], NOTHING);
}

#[test]
fn a_password_alone_opens_nothing_and_no_code_counts_twice() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let (email, password, person) = account(&server, &admin, "admin");
    let (app, codes) = factor(&person);
    assert_eq!(codes.len(), 10);
    let with = |code: &str| server.try_sign_in(&json!({ "email": email, "password": password, "code": code })).0;

    let (status, answer) = server.try_sign_in(&json!({ "email": email, "password": password }));
    assert_eq!((status, &answer["type"]), (403, &json!("urn:saveos:problem:step-up-required")));
    let digits = app.generate(now_s()).to_string();
    let wrong = json!({ "email": email, "password": "another", "code": digits });
    assert_eq!(server.try_sign_in(&wrong).0, 401, "and it does not use the digits up");
    assert_eq!(with(&digits), 200);
    assert_eq!(with(&digits), 401, "it was used");
    assert_eq!(with(&app.generate(now_s() - 30).to_string()), 401, "so was the one before it");
    assert_eq!(with(&codes[0]), 200);
    assert_eq!(with(&codes[0]), 401);
    assert_eq!(with(&codes[1].to_uppercase()), 200);
    let stored = server.db().rows("SELECT code FROM recovery_code").concat().concat();
    assert!(!stored.is_empty() && !stored.contains(&codes[2]));
    let statuses: Vec<u16> = (0..6).map(|_| with("123456")).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429], "digits are not guessed either");
}

#[test]
fn what_is_dangerous_needs_a_proof_of_now() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let (email, password, person) = account(&server, &admin, "admin");
    let (_, codes) = factor(&person);
    let stale = || server.db().run("UPDATE session SET proven_ms = proven_ms - 600000");
    let dangerous: [(&str, &str, Value); 4] = [
        (
            "POST",
            "/api/v1/accounts",
            json!({ "email": "two@example.org", "node": server.organisation, "role": "viewer" }),
        ),
        (
            "POST",
            "/api/v1/me/tokens",
            json!({ "name": "x", "node": server.organisation, "role": "viewer", "until_ms": (now_s() + 60) * 1000 }),
        ),
        ("POST", "/api/v1/me/second-factor", NOTHING),
        ("DELETE", "/api/v1/me/second-factor", NOTHING),
    ];
    stale();
    for (method, path, body) in &dangerous {
        let (status, answer) = person.ask(method, path, body);
        assert_eq!((status, &answer["type"]), (403, &json!("urn:saveos:problem:step-up-required")), "{method} {path}");
    }
    assert_eq!(person.ask("GET", "/api/v1/nodes", &NOTHING).0, 200, "all else goes on");
    let prove = |body: &Value| person.ask("POST", "/api/v1/me/prove", body).0;
    assert_eq!(prove(&json!({ "password": password })), 403);
    assert_eq!(prove(&json!({ "password": "another", "code": codes[0] })), 403);
    assert_eq!(prove(&json!({ "password": password, "code": "000000" })), 403, "the session goes on");
    assert_eq!(prove(&json!({ "password": password, "code": codes[0] })), 204);
    for ((method, path, body), expected) in dangerous.iter().zip([201, 201, 409, 204]) {
        assert_eq!(person.ask(method, path, body).0, expected, "{method} {path}");
    }
    assert_eq!(server.try_sign_in(&json!({ "email": email, "password": password })).0, 200, "the factor is gone");
}

#[test]
fn sessions_are_seen_and_ended_and_a_new_password_ends_the_others() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let (email, password, person) = account(&server, &admin, "viewer");
    let other = server.sign_in(email, &password);
    let list = person.get("/api/v1/me/sessions");
    let sessions = list["items"].as_array().expect("sessions").clone();
    assert_eq!(sessions.len(), 2, "one's own: {list}");
    assert!(sessions.iter().all(|session| session["agent"] == "a test"));
    assert!(!list.to_string().contains(&person.token));
    let foreign = admin.get("/api/v1/me/sessions")["items"][0]["id"].as_str().expect("an id").to_owned();
    let end = |id: &str| person.ask("DELETE", &format!("/api/v1/me/sessions/{id}"), &NOTHING).0;
    assert_eq!(end(&foreign), 404);
    let ended = sessions.iter().find(|session| session["this"] == false).expect("the other");
    assert_eq!(end(ended["id"].as_str().expect("an id")), 204);
    assert_eq!(other.ask("GET", "/api/v1/me", &NOTHING).0, 401);

    let third = server.sign_in(email, &password);
    let change =
        |old: &str, new: &str| person.ask("POST", "/api/v1/me/password", &json!({ "password": old, "new": new })).0;
    assert_eq!(change(&password, "short"), 422);
    assert_eq!(change("another", "a new password"), 403);
    assert_eq!(change(&password, "a new password"), 204);
    assert_eq!(third.ask("GET", "/api/v1/me", &NOTHING).0, 401);
    assert_eq!(person.ask("GET", "/api/v1/me", &NOTHING).0, 200);
    assert_eq!(server.try_sign_in(&json!({ "email": email, "password": password })).0, 401);
    server.sign_in(email, "a new password");
}

#[test]
fn a_program_may_what_its_token_says_and_is_no_person() {
    let Some(server) = Server::new() else { return };
    let admin = server.admin();
    let site = server.site(&admin, "one");
    let device = server.enrolled(&admin, &site).0.device.to_string();
    let elsewhere = server.site(&admin, "other");
    let make = |node: &str, role: &str, until: u64| {
        admin.ask(
            "POST",
            "/api/v1/me/tokens",
            &json!({ "name": "a script", "node": node, "role": role, "until_ms": until * 1000 }),
        )
    };
    assert_eq!(make(&site, "viewer", now_s() - 1).0, 422);
    assert_eq!(make(&site, "viewer", now_s() + 400 * 86_400).0, 422);
    let (status, made) = make(&site, "viewer", now_s() + 3600);
    assert_eq!(status, 201, "{made}");
    let token = made["token"].as_str().expect("a token");
    assert!(token.starts_with("saveos_") && token.len() == 71);
    let program = server.with(token);
    assert_eq!(program.get("/api/v1/appliances")["items"][0]["id"], json!(device));
    assert_eq!(program.get("/api/v1/nodes")["items"].as_array().map(Vec::len), Some(1), "its site alone");
    let rescan = json!({ "type": "rescan", "args": {} });
    assert_eq!(program.ask("POST", &format!("/api/v1/appliances/{device}/commands"), &rescan).0, 403, "it may look");
    assert_eq!(program.ask("GET", &format!("/api/v1/nodes/{elsewhere}/policy"), &NOTHING).0, 404);
    for (method, path, body) in [
        ("GET", "/api/v1/me/sessions", NOTHING),
        ("GET", "/api/v1/me/tokens", NOTHING),
        (
            "POST",
            "/api/v1/me/tokens",
            json!({ "name": "more", "node": site, "role": "viewer", "until_ms": (now_s() + 60) * 1000 }),
        ),
        ("POST", "/api/v1/me/password", json!({ "password": "x", "new": "a new password" })),
        ("POST", "/api/v1/me/second-factor", NOTHING),
        ("POST", "/api/v1/accounts", json!({ "email": "x@example.org", "node": site, "role": "viewer" })),
        ("POST", "/api/v1/logout", NOTHING),
    ] {
        let (status, answer) = program.ask(method, path, &body);
        assert_eq!((status, &answer["type"]), (403, &json!("urn:saveos:problem:forbidden")), "{method} {path}");
    }

    let operator = server.with(make(&site, "operator", now_s() + 3600).1["token"].as_str().expect("a token"));
    assert_eq!(operator.ask("POST", &format!("/api/v1/appliances/{device}/commands"), &rescan).0, 202);
    let trail = admin.get("/api/v1/audit").to_string();
    assert!(trail.contains(&format!("{ADMIN} (token-")), "it stands in the trail which token it was");
    let listed = admin.get("/api/v1/me/tokens");
    assert!(listed["items"].as_array().expect("tokens").iter().all(|token| token["used_ms"].is_u64()), "{listed}");
    assert!(!listed.to_string().contains("saveos_"));

    let db = server.db();
    let hidden = token.strip_prefix("saveos_").expect("a prefix");
    let found = db.one(&format!("SELECT COUNT(*) FROM api_token WHERE token LIKE '%{hidden}%'"));
    assert_eq!(found, "0", "only hashes are kept");
    let id = made["id"].as_str().expect("an id");
    assert_eq!(admin.ask("DELETE", &format!("/api/v1/me/tokens/{id}"), &NOTHING).0, 204);
    assert_eq!(program.ask("GET", "/api/v1/nodes", &NOTHING).0, 401);
    db.run("UPDATE api_token SET until_ms = 1");
    assert_eq!(operator.ask("GET", "/api/v1/nodes", &NOTHING).0, 401);
}
