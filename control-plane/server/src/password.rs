//! Passwords: made, hashed with Argon2id, compared. What is stored tells its own cost, so that the cost may rise later.

use crate::clock;
use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

/// OWASP's least: 19 MiB, two passes, one lane. A login takes some 20 ms of one core.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A password that nobody has to think of: 20 characters of 5 bits.
pub(crate) fn make() -> Zeroizing<String> {
    Zeroizing::new(letters::<20>())
}

/// Characters of 5 bits that people do not mistake for each other, in groups of five.
pub(crate) fn letters<const N: usize>() -> String {
    const SYMBOLS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz123456789";
    let letters = clock::random::<N>();
    let groups =
        letters.chunks(5).map(|group| group.iter().map(|byte| char::from(SYMBOLS[usize::from(byte & 31)])).collect());
    groups.collect::<Vec<String>>().join("-")
}

/// 32 bytes out of a password.
pub(crate) fn stretch(password: &str, salt: &[u8], memory_kib: u32, passes: u32) -> Option<Zeroizing<[u8; 32]>> {
    let params = Params::new(memory_kib, passes, LANES, Some(32)).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_into(password.as_bytes(), salt, &mut *key).ok()?;
    Some(key)
}

/// What to store: `argon2id MEMORY_KIB PASSES SALT HASH`.
pub(crate) fn hash(password: &str) -> String {
    let salt = clock::random::<16>();
    let key = stretch(password, &salt, MEMORY_KIB, PASSES).expect("the cost is in Argon2's bounds");
    format!("argon2id {MEMORY_KIB} {PASSES} {} {}", hex(&salt), hex(&*key))
}

/// Whether it is the password. Takes as long for a stored text that is damaged as for another password.
pub(crate) fn fits(password: &str, stored: &str) -> bool {
    let parts: Vec<&str> = stored.split(' ').collect();
    let parsed = match parts.as_slice() {
        ["argon2id", memory, passes, salt, hash] => {
            memory.parse().ok().zip(passes.parse().ok()).zip(unhex(salt)).map(|parsed| (parsed, *hash))
        }
        _ => None,
    };
    let (((memory, passes), salt), expected) = parsed.unwrap_or((((MEMORY_KIB, PASSES), vec![0; 16]), ""));
    let key = stretch(password, &salt, memory, passes);
    key.is_some_and(|key| same(hex(&*key).as_bytes(), expected.as_bytes()))
}

/// Compares without telling how far two texts agree.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// And back.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_fits() {
        let password = make();
        let stored = hash(&password);
        assert!(fits(&password, &stored) && !fits("another", &stored));
        assert_ne!(hash(&password), stored, "the salt is new");
        for damaged in ["", "argon2id 1 2", "argon2id x 2 00 00", "plain"] {
            assert!(!fits(&password, damaged) && !fits("", damaged), "{damaged}");
        }
        assert_eq!(password.len(), 23);
    }
}
