//! The store for processes that are not asynchronous: ranks and jobs.

use super::{Store, StoreError};
use bytes::Bytes;
use osler_core::checkpoint::ObjectRef;
use osler_core::digest::Digest;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use tokio::runtime::{Builder, Runtime};

/// A [`Store`] with a runtime of its own; must not be used from inside another one.
#[derive(Debug)]
pub struct BlockingStore {
    store: Store,
    runtime: Runtime,
}

impl BlockingStore {
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let io = |source: io::Error| StoreError::Io { verb: "open store", path: url.to_owned(), source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(io)?;
        Ok(Self { store: Store::open(url)?, runtime })
    }

    /// See [`Store::fetching_into`].
    pub fn fetching_into(self, folder: PathBuf) -> Self {
        Self { store: self.store.fetching_into(folder), runtime: self.runtime }
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// See [`Store::read`].
    pub fn read(&self, object: &ObjectRef) -> Result<Bytes, StoreError> {
        self.wait(self.store.read(object))
    }

    /// See [`Store::put`].
    pub fn put(&self, path: &str, bytes: impl Into<Bytes>) -> Result<ObjectRef, StoreError> {
        self.wait(self.store.put(path, bytes.into()))
    }

    /// See [`Store::put_file`].
    pub fn put_file(&self, file: &Path, path: &str) -> Result<ObjectRef, StoreError> {
        self.wait(self.store.put_file(file, path))
    }

    /// See [`Store::put_digested`].
    pub fn put_digested(&self, file: &Path, path: &str, bytes: u64, digest: Digest) -> Result<ObjectRef, StoreError> {
        self.wait(self.store.put_digested(file, path, bytes, digest))
    }

    /// See [`Store::fetch`].
    pub fn fetch(&self, object: &ObjectRef) -> Result<PathBuf, StoreError> {
        self.wait(self.store.fetch(object))
    }
}
