//! How long a page of the device list takes with 100,000 boxes and five million facts. Asked for by
//! `cargo xtask bench fleet`.

#[path = "../tests/support/mod.rs"]
mod support;

use serde_json::json;
use std::time::{Duration, Instant};
use support::Server;

const BOXES: u64 = 100_000;
const FACTS: u64 = 5_000_000;
const PAGES: usize = 200;

fn main() {
    let Some(mut server) = Server::new() else { return };
    server.stop();
    fill(&server);
    let started = Instant::now();
    server.start();
    println!("started after {:.1} s: every box is judged once", started.elapsed().as_secs_f64());
    let admin = server.admin();
    // Behind the first looks for alerts, and while further ones run.
    std::thread::sleep(Duration::from_secs(15));
    let filters = "presence=offline&protected=false&name=box%207";
    for (name, query) in [
        ("no filter", "limit=100".to_owned()),
        ("3 filters, by name", format!("{filters}&sort=name")),
        ("3 filters, by silence", format!("{filters}&sort=heard")),
        ("3 filters, by protection", format!("{filters}&sort=protected")),
        ("3 filters that nothing passes", "presence=online&protected=true&name=nobody&sort=-name".to_owned()),
    ] {
        let (mut times, mut after, mut items) = (Vec::new(), String::new(), 0);
        while times.len() < PAGES {
            let path = format!("/api/v1/appliances?{query}{after}");
            let begun = Instant::now();
            let page = admin.get(&path);
            times.push(begun.elapsed());
            items += page["items"].as_array().expect("boxes").len();
            after =
                page["next"].as_str().map_or_else(String::new, |next| format!("&after={}", next.replace(' ', "%20")));
        }
        times.sort_unstable();
        let ms = |at: usize| times[at].as_secs_f64() * 1e3;
        println!(
            "{name}: p50 {:.1} ms, p99 {:.1} ms, {items} boxes in {PAGES} pages",
            ms(PAGES / 2),
            ms(PAGES * 99 / 100 - 1)
        );
    }
    let mut times: Vec<Duration> = (0..PAGES / 4)
        .map(|_| {
            let begun = Instant::now();
            admin.get("/api/v1/protection");
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let ms = |at: usize| times[at].as_secs_f64() * 1e3;
    println!("how all sites stand: p50 {:.1} ms, p99 {:.1} ms", ms(times.len() / 2), ms(times.len() * 99 / 100 - 1));
}

/// A tenth of the boxes is offline, a fifth not protected; every box has a disk, a recovery point, and 50 facts.
fn fill(server: &Server) {
    let db = rusqlite::Connection::open(server.data().join("saveos.sqlite")).expect("a database");
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    let text = |value: &serde_json::Value| value.to_string();
    let (desired, heartbeat) =
        (text(&json!({ "filler": "x".repeat(1500) })), text(&json!({ "filler": "x".repeat(300) })));
    let count = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)";
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        db.execute(sql, values).expect("room");
    };
    run("PRAGMA synchronous = OFF", &[]);
    run("BEGIN", &[]);
    run(&format!("INSERT INTO node (id, parent, path, kind, name, made_ms) {count}
        SELECT printf('s-%026d', i), ?2, '/' || ?2 || '/' || printf('s-%026d', i) || '/', 'site', 'Site ' || i, 1 FROM n"),
        &[&(BOXES / 10), &server.organisation]);
    run(&format!("INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial, until_ms, stream,
        session, heard_ms, heartbeat, desired, desired_ver, applied_ver, recoverable_ms) {count}
        SELECT printf('d-%026d', i), printf('s-%026d', i / 10), 'Box ' || i, i, '', '1.0', 1, i, 9999999999999, 's', 1,
        CASE WHEN i % 10 = 7 THEN 1 ELSE ?2 END, ?3, ?4, 1, 1, 1 FROM n"), &[&BOXES, &now, &heartbeat, &desired]);
    run(
        &format!(
            "INSERT INTO disk (device, id, identity, bus, size_bytes, seen_ms) {count}
        SELECT printf('d-%026d', i), printf('disk-%026d', i), '{{}}', 'usb', 1000000000, 1 FROM n"
        ),
        &[&BOXES],
    );
    run(&format!("INSERT INTO recovery_point (device, snapshot, disk, taken_ms, state, summary) {count}
        SELECT printf('d-%026d', i), 'p', printf('disk-%026d', i), CASE WHEN i % 5 = 2 THEN 1 ELSE ?2 END, 'complete', '{{}}' FROM n"),
        &[&BOXES, &now]);
    run(&format!("INSERT INTO fact (device, stream, n, seq, kind, at_ms, received_ms, json) {count}
        SELECT printf('d-%026d', i / 50), 's', i % 50 + 1, i + 1, 'job_ended', ?2, ?2, '{{\"filler\":\"0123456789012345678901234567890123456789\"}}' FROM n"),
        &[&FACTS, &now]);
    run("COMMIT", &[]);
    let size = db.query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| {
        row.get::<_, u64>(0)
    });
    println!("{BOXES} boxes, {FACTS} facts: {} MB", size.expect("a size") / 1_000_000);
}
