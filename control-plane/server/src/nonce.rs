//! Nonces that boxes sign. Good for ten minutes and for one certificate, at whichever replica, also after a restart: they say
//! themselves until when they are good, and only those that brought a certificate are written down.
//!
//! ```text
//! until (s, 4 bytes) · random (4) · the first 8 bytes of HMAC-SHA-256 over both
//! ```
//!
//! Whoever guesses a tag, one in 2^64, has a nonce that a box must still sign. A proof that comes twice while the box waits for its
//! claim is told to wait twice.

use crate::authority::Authority;
use crate::store::{StoreError, Tx, first, values};
use aws_lc_rs::hmac;
use saveos_protocol::enrol::Refusal;
use saveos_protocol::hex::Nonce;
use saveos_protocol::time::Timestamp;
use std::time::Duration;

/// Long enough for a box on a slow link that was told to wait.
pub(crate) const LIFE: Duration = Duration::from_secs(600);
/// What is signed, and what signs it.
const SAID: usize = 8;

/// Makes nonces and knows its own.
pub(crate) struct Nonces(hmac::Key);

impl Nonces {
    /// Those of an installation: every process with its authority knows them.
    pub(crate) fn of(authority: &Authority) -> Nonces {
        Nonces(hmac::Key::new(hmac::HMAC_SHA256, &*authority.secret(b"saveos nonces")))
    }

    /// One more.
    pub(crate) fn give(&self, random: [u8; 4], now: Timestamp) -> (Nonce, Timestamp) {
        let seconds = u32::try_from(now.after(LIFE).as_millis() / 1000).unwrap_or(u32::MAX);
        let mut nonce = [0; 16];
        nonce[..4].copy_from_slice(&seconds.to_be_bytes());
        nonce[4..SAID].copy_from_slice(&random);
        let tag = hmac::sign(&self.0, &nonce[..SAID]);
        nonce[SAID..].copy_from_slice(&tag.as_ref()[..16 - SAID]);
        (Nonce(nonce), until(&nonce))
    }

    /// Whether it is one of ours and not too old; until when it is good.
    pub(crate) fn check(&self, nonce: Nonce, now: Timestamp) -> Result<Timestamp, Refusal> {
        let tag = hmac::sign(&self.0, &nonce.0[..SAID]);
        // Told apart in constant time, or its bytes could be found one by one.
        let is_ours = aws_lc_rs::constant_time::verify_slices_are_equal(&tag.as_ref()[..16 - SAID], &nonce.0[SAID..]);
        is_ours.map_err(|_| Refusal::NonceUnknown)?;
        let until = until(&nonce.0);
        if until > now { Ok(until) } else { Err(Refusal::NonceExpired) }
    }
}

fn until(nonce: &[u8; 16]) -> Timestamp {
    let seconds = u32::from_be_bytes([nonce[0], nonce[1], nonce[2], nonce[3]]);
    Timestamp::saturating(u64::from(seconds) * 1000)
}

/// Whether a certificate was given for it.
pub(crate) fn is_spent(tx: &mut dyn Tx, nonce: Nonce) -> Result<bool, StoreError> {
    Ok(first(tx, "SELECT 1 FROM nonce WHERE nonce = $1", &values![nonce.to_string()])?.is_some())
}

/// A certificate is given for it. Those that are too old to be good for anything are forgotten.
pub(crate) fn spend(tx: &mut dyn Tx, nonce: Nonce, until: Timestamp, now: Timestamp) -> Result<(), StoreError> {
    tx.execute("DELETE FROM nonce WHERE until_ms < $1", &values![now])?;
    tx.execute("INSERT INTO nonce (nonce, until_ms) VALUES ($1, $2)", &values![nonce.to_string(), until]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    fn nonces(key: &[u8]) -> Nonces {
        Nonces(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::saturating(1_800_000_000_000 + seconds * 1000)
    }

    #[test]
    fn every_process_of_an_installation_knows_a_nonce_and_nobody_else_makes_one() {
        let (nonce, until) = nonces(b"one").give([7; 4], at(0));
        assert_eq!(nonces(b"one").check(nonce, at(599)), Ok(until));
        assert_eq!(nonces(b"one").check(nonce, at(600)), Err(Refusal::NonceExpired));
        assert_eq!(nonces(b"two").check(nonce, at(0)), Err(Refusal::NonceUnknown));
        for byte in 0..16 {
            let mut other = nonce;
            other.0[byte] ^= 1;
            assert_eq!(nonces(b"one").check(other, at(0)), Err(Refusal::NonceUnknown), "byte {byte}");
        }
    }

    #[tokio::test]
    async fn a_nonce_is_good_for_one_certificate() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::for_test(folder.path()).await;
        let (nonce, until) = nonces(b"one").give([7; 4], at(0));
        let spent = || store.read(move |tx| is_spent(tx, nonce));
        assert!(!spent().await.expect("readable"));
        store.write(move |tx| spend(tx, nonce, until, at(0))).await.expect("room");
        assert!(spent().await.expect("readable"));
        let (other, later) = nonces(b"one").give([8; 4], at(700));
        store.write(move |tx| spend(tx, other, later, at(700))).await.expect("room");
        assert!(!spent().await.expect("readable"), "it is too old for anything, and takes no room");
    }
}
