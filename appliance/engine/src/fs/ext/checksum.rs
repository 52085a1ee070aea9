//! The three checksums of ext: crc32c (metadata_csum, journal v2 and v3), crc16 (gdt_csum), crc32 (journal v1).
//!
//! All of them are raw: the seed goes in and the register comes out uninverted, as the kernel chains them.

/// crc32c over `bytes`, going on from `seed`.
pub(super) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !::crc32c::crc32c_append(!seed, bytes)
}

/// The seed of every first crc32c.
pub(super) const START: u32 = u32::MAX;

/// The reflected CRC-16 of group descriptors. Bit by bit: a descriptor is at most 64 bytes.
pub(super) fn crc16(seed: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}

/// The unreflected CRC-32 that `journal_checksum` of old kernels puts into commit blocks.
pub(super) fn crc32_be(seed: u32, bytes: &[u8]) -> u32 {
    // A byte cannot index past 256 entries.
    bytes.iter().fold(seed, |crc, byte| (crc << 8) ^ BE_TABLE[usize::from((crc >> 24) as u8 ^ byte)])
}

const BE_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 { (crc << 1) ^ 0x04C1_1DB7 } else { crc << 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_the_catalogue_hold() {
        assert_eq!(!crc32c(START, b"123456789"), 0xE306_9283);
        assert_eq!(crc16(0xFFFF, b"123456789"), 0x4B37);
        assert_eq!(crc32_be(u32::MAX, b"123456789"), 0x0376_E6E7);
    }

    #[test]
    fn chaining_equals_one_pass() {
        assert_eq!(crc32c(crc32c(7, b"1234"), b"56789"), crc32c(7, b"123456789"));
    }
}
