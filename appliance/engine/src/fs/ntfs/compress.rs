//! LZNT1, the compression of NTFS: expands one compression unit into a buffer of its size.
//!
//! Written for hostile input: every copy is checked against what was produced in its own chunk.

use super::record::Flaw;
use crate::le::u16_at;

/// Back references never leave the chunk, and their split between distance and length depends on the place in it.
const CHUNK: usize = 4096;

/// Expands `input`; what it does not reach of `out` becomes zeros.
pub(super) fn expand(input: &[u8], out: &mut [u8]) -> Result<(), Flaw> {
    let mut rest = input;
    let mut chunks = out.chunks_mut(CHUNK);
    for chunk in chunks.by_ref() {
        // A header of zero, or no more input, ends the unit.
        let header = u16_at(rest, 0).unwrap_or(0);
        if header == 0 {
            chunk.fill(0);
            break;
        }
        let len = usize::from(header & 0x0FFF) + 1;
        let body = rest.get(2..2 + len).ok_or("a compressed chunk is cut off")?;
        rest = rest.get(2 + len..).unwrap_or_default();
        let made = if header & 0x8000 != 0 { expand_chunk(body, chunk)? } else { copy_chunk(body, chunk) };
        chunk.get_mut(made..).unwrap_or_default().fill(0);
    }
    chunks.for_each(|chunk| chunk.fill(0));
    Ok(())
}

fn copy_chunk(body: &[u8], chunk: &mut [u8]) -> usize {
    let len = body.len().min(chunk.len());
    chunk.iter_mut().zip(body).for_each(|(to, from)| *to = *from);
    len
}

/// Returns how many bytes were made.
fn expand_chunk(body: &[u8], chunk: &mut [u8]) -> Result<usize, Flaw> {
    let mut from = 0;
    let mut made = 0;
    while let Some(&flags) = body.get(from) {
        from += 1;
        for bit in 0..8 {
            if from >= body.len() {
                return Ok(made);
            }
            if flags & (1 << bit) == 0 {
                let byte = body.get(from).copied().unwrap_or_default();
                *chunk.get_mut(made).ok_or("a compressed chunk is longer than a chunk")? = byte;
                from += 1;
                made += 1;
                continue;
            }
            let token = u16_at(body, from).ok_or("a compressed chunk is cut off")?;
            from += 2;
            let (distance, len) = split(token, made);
            if distance > made || made + len > chunk.len() {
                return Err("a compressed chunk refers outside itself");
            }
            // Source and target may overlap: a run of one byte is a copy from one byte back.
            for at in made..made + len {
                let byte = chunk.get(at - distance).copied().unwrap_or_default();
                *chunk.get_mut(at).ok_or("a compressed chunk is longer than a chunk")? = byte;
            }
            made += len;
        }
    }
    Ok(made)
}

/// Of the 16 bits, the distance takes as many as the place needs, at least four.
fn split(token: u16, made: usize) -> (usize, usize) {
    let mut length_bits = 12;
    let mut reach = made.saturating_sub(1);
    while reach >= 16 && length_bits > 4 {
        length_bits -= 1;
        reach >>= 1;
    }
    let distance = usize::from(token >> length_bits) + 1;
    let length = usize::from(token & ((1 << length_bits) - 1)) + 3;
    (distance, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(input: &[u8], len: usize) -> Result<Vec<u8>, Flaw> {
        let mut out = vec![0xEE; len];
        expand(input, &mut out).map(|()| out)
    }

    #[test]
    fn the_documented_example_expands() {
        // MS-XCA 3.1.
        let input = [
            0x38, 0xB0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xA2, 0x47, 0x01, 0xA0, 0x45,
            0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xC0, 0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xB4,
            0x02, 0x4A, 0x44, 0xEF, 0x03, 0x58, 0x02, 0x8C, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xBE, 0x00, 0x9E, 0x00,
            0x04, 0x01, 0x18, 0x90, 0x00,
        ];
        let text = expanded(&input, 4096).unwrap();
        let text: Vec<u8> = text.into_iter().take_while(|byte| *byte != 0).collect();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A \
             F# F# G A A G F# E D D E F# E D D"
        );
    }

    #[test]
    fn a_chunk_stored_as_it_is_and_a_short_unit_end_in_zeros() {
        let mut input = vec![0x02, 0x30];
        input.extend_from_slice(b"abc");
        let mut expected = b"abc".to_vec();
        expected.resize(8192, 0);
        assert_eq!(expanded(&input, 8192).unwrap(), expected);
        assert_eq!(expanded(&[], 100).unwrap(), vec![0; 100]);
    }

    #[test]
    fn references_outside_the_chunk_are_refused() {
        assert!(expanded(&[0x02, 0xB0, 0x01, 0x00, 0x00], 4096).is_err());
        assert!(expanded(&[0x03, 0xB0, 0x02, b'a', 0x00, 0x10], 4096).is_err());
        assert!(expanded(&[0x09, 0xB0, 0x02, b'a', 0xFF, 0x0F], 4096).is_err());
    }

    #[test]
    fn no_input_makes_it_panic() {
        let mut state = 7u64;
        let mut out = vec![0; 65536];
        for round in 0..3000 {
            let mut input: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 56) as u8
            })
            .take(round % 700)
            .collect();
            // Plausible headers reach deeper than random ones.
            if let Some(high) = input.get_mut(1) {
                *high = 0xB0 | (*high & 1);
            }
            let _ = expand(&input, &mut out);
        }
    }
}
