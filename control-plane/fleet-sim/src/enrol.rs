//! Enrolment and renewal over HTTPS, one request at a time. Blocking: call it from a thread that may wait.

use crate::Identity;
use aws_lc_rs::rand::SystemRandom;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use saveos_protocol::enrol::{Challenge, EnrolReply, EnrolRequest, Proof, RenewReply, RenewRequest};
use saveos_protocol::hex::Nonce;
use saveos_protocol::shadow::Hardware;
use saveos_protocol::text::{Mark, Pem};
use saveos_protocol::unit::Bytes;
use saveos_protocol::{Message, V1, decode, encode, limits};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Why a request had no answer of the contract.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The connection.
    #[error("could not ask the server")]
    Ask(#[from] ureq::Error),
    /// Its answer.
    #[error("an answer is not understood")]
    Decode(#[from] saveos_protocol::DecodeError),
    /// A problem document.
    #[error("the server answered {0}: {1}")]
    Status(u16, String),
}

/// A server, and whom to believe that it is there.
#[derive(Clone)]
pub struct Place {
    agent: ureq::Agent,
    base: String,
}

impl Place {
    /// `server`: `https://host:port`; `authority`: its authority in PEM.
    pub fn new(server: &str, authority: &str) -> Place {
        let roots: Vec<Certificate<'static>> = parse_pem(authority.as_bytes())
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)));
        Place { agent: config.build().new_agent(), base: server.trim_end_matches('/').to_owned() }
    }

    /// Any request: status and body.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), EnrolError> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).map_err(ureq::Error::from)?;
        let mut response = self.agent.run(request)?;
        let status = response.status().as_u16();
        Ok((status, response.body_mut().with_config().limit(64 << 20).read_to_vec()?))
    }

    /// The headers of an answer, names in small letters.
    pub fn headers(&self, path: &str) -> Result<Vec<(String, String)>, EnrolError> {
        let answer = self.agent.get(format!("{}{path}", self.base)).call()?;
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok(answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect())
    }

    /// What is at another address.
    pub fn text(&self, url: &str) -> Result<String, EnrolError> {
        Ok(self.agent.get(url).call()?.body_mut().with_config().limit(16 << 20).read_to_string()?)
    }

    /// The live events as they come; `last` is the number to go on after.
    pub fn stream(&self, path: &str, token: &str, last: Option<u64>) -> Result<impl Read + 'static, EnrolError> {
        let mut request =
            self.agent.get(format!("{}{path}", self.base)).header("authorization", format!("Bearer {token}"));
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        Ok(request.call()?.into_body().into_reader())
    }

    fn post<M: Message>(&self, path: &str, body: &[u8]) -> Result<M, EnrolError> {
        let (status, json) = self.request("POST", path, &[("content-type", "application/json")], body)?;
        if status != 200 {
            return Err(EnrolError::Status(status, String::from_utf8_lossy(&json).into_owned()));
        }
        debug_assert!(json.len() <= limits::ENROLMENT);
        Ok(decode(&json)?)
    }

    /// A nonce to sign.
    pub fn nonce(&self) -> Result<Nonce, EnrolError> {
        Ok(self.post::<Challenge>("/api/v1/enrol/challenge", b"{}")?.nonce)
    }
}

/// Asks once for a certificate; `change` may spoil the request before it is sent.
pub fn enrol(
    place: &Place,
    identity: &Identity,
    change: impl FnOnce(&mut EnrolRequest),
) -> Result<EnrolReply, EnrolError> {
    let (csr, nonce) = (signing_request(identity, |_| {}), place.nonce()?);
    let proof = Proof::sign(nonce, None, &csr, identity.key(), &SystemRandom::new()).expect("a key can sign");
    let model = Mark::cut("simulated").expect("it is printable");
    let hardware = Hardware { model, serial: None, memory_bytes: Bytes::saturating(1 << 30) };
    let firmware = env!("CARGO_PKG_VERSION").parse().expect("a version is a release");
    let mut request = EnrolRequest { v: V1, key: identity.public, csr, proof, hardware, firmware };
    change(&mut request);
    place.post("/api/v1/enrol", &encode(&request).expect("it fits"))
}

/// Asks for the next certificate.
pub fn renew(
    place: &Place,
    identity: &Identity,
    change: impl FnOnce(&mut RenewRequest),
) -> Result<RenewReply, EnrolError> {
    let (csr, nonce, device) = (signing_request(identity, |_| {}), place.nonce()?, identity.device);
    let proof = Proof::sign(nonce, Some(device), &csr, identity.key(), &SystemRandom::new()).expect("a key can sign");
    let mut request = RenewRequest { v: V1, device, csr, proof };
    change(&mut request);
    place.post("/api/v1/renew", &encode(&request).expect("it fits"))
}

impl Identity {
    /// A signing request that asks for what it likes, with its proof.
    pub fn request(&self, nonce: Nonce, change: impl FnOnce(&mut CertificateParams)) -> (Pem, Proof) {
        let csr = signing_request(self, change);
        let proof = Proof::sign(nonce, None, &csr, self.key(), &SystemRandom::new()).expect("a key can sign");
        (csr, proof)
    }
}

fn signing_request(identity: &Identity, change: impl FnOnce(&mut CertificateParams)) -> Pem {
    let key = KeyPair::from_pem(&identity.key_pem()).expect("it is a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, identity.device.to_string());
    change(&mut params);
    let request = params.serialize_request(&key).expect("a request can be signed");
    request.pem().expect("it is PEM").parse().expect("it is PEM")
}
