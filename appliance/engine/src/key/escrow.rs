//! Escrow: anybody with the public key can seal a root key to an organisation; only its private key, made and kept offline, opens it.
//!
//! X25519 with a fresh ephemeral key per slot, both public keys hashed in, so neither side can be exchanged.

use super::KeyError;
use crate::seal::{derive, random_bytes};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use zeroize::Zeroizing;

/// A new private key and its public key.
pub fn generate() -> (Zeroizing<[u8; 32]>, [u8; 32]) {
    let private = Zeroizing::new(random_bytes());
    let public = public_of(&private).expect("any 32 bytes are an X25519 private key");
    (private, public)
}

/// The public key of a private key.
pub fn public_of(private: &[u8; 32]) -> Result<[u8; 32], KeyError> {
    let public = key(private)?.compute_public_key().map_err(|_| KeyError::Escrow("no public key"))?;
    public.as_ref().try_into().map_err(|_| KeyError::Escrow("a public key has 32 bytes"))
}

/// What a person compares over the phone: the first half of the public key's hash, in groups.
pub fn fingerprint(public: &[u8; 32]) -> String {
    let hash = crate::chunk::hex(&derive::<16>(public, &[], b"saveos/1 escrow fingerprint"));
    hash.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group)).collect::<Vec<_>>().join("-")
}

/// Seals: a fresh ephemeral public key, and the secret it shares with `public`.
pub(super) fn seal_side(public: &[u8; 32]) -> Result<([u8; 32], Zeroizing<[u8; 32]>), KeyError> {
    let (private, ephemeral) = generate();
    let secret = shared(&private, public, &ephemeral, public)?.ok_or(KeyError::Escrow("a public key of low order"))?;
    Ok((ephemeral, secret))
}

/// Opens: the secret shared with the slot's ephemeral key; `None` when that key is degenerate.
pub(super) fn open_side(private: &[u8; 32], ephemeral: &[u8; 32]) -> Result<Option<Zeroizing<[u8; 32]>>, KeyError> {
    shared(private, ephemeral, ephemeral, &public_of(private)?)
}

fn shared(
    private: &[u8; 32],
    peer: &[u8; 32],
    ephemeral: &[u8; 32],
    public: &[u8; 32],
) -> Result<Option<Zeroizing<[u8; 32]>>, KeyError> {
    let peer = UnparsedPublicKey::new(&X25519, peer);
    let secret = agree(&key(private)?, peer, (), |point| Ok(Zeroizing::new([point, ephemeral, public].concat())));
    // FORMAT.md: the 96 bytes are the HKDF secret; folding them to 32 first keeps one slot construction for all kinds.
    Ok(secret.ok().map(|bytes| Zeroizing::new(derive::<32>(&bytes, &[], b"saveos/1 escrow"))))
}

fn key(private: &[u8; 32]) -> Result<PrivateKey, KeyError> {
    PrivateKey::from_private_key(&X25519, private).map_err(|_| KeyError::Escrow("not an X25519 private key"))
}
