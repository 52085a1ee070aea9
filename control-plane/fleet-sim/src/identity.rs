//! A box's name and key, in memory.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use saveos_protocol::device_key;
use saveos_protocol::enrol::ClaimCode;
use saveos_protocol::fact::StreamBirth;
use saveos_protocol::hex::DeviceKey;
use saveos_protocol::id::{DeviceId, StreamId};
use saveos_protocol::time::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Who a box is.
pub struct Identity {
    /// Its name.
    pub device: DeviceId,
    /// Its key's public half.
    pub public: DeviceKey,
    key: EcdsaKeyPair,
}

impl Default for Identity {
    fn default() -> Identity {
        Identity::new()
    }
}

impl Identity {
    /// A new box.
    pub fn new() -> Identity {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key can be made");
        let public = device_key::public_half(&key).expect("it is on P-256");
        Identity { device: DeviceId::from_parts(now(), random()), public, key }
    }

    /// The same key under another name: what a thief would try.
    pub fn called(mut self, device: DeviceId) -> Identity {
        self.device = device;
        self
    }

    /// What a person types.
    pub fn claim_code(&self) -> ClaimCode {
        ClaimCode::of(&self.public)
    }

    /// The key pair.
    pub fn key(&self) -> &EcdsaKeyPair {
        &self.key
    }

    /// The private half: PKCS#8 in PEM.
    pub fn key_pem(&self) -> String {
        let pkcs8 = self.key.to_pkcs8v1().expect("a key can be written");
        pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref()))
    }

    /// Begins a stream.
    pub fn stream(&self, previous: Option<StreamId>) -> StreamBirth {
        let stream = StreamId::from_parts(now(), random());
        StreamBirth::sign(stream, now(), previous, self.device, &self.key, &SystemRandom::new())
            .expect("a key can sign")
    }
}

/// What time it is.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::saturating(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}
