//! The claim code: a public key in sixteen characters that a person can read out over the phone.
//!
//! 70 bits of a hash of the key and 10 check bits, in Crockford's base 32, four groups of four. A typo is told at once
//! and does not cost one of the five tries. Finding another key with the same code takes 2^70 hashes.

use crate::hex::DeviceKey;
use aws_lc_rs::digest::{SHA256, digest};
use std::fmt;
use std::str::FromStr;

/// Crockford's: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters, dashes not counted: 14 of the hash, 2 to check.
const LENGTH: usize = 16;

/// The largest prime that two characters hold. One wrong character changes the remainder, because 32 and 31 are no
/// multiples of it; so do two exchanged ones, because the powers of 32 only repeat after 68 places.
const CHECK: u128 = 1021;

/// A claim code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimCode(u128);

impl ClaimCode {
    /// The code of a key.
    pub fn of(key: &DeviceKey) -> ClaimCode {
        let hash = digest(&SHA256, &[b"saveos/v1 claim\n".as_slice(), &key.0].concat());
        let head = hash.as_ref().first_chunk::<16>().expect("a SHA-256 has 32 bytes");
        ClaimCode::checked(u128::from_be_bytes(*head) >> (128 - 70))
    }

    /// Whether it is the code of this key.
    pub fn fits(&self, key: &DeviceKey) -> bool {
        *self == ClaimCode::of(key)
    }

    fn checked(value: u128) -> ClaimCode {
        ClaimCode((value << 10) | (value % CHECK))
    }
}

impl fmt::Display for ClaimCode {
    /// `7Q2M-X4KD-09ZT-B3RC`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for at in 0..LENGTH {
            if at > 0 && at % 4 == 0 {
                f.write_str("-")?;
            }
            let symbol = ALPHABET[(self.0 >> (5 * (LENGTH - 1 - at))) as usize & 31];
            fmt::Write::write_char(f, char::from(symbol))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClaimCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no claim code, as told to the person who typed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAClaimCode {
    /// Too few or too many characters.
    #[error("a claim code has {LENGTH} letters and digits, this has {0}")]
    Length(usize),
    /// A character that no code has.
    #[error("a claim code has no `{0}`")]
    Character(char),
    /// A typo.
    #[error("a typing mistake in the claim code")]
    Check,
}

impl FromStr for ClaimCode {
    type Err = NotAClaimCode;

    /// Takes what people type: small letters, spaces, dashes or none, O for 0, I and L for 1.
    fn from_str(text: &str) -> Result<ClaimCode, NotAClaimCode> {
        let (mut value, mut length) = (0u128, 0usize);
        for typed in text.chars().filter(|typed| !typed.is_whitespace() && !matches!(typed, '-' | '–' | '_' | '.')) {
            let symbol = match typed.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            };
            let digit = ALPHABET.iter().position(|known| char::from(*known) == symbol);
            let digit = digit.ok_or(NotAClaimCode::Character(typed))?;
            // Longer texts are counted to their end, their value does not matter.
            value = (value << 5) | digit as u128;
            length += 1;
        }
        if length != LENGTH {
            return Err(NotAClaimCode::Length(length));
        }
        if ClaimCode::checked(value >> 10) == ClaimCode(value) {
            Ok(ClaimCode(value))
        } else {
            Err(NotAClaimCode::Check)
        }
    }
}

crate::word::as_text!(ClaimCode, "^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}$", 64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(seed: u8) -> ClaimCode {
        ClaimCode::of(&DeviceKey([seed; 65]))
    }

    #[test]
    fn a_key_has_one_code_for_ever() {
        assert_eq!(code(4).to_string(), code(4).to_string());
        assert_eq!(code(4).to_string().len(), 19);
        assert!(code(4).fits(&DeviceKey([4; 65])) && !code(4).fits(&DeviceKey([5; 65])));
    }

    #[test]
    fn what_people_type_is_read() {
        let code = ClaimCode::checked(0x10);
        assert_eq!(code.to_string(), "0000-0000-0000-0G0G");
        for typed in ["0000000000000G0G", " oooo oooo-0000 0g0g ", "O0O0–0000–0000–0G0G", "0000_0000.0000-0G0g\n"]
        {
            assert_eq!(typed.parse(), Ok(code), "{typed}");
        }
        assert_eq!("I".repeat(16).parse::<ClaimCode>(), "l".repeat(16).parse::<ClaimCode>());
    }

    #[test]
    fn a_person_learns_what_is_wrong() {
        assert_eq!("0000".parse::<ClaimCode>(), Err(NotAClaimCode::Length(4)));
        assert_eq!("0".repeat(500).parse::<ClaimCode>(), Err(NotAClaimCode::Length(500)));
        assert_eq!("0000-0000-0000-00U0".parse::<ClaimCode>(), Err(NotAClaimCode::Character('U')));
        assert_eq!("0000-0000-0000-0001".parse::<ClaimCode>(), Err(NotAClaimCode::Check));
    }

    proptest! {
        #[test]
        fn one_wrong_or_two_exchanged_characters_are_noticed(seed: u8, at in 0..16usize, other in 0..16usize, to in 0..32usize) {
            let good: Vec<char> = code(seed).to_string().replace('-', "").chars().collect();
            let mut wrong = good.clone();
            wrong[at] = char::from(ALPHABET[to]);
            let mut exchanged = good.clone();
            exchanged.swap(at, other);
            let wrong_is_refused = wrong == good || wrong.iter().collect::<String>().parse::<ClaimCode>().is_err();
            prop_assert!(wrong_is_refused);
            // Exchanging a hash character with a check character is noticed with 1020 of 1021.
            if at < 14 && other < 14 && exchanged != good {
                prop_assert!(exchanged.iter().collect::<String>().parse::<ClaimCode>().is_err());
            }
        }

        #[test]
        fn a_printed_code_is_read_again(key in prop::collection::vec(any::<u8>(), 65)) {
            let code = ClaimCode::of(&DeviceKey(key.try_into().expect("65 bytes")));
            prop_assert_eq!(code.to_string().parse(), Ok(code));
            prop_assert_eq!(code.to_string().to_lowercase().parse(), Ok(code));
        }

        #[test]
        fn any_text_is_judged(text: String) {
            let _ = text.parse::<ClaimCode>();
        }
    }
}
