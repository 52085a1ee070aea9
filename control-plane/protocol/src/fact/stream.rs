//! A stream of facts: how it began, and what is missing in it.

use super::FactNumber;
use crate::device_key::{self, BadSignature};
use crate::hex::{DeviceKey, DeviceSignature};
use crate::id::{DeviceId, StreamId};
use crate::time::Timestamp;
use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::signature::EcdsaKeyPair;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stream begins with its outbox file: at first start, after a data reset, after the file was lost.
///
/// The device signs it, so a server believes a new stream though its numbers start again, and nobody else can start one.
/// A stream that was followed by another one never comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamBirth {
    /// The stream.
    pub stream: StreamId,
    /// By the box's clock.
    pub born: Timestamp,
    /// The stream before it, where the box still knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<StreamId>,
    /// By the device's key, over the above and the device's name.
    pub proof: DeviceSignature,
}

impl StreamBirth {
    /// Begins a stream.
    pub fn sign(
        stream: StreamId,
        born: Timestamp,
        previous: Option<StreamId>,
        device: DeviceId,
        key: &EcdsaKeyPair,
        random: &dyn SecureRandom,
    ) -> Result<StreamBirth, BadSignature> {
        let proof = device_key::sign(key, random, &statement(device, stream, born, previous))?;
        Ok(StreamBirth { stream, born, previous, proof })
    }

    /// Whether `device`, whose certificate holds `key`, began it.
    pub fn verify(&self, device: DeviceId, key: &DeviceKey) -> Result<(), BadSignature> {
        device_key::verify(key, &statement(device, self.stream, self.born, self.previous), &self.proof)
    }
}

fn statement(device: DeviceId, stream: StreamId, born: Timestamp, previous: Option<StreamId>) -> Vec<u8> {
    let previous = previous.map_or("-".to_owned(), |previous| previous.to_string());
    format!("saveos/v1 stream\n{device}\n{stream}\n{}\n{previous}\n", born.as_millis()).into_bytes()
}

/// Facts that were asked for and are gone, ends included. It alerts: somebody must look at the repository instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// The stream they were in: this one, or an older one.
    pub stream: StreamId,
    /// The first that is gone.
    pub from: FactNumber,
    /// The last that is gone.
    pub to: FactNumber,
}
