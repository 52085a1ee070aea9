//! Whom this box belongs to and trusts: what enrolment gave, kept as it came, and what of it holds.
//!
//! Checked before it is kept, and again on every read: our own name and key in our certificate, and every authority against its
//! pin. An authority without a pin is no authority, whoever sent it.

use crate::files::{self, FileError};
use aws_lc_rs::digest::{SHA256, digest};
use saveos_protocol::enrol::{Enrolment, Renewal};
use saveos_protocol::hex::{DeviceKey, Digest};
use saveos_protocol::id::DeviceId;
use saveos_protocol::text::Pem;
use saveos_protocol::time::Timestamp;
use std::path::Path;

/// Why it does not hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is there and none of ours.
    #[error("the enrolment is damaged: {0}")]
    Damaged(String),
    /// It is of another box or for another key.
    #[error("the certificate is not for this box: {0}")]
    NotOurs(&'static str),
    /// No authority of it is pinned.
    #[error("no authority of the enrolment is pinned")]
    NoAuthority,
}

const FILE: &str = "enrolment.json";

/// An enrolment that holds.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    pub(crate) enrolment: Enrolment,
    /// The pinned authorities.
    pub(crate) authorities: String,
    /// From when to when our certificate is good.
    pub(crate) valid: (Timestamp, Timestamp),
}

impl Trust {
    /// `None` while nobody has claimed the box.
    pub(crate) fn read(data: &Path, device: DeviceId, key: &DeviceKey) -> Result<Option<Trust>, TrustError> {
        let Some(text) = files::read_secret(&data.join(FILE))? else { return Ok(None) };
        let enrolment = saveos_protocol::decode(text.as_bytes());
        let enrolment = enrolment.map_err(|error| TrustError::Damaged(error.to_string()))?;
        Trust::check(enrolment, device, key).map(Some)
    }

    /// Keeps an enrolment, if it holds.
    pub(crate) fn keep(
        data: &Path,
        enrolment: Enrolment,
        device: DeviceId,
        key: &DeviceKey,
    ) -> Result<Trust, TrustError> {
        let trust = Trust::check(enrolment, device, key)?;
        let json = saveos_protocol::encode(&trust.enrolment);
        let json = json.map_err(|error| TrustError::Damaged(error.to_string()))?;
        files::write_secret(data, FILE, &String::from_utf8_lossy(&json))?;
        Ok(trust)
    }

    /// The same box with its next certificate. Only authorities that were pinned before count; if none of them is left, the
    /// old ones stay.
    pub(crate) fn renewed(&self, renewal: Renewal) -> Enrolment {
        let mut next = self.enrolment.clone();
        next.certificates = renewal.certificates;
        if pinned(&renewal.authorities, &next).is_ok() {
            next.authorities = renewal.authorities;
        }
        next.ts = renewal.ts;
        next
    }

    /// When to ask for the next certificate: from two thirds of its life on.
    pub(crate) fn renew_from(&self) -> Timestamp {
        let (from, until) = self.valid;
        from.after(until.since(from) * 2 / 3)
    }

    fn check(enrolment: Enrolment, device: DeviceId, key: &DeviceKey) -> Result<Trust, TrustError> {
        if enrolment.device != device {
            return Err(TrustError::NotOurs("it names another box"));
        }
        let authorities = pinned(&enrolment.authorities, &enrolment)?;
        let damaged = || TrustError::Damaged("its certificate cannot be read".to_owned());
        let (_, own) = x509_parser::pem::parse_x509_pem(enrolment.certificates.as_bytes()).map_err(|_| damaged())?;
        let own = own.parse_x509().map_err(|_| damaged())?;
        let names: Vec<_> = own.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect();
        if names != [device.to_string()] {
            return Err(TrustError::NotOurs("another name"));
        }
        if *own.public_key().subject_public_key.data != key.0 {
            return Err(TrustError::NotOurs("another key"));
        }
        let time = |seconds: i64| Timestamp::saturating(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
        let valid = (time(own.validity().not_before.timestamp()), time(own.validity().not_after.timestamp()));
        Ok(Trust { enrolment, authorities, valid })
    }
}

/// The authorities that are pinned, in PEM.
fn pinned(authorities: &Pem, enrolment: &Enrolment) -> Result<String, TrustError> {
    let blocks = pem::parse_many(authorities.as_bytes()).map_err(|error| TrustError::Damaged(error.to_string()))?;
    let is_pinned = |block: &pem::Pem| {
        let hash = digest(&SHA256, block.contents());
        hash.as_ref().try_into().is_ok_and(|hash| enrolment.uplink.ca_sha256.contains(&Digest(hash)))
    };
    let good: Vec<pem::Pem> = blocks.into_iter().filter(is_pinned).collect();
    if good.is_empty() { Err(TrustError::NoAuthority) } else { Ok(pem::encode_many(&good)) }
}
