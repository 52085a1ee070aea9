//! The second factor of a person: six digits of half a minute (TOTP, RFC 6238), or one of ten codes that were written down.
//!
//! Nothing counts twice: the time step that was used last is kept, and so is that a code was used. Whoever looks over a shoulder
//! has seen something that is over.

use crate::clock;
use crate::password::{hex, letters};
use crate::store::{StoreError, Tx, first, values};
use aws_lc_rs::digest::{SHA256, digest};
use saveos_protocol::time::Timestamp;
use totp_rs::{Builder, Totp, TotpError};

/// Codes to write down.
const CODES: usize = 10;

/// What a try comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It fits, or the account has no second factor.
    Given,
    /// There is one, and nothing was given.
    Missing,
    /// It does not fit, or was used.
    Wrong,
}

/// A new one, as an app reads it out of a QR code: an `otpauth` URL.
pub(crate) fn make(email: &str, issuer: &str) -> Result<String, TotpError> {
    // A colon stands between the two.
    let (email, issuer) = (email.replace(':', " "), issuer.replace(':', " "));
    let secret = clock::random::<20>().to_vec();
    Builder::new().with_secret(secret).with_account_name(email).with_issuer(Some(issuer)).build()?.to_url()
}

/// The step of these digits: now, or half a minute off.
pub(crate) fn step(url: &str, digits: &str, now: Timestamp) -> Option<u64> {
    Totp::from_url(url).ok()?.check(digits.trim(), now.as_millis() / 1000)
}

/// Codes to write down: 50 bits each.
pub(crate) fn make_codes() -> Vec<String> {
    (0..CODES).map(|_| letters::<10>()).collect()
}

/// What is stored of a code.
pub(crate) fn hash(code: &str) -> String {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    hex(digest(&SHA256, plain.to_lowercase().as_bytes()).as_ref())
}

/// Whether somebody has what the account asks for; what fits is used up.
pub(crate) fn prove(tx: &mut dyn Tx, account: &str, given: Option<&str>, now: Timestamp) -> Result<Proof, StoreError> {
    let row = first(tx, "SELECT factor, factor_ms FROM account WHERE id = $1", &values![account])?;
    let row = row.ok_or(StoreError::Damaged("a session without an account"))?;
    let (Some(url), Some(_)) = (row.maybe_text(0)?, row.maybe_number(1)?) else { return Ok(Proof::Given) };
    let Some(given) = given else { return Ok(Proof::Missing) };
    let used = match step(url, given, now) {
        Some(step) => {
            let sql = "UPDATE account SET factor_step = $1 WHERE id = $2 AND COALESCE(factor_step, 0) < $1";
            tx.execute(sql, &values![step, account])?
        }
        None => {
            let sql = "UPDATE recovery_code SET used_ms = $1 WHERE account = $2 AND code = $3 AND used_ms IS NULL";
            tx.execute(sql, &values![now, account, hash(given)])?
        }
    };
    Ok(if used == 1 { Proof::Given } else { Proof::Wrong })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, the SHA-1 column, its last six digits.
    #[test]
    fn digits_are_those_of_the_standard() {
        let url = "otpauth://totp/Example:one?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Example";
        for (seconds, digits) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
        {
            let at = |offset: i64| Timestamp::saturating((seconds + offset) as u64 * 1000);
            assert_eq!(step(url, digits, at(0)), Some(seconds as u64 / 30));
            assert_eq!(step(url, digits, at(30)), Some(seconds as u64 / 30), "a clock that is half a minute off");
            assert_eq!(step(url, digits, at(90)), None);
            assert_eq!(step(url, "000000", at(0)), None);
        }
        for damaged in ["", "otpauth://totp/x", "https://example.org"] {
            assert_eq!(step(damaged, "287082", Timestamp::saturating(59_000)), None);
        }
    }

    #[test]
    fn what_is_made_can_be_read_and_differs_each_time() {
        let url = make("one:two@example.org", "A: company").expect("a URL");
        let totp = Totp::from_url(&url).expect("a URL");
        assert_eq!(totp.account_name(), "one two@example.org");
        assert!(totp.secret().as_ref().len() >= 20);
        let mut codes = [make_codes(), make_codes()].concat();
        assert_eq!(hash(&codes[0]), hash(&codes[0].to_uppercase().replace('-', " ")), "as people type it");
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), 2 * CODES);
    }
}
