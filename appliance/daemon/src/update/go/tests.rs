//! A control plane that says yes, no, something else, nothing, or that does not know the question.

use super::*;
use crate::update::folder_server;
use std::path::Path;

fn asked(server: &str) -> Asked {
    Asked {
        agent: ureq::Agent::config_builder().build().new_agent(),
        server: server.parse().expect("a URL"),
        device: "d-01m8n001vc6qtq6c4tsqwzc2cw".parse().expect("a name"),
        token: "00112233aabbccdd".parse().expect("a mark"),
    }
}

fn answered(folder: &Path, body: &str) {
    let at = folder.join("api/v1/go/d-01m8n001vc6qtq6c4tsqwzc2cw");
    std::fs::create_dir_all(&at).expect("room");
    crate::files::tests::put(&at.join("00112233aabbccdd"), body.as_bytes());
}

#[test]
fn only_a_yes_is_a_yes() {
    let folder = tempfile::tempdir().expect("a folder");
    let asked_there = asked(&folder_server::serve(folder.path().to_owned()));
    assert_eq!(asked_there.why_not(), None, "a server that does not know the question");
    answered(folder.path(), r#"{"stands": true}"#);
    assert_eq!(asked_there.why_not(), None);
    for (body, why) in [
        (r#"{"stands": false}"#, "does not stand any more"),
        (r#"{}"#, "says something else"),
        ("<html>log in</html>", "says something else"),
        ("", "says something else"),
    ] {
        answered(folder.path(), body);
        assert!(asked_there.why_not().is_some_and(|text| text.contains(why)), "{body}");
    }
    answered(folder.path(), &format!(r#"{{"stands": true, "more": "{}"}}"#, "x".repeat(10_000)));
    assert!(asked_there.why_not().is_some(), "an answer without an end");
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let nobody = asked(&format!("http://{}/", nowhere.expect("a port")));
    assert!(nobody.why_not().is_some_and(|text| text.contains("does not answer")));
}
