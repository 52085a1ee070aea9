#![no_main]
//! Hostile key slot files and recovery words.

use libfuzzer_sys::fuzz_target;
use saveos_engine::key::{Slot, words};

fuzz_target!(|input: &[u8]| {
    let _ = Slot::parse("0011223344556677", input);
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = words::parse(text);
    }
});
