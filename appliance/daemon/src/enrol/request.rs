//! What the box says of itself when it asks for a certificate: its key, its name, a signing request, and the proof that the key
//! is here.

use crate::identity::Identity;
use aws_lc_rs::rand::SystemRandom;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use saveos_protocol::V1;
use saveos_protocol::enrol::{EnrolRequest, Proof, RenewRequest};
use saveos_protocol::hex::Nonce;
use saveos_protocol::shadow::Hardware;
use saveos_protocol::text::{Mark, Pem};
use saveos_protocol::unit::Bytes;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The key.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    /// The signing request.
    #[error("the signing request could not be made")]
    Request(#[from] rcgen::Error),
    /// Its form.
    #[error("the signing request could not be written")]
    Form,
}

/// To enrol.
pub(super) fn enrol(identity: &Identity, nonce: Nonce) -> Result<EnrolRequest, RequestError> {
    let csr = signing_request(identity)?;
    let proof = Proof::sign(nonce, None, &csr, identity.key(), &SystemRandom::new());
    Ok(EnrolRequest {
        v: V1,
        key: identity.public,
        proof: proof.map_err(|_| RequestError::Form)?,
        csr,
        hardware: hardware(),
        firmware: env!("CARGO_PKG_VERSION").parse().map_err(|_| RequestError::Form)?,
    })
}

/// To renew.
pub(super) fn renew(identity: &Identity, nonce: Nonce) -> Result<RenewRequest, RequestError> {
    let csr = signing_request(identity)?;
    let device = identity.device;
    let proof = Proof::sign(nonce, Some(device), &csr, identity.key(), &SystemRandom::new());
    Ok(RenewRequest { v: V1, device, proof: proof.map_err(|_| RequestError::Form)?, csr })
}

fn signing_request(identity: &Identity) -> Result<Pem, RequestError> {
    let key = KeyPair::from_pem(&identity.key_pem()?)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, identity.device.to_string());
    params.serialize_request(&key)?.pem()?.parse().map_err(|_| RequestError::Form)
}

/// What the kernel says of the board; a PC has no device tree and says less.
fn hardware() -> Hardware {
    let read =
        |path: &str| std::fs::read_to_string(path).ok().and_then(|text| Mark::cut(text.trim_matches(['\0', '\n'])));
    let unknown = || Mark::cut("unknown").expect("it is printable");
    let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().to_owned();
        line.trim_end_matches("kB").trim().parse::<u64>().ok()
    });
    Hardware {
        model: read("/proc/device-tree/model")
            .or_else(|| read("/sys/class/dmi/id/product_name"))
            .unwrap_or_else(unknown),
        serial: read("/proc/device-tree/serial-number"),
        memory_bytes: Bytes::saturating(memory.unwrap_or(0).saturating_mul(1024)),
    }
}
