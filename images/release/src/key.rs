//! Keys that sign: in a file, or in a token that never gives them away. Whoever signs sees one trait, the library's `Sign`.

mod file;
mod token;

pub use file::make;
use std::path::PathBuf;
pub use tough::schema::key::Key as PublicKey;
pub use tough::sign::Sign;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
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
    #[error("{0} holds no Ed25519 key in PKCS#8 (`saveos-release key new` makes one)")]
    NoKey(PathBuf),
    /// It holds something else.
    #[error("{0} holds no public key (`saveos-release key show` prints it)")]
    NoPublicKey(PathBuf),
    /// The system has none.
    #[error("no random numbers")]
    Random,
    /// An address of a key in a token.
    #[error("`{0}` is no address of a key: {1}")]
    Address(String, &'static str),
    /// A token, or what drives it.
    #[error("the token could not {0}")]
    Token(&'static str, #[source] Box<cryptoki::error::Error>),
    /// No such token, or no such key on it.
    #[error("there is no {0}")]
    Missing(String),
}

/// A key by its name: a file, or a `pkcs11:` address (RFC 7512).
pub fn open(name: &str) -> Result<Box<dyn Sign>, KeyError> {
    match name.strip_prefix("pkcs11:") {
        Some(address) => Ok(Box::new(token::open(address)?)),
        None => Ok(Box::new(file::open(name.as_ref())?)),
    }
}

/// A public key, as `key show` prints it.
pub fn read_public(path: &std::path::Path) -> Result<PublicKey, KeyError> {
    let text = std::fs::read(path).map_err(|source| KeyError::File { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|_| KeyError::NoPublicKey(path.to_owned()))
}
