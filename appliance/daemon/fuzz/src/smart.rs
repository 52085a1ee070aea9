//! What a disk says of its health, from any bytes that smartctl could print: judged, told within the bound of a fact, and no news
//! when it is said again. The daemon is a program and no library, so its file is taken as it lies.

#![no_main]

use libfuzzer_sys::fuzz_target;
use saveos_protocol::V1;
use saveos_protocol::fact::{Body, Fact, FactNumber};
use saveos_protocol::hex::BootId;
use saveos_protocol::id::{DiskId, StreamId};
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::Millis;

#[allow(dead_code, reason = "nobody asks a disk here")]
#[path = "../../src/smart.rs"]
mod judged;

fuzz_target!(|bytes: &[u8]| {
    let Ok(said) = serde_json::from_slice(bytes) else { return };
    let now = Timestamp::saturating(1_800_000_000_000);
    let smart = judged::judge(DiskId::from_parts(now, [1; 10]), &said);
    let told = judged::news(smart.clone(), None, now).expect("the first word is news");
    assert_eq!(judged::news(smart.clone(), Some(&told), now), None);
    let fact = Fact {
        v: V1,
        stream: StreamId::from_parts(now, [2; 10]),
        n: FactNumber::saturating(1),
        ts: now,
        boot: BootId([3; 16]),
        uptime: Millis::from(1),
        body: Body::Smart(smart),
    };
    if saveos_protocol::encode(&fact).is_err() {
        let folded = fact.fold().expect("its reasons are what makes it large");
        saveos_protocol::encode(&folded).expect("it fits");
    }
});
