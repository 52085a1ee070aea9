#![no_main]
//! Hostile partition_table bytes: no panic, no endless loop, no piece outside of the disk.

mod patched;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

static BASE: OnceLock<Vec<u8>> = OnceLock::new();

fuzz_target!(|input: &[u8]| patched::survey(include_bytes!("../bases/partition_table.img.zst"), &BASE, input));
