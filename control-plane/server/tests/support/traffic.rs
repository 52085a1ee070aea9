//! Boxes that report and a person who looks, for as long as something is done to the control plane.

use saveos_fleet_sim::{Appliance, Place};
use saveos_protocol::fact::{Body, StoreCapacity, StoreLevel};
use saveos_protocol::unit::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A fact that can be told from others.
pub(crate) fn something(size: u64) -> Body {
    let (size_bytes, free_bytes) = (Bytes::saturating(size), Bytes::saturating(size / 2));
    Body::StoreCapacity(StoreCapacity { disk: None, level: StoreLevel::Roomy, size_bytes, free_bytes })
}

/// Boxes that tell, and a person who looks, until told to stop. What the person was answered, but for connections that broke.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<(u16, String)>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Traffic {
    pub(crate) fn begin(boxes: &[Arc<Appliance>], place: Place, token: String) -> Traffic {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (boxes, end) = (boxes.to_vec(), Arc::clone(&stop));
        // 300 facts a second, however many boxes there are.
        let tell = move || {
            for (size, appliance) in (1..).zip(boxes.iter().cycle()) {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                appliance.tell(something(size));
                if size % 6 == 0 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        };
        let (said, end) = (Arc::clone(&answers), Arc::clone(&stop));
        let look = move || {
            let bearer = format!("Bearer {token}");
            while !end.load(Ordering::Relaxed) {
                let asked = place.request("GET", "/api/v1/appliances", &[("authorization", &bearer)], b"");
                if let Ok((status, body)) = asked {
                    said.lock().expect("no panic").push((status, String::from_utf8_lossy(&body).into_owned()));
                }
                std::thread::sleep(Duration::from_millis(30));
            }
        };
        Traffic { stop, answers, threads: vec![std::thread::spawn(tell), std::thread::spawn(look)] }
    }

    pub(crate) fn end(self) -> Vec<(u16, String)> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        std::mem::take(&mut *self.answers.lock().expect("no panic"))
    }
}
