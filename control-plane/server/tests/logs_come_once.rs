//! Logs of a box come once, from whom they were asked, and are read by whom they concern.

mod support;

use saveos_protocol::command::{Action, Command};
use saveos_protocol::decode;
use serde_json::{Value, json};
use support::Server;

#[test]
fn a_delivery_is_asked_for_brought_once_and_read() {
    let Some(server) = Server::new() else { return };
    let one = server.fleet(1).remove(0);
    let admin = server.admin();
    let device = one.identity().device;
    server.until("it is heard", || (one.level().waiting == 0).then_some(()));
    let path = format!("/api/v1/appliances/{device}/logs");
    assert_eq!(admin.ask("POST", &path, &json!({ "max_bytes": 2_000_000 })).0, 422);
    let (status, asked) = admin.ask("POST", &path, &json!({ "since_ms": 5 }));
    assert_eq!(status, 202, "{asked}");
    let id = asked["id"].as_str().expect("an id").to_owned();

    // The box hears where to bring them; a person does not.
    let url = server.until("the command comes", || {
        let commands = one.told().into_iter().filter(|told| told.topic.to_string().ends_with("/dn/cmd"));
        commands.filter_map(|told| decode::<Command>(&told.payload).ok()).find_map(|command| match command.action {
            Action::FetchLogs { url, since, .. } => Some((url, since.as_millis())),
            _ => None,
        })
    });
    assert_eq!(url.1, 5);
    let there = url.0.strip_prefix(&server.url("")).expect("our own server").to_owned();
    let listed = admin.get(&format!("/api/v1/appliances/{device}/commands")).to_string();
    assert!(listed.contains("fetch_logs") && !listed.contains(there.rsplit('/').next().expect("a token")));
    assert_eq!(admin.ask("GET", &format!("{path}/{id}"), &Value::Null).0, 404, "nothing has come yet");

    let put = |there: &str, text: &[u8]| {
        server.place().request("PUT", there, &[("content-type", "text/plain")], text).expect("an answer").0
    };
    assert_eq!(put("/api/v1/logs/guessed", b"text"), 409);
    assert_eq!(put(&there, &vec![b'x'; (1 << 20) + 1]), 413);
    let text = "all is well\n".repeat(50_000);
    assert_eq!(put(&there, text.as_bytes()), 204);
    assert_eq!(put(&there, b"another text"), 409, "once");
    let delivery = admin.get(&path)["items"][0].clone();
    assert_eq!((&delivery["id"], &delivery["bytes"]), (&json!(id), &json!(text.len())));

    let bearer = format!("Bearer {}", admin.token);
    let read = |log: &str, bearer: &str| {
        let headers = [("authorization", bearer)];
        server.place().request("GET", &format!("{path}/{log}"), &headers, b"").expect("an answer")
    };
    let (status, came) = read(&id, &bearer);
    assert!(status == 200 && came == text.as_bytes());
    assert_eq!(read("..%2Fauthority.key", &bearer).0, 404);
    assert_eq!(read(&id, "Bearer nobody").0, 401);
}
