//! The disk of the control plane fills up, and the network between it and the boxes breaks or goes deaf: what the boxes told is
//! there in the end, each fact once, and nothing was acknowledged that is not on the disk.

mod support;

use saveos_fleet_sim::Appliance;
use saveos_protocol::fact::{Body, StoreCapacity, StoreLevel};
use saveos_protocol::unit::Bytes;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::Server;
use support::line::{Line, State};

fn tell(boxes: &[Arc<Appliance>], count: u64) {
    for size in 0..count {
        let (size_bytes, free_bytes) = (Bytes::saturating(size), Bytes::ZERO);
        let body = StoreCapacity { disk: None, level: StoreLevel::Roomy, size_bytes, free_bytes };
        boxes.iter().for_each(|appliance| appliance.tell(Body::StoreCapacity(body.clone())));
    }
}

fn settle(server: &Server, boxes: &[Arc<Appliance>]) {
    server.until("everything is acknowledged", || {
        boxes.iter().all(|appliance| appliance.level().waiting == 0).then_some(())
    });
}

/// Until nothing more fits.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("a file");
    let mut len = 1 << 20;
    let noise = vec![0xa5; len];
    while len > 0 {
        if file.write_all(&noise[..len]).is_err() {
            len /= 2;
        }
    }
}

#[test]
fn a_full_disk_stops_the_ingest_and_loses_nothing() {
    let Some(server) = Server::on_a_small_disk(64) else { return };
    let boxes = server.fleet(4);
    tell(&boxes, 25);
    settle(&server, &boxes);
    server.compare(&boxes);

    let filler = server.data().join("filler");
    fill(&filler);
    tell(&boxes, 400);
    server
        .until("the ingest says that it cannot", || server.log().contains("a batch could not be stored").then_some(()));
    std::thread::sleep(Duration::from_secs(3));
    let waiting: u64 = boxes.iter().map(|appliance| appliance.level().waiting).sum();
    let told: usize = boxes.iter().map(|appliance| appliance.ledger().len()).sum();
    assert_eq!(server.facts().len() + usize::try_from(waiting).expect("few"), told, "acknowledged is what is stored");
    assert!(waiting > 0, "nothing was in the way");

    std::fs::remove_file(&filler).expect("it is there");
    settle(&server, &boxes);
    server.compare(&boxes);
}

#[test]
fn a_line_that_breaks_or_goes_deaf_costs_time_and_nothing_else() {
    let Some(server) = Server::new() else { return };
    let line = Line::to(server.mqtt);
    let boxes = server.fleet_behind(5, Some(line.port));
    tell(&boxes, 5);
    settle(&server, &boxes);
    for (state, pause) in [(State::Cut, 700), (State::Deaf, 4000), (State::Cut, 100), (State::Deaf, 300)] {
        tell(&boxes, 40);
        line.be(state);
        tell(&boxes, 40);
        std::thread::sleep(Duration::from_millis(pause));
        let waiting = boxes.iter().filter(|appliance| appliance.level().waiting > 0).count();
        assert!(waiting > 0, "{state:?}: the line let something through");
        line.be(State::Up);
        tell(&boxes, 10);
    }
    settle(&server, &boxes);
    server.compare(&boxes);
}
