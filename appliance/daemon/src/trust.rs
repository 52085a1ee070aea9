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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
    use saveos_protocol::V1;
    use saveos_protocol::enrol::Floor;
    use saveos_protocol::hex::CommandKey;
    use saveos_protocol::shadow::Uplink;
    use saveos_protocol::unit::Seconds;
    use std::time::Duration;

    fn named(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    struct Authority {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    impl Authority {
        fn new() -> Authority {
            let (params, key) = (named("an authority"), KeyPair::generate().expect("a key"));
            let pem = params.self_signed(&key).expect("a certificate").pem();
            Authority { pem, issuer: Issuer::new(params, key) }
        }

        fn pin(&self) -> Digest {
            let der = pem::parse(&self.pem).expect("PEM");
            Digest(digest(&SHA256, der.contents()).as_ref().try_into().expect("32 bytes"))
        }

        fn sign(&self, name: &str, key: &KeyPair) -> Pem {
            named(name).signed_by(key, &self.issuer).expect("a certificate").pem().parse().expect("PEM")
        }
    }

    fn enrolment(identity: &Identity, authority: &Authority, certificates: Pem) -> Enrolment {
        Enrolment {
            v: V1,
            device: identity.device,
            ts: Timestamp::default(),
            owner: "a test".parse().expect("a text"),
            certificates,
            authorities: authority.pem.parse().expect("PEM"),
            uplink: Uplink {
                brokers: vec!["mqtts://localhost:8883".parse().expect("a URL")],
                server: "https://localhost:8443".parse().expect("a URL"),
                ca_sha256: [authority.pin()].into(),
                heartbeat: Seconds::from(60),
            },
            command_key: CommandKey([1; 32]),
            floor: Floor::default(),
            escrow: None,
        }
    }

    fn given() -> (tempfile::TempDir, Identity, KeyPair, Authority) {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::open(folder.path(), &crate::clock::now()).expect("an identity");
        let key = KeyPair::from_pem(&identity.key_pem().expect("a key")).expect("a key");
        (folder, identity, key, Authority::new())
    }

    #[test]
    fn what_holds_is_kept_and_renewed_from_two_thirds_of_its_life() {
        let (folder, identity, key, authority) = given();
        let own = authority.sign(&identity.device.to_string(), &key);
        let keep = |enrolment| Trust::keep(folder.path(), enrolment, identity.device, &identity.public);
        assert!(Trust::read(folder.path(), identity.device, &identity.public).expect("readable").is_none());
        let trust = keep(enrolment(&identity, &authority, own)).expect("it holds");
        let (from, until) = trust.valid;
        let wait = trust.renew_from().since(from);
        assert!((wait * 3).abs_diff(until.since(from) * 2) < Duration::from_secs(10));
        let read = Trust::read(folder.path(), identity.device, &identity.public).expect("readable").expect("kept");
        assert_eq!(read.enrolment, trust.enrolment);
    }

    #[test]
    fn what_is_for_another_box_or_key_or_from_nobody_pinned_is_not_kept() {
        let (folder, identity, key, authority) = given();
        let keep = |enrolment| Trust::keep(folder.path(), enrolment, identity.device, &identity.public);
        let other = KeyPair::generate().expect("a key");
        let name = identity.device.to_string();
        let foreign_key = enrolment(&identity, &authority, authority.sign(&name, &other));
        assert!(matches!(keep(foreign_key), Err(TrustError::NotOurs("another key"))));
        let foreign_name = enrolment(&identity, &authority, authority.sign("cp", &key));
        assert!(matches!(keep(foreign_name), Err(TrustError::NotOurs("another name"))));
        let good = enrolment(&identity, &authority, authority.sign(&name, &key));
        let mut unpinned = good.clone();
        unpinned.uplink.ca_sha256 = [Digest([9; 32])].into();
        assert!(matches!(keep(unpinned), Err(TrustError::NoAuthority)));
        files::write_secret(folder.path(), FILE, "{").expect("room");
        let read = Trust::read(folder.path(), identity.device, &identity.public);
        assert!(matches!(read, Err(TrustError::Damaged(_))), "damaged is not missing");
    }

    #[test]
    fn a_renewal_brings_no_authority_that_is_not_pinned() {
        let (folder, identity, key, authority) = given();
        let name = identity.device.to_string();
        let first = enrolment(&identity, &authority, authority.sign(&name, &key));
        let trust = Trust::keep(folder.path(), first, identity.device, &identity.public).expect("it holds");
        let stranger = Authority::new();
        let both = format!("{}{}", stranger.pem, authority.pem);
        for (authorities, expected) in [(&stranger.pem, &authority.pem), (&both, &authority.pem)] {
            let renewal = Renewal {
                v: V1,
                certificates: authority.sign(&name, &key),
                authorities: authorities.parse().expect("PEM"),
                ts: Timestamp::saturating(5),
            };
            let next = trust.renewed(renewal.clone());
            assert_eq!(next.certificates, renewal.certificates);
            let kept = Trust::keep(folder.path(), next, identity.device, &identity.public).expect("it holds");
            assert_eq!(pem::parse(&kept.authorities).expect("one"), pem::parse(expected).expect("one"));
        }
    }
}
