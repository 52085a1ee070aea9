//! Whatever dies while boxes report: in the end the database holds what they told, each fact once, byte by byte.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use saveos_fleet_sim::Appliance;
use saveos_protocol::fact::{Body, StoreCapacity, StoreLevel};
use saveos_protocol::unit::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::Server;

fn something(size: u64) -> Body {
    let (size_bytes, free_bytes) = (Bytes::saturating(size), Bytes::saturating(size / 2));
    Body::StoreCapacity(StoreCapacity { disk: None, level: StoreLevel::Roomy, size_bytes, free_bytes })
}

/// Has every box tell `count` facts, one after the other, while the test goes on.
fn keep_telling(boxes: &[Arc<Appliance>], every: Duration, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (boxes, stop) = (boxes.to_vec(), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut size = 1;
        while !stop.load(Ordering::Relaxed) {
            for appliance in &boxes {
                appliance.tell(something(size));
                size += 1;
            }
            std::thread::sleep(every);
        }
    })
}

#[track_caller]
fn settle(server: &Server, boxes: &[Arc<Appliance>]) {
    server.until("everything is acknowledged", || {
        boxes.iter().all(|appliance| appliance.level().waiting == 0).then_some(())
    });
}

#[test]
fn server_and_broker_are_killed_while_boxes_report() {
    let Some(mut server) = Server::new() else { return };
    let boxes = server.fleet(6);
    let stop = Arc::new(AtomicBool::new(false));
    let telling = keep_telling(&boxes, Duration::from_millis(4), &stop);
    // Pauses of different lengths, so that each kill finds another moment of a batch.
    for (round, pause) in [310, 170, 530, 90, 410, 230].into_iter().enumerate() {
        std::thread::sleep(Duration::from_millis(pause));
        match round % 3 {
            0 => {
                server.kill();
                server.start();
            }
            1 => server.kill_broker(),
            _ => {
                server.kill();
                server.wipe_broker();
                server.start();
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    telling.join().expect("it told");
    settle(&server, &boxes);
    server.compare(&boxes);
    let told: usize = boxes.iter().map(|appliance| appliance.ledger().len()).sum();
    assert!(told > 600, "only {told} facts: the test would show little");
}

#[test]
fn a_database_from_an_older_backup_gets_back_what_it_misses() {
    let Some(mut server) = Server::in_a_file() else { return };
    let boxes = server.fleet(3);
    let tell =
        |count: u64| (0..count).for_each(|size| boxes.iter().for_each(|appliance| appliance.tell(something(size))));
    tell(20);
    settle(&server, &boxes);
    server.stop();
    // A database is its file and its log together; a process that ends leaves both.
    let parts = ["", "-wal", "-shm"].map(|suffix| server.data().join(format!("saveos.sqlite{suffix}")));
    let backup = [&parts[0], &parts[1]].map(|part| std::fs::read(part).ok());
    server.start();
    tell(30);
    settle(&server, &boxes);
    server.compare(&boxes);
    server.stop();
    for part in &parts {
        let _ = std::fs::remove_file(part);
    }
    for (part, bytes) in parts.iter().zip(backup) {
        let Some(bytes) = bytes else { continue };
        std::fs::File::create(part).and_then(|mut file| std::io::Write::write_all(&mut file, &bytes)).expect("room");
    }
    server.start();
    assert!(server.facts().len() < boxes.len() * 51, "the backup is older");
    // A box that has nothing new to say is asked, too.
    boxes[0].tell(something(1));
    server.until("what is missing comes", || (server.facts().len() == boxes.len() * 51 + 1).then_some(()));
    settle(&server, &boxes);
    server.compare(&boxes);
}

#[test]
fn what_the_broker_throws_away_for_a_slow_server_is_told_again() {
    let Some(mut server) = Server::new() else { return };
    server.stop();
    server.configure(|config| config["broker_queue"] = 500.into());
    server.start();
    let boxes = server.fleet(4);
    boxes.iter().for_each(|appliance| appliance.tell(something(1)));
    settle(&server, &boxes);
    // Its session stays and takes nothing: 2,000 messages are on their way, 500 wait, and the broker still says that it has them.
    let process = Pid::from_raw(server.id().cast_signed()).expect("it runs");
    kill_process(process, Signal::STOP).expect("it runs");
    for size in 0..1500 {
        boxes.iter().for_each(|appliance| appliance.tell(something(size)));
    }
    let all_gone = || boxes.iter().all(|appliance| appliance.sent() == appliance.level().last);
    server.until("the boxes have given all away", || all_gone().then_some(()));
    kill_process(process, Signal::CONT).expect("it runs");
    server.until("the server says so", || server.log().contains("the broker threw messages away").then_some(()));
    settle(&server, &boxes);
    server.compare(&boxes);
}

#[test]
fn a_lost_outbox_begins_a_new_stream_and_harms_no_old_one() {
    let Some(server) = Server::new() else { return };
    let boxes = server.fleet(2);
    for _ in 0..3 {
        (0..10).for_each(|size| boxes.iter().for_each(|appliance| appliance.tell(something(size))));
        settle(&server, &boxes);
        boxes[0].lose_outbox();
    }
    boxes[0].tell(something(7));
    settle(&server, &boxes);
    server.compare(&boxes);
    let streams: std::collections::BTreeSet<_> = boxes[0].ledger().iter().map(|entry| entry.stream).collect();
    assert_eq!(streams.len(), 4);
}
