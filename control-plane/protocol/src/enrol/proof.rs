//! Proof of key: the device signs the server's nonce together with what it asks for, so a recorded request is worth
//! nothing and no request can be exchanged for another.

use crate::device_key::{self, BadSignature};
use crate::hex::{DeviceKey, DeviceSignature, Nonce};
use crate::id::DeviceId;
use crate::text::Pem;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A nonce and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// From the last challenge or reply.
    pub nonce: Nonce,
    /// By the device's key.
    pub signature: DeviceSignature,
}

impl Proof {
    /// Proves the key for this signing request; `device` is the name to renew, none to enrol.
    pub fn sign(
        nonce: Nonce,
        device: Option<DeviceId>,
        csr: &Pem,
        key: &EcdsaKeyPair,
        random: &dyn SecureRandom,
    ) -> Result<Proof, BadSignature> {
        Ok(Proof { nonce, signature: device_key::sign(key, random, &statement(nonce, device, csr))? })
    }

    /// Whether the holder of `key` made it for this request. That the nonce is ours and fresh, the server knows.
    pub fn verify(&self, device: Option<DeviceId>, csr: &Pem, key: &DeviceKey) -> Result<(), BadSignature> {
        device_key::verify(key, &statement(self.nonce, device, csr), &self.signature)
    }
}

fn statement(nonce: Nonce, device: Option<DeviceId>, csr: &Pem) -> Vec<u8> {
    let asked = device.map_or("enrol".to_owned(), |device| format!("renew {device}"));
    let csr = digest(&SHA256, csr.as_bytes());
    let mut bytes = format!("saveos/v1 proof\n{asked}\n{nonce}\n").into_bytes();
    bytes.extend(csr.as_ref());
    bytes
}
