//! A release repository: bundles, and the signed metadata that says which of them are releases. What is written is what The Update
//! Framework specifies (`https://theupdateframework.github.io/specification/latest/`), with a key for each role.

mod keys;

pub use keys::{Keys, KeysError, ROLES};

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use tough::editor::RepositoryEditor;
use tough::editor::signed::{PathExists, SignedRole};
use tough::schema::{KeyHolder, RoleKeys, RoleType, Root, Target};
use tough::{TargetName, key_source::KeySource};

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A key.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The library.
    #[error("the metadata could not be made")]
    Metadata(#[from] Box<tough::error::Error>),
    /// A key that has no name.
    #[error("a key has no name: {0}")]
    Key(String),
    /// A file.
    #[error("could not use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A version of 0.
    #[error("versions begin with 1")]
    Zero,
}

impl From<tough::error::Error> for ReleaseError {
    fn from(error: tough::error::Error) -> ReleaseError {
        ReleaseError::Metadata(Box::new(error))
    }
}

/// A bundle that is to be a release.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The file that RAUC made.
    pub file: PathBuf,
    /// What it is made for: `saveos-qemu`.
    pub compatible: String,
    /// Which release it is.
    pub release: String,
    /// A box that confirmed a higher one refuses it.
    pub security_epoch: u32,
}

impl Bundle {
    /// Its name among the targets, by which a box finds it.
    pub fn name(&self) -> String {
        format!("{}-{}.raucb", self.compatible, self.release)
    }
}

/// How one state of a repository is numbered, and until when it is fresh.
#[derive(Clone, Copy, Debug)]
pub struct Edition {
    /// Of targets, snapshot and timestamp: rises with every edition.
    pub version: u64,
    /// When each of them expires.
    pub expires: jiff::Timestamp,
}

/// Writes the first root metadata: one key a role, one signature enough.
pub fn make_root(keys: &Keys, version: u64, expires: jiff::Timestamp, file: &Path) -> Result<(), ReleaseError> {
    let one = NonZeroU64::MIN;
    let mut root = Root {
        spec_version: "1.0.0".to_owned(),
        consistent_snapshot: true,
        version: NonZeroU64::new(version).ok_or(ReleaseError::Zero)?,
        expires,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    for role in ROLES {
        let key = keys.public(role)?;
        let id = key.key_id().map_err(|error| ReleaseError::Key(error.to_string()))?;
        root.keys.insert(id.clone(), key);
        root.roles.insert(role, RoleKeys { keyids: vec![id], threshold: one, _extra: HashMap::new() });
    }
    let sources: Vec<Box<dyn KeySource>> = vec![keys.source(RoleType::Root)?];
    let holder = KeyHolder::Root(root.clone());
    let random = aws_lc_rs::rand::SystemRandom::new();
    let signed = wait(SignedRole::new(root, &holder, &sources, &random))?;
    put(file, signed.buffer())
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
    let (metadata, targets) = (repository.join("metadata"), repository.join("targets"));
    for folder in [&metadata, &targets] {
        std::fs::create_dir_all(folder).map_err(|source| ReleaseError::File { path: folder.clone(), source })?;
    }
    let version = NonZeroU64::new(edition.version).ok_or(ReleaseError::Zero)?;
    let sources: Vec<Box<dyn KeySource>> =
        vec![keys.source(RoleType::Targets)?, keys.source(RoleType::Snapshot)?, keys.source(RoleType::Timestamp)?];
    wait(async {
        let mut editor = RepositoryEditor::new(root).await?;
        editor.targets_version(version)?.targets_expires(edition.expires)?;
        editor.snapshot_version(version).snapshot_expires(edition.expires);
        editor.timestamp_version(version).timestamp_expires(edition.expires);
        for bundle in bundles {
            editor.add_target(TargetName::new(bundle.name())?, target(bundle).await?)?;
        }
        let signed = editor.sign(&sources).await?;
        for bundle in bundles {
            let name = TargetName::new(bundle.name())?;
            signed.copy_target(&bundle.file, &targets, PathExists::Skip, Some(&name)).await?;
        }
        signed.write(&metadata).await
    })?;
    Ok(())
}

async fn target(bundle: &Bundle) -> Result<Target, tough::error::Error> {
    let (_, mut target) = RepositoryEditor::build_target(&bundle.file).await?;
    let said = [
        ("release", bundle.release.clone().into()),
        ("compatible", bundle.compatible.clone().into()),
        ("security_epoch", bundle.security_epoch.into()),
    ];
    target.custom = said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(target)
}

fn wait<T>(work: impl Future<Output = Result<T, tough::error::Error>>) -> Result<T, ReleaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|source| ReleaseError::File { path: "a runtime".into(), source })?;
    Ok(runtime.block_on(work)?)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), ReleaseError> {
    use std::io::Write;
    let written = std::fs::File::create(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|source| ReleaseError::File { path: path.to_owned(), source })
}
