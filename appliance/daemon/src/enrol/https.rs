//! One request at a time to the one server whose authority we hold. Bounded in time and size; no redirect, no proxy, no other
//! trust than that authority.

use saveos_protocol::enrol::Challenge;
use saveos_protocol::{Message, decode, encode, limits};
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// What went wrong on the way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpsError {
    /// The authority's file holds no certificate.
    #[error("the server's authority cannot be read")]
    Authority,
    /// The connection, TLS, or an answer that is no success.
    #[error("could not ask {url}")]
    Ask {
        /// What.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// What we would say.
    #[error("a request could not be written")]
    Encode(#[from] saveos_protocol::EncodeError),
    /// What it said.
    #[error("an answer is not understood")]
    Decode(#[from] saveos_protocol::DecodeError),
}

/// A slow link carries 48 KiB in that time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that believes the authorities and nobody else; without any it speaks plain HTTP only, for what is signed by itself.
pub(crate) fn client(authority: Option<&str>) -> Result<ureq::Agent, HttpsError> {
    let items = parse_pem(authority.unwrap_or_default().as_bytes()).map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Ok(certificate),
        _ => Err(HttpsError::Authority),
    });
    let roots: Vec<Certificate<'static>> = items.collect::<Result<_, _>>()?;
    if roots.is_empty() && authority.is_some() {
        return Err(HttpsError::Authority);
    }
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .https_only(authority.is_some())
        .max_redirects(0)
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .user_agent(concat!("saveosd/", env!("CARGO_PKG_VERSION")));
    Ok(config.build().new_agent())
}

/// The server.
pub(crate) struct Https {
    agent: ureq::Agent,
    base: String,
}

impl Https {
    /// `authority`: certificates in PEM that the server's may be signed by.
    pub(crate) fn new(server: &str, authority: &str) -> Result<Https, HttpsError> {
        let base = format!("{}/api/v1/", server.trim_end_matches('/'));
        Ok(Https { agent: client(Some(authority))?, base })
    }

    /// A nonce to sign.
    pub(super) fn challenge(&self) -> Result<Challenge, HttpsError> {
        self.send("enrol/challenge", b"{}")
    }

    /// Asks.
    pub(super) fn post<M: Message>(&self, path: &str, request: &impl Message) -> Result<M, HttpsError> {
        self.send(path, &encode(request)?)
    }

    /// Brings a text to an address of it.
    pub(crate) fn put(&self, url: &str, text: &[u8]) -> Result<(), HttpsError> {
        let failed = |source| HttpsError::Ask { url: self.base.clone(), source: Box::new(source) };
        self.agent.put(url).header("content-type", "text/plain; charset=utf-8").send(text).map_err(failed)?;
        Ok(())
    }

    fn send<M: Message>(&self, path: &str, body: &[u8]) -> Result<M, HttpsError> {
        let url = format!("{}{path}", self.base);
        let failed = |source| HttpsError::Ask { url: url.clone(), source: Box::new(source) };
        let request = self.agent.post(&url).header("content-type", "application/json");
        let mut response = request.send(body).map_err(failed)?;
        let limit = limits::ENROLMENT as u64 + 1;
        let json = response.body_mut().with_config().limit(limit).read_to_vec().map_err(failed)?;
        Ok(decode(&json)?)
    }
}
