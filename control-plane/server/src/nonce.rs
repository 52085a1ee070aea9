//! Nonces that boxes sign: good once, for ten minutes, kept in memory. A server that restarts forgets them and boxes ask again.

use saveos_protocol::enrol::Refusal;
use saveos_protocol::hex::Nonce;
use saveos_protocol::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Long enough for a box on a slow link that was told to wait.
pub(crate) const LIFE: Duration = Duration::from_secs(600);
/// 10,000 boxes that wait for their claim; 100 bytes each.
const MOST: usize = 10_000;

/// The nonces that are out.
#[derive(Default)]
pub(crate) struct Nonces {
    until: HashMap<Nonce, Timestamp>,
    order: VecDeque<Nonce>,
}

impl Nonces {
    /// Gives one out. When too many are out, the oldest is void.
    pub(crate) fn give(&mut self, bytes: [u8; 16], now: Timestamp) -> (Nonce, Timestamp) {
        let (nonce, until) = (Nonce(bytes), now.after(LIFE));
        self.until.insert(nonce, until);
        self.order.push_back(nonce);
        while self.order.len() > MOST || self.order.front().is_some_and(|oldest| self.is_over(oldest, now)) {
            if let Some(oldest) = self.order.pop_front() {
                self.until.remove(&oldest);
            }
        }
        (nonce, until)
    }

    fn is_over(&self, nonce: &Nonce, now: Timestamp) -> bool {
        self.until.get(nonce).is_none_or(|until| *until <= now)
    }

    /// Uses one up, whatever comes of it.
    pub(crate) fn take(&mut self, nonce: Nonce, now: Timestamp) -> Result<(), Refusal> {
        match self.until.remove(&nonce) {
            Some(until) if until > now => Ok(()),
            Some(_) => Err(Refusal::NonceExpired),
            None => Err(Refusal::NonceUnknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_and_not_for_ever() {
        let (mut nonces, now) = (Nonces::default(), Timestamp::saturating(1));
        let (nonce, until) = nonces.give([1; 16], now);
        let (late, _) = nonces.give([2; 16], now);
        assert_eq!(nonces.take(nonce, now), Ok(()));
        assert_eq!(nonces.take(nonce, now), Err(Refusal::NonceUnknown));
        assert_eq!(nonces.take(late, until), Err(Refusal::NonceExpired));
    }

    #[test]
    fn who_asks_for_many_takes_no_memory() {
        let (mut nonces, now) = (Nonces::default(), Timestamp::saturating(1));
        let name = |number: usize| std::array::from_fn(|at| (number >> (8 * (at % 8))) as u8);
        for number in 0..MOST + 10 {
            nonces.give(name(number), now);
        }
        assert_eq!((nonces.until.len(), nonces.order.len()), (MOST, MOST));
        assert_eq!(nonces.take(Nonce(name(3)), now), Err(Refusal::NonceUnknown));
        nonces.give([9; 16], now.after(LIFE));
        assert_eq!(nonces.until.len(), 1, "what is over goes");
    }
}
