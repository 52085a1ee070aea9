//! What is too large for the database and the same for every replica: the repository of releases, and logs of boxes. In the data
//! folder, or in a bucket that speaks S3.

use crate::files::{self, FileError};
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Name;
use object_store::{GetOptions, GetResult, ObjectStore, ObjectStoreExt, PutPayload};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// `s3://BUCKET/FOLDER`; what else a bucket needs is said as everywhere: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and
/// AWS_SECRET_ACCESS_KEY, or what the host of a cloud gives its programs.
const PLACE: &str = "SAVEOS_OBJECTS";
/// A file that holds the secret key.
const SECRET_FILE: &str = "AWS_SECRET_ACCESS_KEY_FILE";

/// Why something is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObjectsError {
    /// No place.
    #[error("SAVEOS_OBJECTS says no `s3://BUCKET/FOLDER`")]
    Place,
    /// A file that a variable names.
    #[error("could not read {0}, which AWS_SECRET_ACCESS_KEY_FILE names")]
    Secret(PathBuf, #[source] std::io::Error),
    /// The bucket.
    #[error("the bucket failed")]
    Bucket(#[source] Box<object_store::Error>),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file.
    #[error("could not read {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// What does it has ended.
    #[error("the program ends")]
    Ended,
    /// More than anything of its kind.
    #[error("{0} is too long")]
    TooLong(String),
}

impl From<object_store::Error> for ObjectsError {
    fn from(error: object_store::Error) -> ObjectsError {
        ObjectsError::Bucket(Box::new(error))
    }
}

/// The place.
#[derive(Clone, Debug)]
pub(crate) enum Objects {
    /// A folder of this machine, which replicas may share.
    Folder(PathBuf),
    /// A bucket, and the folder in it.
    Bucket(Arc<dyn ObjectStore>, Name),
}

impl Objects {
    /// As the environment says; else in the data folder.
    pub(crate) fn of_environment(data: &Path) -> Result<Objects, ObjectsError> {
        let Some(place) = std::env::var_os(PLACE) else { return Ok(Objects::Folder(data.to_owned())) };
        let place = place.into_string().map_err(|_| ObjectsError::Place)?;
        let place = place.strip_prefix("s3://").filter(|place| !place.is_empty()).ok_or(ObjectsError::Place)?;
        let (bucket, folder) = place.split_once('/').unwrap_or((place, ""));
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        if let Some(path) = std::env::var_os(SECRET_FILE).map(PathBuf::from) {
            let secret = std::fs::read_to_string(&path).map(Zeroizing::new);
            builder = builder.with_secret_access_key(secret.map_err(|error| ObjectsError::Secret(path, error))?.trim());
        }
        Ok(Objects::Bucket(Arc::new(builder.build()?), Name::parse(folder).map_err(|_| ObjectsError::Place)?))
    }

    /// The bytes of one; `None` when there is none of that name.
    pub(crate) async fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ObjectsError> {
        match self {
            Objects::Folder(folder) => {
                let (path, name) = (folder.join(name), name.to_owned());
                let read = tokio::task::spawn_blocking(move || read_file(path, &name, limit));
                read.await.map_err(|_| ObjectsError::Ended)?
            }
            Objects::Bucket(bucket, folder) => {
                let found = match bucket.get(&below(folder, name)).await {
                    Err(object_store::Error::NotFound { .. }) => return Ok(None),
                    found => found?,
                };
                if found.meta.size > limit {
                    return Err(ObjectsError::TooLong(name.to_owned()));
                }
                Ok(Some(found.bytes().await?.to_vec()))
            }
        }
    }

    /// Writes one, whole or not at all.
    pub(crate) async fn write(&self, name: &str, text: String) -> Result<(), ObjectsError> {
        match self {
            Objects::Folder(folder) => {
                let path = folder.join(name);
                let written = tokio::task::spawn_blocking(move || -> Result<(), FileError> {
                    files::make_folder(path.parent().unwrap_or(Path::new(".")))?;
                    files::write(&path, &text)
                });
                Ok(written.await.map_err(|_| ObjectsError::Ended)??)
            }
            Objects::Bucket(bucket, folder) => {
                bucket.put(&below(folder, name), PutPayload::from(text.into_bytes())).await?;
                Ok(())
            }
        }
    }

    /// Takes one away. What stays behind is found by nobody.
    pub(crate) async fn remove(&self, name: &str) {
        let removed = match self {
            Objects::Folder(folder) => std::fs::remove_file(folder.join(name)).map_err(|error| error.to_string()),
            Objects::Bucket(bucket, folder) => {
                bucket.delete(&below(folder, name)).await.map_err(|error| error.to_string())
            }
        };
        if let Err(error) = removed {
            tracing::warn!(error, name, "something is left behind");
        }
    }
}

/// One of a bucket, or a part of it.
pub(crate) async fn get(
    bucket: &dyn ObjectStore,
    folder: &Name,
    name: &str,
    options: GetOptions,
) -> Result<GetResult, object_store::Error> {
    bucket.get_opts(&below(folder, name), options).await
}

/// Its bytes, as they come.
pub(crate) fn stream(found: GetResult) -> impl futures_core::Stream<Item = Result<axum::body::Bytes, std::io::Error>> {
    found.into_stream().map_err(std::io::Error::other)
}

/// Names are made of ours and of what a table knows; what a request names is cleaned by the type: no part of it is `..`.
fn below(folder: &Name, name: &str) -> Name {
    name.split('/').filter(|part| !part.is_empty()).fold(folder.clone(), |folder, part| folder.join(part))
}

fn read_file(path: PathBuf, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ObjectsError> {
    let mut bytes = Vec::new();
    match std::fs::File::open(&path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)) {
        Ok(_) if bytes.len() as u64 > limit => Err(ObjectsError::TooLong(name.to_owned())),
        Ok(_) => Ok(Some(bytes)),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ObjectsError::Read(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[tokio::test]
    async fn a_folder_and_a_bucket_keep_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let inside = Name::parse("an/installation").expect("a name");
        for objects in [Objects::Folder(folder.path().to_owned()), Objects::Bucket(Arc::clone(&bucket), inside)] {
            assert!(objects.read("logs/one", 9).await.expect("it answers").is_none());
            objects.write("logs/one", "a text".to_owned()).await.expect("room");
            assert_eq!(objects.read("logs/one", 6).await.expect("it answers").expect("a text"), b"a text");
            assert!(matches!(objects.read("logs/one", 5).await, Err(ObjectsError::TooLong(_))));
            objects.remove("logs/one").await;
            objects.remove("logs/one").await;
            assert!(objects.read("logs/one", 9).await.expect("it answers").is_none());
        }
        assert!(bucket.list(None).try_collect::<Vec<_>>().await.expect("a list").is_empty());
    }

    #[test]
    fn no_name_leads_out_of_its_folder() {
        let inside = Name::parse("ours").expect("a name");
        for name in ["../theirs", "/theirs", "a/../../theirs", "..", "a//b", "%2e%2e/theirs"] {
            let below = below(&inside, name).to_string();
            assert!(below.starts_with("ours/") && !below.split('/').any(|part| part == ".."), "{name}: {below}");
        }
    }
}
