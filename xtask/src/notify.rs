//! `cargo xtask notify TITLE`: tells people what became of the jobs of a workflow. `NEEDS` is what GitHub says of them, and
//! `SLACK_WEBHOOK_URL` where to tell it: a secret, which is on no command line.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};

/// The task.
pub(crate) fn run(words: &[&str]) -> anyhow::Result<()> {
    let [title] = words else { anyhow::bail!("notify wants a title") };
    let needs = std::env::var("NEEDS").context("NEEDS is not set: toJSON(needs) of the workflow")?;
    let text = message(
        title,
        &serde_json::from_str(&needs).context("NEEDS is no JSON")?,
        std::env::var("RUN_URL").ok().as_deref(),
    )?;
    println!("{text}");
    match std::env::var("SLACK_WEBHOOK_URL").ok().filter(|url| !url.is_empty()) {
        Some(url) => post(&url, &json!({ "text": text })),
        None => {
            println!("nobody is told: SLACK_WEBHOOK_URL is not set");
            Ok(())
        }
    }
}

/// One line, and one for each job that did not end well.
fn message(title: &str, needs: &Value, link: Option<&str>) -> anyhow::Result<String> {
    let jobs = needs.as_object().filter(|jobs| !jobs.is_empty()).context("NEEDS names no jobs")?;
    let result = |job: &Value| job["result"].as_str().unwrap_or("unknown").to_owned();
    let bad: Vec<(&String, String)> = jobs
        .iter()
        .map(|(name, job)| (name, result(job)))
        .filter(|(_, result)| !["success", "skipped"].contains(&result.as_str()))
        .collect();
    let verdict =
        if bad.is_empty() { "passed".to_owned() } else { format!("{} of {} jobs did not pass", bad.len(), jobs.len()) };
    let mut text = format!("{title}: {verdict}");
    for (name, result) in bad {
        text.push_str(&format!("\n• {name}: {result}"));
    }
    if let Some(link) = link {
        text.push_str(&format!("\n{link}"));
    }
    Ok(text)
}

/// By curl, which reads the address from its standard input.
fn post(url: &str, body: &Value) -> anyhow::Result<()> {
    ensure!(!url.contains(['"', '\n', '\\']), "SLACK_WEBHOOK_URL is no address");
    let words = ["--silent", "--show-error", "--fail", "--max-time", "20", "--retry", "2", "--config", "-"];
    let mut curl = Command::new("curl").args(words).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let body = body.to_string().replace('\\', "\\\\").replace('"', "\\\"");
    let config = format!("url = \"{url}\"\nheader = \"content-type: application/json\"\ndata = \"{body}\"\n");
    curl.stdin.take().context("a pipe was asked for")?.write_all(config.as_bytes())?;
    ensure!(curl.wait()?.success(), "nobody was told: curl says why");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};

    #[test]
    fn what_did_not_pass_is_named_and_what_was_skipped_is_no_failure() {
        let needs =
            json!({ "quick": { "result": "success" }, "web": { "result": "failure" }, "hil": { "result": "skipped" } });
        let link = Some("https://example.org/runs/1");
        let text = message("ci of develop", &needs, link).expect("a message");
        assert_eq!(text, "ci of develop: 1 of 3 jobs did not pass\n• web: failure\nhttps://example.org/runs/1");
        let good = message("ci", &json!({ "quick": { "result": "success" } }), None).expect("a message");
        assert_eq!(good, "ci: passed");
        assert!(message("ci", &json!({}), None).is_err() && message("ci", &json!([]), None).is_err());
    }

    #[test]
    fn it_arrives_as_it_was_said_and_a_refusal_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        let sink = std::thread::spawn(move || {
            let mut bodies = Vec::new();
            for status in ["200 OK", "404 Not Found"] {
                let (mut stream, _) = listener.accept().expect("a caller");
                let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("a line");
                    if let Some(said) = line.to_lowercase().strip_prefix("content-length: ") {
                        length = said.trim().parse().expect("a number");
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                bodies.push(serde_json::from_slice::<Value>(&body).expect("JSON"));
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .expect("a caller");
            }
            bodies
        });
        let body = json!({ "text": "one \"of\" two\n• web: \\ é" });
        post(&url, &body).expect("it is told");
        assert!(post(&url, &body).is_err());
        assert_eq!(sink.join().expect("it listened"), [body.clone(), body]);
        assert!(post("http://a\"\nurl = \"b", &json!({})).is_err());
    }
}
