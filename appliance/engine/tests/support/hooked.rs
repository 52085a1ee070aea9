//! A storage at which something else happens just when a listing is asked for: how a test puts a backup between two steps
//! of a prune.

use saveos_engine::read::ReadAt;
use saveos_engine::storage::{Area, Draft, Object, Storage, StorageError};
use std::sync::{Arc, Mutex, PoisonError};

type Hook = (Area, Box<dyn FnOnce() + Send>);

/// Another storage, with a hook.
pub(crate) struct Hooked {
    inner: Arc<dyn Storage>,
    hook: Mutex<Option<Hook>>,
}

impl Hooked {
    pub(crate) fn over(inner: Arc<dyn Storage>) -> Arc<Hooked> {
        Arc::new(Hooked { inner, hook: Mutex::new(None) })
    }

    /// Before the next listing of this area, `work` is done.
    pub(crate) fn before_listing(&self, area: Area, work: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some((area, Box::new(work)));
    }

    /// Whether the hook has not run yet.
    pub(crate) fn is_armed(&self) -> bool {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Storage for Hooked {
    fn list(&self, area: Area) -> Result<Vec<Object>, StorageError> {
        let mut hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
        let due = if hook.as_ref().is_some_and(|(at, _)| *at == area) { hook.take() } else { None };
        drop(hook);
        if let Some((_, work)) = due {
            work();
        }
        self.inner.list(area)
    }

    fn open(&self, area: Area, name: &str) -> Result<Box<dyn ReadAt>, StorageError> {
        self.inner.open(area, name)
    }

    fn create(&self, area: Area, name: &str) -> Result<Box<dyn Draft>, StorageError> {
        self.inner.create(area, name)
    }

    fn remove(&self, area: Area, name: &str) -> Result<(), StorageError> {
        self.inner.remove(area, name)
    }

    fn clear_drafts(&self) -> Result<(), StorageError> {
        self.inner.clear_drafts()
    }

    fn free_bytes(&self) -> Option<u64> {
        self.inner.free_bytes()
    }

    fn reserve(&self, bytes: u64) -> Result<(), StorageError> {
        self.inner.reserve(bytes)
    }
}
