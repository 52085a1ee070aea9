//! A key as a file: PKCS#8 in PEM, which only its owner reads. Not more secret than where it lies.

use super::KeyError;
use aws_lc_rs::signature::Ed25519KeyPair;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Makes a new one; never writes over another.
pub fn make(path: &Path) -> Result<(), KeyError> {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let key = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Random)?;
    let text = pem::encode(&pem::Pem::new("PRIVATE KEY", key.as_ref()));
    let file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Its public half is given away: a power cut must not take the key.
    file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::File::open(folder)?.sync_all())
        .map_err(|source| KeyError::File { path: path.to_owned(), source })
}

pub(super) fn open(path: &Path) -> Result<Ed25519KeyPair, KeyError> {
    let text = std::fs::read(path).map_err(|source| KeyError::File { path: path.to_owned(), source })?;
    let key = pem::parse(text).ok().and_then(|pem| Ed25519KeyPair::from_pkcs8(pem.contents()).ok());
    key.ok_or_else(|| KeyError::NoKey(path.to_owned()))
}
