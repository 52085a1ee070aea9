//! Asks the running daemon and prints what it says: for people, or as JSON.

use crate::args::Ask;
use crate::status;
use anyhow::{Context, bail};
use serde_json::Value;
use std::io::Write;

/// Asks and prints. A refusal is an error.
pub(crate) fn ask(ask: &Ask) -> anyhow::Result<()> {
    let (question, how) = ask.question();
    let answer = status::ask(&how.socket, &question).with_context(|| {
        format!("no saveosd answers at {}; is it running, and is --socket right?", how.socket.display())
    })?;
    if answer["type"] == "refused" {
        bail!("{}", text(&answer["why"]));
    }
    let printed = if how.json { answer.to_string() + "\n" } else { for_people(&answer) };
    let mut out = std::io::stdout().lock();
    match out.write_all(printed.as_bytes()).and_then(|()| out.flush()) {
        Err(gone) if gone.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn for_people(answer: &Value) -> String {
    let lines: Vec<String> = match text(&answer["type"]).as_str() {
        "status" => status_lines(answer),
        "jobs" => rows(&answer["jobs"], "no jobs yet", |job| {
            let ended = match (&job["outcome"], text(&job["state"]).as_str()) {
                (Value::Null, "asking") => {
                    let extent = &job["order"]["args"]["extent"];
                    let target = text(if extent["stick"].is_null() { &extent["target"] } else { &extent["stick"] });
                    format!("  overwrites {target}; if that is wanted: saveosd approve {} {target}", text(&job["id"]))
                }
                (Value::Null, _) => String::new(),
                (outcome, _) => format!("  {}", text(outcome)),
            };
            format!("{}  {:<7}  {:<7}{ended}", text(&job["id"]), text(&job["work"]), text(&job["state"]))
        }),
        "disks" => rows(&answer["disks"], "no disk was ever plugged in", |disk| {
            let place = if disk["path"].is_null() { "not plugged in".to_owned() } else { text(&disk["path"]) };
            let held =
                if disk["held"].is_null() { String::new() } else { format!("  ({})", held(&text(&disk["held"]))) };
            format!("{}  {}  {place}{held}", text(&disk["id"]), text(&disk["identity"]["serial"]))
        }),
        "words" => vec![
            "These 24 words open the backups without this box. Write them down, keep them elsewhere:".to_owned(),
            String::new(),
            format!("  {}", text(&answer["words"])),
            String::new(),
            format!(
                "Then: saveosd confirm, with word {} and word {}.",
                text(&answer["confirm"][0]),
                text(&answer["confirm"][1])
            ),
        ],
        "confirmed" => vec!["confirmed: the backups can be opened without this box".to_owned()],
        "queued" => vec![format!("queued {}", text(&answer["job"]))],
        other => vec![format!("an answer of a newer version: {other}")],
    };
    lines.join("\n") + "\n"
}

fn status_lines(answer: &Value) -> Vec<String> {
    let mut lines = vec![
        format!("device       {}", text(&answer["device"])),
        format!("claim code   {}", text(&answer["claim_code"])),
        format!("repository   {}", text(&answer["repository"])),
        format!("disks        {} plugged in", text(&answer["disks"])),
        format!("reports      {} wait for the control plane", text(&answer["outbox"]["waiting"])),
    ];
    if answer["recoverable"] != true {
        lines.push("WARNING      nobody has confirmed the recovery words: `saveosd words` shows them".to_owned());
    }
    if answer["clock_behind"] == true {
        lines.push(
            "WARNING      the clock is behind: the control plane cannot be reached until the time is right".to_owned(),
        );
    }
    let running = &answer["running"];
    lines.push(match running.is_null() {
        true => "job          none".to_owned(),
        false => {
            let (done, total) = (number(&running["bytes_done"]), number(&running["bytes_total"]));
            let percent = (done * 100).checked_div(total).unwrap_or(0);
            format!("job          {} of {} ({percent} %)", text(&running["job"]["work"]), text(&running["job"]["disk"]))
        }
    });
    lines
}

fn held(word: &str) -> &str {
    match word {
        "no_policy" => "nobody has said what it is for",
        "not_a_source" => "it is no source",
        "outside_window" => "a backup is due and waits for its window",
        "nothing_due" => "nothing is due",
        other => other,
    }
}

fn rows(list: &Value, none: &str, line: impl Fn(&Value) -> String) -> Vec<String> {
    match list.as_array() {
        Some(list) if !list.is_empty() => list.iter().map(line).collect(),
        _ => vec![none.to_owned()],
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { "-".to_owned() } else { value.to_string() }, str::to_owned)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
