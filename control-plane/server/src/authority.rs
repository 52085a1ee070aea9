//! The issuing authority: signs boxes, the broker and ourselves, and lists what it has revoked.
//!
//! | common name | who | how long |
//! |---|---|---|
//! | `d-` + ULID | a box, for the key it proved to have | 90 days, renewed by the box |
//! | `cp` | the ingest, with a key that never leaves this process | a year, anew at every start |
//! | the host | broker and API | 398 days, anew at every start |
//!
//! Nothing of a signing request is copied but its key and its checked name: a certificate says what we decided.

mod csr;

pub(crate) use csr::{Checked, check as check_request};

use crate::clock;
use crate::files::{self, FileError};
use aws_lc_rs::hkdf;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams,
    SerialNumber, SubjectPublicKeyInfo,
};
use saveos_protocol::hex::Digest;
use saveos_protocol::id::DeviceId;
use saveos_protocol::text::Pem;
use saveos_protocol::time::Timestamp;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;

/// Why it could not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// Its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no key or certificate.
    #[error("the authority's {0} is missing: restore it from a backup, every box trusts it")]
    Missing(&'static str),
    /// Its time is over: nobody believes what it signs.
    #[error("the authority's certificate ended on {0}: docs/runbooks/rotate-keys.md")]
    Ended(Timestamp),
    /// Its time has not come, which is the clock's fault.
    #[error("the authority's certificate begins on {0}, and the clock of this machine says {1}: set the clock")]
    Early(Timestamp, Timestamp),
    /// They were put together by hand.
    #[error("the authority's certificate is not of its key: restore both from one backup")]
    Pair,
    /// A certificate could not be read or made.
    #[error("the authority could not sign")]
    Sign(#[from] rcgen::Error),
    /// PEM that is none.
    #[error("a certificate outgrew its bound")]
    TooLong,
}

/// A day.
const DAY: Duration = Duration::from_secs(86_400);
/// Ten years: it is replaced by pinning its successor first.
const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * 86_400);
/// A box that is off for a summer still renews: an expired certificate is enough for that.
pub(crate) const DEVICE_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// As long as browsers take one.
const SERVER_LIFE: Duration = Duration::from_secs(398 * 86_400);
/// A clock may be behind by so much and still believe a certificate that was just made.
const SKEW: Duration = Duration::from_secs(3600);
/// An expired list stops every box: it is written anew every day and may be that old.
const LIST_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// The serial of the canary that must never come in. No other certificate has it: theirs have 16 bytes.
const REVOKED_CANARY: [u8; 1] = [1];

const KEY: &str = "authority.key";
const CERTIFICATE: &str = "authority.pem";

/// The authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    sha256: Digest,
    /// What other secrets of an installation come from.
    seed: hkdf::Prk,
}

/// A certificate that was signed.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    /// Lower-case hexadecimal.
    pub(crate) serial: String,
    pub(crate) pem: String,
    pub(crate) until: Timestamp,
}

/// A certificate and its key, in PEM.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: zeroize::Zeroizing<String>,
}

/// Whether a certificate counts now.
fn holds(validity: &x509_parser::certificate::Validity, now: Timestamp) -> Result<(), AuthorityError> {
    let time = |time: &x509_parser::time::ASN1Time| {
        Timestamp::saturating(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1000))
    };
    let (from, until) = (time(&validity.not_before), time(&validity.not_after));
    match (now < from, now > until) {
        (true, _) => Err(AuthorityError::Early(from, now)),
        (_, true) => Err(AuthorityError::Ended(until)),
        _ => Ok(()),
    }
}

impl Authority {
    /// Makes one below `data`. The key is durable before the certificate is.
    pub(crate) fn make(data: &Path, name: &str) -> Result<Authority, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = named(&format!("SaveOS {name}"), clock::now(), AUTHORITY_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        files::write(&data.join(KEY), &zeroize::Zeroizing::new(key.serialize_pem()))?;
        files::write(&data.join(CERTIFICATE), &certificate.pem())?;
        Authority::open(data)
    }

