//! The keys of a repository, one for each role, as PKCS#8 in a folder that only its owner reads. For a bench and for the roles that a
//! machine signs; the offline ones are a matter of who holds them, not of how they look.

use aws_lc_rs::signature::Ed25519KeyPair;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tough::async_trait;
use tough::key_source::KeySource;
use tough::schema::RoleType;
use tough::schema::key::Key;
use tough::sign::Sign;

/// Every role that has a key.
pub const ROLES: [RoleType; 4] = [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp];

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file.
    #[error("could not use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{0} holds no Ed25519 key")]
    NoKey(PathBuf),
    /// The system has none.
    #[error("no random numbers")]
    Random,
}

/// A folder of them.
#[derive(Clone, Debug)]
pub struct Keys(PathBuf);

type Anything = Box<dyn std::error::Error + Send + Sync + 'static>;

/// One key, as the library wants it.
#[derive(Clone)]
struct Pair(Vec<u8>);

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key")
    }
}

impl Keys {
    /// Those of a folder; each key that is not there is made.
    pub fn make(folder: &Path) -> Result<Keys, KeysError> {
        let error = |path: &Path| {
            let path = path.to_owned();
            move |source| KeysError::File { path, source }
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(error(folder))?;
        let random = aws_lc_rs::rand::SystemRandom::new();
        for role in ROLES {
            let path = folder.join(format!("{role}.pem"));
            if path.exists() {
                continue;
            }
            let key = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeysError::Random)?;
            let text = pem::encode(&pem::Pem::new("PRIVATE KEY", key.as_ref()));
            let file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
                .map_err(error(&path))?;
        }
        Ok(Keys(folder.to_owned()))
    }

    fn pair(&self, role: RoleType) -> Result<Pair, KeysError> {
        let path = self.0.join(format!("{role}.pem"));
        let text = std::fs::read(&path).map_err(|source| KeysError::File { path: path.clone(), source })?;
        let pair = pem::parse(text).ok().map(|pem| Pair(pem.into_contents()));
        pair.filter(|pair| pair.open().is_ok()).ok_or(KeysError::NoKey(path))
    }

    pub(crate) fn public(&self, role: RoleType) -> Result<Key, KeysError> {
        let pair = self.pair(role)?.open();
        pair.map(|pair| pair.tuf_key()).map_err(|_| KeysError::NoKey(self.0.clone()))
    }

    pub(crate) fn source(&self, role: RoleType) -> Result<Box<dyn KeySource>, KeysError> {
        Ok(Box::new(self.pair(role)?))
    }
}

impl Pair {
    fn open(&self) -> Result<Ed25519KeyPair, aws_lc_rs::error::KeyRejected> {
        Ed25519KeyPair::from_pkcs8(&self.0)
    }
}

#[async_trait]
impl KeySource for Pair {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, Anything> {
        Ok(Box::new(self.open()?))
    }

    async fn write(&self, _: &str, _: &str) -> Result<(), Anything> {
        Err("keys are not changed".into())
    }
}
