//! Bytes that are names, keys and proofs: lower-case hexadecimal in JSON, an array of the right length in Rust.

use std::fmt;
use std::str::FromStr;

/// A text is not so many bytes in lower-case hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {0} bytes in lower-case hexadecimal")]
pub struct NotHex(usize);

fn print(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse<const N: usize>(text: &str) -> Result<[u8; N], NotHex> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(NotHex(N)) };
    if pairs.len() != N {
        return Err(NotHex(N));
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low).ok_or(NotHex(N))?;
    }
    Ok(bytes)
}

macro_rules! bytes {
    ($($(#[$doc:meta])* $name:ident[$len:literal];)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                print(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotHex;
            fn from_str(text: &str) -> Result<Self, NotHex> {
                parse(text).map($name)
            }
        }

        crate::word::as_text!($name, format!("^[0-9a-f]{{{}}}$", 2 * $len), 2 * $len);
    )*};
}

bytes! {
    /// A snapshot: the hash of its record, as the engine prints it.
    SnapshotId[32];
    /// Who writes into a repository.
    WriterId[16];
    /// A repository.
    RepositoryId[16];
    /// A SHA-256.
    Digest[32];
    /// The public half of the command key, Ed25519.
    CommandKey[32];
    /// An Ed25519 signature by the command key.
    CommandSignature[64];
    /// The public half of an escrow key, X25519.
    EscrowKey[32];
    /// A device's public key: a P-256 point, not compressed (04, x, y), as it stands in its certificate.
    DeviceKey[65];
    /// An ECDSA P-256 signature by a device: r, s.
    DeviceSignature[64];
    /// Bytes that are used once.
    Nonce[16];
    /// One boot of one machine: the kernel's boot_id without its dashes.
    BootId[16];
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_lower_case_of_the_right_length_is_read() {
        assert_eq!("000102030405060708090a0b0c0d0e0f".parse(), Ok(Nonce(std::array::from_fn(|at| at as u8))));
        for wrong in ["", "00", "000102030405060708090A0B0C0D0E0F", "000102030405060708090a0b0c0d0e0g", "é"] {
            assert_eq!(wrong.parse::<Nonce>(), Err(NotHex(16)), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn printed_bytes_are_read_again(bytes: [u8; 32]) {
            prop_assert_eq!(Digest(bytes).to_string().parse(), Ok(Digest(bytes)));
        }
    }
}
