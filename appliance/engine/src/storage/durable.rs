//! The order of writes that makes an object durable: write, sync the file, rename, sync the directory.
//!
//! The four steps stand here once. They run over `Steps`, so the crash tests replay the same order on a recorded medium,
//! and a test that removes one of them fails.

use super::{Area, Draft, Object, Storage, StorageError};
use crate::read::ReadAt;
use std::io;
use std::sync::Arc;

/// The operations of a medium that can lose power between any two of them.
pub trait Steps: Send + Sync + 'static {
    /// An open temporary file.
    type File: Send;

    /// Creates a temporary file that does not exist yet.
    fn create(&self, temporary: &str) -> io::Result<Self::File>;
    /// Adds bytes to it.
    fn append(&self, file: &mut Self::File, bytes: &[u8]) -> io::Result<()>;
    /// Makes its bytes and length durable.
    fn sync_file(&self, file: &Self::File) -> io::Result<()>;
    /// Gives the temporary file its name; refuses to replace an object.
    fn rename(&self, temporary: &str, path: &str) -> io::Result<()>;
    /// Makes names in a folder durable.
    fn sync_directory(&self, folder: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Lists a folder: name and size of each file, and whether it is a folder.
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64, IsFolder)>>;
    /// Opens a file to read.
    fn open(&self, path: &str) -> io::Result<Box<dyn ReadAt>>;
    /// Bytes left, where known.
    fn free_bytes(&self) -> Option<u64>;
    /// Keeps this many bytes allocated in the file `reserve`, none for 0.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    /// A name that no other draft has.
    fn unique(&self) -> String;
}

/// Whether a listed name is a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsFolder {
    /// A folder.
    Yes,
    /// A file.
    No,
}

/// Objects stored as files of one folder, by the steps above.
pub struct Durable<S> {
    steps: Arc<S>,
}

impl<S: Steps> Durable<S> {
    /// Objects over these steps. The folders exist already.
    pub fn new(steps: S) -> Self {
        Self { steps: Arc::new(steps) }
    }

    /// The steps underneath.
    pub fn steps(&self) -> &S {
        &self.steps
    }
}

/// The folder an object lies in.
fn folder_of(area: Area, name: &str) -> String {
    match area {
        Area::Packs => format!("packs/{}", name.get(..2).unwrap_or("00")),
        other => other.folder().to_owned(),
    }
}

/// The path of an object, relative to the repository.
fn path_of(area: Area, name: &str) -> String {
    let folder = folder_of(area, name);
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

impl<S: Steps> Storage for Durable<S> {
    fn list(&self, area: Area) -> Result<Vec<Object>, StorageError> {
        let wrap = |source| StorageError::new("list", area, "", source);
        let mut objects = Vec::new();
        for (name, size, folder) in self.steps.list(area.folder()).map_err(wrap)? {
            match (folder, area) {
                (IsFolder::Yes, Area::Packs) => {
                    let inner = self.steps.list(&format!("packs/{name}")).map_err(wrap)?;
                    objects.extend(inner.into_iter().map(|(name, size, _)| Object { name, size }));
                }
                (IsFolder::No, _) => objects.push(Object { name, size }),
                (IsFolder::Yes, _) => {}
            }
        }
        objects.sort();
        Ok(objects)
    }

    fn open(&self, area: Area, name: &str) -> Result<Box<dyn ReadAt>, StorageError> {
        self.steps.open(&path_of(area, name)).map_err(|source| StorageError::new("open", area, name, source))
    }

    fn create(&self, area: Area, name: &str) -> Result<Box<dyn Draft>, StorageError> {
        let temporary = format!("tmp/{}", self.steps.unique());
        let file = self.steps.create(&temporary).map_err(|source| StorageError::new("create", area, name, source))?;
        Ok(Box::new(FileDraft {
            steps: Arc::clone(&self.steps),
            area,
            name: name.to_owned(),
            temporary,
            file: Some(file),
        }))
    }

    fn remove(&self, area: Area, name: &str) -> Result<(), StorageError> {
        let wrap = |source| StorageError::new("remove", area, name, source);
        self.steps.remove(&path_of(area, name)).map_err(wrap)?;
        self.steps.sync_directory(&folder_of(area, name)).map_err(wrap)
    }

    fn clear_drafts(&self, alone: &dyn Fn() -> bool) -> Result<(), StorageError> {
        let wrap = |source| StorageError::new("clear", Area::Root, "tmp", source);
        let drafts = self.steps.list("tmp").map_err(wrap)?;
        if drafts.is_empty() || !alone() {
            return Ok(());
        }
        for (name, _, _) in drafts {
            self.steps.remove(&format!("tmp/{name}")).map_err(wrap)?;
        }
        Ok(())
    }

    fn free_bytes(&self) -> Option<u64> {
        self.steps.free_bytes()
    }

    fn reserve(&self, bytes: u64) -> Result<(), StorageError> {
        self.steps.reserve(bytes).map_err(|source| StorageError::new("reserve", Area::Root, "reserve", source))
    }
}

struct FileDraft<S: Steps> {
    steps: Arc<S>,
    area: Area,
    name: String,
    temporary: String,
    file: Option<S::File>,
}

impl<S: Steps> FileDraft<S> {
    fn wrap(&self, doing: &'static str) -> impl Fn(io::Error) -> StorageError + use<S> {
        let (area, name) = (self.area, self.name.clone());
        move |source| StorageError::new(doing, area, &name, source)
    }
}

impl<S: Steps> Draft for FileDraft<S> {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let wrap = self.wrap("write");
        let file = self.file.as_mut().expect("a draft is used before its commit");
        self.steps.append(file, bytes).map_err(wrap)
    }

    fn commit(mut self: Box<Self>) -> Result<(), StorageError> {
        let file = self.file.as_ref().expect("a draft is committed once");
        self.steps.sync_file(file).map_err(self.wrap("sync"))?;
        let path = path_of(self.area, &self.name);
        self.steps.rename(&self.temporary, &path).map_err(self.wrap("rename"))?;
        self.file = None; // from here on the temporary name is gone
        self.steps.sync_directory(&folder_of(self.area, &self.name)).map_err(self.wrap("sync the folder of"))
    }
}

impl<S: Steps> Drop for FileDraft<S> {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Best effort: the next writer clears `tmp/`.
            let _ = self.steps.remove(&self.temporary);
        }
    }
}
