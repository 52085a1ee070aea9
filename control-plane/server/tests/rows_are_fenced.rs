//! The database itself keeps customers apart, and not only the handlers: what it is told of whoever asks is seen in what it shows.

mod support;

use serde_json::{Value, json};
use support::ports::free_port;
use support::postgres::Postgres;
use support::{Person, Server};

const VIEWER: &str = "viewer@example.org";

/// Boxes that a person is shown.
#[track_caller]
fn boxes(person: &Person) -> usize {
    person.get("/api/v1/appliances")["items"].as_array().expect("a list").len()
}

/// Lines of the table that a task of its own writes.
#[track_caller]
fn lines(person: &Person) -> usize {
    let headers = [("authorization", format!("Bearer {}", person.token))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let (status, body) = person.place().request("GET", "/api/v1/appliances.csv", &headers, b"").expect("an answer");
    assert_eq!(status, 200);
    String::from_utf8(body).expect("text").lines().count() - 1
}

#[test]
fn every_request_of_a_person_is_within_what_he_may_see() {
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    let folder = tempfile::Builder::new().permissions(open).tempdir().expect("a folder");
    let Some(postgres) = Postgres::start(&folder.path().join("postgres")).expect("it starts") else {
        println!("SKIPPED: no postgresql");
        return;
    };
    let Some(mut server) = Server::in_parts(&postgres, free_port()) else { return };
    server.start();
    let admin = server.admin();
    let sites = ["one", "two"].map(|name| server.site(&admin, name));
    let identities = sites.each_ref().map(|site| server.enrolled(&admin, site).0);
    let (status, made) =
        admin.ask("POST", "/api/v1/accounts", &json!({ "email": VIEWER, "node": sites[0], "role": "admin" }));
    assert_eq!(status, 201, "{made}");
    let viewer = server.sign_in(VIEWER, made["password"].as_str().expect("a password"));
    assert_eq!((boxes(&admin), boxes(&viewer), lines(&admin), lines(&viewer)), (2, 1, 2, 1));

    // Who sees all of a customer revokes at a broker that must know of everybody's: not only of his.
    assert_eq!(admin.ask("POST", &format!("/api/v1/appliances/{}/revoke", identities[1].device), &Value::Null).0, 200);
    assert_eq!(viewer.ask("POST", &format!("/api/v1/appliances/{}/revoke", identities[0].device), &Value::Null).0, 200);
    let rules = std::fs::read_to_string(server.data().join("broker/acl")).expect("the rules of the broker");
    assert!(identities.iter().all(|identity| rules.contains(&identity.device.to_string())), "{rules}");
    // And whose box was somebody else's is given to another customer.
    assert_eq!(server.claim(&viewer, &sites[0], &identities[1]).0, 201);

    // A policy that lets pass only what is of nobody's request, or of that one place: handlers know nothing of it.
    let path = server.db().one(&format!("SELECT path FROM node WHERE id = '{}'", sites[0]));
    server.db().run("DROP POLICY saveos_fence_1 ON appliance");
    server.db().run(&format!(
        "CREATE POLICY saveos_fence_1 ON appliance
        USING (COALESCE(current_setting('saveos.tops', TRUE), '') IN ('', '{path}'))"
    ));
    assert_eq!((boxes(&admin), lines(&admin)), (0, 0), "the database was told who asks");
    assert_eq!((boxes(&viewer), lines(&viewer)), (1, 1), "and of whom");
    let hidden = admin.ask("GET", &format!("/api/v1/appliances/{}", identities[0].device), &Value::Null);
    assert_eq!(hidden.0, 404, "{}", hidden.1);
}
