//! Only the box with the key begins a stream, enrols and renews; a recorded proof proves nothing else.

#[path = "support/support.rs"]
mod support;

use saveos_protocol::birth::{Leaving, Presence};
use saveos_protocol::device_key::{BadSignature, public_half};
use saveos_protocol::enrol::{ClaimCode, Proof};
use saveos_protocol::fact::StreamBirth;
use saveos_protocol::hex::{DeviceKey, Nonce};
use saveos_protocol::id::{DeviceId, StreamId};
use saveos_protocol::shadow::{Order, Version};
use saveos_protocol::text::Pem;
use saveos_protocol::time::Timestamp;
use saveos_protocol::unit::{Count, FactNumber};
use support::{device, device_key, device_pair, now, presence, random, stream};

fn other_device() -> DeviceId {
    DeviceId::from_parts(now(), [99; 10])
}

fn csr(body: &str) -> Pem {
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n").parse().expect("PEM")
}

#[test]
fn a_stream_is_begun_by_its_device_alone() {
    let birth = StreamBirth::sign(stream(), now(), None, device(), &device_pair(), &random()).expect("it signs");
    assert_eq!(public_half(&device_pair()), Some(device_key()));
    assert_eq!(birth.verify(device(), &device_key()), Ok(()));
    assert_eq!(birth.verify(other_device(), &device_key()), Err(BadSignature));
    assert_eq!(birth.verify(device(), &DeviceKey([4; 65])), Err(BadSignature), "a point that is not on the curve");
    let other = StreamId::from_parts(now(), [77; 10]);
    for changed in [
        StreamBirth { stream: other, ..birth.clone() },
        StreamBirth { born: Timestamp::saturating(1), ..birth.clone() },
        StreamBirth { previous: Some(other), ..birth.clone() },
    ] {
        assert_eq!(changed.verify(device(), &device_key()), Err(BadSignature));
    }
}

#[test]
fn the_proofs_of_version_1_still_verify() {
    let Presence::Here(birth) = presence() else { panic!("a birth") };
    assert_eq!(birth.stream.verify(device(), &device_key()), Ok(()));
    let request = support::all().into_iter().find(|sample| sample.name == "enrol-request").expect("a sample");
    let request: saveos_protocol::enrol::EnrolRequest = serde_json::from_value(request.json).expect("a request");
    assert_eq!(request.proof.verify(None, &request.csr, &request.key), Ok(()));
    assert_eq!(ClaimCode::of(&request.key).to_string(), "EPZH-TKD9-JYER-XE45");
}

#[test]
fn a_proof_is_for_one_nonce_one_request_and_one_purpose() {
    let (key, nonce) = (device_key(), Nonce([3; 16]));
    let proof = Proof::sign(nonce, None, &csr("AAAA"), &device_pair(), &random()).expect("it signs");
    assert_eq!(proof.verify(None, &csr("AAAA"), &key), Ok(()));
    assert_eq!(proof.verify(None, &csr("AAAB"), &key), Err(BadSignature));
    assert_eq!(proof.verify(Some(device()), &csr("AAAA"), &key), Err(BadSignature));
    let replayed = Proof { nonce: Nonce([4; 16]), ..proof };
    assert_eq!(replayed.verify(None, &csr("AAAA"), &key), Err(BadSignature));
    let renewal = Proof::sign(nonce, Some(device()), &csr("AAAA"), &device_pair(), &random()).expect("it signs");
    assert_eq!(renewal.verify(Some(device()), &csr("AAAA"), &key), Ok(()));
    assert_eq!(renewal.verify(Some(other_device()), &csr("AAAA"), &key), Err(BadSignature));
}

#[test]
fn the_will_of_an_older_session_ends_nothing() {
    let Presence::Here(birth) = presence() else { panic!("a birth") };
    let Presence::Gone(will) = birth.will() else { panic!("a will") };
    assert_eq!(will.why, Leaving::Lost);
    assert!(will.ends(&birth));
    let mut next = birth.clone();
    next.session = Count::from(18);
    assert!(!will.ends(&next));
    next.stream.stream = StreamId::from_parts(now(), [78; 10]);
    next.session = Count::from(1);
    assert!(!will.ends(&next), "a new stream counts its sessions from the start");
}

#[test]
fn a_reported_document_is_ordered_inside_its_stream_only() {
    let version = |n: u32| Version { stream: stream(), n: FactNumber::from(n) };
    assert_eq!(version(5).order(&version(6)), Order::Newer);
    assert_eq!(version(5).order(&version(5)), Order::Same);
    assert_eq!(version(5).order(&version(4)), Order::Older);
    let other = Version { stream: StreamId::from_parts(now(), [79; 10]), n: FactNumber::from(9) };
    assert_eq!(version(5).order(&other), Order::OtherStream);
}
