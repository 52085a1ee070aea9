//! What the box says of itself when it asks for a certificate: its key, its name, a signing request, and the proof that the key
//! is here.

use crate::identity::Identity;
use crate::machine;
use aws_lc_rs::rand::SystemRandom;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use saveos_protocol::V1;
use saveos_protocol::enrol::{EnrolRequest, Proof, RenewRequest};
use saveos_protocol::hex::Nonce;
use saveos_protocol::text::Pem;

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
        hardware: machine::hardware(),
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
