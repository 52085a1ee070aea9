//! A box's signing request, read before anything is signed. It may ask for its own name and its own key, and nothing else.
//!
//! Order of checks: form, curve, its own signature, the key that the box proved, the name, what it asks for besides.

use saveos_protocol::enrol::Refusal;
use saveos_protocol::hex::DeviceKey;
use saveos_protocol::id::DeviceId;
use saveos_protocol::text::Pem;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_X509_COMMON_NAME};
use x509_parser::prelude::FromDer;

/// What a request may give: a name and a key.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) device: DeviceId,
    /// The key as a certificate holds it: SubjectPublicKeyInfo in DER.
    pub(crate) key_info: Vec<u8>,
}

/// Checks it against the key that was proven, and at a renewal against the name that is known.
pub(crate) fn check(request: &Pem, known: Option<DeviceId>, key: &DeviceKey) -> Result<Checked, Refusal> {
    let (rest, pem) = x509_parser::pem::parse_x509_pem(request.as_bytes()).map_err(|_| Refusal::CsrDamaged)?;
    if pem.label != "CERTIFICATE REQUEST" || !rest.trim_ascii().is_empty() {
        return Err(Refusal::CsrDamaged);
    }
    let (rest, request) = X509CertificationRequest::from_der(&pem.contents).map_err(|_| Refusal::CsrDamaged)?;
    let info = &request.certification_request_info;
    let algorithm = &info.subject_pki.algorithm;
    let curve = algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    if algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
        return Err(Refusal::WrongCurve);
    }
    if !rest.is_empty() || request.verify_signature().is_err() {
        return Err(Refusal::CsrDamaged);
    }
    if *info.subject_pki.subject_public_key.data != key.0 {
        return Err(Refusal::OtherKey);
    }
    let names: Vec<_> = info.subject.iter_attributes().collect();
    let device = match names.as_slice() {
        [name] if *name.attr_type() == OID_X509_COMMON_NAME => name.as_str().ok().and_then(|name| name.parse().ok()),
        _ => None,
    };
    let device: DeviceId = device.ok_or(Refusal::ForeignName)?;
    if known.is_some_and(|known| known != device) {
        return Err(Refusal::ForeignName);
    }
    for extension in request.requested_extensions().into_iter().flatten() {
        match extension {
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err(Refusal::AsksForAuthority),
            ParsedExtension::BasicConstraints(_) => {}
            _ => return Err(Refusal::AsksForMore),
        }
    }
    Ok(Checked { device, key_info: info.subject_pki.raw.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, PublicKeyData, SanType};
    use saveos_protocol::time::Timestamp;

    fn device() -> DeviceId {
        DeviceId::from_parts(Timestamp::saturating(1), [7; 10])
    }

    fn public(key: &KeyPair) -> DeviceKey {
        DeviceKey(key.der_bytes().try_into().unwrap_or([0; 65]))
    }

    /// A request that is changed before it is signed.
    fn request(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Pem {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, device().to_string());
        change(&mut params);
        let request = params.serialize_request(key).expect("a request");
        request.pem().expect("PEM").parse().expect("PEM")
    }

    #[test]
    fn a_box_gets_its_own_name_for_its_own_key() {
        let key = KeyPair::generate().expect("a key");
        let checked = check(&request(&key, |_| {}), None, &public(&key)).expect("it is good");
        assert_eq!(checked.device, device());
        assert!(checked.key_info.ends_with(&public(&key).0));
        assert!(check(&request(&key, |_| {}), Some(device()), &public(&key)).is_ok());
    }

    #[test]
    fn what_asks_for_more_is_refused_with_a_reason() {
        let key = KeyPair::generate().expect("a key");
        let refused = |change: fn(&mut CertificateParams)| check(&request(&key, change), None, &public(&key)).err();
        assert_eq!(
            refused(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            Some(Refusal::AsksForAuthority)
        );
        assert_eq!(
            refused(|params| {
                params.subject_alt_names = vec![SanType::DnsName("x.example".try_into().expect("a name"))];
            }),
            Some(Refusal::AsksForMore)
        );
        assert_eq!(
            refused(|params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth]),
            Some(Refusal::AsksForMore)
        );
        for (common, more) in [("cp", false), ("+", false), ("#", false), ("d-00000000000000000000000000", true)] {
            let pem = request(&key, |params| {
                params.distinguished_name = rcgen::DistinguishedName::new();
                params.distinguished_name.push(DnType::CommonName, common);
                if more {
                    params.distinguished_name.push(DnType::OrganizationName, "somebody");
                }
            });
            assert_eq!(check(&pem, None, &public(&key)).err(), Some(Refusal::ForeignName), "{common}");
        }
    }

    #[test]
    fn another_key_curve_or_name_is_refused() {
        let (key, other) = (KeyPair::generate().expect("a key"), KeyPair::generate().expect("a key"));
        let pem = request(&key, |_| {});
        assert_eq!(check(&pem, None, &public(&other)).err(), Some(Refusal::OtherKey));
        let foreign = DeviceId::from_parts(Timestamp::saturating(1), [8; 10]);
        assert_eq!(check(&pem, Some(foreign), &public(&key)).err(), Some(Refusal::ForeignName));
        let large = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        assert_eq!(check(&request(&large, |_| {}), None, &public(&large)).err(), Some(Refusal::WrongCurve));
    }

    #[test]
    fn a_damaged_request_is_refused_or_still_says_the_same() {
        let key = KeyPair::generate().expect("a key");
        let good = request(&key, |_| {});
        let (_, pem) = x509_parser::pem::parse_x509_pem(good.as_bytes()).expect("PEM");
        for at in 0..pem.contents.len() {
            let mut bytes = pem.contents.clone();
            bytes[at] ^= 0x10;
            let text = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", bytes));
            // Bits that no signature covers, such as how many bits of its last byte are unused, may change.
            if let Ok(checked) = check(&text.parse().expect("PEM"), Some(device()), &public(&key)) {
                let signed_before = at + 2 * 70 > pem.contents.len();
                assert!(signed_before && checked.key_info.ends_with(&public(&key).0), "byte {at}");
            }
        }
        let two = format!("{}{}", &*good, &*good);
        assert_eq!(check(&two.parse().expect("PEM"), None, &public(&key)).err(), Some(Refusal::CsrDamaged));
    }
}
