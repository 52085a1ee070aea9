//! The 24 recovery words: 32 random bytes in the BIP-39 English list, with its checksum against slips of the pen.

use super::KeyError;
use crate::seal::random_bytes;
use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

/// New words, and the bytes they spell.
pub fn generate() -> (Zeroizing<String>, Zeroizing<[u8; 32]>) {
    let entropy = Zeroizing::new(random_bytes());
    let words = Mnemonic::from_entropy_in(Language::English, &*entropy).expect("32 bytes make 24 words");
    (Zeroizing::new(words.to_string()), entropy)
}

/// The bytes these words spell. Case and spacing do not matter.
pub fn parse(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let text = Zeroizing::new(text.to_lowercase());
    let words =
        Mnemonic::parse_in(Language::English, text.trim()).map_err(|cause| KeyError::Words(cause.to_string()))?;
    let entropy = Zeroizing::new(words.to_entropy());
    let bytes =
        entropy.as_slice().try_into().map_err(|_| KeyError::Words(format!("{} words, not 24", words.word_count())))?;
    Ok(Zeroizing::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_persons_handwriting() {
        let (words, entropy) = generate();
        assert_eq!(words.split(' ').count(), 24);
        let written = format!("  {}\n", words.to_uppercase().replace(' ', "  "));
        assert_eq!(parse(&written).unwrap(), entropy);
        let numbered: Vec<String> =
            (1..).zip(words.split(' ')).map(|(number, word)| format!("{number:2} {word:<10}")).collect();
        assert_eq!(parse(&numbered.join("\n")).unwrap(), entropy);
    }

    #[test]
    fn a_swapped_word_and_a_short_list_are_noticed() {
        let (words, _) = generate();
        let mut list: Vec<&str> = words.split(' ').collect();
        assert!(parse(&list[..12].join(" ")).is_err());
        list[0] = if list[0] == "zoo" { "zone" } else { "zoo" };
        let changed = list.join(" ");
        // One in 256 single-word slips has a right checksum; then the bytes differ and the slot refuses.
        assert!(parse(&changed).map_or(true, |bytes| bytes != parse(&words).unwrap()));
    }
}
