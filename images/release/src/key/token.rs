//! A key in a token or security module, by PKCS#11: an elliptic-curve key on P-256, which every such device can hold. The token signs;
//! the key stays in it.

use super::KeyError;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SecureRandom;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use percent_encoding::percent_decode_str;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use tough::schema::key::{EcdsaKey, EcdsaScheme, Key};
use tough::{async_trait, sign::Sign};

/// Where a key is.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    token: String,
    object: String,
    module: PathBuf,
    pin: PathBuf,
}

/// A session of somebody who gave the PIN, and the key in it.
pub(super) struct TokenKey {
    session: Mutex<Session>,
    private: ObjectHandle,
    /// An uncompressed point: 4, x, y.
    point: Vec<u8>,
}

/// An object identifier in DER: the curve P-256.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const POINT: usize = 65;

pub(super) fn open(address: &str) -> Result<TokenKey, KeyError> {
    let Address { token, object, module, pin } = Address::parse(address)?;
    let could = |what| move |error: Error| KeyError::Token(what, Box::new(error));
    let library = Pkcs11::new(module).map_err(could("be reached: no such module"))?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // By another key of this run.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => (),
        Err(error) => return Err(could("be reached")(error)),
    }
    let slots = library.get_slots_with_token().map_err(could("be found"))?;
    let is_it = |slot: &_| library.get_token_info(*slot).is_ok_and(|info| info.label().trim_end() == token);
    let slot =
        slots.into_iter().find(is_it).ok_or_else(|| KeyError::Missing(format!("token with the label `{token}`")))?;
    let session = library.open_ro_session(slot).map_err(could("be opened"))?;
    let text = std::fs::read_to_string(&pin).map_err(|source| KeyError::File { path: pin, source })?;
    match session.login(UserType::User, Some(&AuthPin::new(text.trim_end_matches(['\r', '\n']).into()))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => (),
        Err(error) => return Err(could("be unlocked")(error)),
    }
    let find = |class| {
        let wanted =
            [Attribute::Class(class), Attribute::KeyType(KeyType::EC), Attribute::Label(object.clone().into_bytes())];
        match session.find_objects(&wanted).map_err(could("be searched"))?[..] {
            [one] => Ok(one),
            [] => Err(KeyError::Missing(format!("key with the label `{object}` on the token `{token}`"))),
            _ => Err(KeyError::Missing(format!("single key with the label `{object}` on the token `{token}`"))),
        }
    };
    let (private, public) = (find(ObjectClass::PRIVATE_KEY)?, find(ObjectClass::PUBLIC_KEY)?);
    let said = session.get_attributes(public, &[AttributeType::EcParams, AttributeType::EcPoint]);
    let mut point = None;
    for attribute in said.map_err(could("show its public key"))? {
        match attribute {
            Attribute::EcParams(curve) if curve != P256 => {
                return Err(KeyError::Missing(format!("key on the curve P-256 with the label `{object}`")));
            }
            // An octet string in DER; some tokens leave its two bytes of header out.
            Attribute::EcPoint(bytes) => point = Some(bytes[bytes.len().saturating_sub(POINT)..].to_vec()),
            _ => (),
        }
    }
    let point = point.filter(|point| point.len() == POINT && point[0] == 4);
    let point = point.ok_or_else(|| KeyError::Missing(format!("public key with the label `{object}`")))?;
    Ok(TokenKey { session: Mutex::new(session), private, point })
}

impl Address {
    /// `token=…;object=…?module-path=…&pin-source=…`, each percent-encoded where it must be.
    fn parse(text: &str) -> Result<Address, KeyError> {
        let wrong = |why| KeyError::Address(format!("pkcs11:{text}"), why);
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let mut parts = HashMap::new();
        for part in path.split(';').chain(query.split('&')).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| wrong("a part of it has no `=`"))?;
            let value = percent_decode_str(value).decode_utf8().map_err(|_| wrong("a part of it is no text"))?;
            if name == "pin-value" {
                // Without the address itself: it holds a secret.
                return Err(KeyError::Address("pkcs11:…".to_owned(), "a PIN belongs into a file: `pin-source`"));
            }
            parts.insert(name, value.into_owned());
        }
        let mut take = |name, why| parts.remove(name).ok_or_else(|| wrong(why));
        let pin = take("pin-source", "it names no `pin-source`, the file that holds the PIN")?;
        Ok(Address {
            token: take("token", "it names no `token`")?,
            object: take("object", "it names no `object`, the label of the key")?,
            module: take("module-path", "it names no `module-path`, the library that drives the token")?.into(),
            pin: pin.strip_prefix("file:").unwrap_or(&pin).into(),
        })
    }
}

#[async_trait]
impl Sign for TokenKey {
    fn tuf_key(&self) -> Key {
        let public = self.point.clone().into();
        let keyval = EcdsaKey { public, _extra: HashMap::new() };
        Key::Ecdsa { keyval, scheme: EcdsaScheme::EcdsaSha2Nistp256, _extra: HashMap::new() }
    }

    async fn sign(
        &self,
        message: &[u8],
        _: &(dyn SecureRandom + Sync),
    ) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync + 'static>> {
        let session = self.session.lock().map_err(|_| "somebody else failed with this token")?;
        // Not every token hashes; every one signs a hash.
        let signature = session.sign(&Mechanism::Ecdsa, self.private, digest(&SHA256, message).as_ref())?;
        let (r, s) =
            signature.split_at_checked(32).filter(|(_, s)| s.len() == 32).ok_or("a signature of another length")?;
        Ok(der(r, s))
    }
}

/// Two numbers as a DER sequence: what verifiers expect, where a token gives them side by side.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count().min(number.len() - 1);
        let digits = &number[zeros..];
        // A first bit would mean a negative number.
        let sign = &[0_u8][..usize::from(digits[0] >= 0x80)];
        [&[0x02, (sign.len() + digits.len()) as u8], sign, digits].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [&[0x30, both.len() as u8], &both[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let address =
            Address::parse("token=Release%20keys;object=targets?module-path=/lib/p.so&pin-source=file:/run/pin");
        let (token, object) = ("Release keys".to_owned(), "targets".to_owned());
        let wanted = Address { token, object, module: "/lib/p.so".into(), pin: "/run/pin".into() };
        assert_eq!(address.expect("an address"), wanted);
    }

    #[test]
    fn an_address_that_lacks_something_says_what() {
        for (text, what) in [
            ("object=a?module-path=b&pin-source=c", "token"),
            ("token=t?module-path=b&pin-source=c", "object"),
            ("token=t;object=a?pin-source=c", "module-path"),
            ("token=t;object=a?module-path=b", "pin-source"),
            ("token", "no `=`"),
        ] {
            assert!(Address::parse(text).expect_err(text).to_string().contains(what), "{text}");
        }
        let secret = Address::parse("token=t;object=a?module-path=b&pin-value=1234").expect_err("a secret").to_string();
        assert!(secret.contains("pin-source") && !secret.contains("1234"), "{secret}");
    }

    #[test]
    fn numbers_are_the_shortest_that_are_not_negative() {
        let mut small = [0; 32];
        small[31] = 5;
        assert_eq!(der(&small, &[0; 32]), [0x30, 6, 2, 1, 5, 2, 1, 0]);
        let large = der(&[0xff; 32], &[0x7f; 32]);
        assert_eq!((large[1], &large[2..6], large.len()), (35 + 34, &[2, 33, 0, 0xff][..], 2 + 35 + 34));
    }
}
