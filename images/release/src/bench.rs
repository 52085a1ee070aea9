//! A repository in one hand, for a bench: one key a role in a folder, one signature enough, every state numbered as its caller says. It
//! checks nothing, so that a bench can publish what no owner would.

use crate::bundle::{Bundle, Offered};
use crate::ceremony::{Holders, ROLES, draft_root};
use crate::document::{Document, bytes, parse, sign};
use crate::draft::draft_targets;
use crate::error::{ReleaseError, rule};
use crate::key::{self, KeyError, Sign};
use crate::publish::{Online, at, state, target_at};
use crate::store::Store;
use std::num::NonZeroU64;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tough::schema::{RoleType, Root, Signed};

/// A folder of keys.
#[derive(Clone, Debug)]
pub struct Keys(PathBuf);

/// How one state of a repository is numbered, and until when it is fresh.
#[derive(Clone, Copy, Debug)]
pub struct Edition {
    /// Of targets, snapshot and timestamp: rises with every edition.
    pub version: u64,
    /// When each of them expires.
    pub expires: jiff::Timestamp,
}

impl Keys {
    /// Those of a folder; each key that is not there is made.
    pub fn make(folder: &Path) -> Result<Keys, KeyError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| KeyError::File { path: folder.to_owned(), source })?;
        for role in ROLES {
            let path = folder.join(format!("{role}.pem"));
            if !path.exists() {
                key::make(&path)?;
            }
        }
        Ok(Keys(folder.to_owned()))
    }

    fn open(&self, role: RoleType) -> Result<Box<dyn Sign>, KeyError> {
        key::open(&self.0.join(format!("{role}.pem")).to_string_lossy())
    }
}

/// Writes root metadata: one key a role, one signature enough.
pub fn make_root(keys: &Keys, version: u64, expires: jiff::Timestamp, file: &Path) -> Result<(), ReleaseError> {
    let mut roles = Vec::new();
    for role in ROLES {
        roles.push((role, Holders { keys: vec![keys.open(role)?.tuf_key()], threshold: 1 }));
    }
    let mut root = draft_root(None, &roles, expires)?;
    root.signed.version = number(version)?;
    let mut root = Document::Root(root);
    root.sign(&*keys.open(RoleType::Root)?, &[])?;
    put(file, &root.bytes())
}

/// Writes an edition into `repository`: `metadata/` and `targets/`, each file under the name a box asks for. What a box may be
/// reading stays; the timestamp, which points to all of it, comes last.
pub fn publish(
    repository: &Path,
    root: &Path,
    keys: &Keys,
    edition: Edition,
    bundles: &[Bundle],
) -> Result<(), ReleaseError> {
    let text = std::fs::read(root).map_err(|source| ReleaseError::File { path: root.to_owned(), source })?;
    let root: Signed<Root> = parse(&text, &root.display().to_string())?;
    let version = number(edition.version)?;
    let offered: Vec<Offered> =
        bundles.iter().map(Bundle::offered).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    let mut targets = draft_targets(None, &offered, &[], edition.expires)?;
    targets.signed.version = version;
    crate::wait(sign(&mut targets, &*keys.open(RoleType::Targets)?, &[&root.signed]))?;
    let file = bytes(&targets);
    let (snapshot, timestamp) = (keys.open(RoleType::Snapshot)?, keys.open(RoleType::Timestamp)?);
    let (now, fresh_for) = (jiff::Timestamp::UNIX_EPOCH, jiff::SignedDuration::ZERO);
    let online = Online { snapshot: &*snapshot, timestamp: &*timestamp, now, fresh_for };
    let store = Store::make(&repository.to_string_lossy())?;
    crate::wait(async {
        let signed = state(&root.signed, (version, &file), (version, version), edition.expires, &online).await?;
        for offered in &offered {
            let place = target_at(offered);
            if store.length(&place).await? != Some(offered.target.length) {
                store.put_file(&place, &offered.file).await?;
            }
        }
        store.put(&at(&targets.signed), &file).await?;
        store.put(&at(&signed.0.signed), &bytes(&signed.0)).await?;
        store.put(&at(&signed.1.signed), &bytes(&signed.1)).await
    })
}

fn number(version: u64) -> Result<NonZeroU64, ReleaseError> {
    NonZeroU64::new(version).map_or_else(|| rule("versions begin with 1"), Ok)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), ReleaseError> {
    use std::io::Write;
    let written = std::fs::File::create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|source| ReleaseError::File { path: path.to_owned(), source })
}
