#![no_main]
//! Hostile pack trailers and headers.

use libfuzzer_sys::fuzz_target;
use saveos_engine::pack::format::{Head, Row, Trailer};

fuzz_target!(|input: &[u8]| {
    let _ = Head::parse_header(input);
    let _ = Row::at(input, 1);
    if let Ok(trailer) = Trailer::find(input, input.len() as u64) {
        // What was accepted is written the same way again.
        let again = trailer.bytes();
        assert_eq!(Trailer::find(&[vec![0; (trailer.body_len + u64::from(trailer.table_len)).min(1 << 20) as usize], again].concat(), input.len() as u64), Ok(trailer));
    }
});
