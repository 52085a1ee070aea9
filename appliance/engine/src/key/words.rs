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

/// The bytes these words spell. Case, spacing, line breaks and the numbers that `init` prints beside the words do not matter.
pub fn parse(text: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let text = Zeroizing::new(without_numbers(&Zeroizing::new(text.to_lowercase())));
    let words = Mnemonic::parse_in(Language::English, &*text).map_err(|cause| KeyError::Words(cause.to_string()))?;
    let entropy = Zeroizing::new(words.to_entropy());
    let bytes =
        entropy.as_slice().try_into().map_err(|_| KeyError::Words(format!("{} words, not 24", words.word_count())))?;
    Ok(Zeroizing::new(bytes))
}

/// `1 abandon`, `1. abandon` and `1) abandon` are all "abandon": no word of the list has a digit.
fn without_numbers(text: &str) -> String {
    let is_number = |word: &&str| word.trim_end_matches(['.', ')', ':']).chars().all(|c| c.is_ascii_digit());
    let words: Vec<&str> = text.split_whitespace().filter(|word| !is_number(word)).collect();
    words.join(" ")
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
            (1..).zip(words.split(' ')).map(|(number, word)| format!("{number:2}. {word:<10}")).collect();
        assert_eq!(parse(&numbered.join("\n")).unwrap(), entropy);
        let bare = numbered.join("\n").replace('.', "");
        assert_eq!(parse(&bare).unwrap(), entropy);
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