    /// Opens it.
    pub(crate) fn open(data: &Path) -> Result<Authority, AuthorityError> {
        let key = files::read(&data.join(KEY))?.ok_or(AuthorityError::Missing("key"))?;
        let pem = files::read(&data.join(CERTIFICATE))?.ok_or(AuthorityError::Missing("certificate"))?.to_string();
        let issuer = Issuer::from_ca_cert_pem(&pem, KeyPair::from_pem(&key)?)?;
        let (_, parsed) =
            x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| AuthorityError::Missing("certificate"))?;
        let certificate = parsed.parse_x509().map_err(|_| AuthorityError::Missing("certificate"))?;
        holds(certificate.validity(), clock::now())?;
        if certificate.public_key().raw != issuer.key().subject_public_key_info() {
            return Err(AuthorityError::Pair);
        }
        let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &parsed.contents);
        let sha256 = Digest(sha256.as_ref().try_into().expect("a SHA-256 has 32 bytes"));
        let seed = hkdf::Salt::new(hkdf::HKDF_SHA256, b"saveos authority").extract(issuer.key().serialized_der());
        Ok(Authority { issuer, pem, sha256, seed })
    }

    /// A secret for one purpose that every process with this authority makes alike.
    pub(crate) fn secret(&self, purpose: &'static [u8]) -> zeroize::Zeroizing<[u8; 32]> {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        let filled = self.seed.expand(&[purpose], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut *secret));
        filled.expect("32 bytes are one block");
        secret
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// What boxes pin.
    pub(crate) fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Signs a box.
    pub(crate) fn issue_device(&self, request: &Checked, now: Timestamp) -> Result<Issued, AuthorityError> {
        let key = SubjectPublicKeyInfo::from_der(&request.key_info)?;
        let mut params = named(&request.device.to_string(), now, DEVICE_LIFE);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &key, now.after(DEVICE_LIFE))
    }

    /// Takes a box's name for a moment, so that the broker drops its live session.
    pub(crate) fn stand_in(&self, device: DeviceId) -> Result<Identity, AuthorityError> {
        self.client(&device.to_string(), Duration::from_secs(300))
    }

    /// A client whose name no box has, to try what a box may not.
    pub(crate) fn canary(&self, name: &str) -> Result<Identity, AuthorityError> {
        self.client(name, Duration::from_secs(300))
    }

    /// The same, on every list of revocations from the first on.
    pub(crate) fn revoked_canary(&self, name: &str) -> Result<Identity, AuthorityError> {
        let now = clock::now();
        let mut params = named(name, now, Duration::from_secs(300));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from_slice(&REVOKED_CANARY));
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: zeroize::Zeroizing::new(key.serialize_pem()) })
    }

    /// Ourselves, as the broker knows us.
    pub(crate) fn control_plane(&self) -> Result<Identity, AuthorityError> {
        self.client(saveos_protocol::topic::acl::CONTROL_PLANE, DAY.saturating_mul(365))
    }

    fn client(&self, name: &str, life: Duration) -> Result<Identity, AuthorityError> {
        let now = clock::now();
        let mut params = named(name, now, life);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let issued = self.sign(params, &key, now.after(life))?;
        Ok(Identity { certificate: issued.pem, key: zeroize::Zeroizing::new(key.serialize_pem()) })
    }

    /// Broker and API under a name, and under the address by which this machine reaches itself: behind a router that translates
    /// addresses, the name may lead nowhere from here.
    /// And under the name by which workers know its host.
    pub(crate) fn server(&self, host: &str, here: IpAddr, also: Option<&str>) -> Result<Identity, AuthorityError> {
        let now = clock::now();
        let bare = |name: &str| name.trim_matches(['[', ']']).to_owned();
        let names = [bare(host), "localhost".to_owned(), here.to_string()].into_iter().chain(also.map(bare));
        let mut params = CertificateParams::new(names.collect::<Vec<_>>())?;
        dated(&mut params, host, now, SERVER_LIFE);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let issued = self.sign(params, &key, now.after(SERVER_LIFE))?;
        Ok(Identity { certificate: issued.pem, key: zeroize::Zeroizing::new(key.serialize_pem()) })
    }

    /// The list of what is revoked: serials and when. The same moment gives a list with a higher number than any before.
    pub(crate) fn revocations(
        &self,
        revoked: &[(String, Timestamp)],
        now: Timestamp,
    ) -> Result<String, AuthorityError> {
        let canary = (REVOKED_CANARY.to_vec(), Timestamp::default());
        let listed = revoked.iter().map(|(serial, at)| (bytes_of(serial), *at)).chain([canary]);
        let entries = listed.map(|(serial, at)| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: moment(at),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: moment(Timestamp::saturating(now.as_millis().saturating_sub(SKEW.as_millis() as u64))),
            next_update: moment(now.after(LIST_LIFE)),
            crl_number: SerialNumber::from(now.as_millis()),
            issuing_distribution_point: None,
            revoked_certs: entries.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        until: Timestamp,
    ) -> Result<Issued, AuthorityError> {
        // 127 random bits: positive, and never the same twice.
        let mut serial = clock::random::<16>();
        serial[0] &= 0x7f;
        serial[0] |= 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let pem = params.signed_by(key, &self.issuer)?.pem();
        pem.parse::<Pem>().map_err(|_| AuthorityError::TooLong)?;
        Ok(Issued { serial: serial.iter().map(|byte| format!("{byte:02x}")).collect(), pem, until })
    }
}

fn named(name: &str, now: Timestamp, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    dated(&mut params, name, now, life);
    params
}

fn dated(params: &mut CertificateParams, name: &str, now: Timestamp, life: Duration) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = moment(Timestamp::saturating(now.as_millis().saturating_sub(SKEW.as_millis() as u64)));
    params.not_after = moment(now.after(life));
}

fn moment(at: Timestamp) -> OffsetDateTime {
    let seconds = i64::try_from(at.as_millis() / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
