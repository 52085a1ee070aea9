//! Where a repository lies: a folder, or a bucket of an S3-compatible service. Both behind one trait, of a library.

use crate::error::{ReleaseError, rule};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::prefix::PrefixStore;
use object_store::{
    Attribute, AttributeValue, Attributes, ObjectStore, ObjectStoreExt, PutOptions, PutPayload, WriteMultipart,
};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// A repository's files, by name.
pub struct Store {
    place: String,
    files: Arc<dyn ObjectStore>,
    /// Whether it can be told how long others may keep a copy.
    has_caches: bool,
}

const S3: &str = "s3://";
/// What a part of a large file is sent in, and how many of them at once.
const PART: usize = 8 << 20;
const AT_ONCE: usize = 4;
/// Of metadata; no box takes more (`appliance/daemon/src/update/metadata.rs`).
const LONGEST: u64 = 4 << 20;

impl Store {
    /// The same, and a folder that is not there is made.
    pub fn make(place: &str) -> Result<Store, ReleaseError> {
        if !place.starts_with(S3) {
            std::fs::create_dir_all(place).map_err(|source| ReleaseError::File { path: place.into(), source })?;
        }
        Store::open(place)
    }

    /// `s3://bucket/folder`, or a folder. A bucket is found and entered by the usual variables: `AWS_ENDPOINT_URL`,
    /// `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`.
    pub fn open(place: &str) -> Result<Store, ReleaseError> {
        let error = |source| ReleaseError::Store { place: place.to_owned(), source: Box::new(source) };
        let Some(rest) = place.strip_prefix(S3) else {
            // What is published stays published: a power cut behind it takes nothing back.
            let files = LocalFileSystem::new_with_prefix(place).map_err(error)?.with_fsync(true);
            return Ok(Store { place: place.to_owned(), files: Arc::new(files), has_caches: false });
        };
        let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return rule("an address of S3 is s3://BUCKET or s3://BUCKET/FOLDER");
        }
        let bucket = AmazonS3Builder::from_env().with_bucket_name(bucket).build().map_err(error)?;
        let files: Arc<dyn ObjectStore> =
            if folder.is_empty() { Arc::new(bucket) } else { Arc::new(PrefixStore::new(bucket, folder)) };
        Ok(Store { place: place.to_owned(), files, has_caches: true })
    }

    /// A file of metadata, if it is there.
    pub(crate) async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, ReleaseError> {
        let found = match self.files.get(&Name::from(name)).await {
            // Somebody else may have put it there.
            Ok(found) if found.meta.size > LONGEST => {
                return rule(format!("{name} in {} has {} bytes: that is no metadata", self.place, found.meta.size));
            }
            Ok(found) => found.bytes().await,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => Err(error),
        };
        Ok(Some(found.map_err(|error| self.error(error))?.to_vec()))
    }

    /// How long a file is, if it is there.
    pub(crate) async fn length(&self, name: &str) -> Result<Option<u64>, ReleaseError> {
        match self.files.head(&Name::from(name)).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(error)),
        }
    }

    /// Writes a file that nobody sees before it is whole.
    pub(crate) async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), ReleaseError> {
        let options = PutOptions { attributes: self.attributes(name), ..PutOptions::default() };
        let put = self.files.put_opts(&Name::from(name), PutPayload::from(bytes.to_vec()), options).await;
        put.map(drop).map_err(|error| self.error(error))
    }

    /// The same with a file of ours, of any length.
    pub(crate) async fn put_file(&self, name: &str, file: &Path) -> Result<(), ReleaseError> {
        let read = |source| ReleaseError::File { path: file.to_owned(), source };
        let mut from = std::fs::File::open(file).map_err(read)?;
        let options = self.attributes(name).into();
        let upload = self.files.put_multipart_opts(&Name::from(name), options).await;
        let mut to = WriteMultipart::new_with_chunk_size(upload.map_err(|error| self.error(error))?, PART);
        let mut part = vec![0; 1 << 20];
        loop {
            let count = match from.read(&mut part) {
                Ok(count) => count,
                Err(source) => {
                    // Parts of what nobody will see cost money; the first error is the one to report.
                    let _ = to.abort().await;
                    return Err(read(source));
                }
            };
            if count == 0 {
                return to.finish().await.map(drop).map_err(|error| self.error(error));
            }
            to.wait_for_capacity(AT_ONCE).await.map_err(|error| self.error(error))?;
            to.write(&part[..count]);
        }
    }

    /// Files that carry their version or hash in the name never change; the others must be asked for.
    fn attributes(&self, name: &str) -> Attributes {
        let keep = if name.ends_with("/timestamp.json") { "no-cache" } else { "public, max-age=31536000, immutable" };
        self.has_caches.then(|| (Attribute::CacheControl, AttributeValue::from(keep))).into_iter().collect()
    }

    fn error(&self, error: object_store::Error) -> ReleaseError {
        ReleaseError::Store { place: self.place.clone(), source: Box::new(error) }
    }
}
