//! Keys that everybody knows: the one of RFC 6979 A.2.5 for a device, and a seed of ones for commands.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair};
use saveos_protocol::device_key;
use saveos_protocol::hex::{CommandKey, DeviceKey};
use saveos_protocol::sign;

const PRIVATE: [u8; 32] = [
    0xC9, 0xAF, 0xA9, 0xD8, 0x45, 0xBA, 0x75, 0x16, 0x6B, 0x5C, 0x21, 0x57, 0x67, 0xB1, 0xD6, 0x93, 0x4E, 0x50, 0xC3,
    0xDB, 0x36, 0xE8, 0x9B, 0x12, 0x7B, 0x8A, 0x62, 0x2B, 0x12, 0x0F, 0x67, 0x21,
];

const PUBLIC: &str = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
                      7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";

pub(crate) fn device_key() -> DeviceKey {
    PUBLIC.parse().expect("a point of P-256")
}

pub(crate) fn device_pair() -> EcdsaKeyPair {
    EcdsaKeyPair::from_private_key_and_public_key(device_key::ALGORITHM, &PRIVATE, &device_key().0)
        .expect("the two halves belong together")
}

pub(crate) fn random() -> SystemRandom {
    SystemRandom::new()
}

pub(crate) fn command_pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any seed is a key")
}

pub(crate) fn command_key() -> CommandKey {
    sign::public_half(&command_pair(1))
}
