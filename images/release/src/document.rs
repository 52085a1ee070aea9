//! Metadata that people sign one after the other: who has, who still must, and one more signature.

use crate::error::ReleaseError;
use crate::key::{PublicKey, Sign};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::num::NonZeroU64;
use std::path::Path;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::{Role, RoleKeys, Root, Signature, Signed, Targets};

/// By which the root names a key: the hash of its public half.
pub type KeyId = Decoded<Hex>;

/// What people sign; the rest is signed by a machine.
#[derive(Clone, Debug)]
pub enum Document {
    /// Whose signatures count.
    Root(Signed<Root>),
    /// Which bundles are releases.
    Targets(Signed<Targets>),
}

/// How far a document is from being valid.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// Whose rules these are: version of the root.
    pub root: NonZeroU64,
    /// How many signatures are enough.
    pub threshold: u64,
    /// Keys whose signatures are there and hold.
    pub signed: Vec<String>,
    /// Keys that could sign.
    pub missing: Vec<String>,
}

impl Standing {
    /// Whether there are enough.
    pub fn is_enough(&self) -> bool {
        self.signed.len() as u64 >= self.threshold
    }
}

impl Document {
    /// One out of a file.
    pub fn read(path: &Path) -> Result<Document, ReleaseError> {
        let bytes = std::fs::read(path).map_err(|source| ReleaseError::File { path: path.to_owned(), source })?;
        Document::parse(&bytes, &path.display().to_string())
    }

    fn parse(bytes: &[u8], what: &str) -> Result<Document, ReleaseError> {
        let found: serde_json::Value = parse(bytes, what)?;
        match found["signed"]["_type"].as_str() {
            Some("root") => parse(bytes, what).map(Document::Root),
            Some("targets") => parse(bytes, what).map(Document::Targets),
            _ => crate::error::rule(format!("{what} is neither root nor targets metadata: people sign no other")),
        }
    }

    /// As bytes of a file.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Document::Root(root) => bytes(root),
            Document::Targets(targets) => bytes(targets),
        }
    }

    /// Adds a signature, or replaces that of the same key, if one of these roots knows the key for this role.
    pub fn sign(&mut self, key: &dyn Sign, roots: &[&Root]) -> Result<KeyId, ReleaseError> {
        match self {
            Document::Root(root) => {
                let own = root.signed.clone();
                crate::wait(sign(root, key, &[&[&own], roots].concat()))
            }
            Document::Targets(targets) => crate::wait(sign(targets, key, roots)),
        }
    }

    /// How far it is from being valid by a root's rules.
    pub fn standing(&self, root: &Root) -> Result<Standing, ReleaseError> {
        match self {
            Document::Root(document) => standing(document, root),
            Document::Targets(document) => standing(document, root),
        }
    }

    /// Takes over the signatures of a copy that somebody else signed.
    pub fn collect(&mut self, other: Document) -> Result<(), ReleaseError> {
        let same = match (self, other) {
            (Document::Root(ours), Document::Root(theirs)) => collect(ours, theirs),
            (Document::Targets(ours), Document::Targets(theirs)) => collect(ours, theirs),
            _ => false,
        };
        if same { Ok(()) } else { crate::error::rule("the copies differ in what is signed") }
    }
}

/// The name of a key.
pub fn id(key: &PublicKey) -> Result<KeyId, ReleaseError> {
    Ok(key.key_id()?)
}

/// As it is printed.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn sign<T: Role>(
    document: &mut Signed<T>,
    key: &dyn Sign,
    roots: &[&Root],
) -> Result<KeyId, ReleaseError> {
    let id = key.tuf_key().key_id()?;
    if !roots.iter().any(|root| holders(root, T::TYPE).is_some_and(|holders| holders.keyids.contains(&id))) {
        return Err(ReleaseError::NotAHolder(T::TYPE));
    }
    let random = aws_lc_rs::rand::SystemRandom::new();
    let signature = key.sign(&document.signed.canonical_form()?, &random).await.map_err(ReleaseError::Sign)?;
    document.signatures.retain(|known| known.keyid != id);
    document.signatures.push(Signature { keyid: id.clone(), sig: signature.into() });
    Ok(id)
}

pub(crate) fn standing<T: Role + Clone>(document: &Signed<T>, root: &Root) -> Result<Standing, ReleaseError> {
    let nobody = RoleKeys { keyids: Vec::new(), threshold: NonZeroU64::MAX, _extra: Default::default() };
    let holders = holders(root, T::TYPE).unwrap_or(&nobody);
    // The library counts; here is asked for each alone.
    let mut one = root.clone();
    if let Some(role) = one.roles.get_mut(&T::TYPE) {
        role.threshold = NonZeroU64::MIN;
    }
    let (mut signed, mut missing) = (Vec::new(), Vec::new());
    for id in &holders.keyids {
        let alone = document.signatures.iter().find(|signature| signature.keyid == *id).cloned();
        let alone = Signed { signed: document.signed.clone(), signatures: alone.into_iter().collect() };
        let list = if one.verify_role(&alone).is_ok() { &mut signed } else { &mut missing };
        list.push(hex(id));
    }
    Ok(Standing { root: root.version, threshold: holders.threshold.get(), signed, missing })
}

fn holders(root: &Root, role: tough::schema::RoleType) -> Option<&RoleKeys> {
    root.roles.get(&role)
}

fn collect<T: PartialEq>(ours: &mut Signed<T>, theirs: Signed<T>) -> bool {
    let same = ours.signed == theirs.signed;
    if same {
        let new = |signature: &Signature| !ours.signatures.iter().any(|known| known.keyid == signature.keyid);
        let new: Vec<_> = theirs.signatures.into_iter().filter(new).collect();
        ours.signatures.extend(new);
    }
    same
}

pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, ReleaseError> {
    serde_json::from_slice(bytes).map_err(|source| ReleaseError::NotUnderstood { what: what.to_owned(), source })
}

pub(crate) fn bytes<T: Serialize>(document: &Signed<T>) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document).expect("metadata has names as keys and is written to memory");
    bytes.push(b'\n');
    bytes
}
