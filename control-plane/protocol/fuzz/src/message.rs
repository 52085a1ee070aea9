//! Every message from any bytes: read or refused, and what was read says the same when it is written and read again. The golden
//! fixtures are the corpus.

#![no_main]

use libfuzzer_sys::fuzz_target;
use saveos_protocol::shadow::{Desired, weakens};
use saveos_protocol::{Message, ack, birth, command, control, decode, encode, enrol, fact, heartbeat, problem, shadow, sign};

fn again<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(message) = decode::<M>(bytes) else { return };
    // A kind or word of a newer release has no JSON here.
    let Ok(json) = encode(&message) else { return };
    assert_eq!(decode::<M>(&json).expect("what was written is read"), message);
}

fuzz_target!(|bytes: &[u8]| {
    again::<ack::Ack>(bytes);
    again::<birth::Presence>(bytes);
    again::<command::Command>(bytes);
    again::<command::Report>(bytes);
    again::<control::ControlState>(bytes);
    again::<control::Wake>(bytes);
    again::<enrol::Challenge>(bytes);
    again::<enrol::EnrolReply>(bytes);
    again::<enrol::Enrolment>(bytes);
    again::<enrol::EnrolRequest>(bytes);
    again::<enrol::RenewReply>(bytes);
    again::<enrol::RenewRequest>(bytes);
    again::<fact::Fact>(bytes);
    again::<heartbeat::Heartbeat>(bytes);
    again::<problem::Problem>(bytes);
    again::<shadow::Desired>(bytes);
    again::<shadow::Reported>(bytes);
    if let Ok(received) = sign::receive::<Desired>(bytes) {
        // Neither hangs on what they are given; a document does not weaken itself.
        let _ = (received.digest(), received.document().check());
        assert_eq!(weakens(received.document(), received.document()), []);
    }
});
