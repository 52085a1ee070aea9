#![no_main]
//! Hostile segments and segment lists. What is accepted is encoded to a segment that decodes to the same.

use libfuzzer_sys::fuzz_target;
use saveos_engine::segment::{Builder, decode};

fuzz_target!(|input: &[u8]| {
    let _ = saveos_engine::snapshot::decode_list(input);
    if let Ok(entries) = decode(input) {
        let mut builder = Builder::new(0);
        entries.iter().for_each(|entry| builder.push(entry));
        assert_eq!(decode(&builder.finish()), Ok(entries));
    }
});
