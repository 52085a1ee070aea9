//! An order to root, from any bytes that a daemon in the wrong hands could leave: refused, or one that is written back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use saveos_bootctl::{Answer, Order};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(order) = serde_json::from_slice::<Order>(bytes) {
        let again = serde_json::to_vec(&order).expect("JSON");
        assert_eq!(serde_json::from_slice::<Order>(&again).expect("an order"), order);
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(bytes) {
        let again = serde_json::to_vec(&answer).expect("JSON");
        assert_eq!(serde_json::from_slice::<Answer>(&again).expect("an answer"), answer);
    }
});
