//! Topics and claim codes from any text: what parses prints as it came, or for a code in its one spelling.

#![no_main]

use libfuzzer_sys::fuzz_target;
use saveos_protocol::Topic;
use saveos_protocol::enrol::ClaimCode;

fuzz_target!(|text: &str| {
    if let Ok(topic) = text.parse::<Topic>() {
        assert_eq!(topic.to_string(), text);
    }
    if let Ok(code) = text.parse::<ClaimCode>() {
        assert_eq!(code.to_string().parse(), Ok(code));
    }
});
