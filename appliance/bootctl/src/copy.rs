//! The bytes of one copy: U-Boot's environment with a checksum, as `env export -c` writes it and `env import -c` reads it.
//!
//! ```text
//! 0      4                                              16 KiB
//! | crc32 | NAME=value ␀ NAME=value ␀ … ␀ zeros        |        little-endian CRC-32 (IEEE) of all that follows it
//! ```
//!
//! | variable | value |
//! |---|---|
//! | `BOOT_ORDER` | `A B` or `B A` |
//! | `BOOT_A_LEFT`, `BOOT_B_LEFT` | 0 to 9 |
//! | `SAVEOS_TRIAL` | `A`, `B` or absent |
//! | `SAVEOS_GOOD` | `A` or `B`: confirmed last |
//! | `SAVEOS_SEQ` | hexadecimal, as U-Boot counts; the copy with the higher one holds |
//! | `SAVEOS_WIPE` | 0 to 3 |

use crate::state::{BootState, Slot, Wipe};
use std::collections::BTreeMap;

/// Size of a copy.
pub const COPY_SIZE: usize = 0x4000;

/// A state with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Higher is newer.
    pub sequence: u32,
    /// What it says.
    pub state: BootState,
}

/// Why a copy does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Its length is wrong.
    #[error("it is not {COPY_SIZE} bytes long")]
    Length,
    /// It was never written, or not to its end, or it rotted.
    #[error("its checksum is wrong")]
    Checksum,
    /// Somebody else wrote it.
    #[error("{0} has no meaning")]
    Value(&'static str),
}

impl Copy {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let BootState { first, left: [a, b], trial, confirmed, wipe } = self.state;
        let trial = trial.map_or(String::new(), |slot| format!("SAVEOS_TRIAL={slot}\0"));
        // Sorted by name, as U-Boot writes it.
        let text = format!(
            "BOOT_A_LEFT={a}\0BOOT_B_LEFT={b}\0BOOT_ORDER={first} {}\0SAVEOS_GOOD={confirmed}\0SAVEOS_SEQ={:x}\0{trial}SAVEOS_WIPE={}\0\0",
            first.other(),
            self.sequence,
            wipe.level(),
        );
        let mut bytes = vec![0; COPY_SIZE];
        bytes[4..4 + text.len()].copy_from_slice(text.as_bytes());
        let checksum = crc32fast::hash(&bytes[4..]).to_le_bytes();
        bytes[..4].copy_from_slice(&checksum);
        bytes
    }

    /// Reads bytes that may be anything.
    ///
    /// # Errors
    /// When they were not written whole, or hold what nobody writes.
    pub fn decode(bytes: &[u8]) -> Result<Copy, Damage> {
        if bytes.len() != COPY_SIZE {
            return Err(Damage::Length);
        }
        let (checksum, text) = bytes.split_at(4);
        if checksum != crc32fast::hash(text).to_le_bytes() {
            return Err(Damage::Checksum);
        }
        let entries = text.split(|byte| *byte == 0).take_while(|entry| !entry.is_empty());
        let values: BTreeMap<&str, &str> =
            entries.filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('=')).collect();
        let value = |name: &'static str| values.get(name).copied().ok_or(Damage::Value(name));
        let first = match value("BOOT_ORDER")? {
            "A B" => Slot::A,
            "B A" => Slot::B,
            _ => return Err(Damage::Value("BOOT_ORDER")),
        };
        let digit = |name| match value(name)?.as_bytes() {
            [digit @ b'0'..=b'9'] => Ok(digit - b'0'),
            _ => Err(Damage::Value(name)),
        };
        let slot = |name| value(name)?.parse().map_err(|()| Damage::Value(name));
        let trial = if values.contains_key("SAVEOS_TRIAL") { Some(slot("SAVEOS_TRIAL")?) } else { None };
        let level = digit("SAVEOS_WIPE")?;
        let wipe = Wipe::LEVELS.into_iter().find(|wipe| wipe.level() == level).ok_or(Damage::Value("SAVEOS_WIPE"))?;
        let sequence = u32::from_str_radix(value("SAVEOS_SEQ")?, 16).map_err(|_| Damage::Value("SAVEOS_SEQ"))?;
        let left = [digit("BOOT_A_LEFT")?, digit("BOOT_B_LEFT")?];
        Ok(Copy { sequence, state: BootState { first, left, trial, confirmed: slot("SAVEOS_GOOD")?, wipe } })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_state() -> impl Strategy<Value = BootState> {
        let slot = || prop_oneof![Just(Slot::A), Just(Slot::B)];
        let left = [0..10u8, 0..10u8];
        let wipe = prop::sample::select(&Wipe::LEVELS[..]);
        (slot(), left, prop::option::of(slot()), slot(), wipe)
            .prop_map(|(first, left, trial, confirmed, wipe)| BootState { first, left, trial, confirmed, wipe })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(state in any_state(), sequence: u32) {
            let copy = Copy { sequence, state };
            prop_assert_eq!(Copy::decode(&copy.encode()), Ok(copy));
        }

        #[test]
        fn every_changed_bit_is_noticed(state in any_state(), at in 0..COPY_SIZE, bit in 0..8u8) {
            let mut bytes = Copy { sequence: 7, state }.encode();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(Copy::decode(&bytes), Err(Damage::Checksum));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[A-Z_=0-9 \\x00]{0,200}") {
            let mut bytes = vec![0; COPY_SIZE];
            bytes[4..4 + text.len()].copy_from_slice(text.as_bytes());
            let checksum = crc32fast::hash(&bytes[4..]).to_le_bytes();
            bytes[..4].copy_from_slice(&checksum);
            let _ = Copy::decode(&bytes);
        }
    }

    #[test]
    fn an_empty_partition_holds_no_state() {
        assert_eq!(Copy::decode(&vec![0; COPY_SIZE]), Err(Damage::Checksum));
        assert_eq!(Copy::decode(&[]), Err(Damage::Length));
    }

    #[test]
    fn the_bytes_are_those_of_the_first_release() {
        let state = BootState { trial: Some(Slot::B), ..BootState::factory() };
        let bytes = Copy { sequence: 0x1f, state }.encode();
        let text = b"BOOT_A_LEFT=3\0BOOT_B_LEFT=0\0BOOT_ORDER=A B\0SAVEOS_GOOD=A\0SAVEOS_SEQ=1f\0SAVEOS_TRIAL=B\0SAVEOS_WIPE=0\0\0";
        assert_eq!(&bytes[4..4 + text.len()], text);
        assert!(bytes[4 + text.len()..].iter().all(|byte| *byte == 0));
    }
}
