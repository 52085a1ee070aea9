//! Holds the rules of Prometheus and what dashboards ask of it to what promtool knows, and runs the tests of the rules.

use crate::shell::{output, root, run};
use anyhow::Context;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) fn check() -> anyhow::Result<()> {
    let folder = root().join("control-plane/deploy/prometheus");
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let promtool = out_of_debian("promtool", "prometheus")?.to_string_lossy().into_owned();
    run(&promtool, &["check", "rules", &file("rules.yml")])?;
    run(&promtool, &["check", "config", "--syntax-only", &file("prometheus.yml")])?;
    run(&promtool, &["test", "rules", &file("rules.test.yml")])?;
    let asked = root().join("target/dashboards.rules.json");
    std::fs::File::create(&asked)?.write_all(as_rules(&expressions()?).to_string().as_bytes())?;
    run(&promtool, &["check", "rules", "--lint=none", &asked.to_string_lossy()])
}

/// What the panels of all dashboards ask.
fn expressions() -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(root().join("control-plane/deploy/grafana/dashboards"))? {
        let board: Value = serde_json::from_slice(&std::fs::read(entry?.path())?)?;
        let panels = board["panels"].as_array().into_iter().flatten();
        let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        all.extend(targets.filter_map(|target| target["expr"].as_str()).map(str::to_owned));
    }
    anyhow::ensure!(all.len() > 20, "dashboards ask for next to nothing");
    Ok(all)
}

/// JSON is YAML, and what is asked can be a rule that records.
fn as_rules(expressions: &[String]) -> Value {
    let rule = |(at, expr): (usize, &String)| json!({ "record": format!("panel:{at}"), "expr": expr });
    let rules: Vec<Value> = expressions.iter().enumerate().map(rule).collect();
    json!({ "groups": [{ "name": "panels", "rules": rules }] })
}

/// On the path, or out of Debian's package: that is unpacked and not installed, since it would start a server.
pub(super) fn out_of_debian(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    let folder = root().join("target/debian").join(package);
    let path = folder.join("usr/bin").join(program);
    if crate::shell::has(program) {
        return Ok(program.into());
    }
    if !path.exists() {
        std::fs::create_dir_all(&folder)?;
        println!("fetching {program}");
        download(&folder, package)?;
        let packages = std::fs::read_dir(&folder)?.filter_map(|entry| Some(entry.ok()?.path()));
        let fetched = packages.filter(|path| path.extension().is_some_and(|end| end == "deb")).last();
        let fetched = fetched.context("apt-get fetched no package")?;
        output("dpkg-deb", &["--extract", &fetched.to_string_lossy(), &folder.to_string_lossy()])?;
    }
    Ok(path)
}

fn download(folder: &Path, package: &str) -> anyhow::Result<()> {
    let fetch = || Command::new("apt-get").args(["download", "-q", package]).current_dir(folder).status();
    // The lists of packages may be old, or none.
    if !fetch()?.success() {
        run("apt-get", &["-q", "update"])?;
        anyhow::ensure!(fetch()?.success(), "apt-get cannot fetch {package}");
    }
    Ok(())
}

/// The guide promises that an incident is known within five minutes: scraped, judged, held for long enough, told.
#[test]
fn what_is_critical_is_told_within_five_minutes() {
    let read = |path: &str| {
        let text = std::fs::read_to_string(root().join("control-plane/deploy").join(path)).expect("a file");
        serde_norway::from_str::<Value>(&text).expect("YAML")
    };
    let seconds = |value: &Value| {
        let text = value.as_str().unwrap_or("0s");
        let (number, unit) = text.split_at(text.len() - 1);
        number.parse::<u32>().expect("a number") * if unit == "m" { 60 } else { 1 }
    };
    let (config, alerts) = (read("compose/prometheus.yml"), read("compose/alertmanager.yml"));
    let around = seconds(&config["global"]["scrape_interval"])
        + seconds(&config["global"]["evaluation_interval"])
        + seconds(&alerts["route"]["group_wait"]);
    let rules = read("prometheus/rules.yml");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules").clone();
    // A relay of mail may be away for a quarter of an hour, and everything else is told meanwhile on other ways.
    let critical =
        rules.iter().filter(|rule| rule["labels"]["severity"] == "critical" && rule["alert"] != "SaveosNobodyIsTold");
    let mut count = 0;
    for rule in critical {
        count += 1;
        assert!(seconds(&rule["for"]) + around < 300, "{rule}");
    }
    assert!(count >= 4, "{count}");
}

/// Whoever is woken by an alert finds it in the runbook.
#[test]
fn every_alert_has_a_section_and_every_section_its_alert() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("a file");
    let (rules, book) = (read("control-plane/deploy/prometheus/rules.yml"), read("docs/runbooks/incident.md"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let sections: Vec<&str> = book.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts, sections);
    assert!(alerts.len() > 10);
}
