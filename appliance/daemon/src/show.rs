//! Asks the running daemon and prints what it says: for people, or as JSON.

pub(crate) mod panel;

use crate::args::Ask;
use crate::status;
use anyhow::{Context, bail};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
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
    let mut printed = if how.json { answer.to_string() + "\n" } else { for_people(&answer) };
    if let Ask::Status { qr: true, .. } = ask {
        printed.push_str(&claim_picture(&answer)?);
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(printed.as_bytes()).and_then(|()| out.flush()) {
        Err(gone) if gone.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Two rows of modules a line, light on dark as most terminals are.
fn claim_picture(answer: &Value) -> anyhow::Result<String> {
    let Some(link) = answer["claim_link"].as_str() else {
        bail!("there is nothing to claim: the box has an owner, or `run` was given no --server");
    };
    let code = QrCode::new(link).context("the link is too long for a QR code")?;
    Ok(code.render().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build() + "\n")
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

/// The release that runs and how far the next one is; nothing where there are no slots.
fn update_line(firmware: &Value) -> Option<String> {
    (firmware["slot"] != "none").then_some(())?;
    let mut line = format!("system       {} ({})", text(&firmware["release"]), text(&firmware["slot"]));
    if let Some(update) = firmware.get("update").filter(|update| update.is_object()) {
        line.push_str(&format!(", update to {}: {}", text(&update["release"]), text(&update["state"])));
        if let Some(why) = update["text"].as_str() {
            line.push_str(&format!(" ({why})"));
        }
    }
    Some(line)
}

fn status_lines(answer: &Value) -> Vec<String> {
    let mut lines = vec![
        format!("device       {}", text(&answer["device"])),
        format!("claim code   {}", text(&answer["claim_code"])),
    ];
    if let Some(link) = answer["claim_link"].as_str() {
        lines.push(format!("claim it at  {link}"));
    }
    lines.extend([
        format!("repository   {}", text(&answer["repository"])),
        format!("disks        {} plugged in", text(&answer["disks"])),
        format!(
            "reports      {} wait for the control plane, which {}",
            text(&answer["outbox"]["waiting"]),
            if answer["connected"] == true { "is heard" } else { "is not heard" }
        ),
    ]);
    lines.extend(update_line(&answer["firmware"]));
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const LINK: &str = "https://saveos.example.org:8443/enrol?code=ABCD-EFGH-JKMN";

    /// What a camera sees of it: squares of four pixels a module.
    fn look(picture: &str) -> String {
        let rows: Vec<Vec<char>> = picture.lines().map(|line| line.chars().collect()).collect();
        let lit = |x: usize, y: usize| match rows.get(y / 2).and_then(|row| row.get(x)) {
            Some('█') => true,
            Some('▀') => y.is_multiple_of(2),
            Some('▄') => !y.is_multiple_of(2),
            _ => false,
        };
        let (width, height) = (rows[0].len() * 4, rows.len() * 8);
        let grey = |x: usize, y: usize| if lit(x / 4, y / 4) { 255 } else { 0 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, grey);
        image.detect_grids().first().expect("a QR code").decode().expect("it is read").1
    }

    #[test]
    fn a_camera_reads_the_link_off_a_dark_terminal() {
        assert_eq!(look(&claim_picture(&json!({ "claim_link": LINK })).expect("a picture")), LINK);
    }

    #[test]
    fn a_box_that_has_an_owner_draws_nothing() {
        assert!(claim_picture(&json!({ "claim_code": "ABCD" })).is_err());
        assert!(status_lines(&json!({ "claim_link": LINK }))[2].ends_with(LINK));
        assert!(status_lines(&json!({}))[2].starts_with("repository"));
    }
}
