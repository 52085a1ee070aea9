//! What a device proves with the key of its certificate: P-256, made on the device, never leaves it.

use crate::hex::{DeviceKey, DeviceSignature};
use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};

/// The algorithm a device's key pair must be opened with, so that it signs what `verify` reads.
pub static ALGORITHM: &aws_lc_rs::signature::EcdsaSigningAlgorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;

/// A signature is not by that key over these bytes, or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not signed by the device's key")]
pub struct BadSignature;

/// The public half, as a certificate holds it; `None` when the pair is not on P-256.
pub fn public_half(key: &EcdsaKeyPair) -> Option<DeviceKey> {
    key.public_key().as_ref().try_into().ok().map(DeviceKey)
}

/// Signs. `key` was opened with [`ALGORITHM`].
pub(crate) fn sign(
    key: &EcdsaKeyPair,
    random: &dyn SecureRandom,
    bytes: &[u8],
) -> Result<DeviceSignature, BadSignature> {
    let signature = key.sign(random, bytes).map_err(|_| BadSignature)?;
    signature.as_ref().try_into().map(DeviceSignature).map_err(|_| BadSignature)
}

/// Checks. A key that is no point of the curve fails like a wrong signature.
pub(crate) fn verify(key: &DeviceKey, bytes: &[u8], signature: &DeviceSignature) -> Result<(), BadSignature> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.0).verify(bytes, &signature.0).map_err(|_| BadSignature)
}
