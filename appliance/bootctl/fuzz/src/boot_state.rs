//! One copy of the boot state, from any text behind a checksum that is right: refused, or read as what is written back. And what is
//! read always names a slot to start, or the rescue.

#![no_main]

use libfuzzer_sys::fuzz_target;
use saveos_bootctl::{COPY_SIZE, Copy};

fuzz_target!(|text: &[u8]| {
    // As it comes: nobody wrote a checksum.
    let _ = Copy::decode(text);
    let mut bytes = vec![0; COPY_SIZE];
    let len = text.len().min(COPY_SIZE - 4);
    bytes[4..4 + len].copy_from_slice(&text[..len]);
    let checksum = crc32fast::hash(&bytes[4..]).to_le_bytes();
    bytes[..4].copy_from_slice(&checksum);
    let Ok(copy) = Copy::decode(&bytes) else { return };
    assert_eq!(Copy::decode(&copy.encode()), Ok(copy));
    let _ = (copy.state.boots(), copy.state.primary());
    let mut state = copy.state;
    state.revive();
    let _ = state.boots();
});
