//! The command key's signature: what a stolen server or broker cannot make.
//!
//! ```text
//! saveos/v1 command ⏎  device ⏎  expiry (Unix ms) ⏎  canonical JSON of the document without its `sig`
//! ```
//!
//! Signed is what was sent, not what was understood: the bytes are built from the received JSON, so a field that a newer
//! server adds stays signed on an older box. The typed document is made from that same JSON value, so no key that stands
//! twice can mean one thing to the signature and another to the box.

use crate::canonical::{self, NotCanonical};
use crate::hex::{CommandKey, CommandSignature, Digest};
use crate::id::DeviceId;
use crate::limits;
use crate::message::{DecodeError, Message, decode_value};
use crate::time::Timestamp;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A signature, as it stands in `sig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Signature {
    /// Not valid from here on.
    pub exp: Timestamp,
    /// The bytes.
    pub ed25519: CommandSignature,
}

/// What is signed; part of the bytes, so one document never passes for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A command.
    Command,
    /// A desired document.
    Desired,
}

impl Purpose {
    const fn line(self) -> &'static str {
        match self {
            Purpose::Command => "saveos/v1 command\n",
            Purpose::Desired => "saveos/v1 desired\n",
        }
    }
}

/// A document that can carry a signature.
pub trait Signable: Message {
    /// Which one it is.
    const PURPOSE: Purpose;
    /// Its signature.
    fn signature(&self) -> Option<&Signature>;
    /// Where the signature goes.
    fn signature_mut(&mut self) -> &mut Option<Signature>;
}

crate::word::words! { open
    /// What is wrong with a signature.
    SignatureFault {
        /// There is none.
        Missing = "missing",
        /// It is not by the command key, not over this document, or not for this device.
        Wrong = "wrong",
        /// Its time is over.
        Expired = "expired",
        /// It lives longer than any may.
        TooLong = "too_long",
        /// The box does not know the time.
        ClockUnsure = "clock_unsure",
    }
}

impl std::error::Error for SignatureFault {}

/// Signs a document for one device. Runs in the process that opened the command key, nowhere else.
pub fn sign<D: Signable>(
    document: &mut D,
    device: DeviceId,
    exp: Timestamp,
    key: &Ed25519KeyPair,
) -> Result<(), NotSigned> {
    *document.signature_mut() = None;
    let value = serde_json::to_value(&*document).map_err(NotSigned::Json)?;
    let bytes = statement(D::PURPOSE, device, exp, value)?;
    let ed25519 = key.sign(&bytes).as_ref().try_into().map(CommandSignature).expect("Ed25519 signatures have 64 bytes");
    *document.signature_mut() = Some(Signature { exp, ed25519 });
    Ok(())
}

/// The public half to pin at enrolment.
pub fn public_half(key: &Ed25519KeyPair) -> CommandKey {
    CommandKey(key.public_key().as_ref().try_into().expect("Ed25519 public keys have 32 bytes"))
}

/// Why a document could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned {
    /// It has no JSON.
    #[error("could not write the document")]
    Json(#[source] serde_json::Error),
    /// It has no single spelling.
    #[error("could not spell the document")]
    Canonical(#[from] NotCanonical),
}

/// A document with the JSON it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Received<D> {
    document: D,
    json: Value,
}

/// Reads a document that may be signed.
pub fn receive<D: Signable>(bytes: &[u8]) -> Result<Received<D>, DecodeError> {
    let (document, json) = decode_value(bytes)?;
    Ok(Received { document, json })
}

impl<D: Signable> Received<D> {
    /// What it says.
    pub fn document(&self) -> &D {
        &self.document
    }

    /// What it says, without what proves it.
    pub fn into_document(self) -> D {
        self.document
    }

    /// The SHA-256 of what is signed, less device and expiry: names this very document. `None` when it has no single
    /// spelling, which nothing that was written here lacks.
    pub fn digest(&self) -> Option<Digest> {
        let bytes = canonical::bytes(&unsigned(self.json.clone())).ok()?;
        digest(&SHA256, &bytes).as_ref().try_into().map(Digest).ok()
    }

    /// Whether the holder of the command key signed this very document for this device, and its time is not over.
    pub fn verify(&self, device: DeviceId, key: &CommandKey, now: Option<Timestamp>) -> Result<(), SignatureFault> {
        let signature = self.document.signature().ok_or(SignatureFault::Missing)?;
        let statement = statement(D::PURPOSE, device, signature.exp, self.json.clone());
        let statement = statement.map_err(|_| SignatureFault::Wrong)?;
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(&statement, &signature.ed25519.0)
            .map_err(|_| SignatureFault::Wrong)?;
        // After the signature: only then is the expiry worth reading.
        let now = now.ok_or(SignatureFault::ClockUnsure)?;
        if signature.exp <= now {
            return Err(SignatureFault::Expired);
        }
        if signature.exp > now.after(limits::SIGNATURE_LIFE) {
            return Err(SignatureFault::TooLong);
        }
        Ok(())
    }
}

fn statement(purpose: Purpose, device: DeviceId, exp: Timestamp, document: Value) -> Result<Vec<u8>, NotCanonical> {
    let mut bytes = format!("{}{device}\n{}\n", purpose.line(), exp.as_millis()).into_bytes();
    bytes.extend(canonical::bytes(&unsigned(document))?);
    Ok(bytes)
}

fn unsigned(mut document: Value) -> Value {
    if let Value::Object(fields) = &mut document {
        fields.remove("sig");
    }
    document
}
