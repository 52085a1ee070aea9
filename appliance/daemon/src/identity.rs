//! Who this box is: a name and a key that are made on it, once, and never leave it. Two boxes of one image share nothing.
//!
//! The name lies beside the key in one file, so that there is never one without the other.

use crate::clock::Moment;
use crate::files::{self, FileError};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use saveos_protocol::device_key;
use saveos_protocol::enrol::ClaimCode;
use saveos_protocol::fact::StreamBirth;
use saveos_protocol::hex::DeviceKey;
use saveos_protocol::id::{DeviceId, StreamId};
use saveos_protocol::time::Timestamp;
use std::path::Path;
use zeroize::Zeroizing;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is there and holds something else. It is not made anew: the control plane knows the old one.
    #[error("the device's key file is damaged: {0}")]
    Damaged(&'static str),
    /// No randomness, no key.
    #[error("the system gave no random bytes or no key")]
    NoKey,
}

/// The box.
pub(crate) struct Identity {
    pub(crate) device: DeviceId,
    key: EcdsaKeyPair,
    pub(crate) public: DeviceKey,
}

const FILE: &str = "device.key";

impl Identity {
    /// Reads it, or makes it at the first start.
    pub(crate) fn open(data: &Path, now: &Moment) -> Result<Identity, IdentityError> {
        if let Some(text) = files::read_secret(&data.join(FILE))? {
            return Identity::parse(&text);
        }
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| IdentityError::NoKey)?;
        let pkcs8 = key.to_pkcs8v1().map_err(|_| IdentityError::NoKey)?;
        let device = DeviceId::from_parts(now.ts, random()?);
        let text = Zeroizing::new(format!("{device}\n{}\n", saveos_engine::chunk::hex(pkcs8.as_ref())));
        files::write_secret(data, FILE, &text)?;
        Identity::parse(&text)
    }

    fn parse(text: &str) -> Result<Identity, IdentityError> {
        let mut lines = text.lines();
        let device = lines.next().and_then(|line| line.parse().ok()).ok_or(IdentityError::Damaged("no device id"))?;
        let bytes = lines.next().and_then(unhex).map(Zeroizing::new).ok_or(IdentityError::Damaged("no key"))?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes);
        let key = key.map_err(|_| IdentityError::Damaged("the key is none on P-256"))?;
        let public = device_key::public_half(&key).ok_or(IdentityError::Damaged("the key is none on P-256"))?;
        Ok(Identity { device, key, public })
    }

    /// What a person types to claim this box.
    pub(crate) fn claim_code(&self) -> ClaimCode {
        ClaimCode::of(&self.public)
    }

    /// The key pair, to prove it with.
    pub(crate) fn key(&self) -> &EcdsaKeyPair {
        &self.key
    }

    /// The private half for TLS: PKCS#8 in PEM.
    pub(crate) fn key_pem(&self) -> Result<Zeroizing<String>, IdentityError> {
        let pkcs8 = self.key.to_pkcs8v1().map_err(|_| IdentityError::NoKey)?;
        Ok(Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()))))
    }

    /// Signs the birth of a stream of facts.
    pub(crate) fn stream(
        &self,
        stream: StreamId,
        born: Timestamp,
        previous: Option<StreamId>,
    ) -> Result<StreamBirth, IdentityError> {
        let random = SystemRandom::new();
        StreamBirth::sign(stream, born, previous, self.device, &self.key, &random).map_err(|_| IdentityError::NoKey)
    }
}

/// Random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| IdentityError::NoKey)?;
    Ok(bytes)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_two_boxes_share_nothing() {
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let now = crate::clock::now();
        let first = Identity::open(one.path(), &now).expect("a new identity");
        let again = Identity::open(one.path(), &now).expect("the same identity");
        let second = Identity::open(other.path(), &now).expect("another identity");
        assert_eq!((first.device, first.claim_code()), (again.device, again.claim_code()));
        assert_ne!(first.device, second.device);
        assert_ne!(first.public, second.public);
    }

    #[test]
    fn a_damaged_key_is_told_and_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        files::write_secret(folder.path(), FILE, "d-nonsense\n").expect("room");
        for _ in 0..2 {
            assert!(matches!(Identity::open(folder.path(), &crate::clock::now()), Err(IdentityError::Damaged(_))));
        }
    }

    #[test]
    fn a_stream_is_signed_by_this_box() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = crate::clock::now();
        let identity = Identity::open(folder.path(), &now).expect("a new identity");
        let stream = StreamId::from_parts(now.ts, random().expect("random bytes"));
        let birth = identity.stream(stream, now.ts, None).expect("a signature");
        birth.verify(identity.device, &identity.public).expect("it is ours");
    }
}
