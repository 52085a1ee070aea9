//! When a box whose session ended tries again: a fleet that lost its broker must not come back in one moment, and must be back soon.
//!
//! Exponential backoff with full jitter: a random part of a bound that doubles
//! (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).

use std::time::Duration;

/// The bound doubles up to this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A session that lasted so long began well: the next one is tried soon.
pub const GOOD: Duration = Duration::from_secs(30);

/// A random part of 1, 2, 4 … seconds, after so many sessions that did not begin well.
pub fn wait_after(tries: u32, [draw]: [u8; 1]) -> Duration {
    let most = Duration::from_secs(1).saturating_mul(1 << tries.min(6)).min(LONGEST_WAIT);
    most.mul_f64((f64::from(draw) + 1.0) / 256.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_spread_over_all_of_it() {
        assert!(wait_after(0, [0]) < Duration::from_millis(10));
        assert_eq!(wait_after(0, [255]), Duration::from_secs(1));
        assert_eq!(wait_after(4, [127]), Duration::from_secs(8));
        assert_eq!(wait_after(u32::MAX, [255]), LONGEST_WAIT);
    }
}
