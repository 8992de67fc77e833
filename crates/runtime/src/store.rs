//! The object store of runs: immutable objects under names that `osler_core::paths` makes, local folders first.
//!
//! What has been written is durable when a call returns. Readers of an [`ObjectRef`] get verified bytes or an error, never other bytes.

mod blocking;
mod local;

pub use blocking::BlockingStore;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use osler_core::checkpoint::ObjectRef;
use osler_core::digest::Digest;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Objects that are read whole: documents, never corpora or weights.
const MAX_DOCUMENT_BYTES: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("store {0:?}: only local folders are supported yet (a path, or file:///path)")]
    Unsupported(String),
    #[error("{0:?} exists already in the store")]
    AlreadyExists(String),
    #[error("{0:?} is not a usable object name")]
    BadName(String),
    #[error("{path:?} is {bytes} bytes, more than a document may have")]
    TooLarge { path: String, bytes: u64 },
    #[error("{path:?} is missing from the store")]
    Missing { path: String },
    #[error("{path:?} is not what was written: {found}, recorded as {recorded}")]
    Corrupt { path: String, found: String, recorded: String },
    #[error("{verb} {path:?}: {source}")]
    Io { verb: &'static str, path: String, source: io::Error },
    #[error("{verb} {path:?}: {source}")]
    Backend { verb: &'static str, path: String, source: object_store::Error },
}

/// A handle; clones share the connection.
#[derive(Debug, Clone)]
pub struct Store {
    url: String,
    root: PathBuf,
    objects: Arc<LocalFileSystem>,
}

impl Store {
    /// Opens a store and makes its folder if needed. `url` is a path or `file:///path`.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let path = match url.split_once("://") {
            Some(("file", path)) => path,
            Some(_) => return Err(StoreError::Unsupported(url.to_owned())),
            None => url,
        };
        let io = |source| StoreError::Io { verb: "open store", path: url.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let root = std::fs::canonicalize(path).map_err(io)?;
        let objects = LocalFileSystem::new_with_prefix(&root)
            .map_err(|source| StoreError::Backend { verb: "open store", path: url.to_owned(), source })?
            .with_fsync(true);
        Ok(Self { url: format!("file://{}", root.display()), root, objects: Arc::new(objects) })
    }

    /// What another process passes to [`Self::open`].
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder of a local store.
    pub fn local_root(&self) -> &Path {
        &self.root
    }

    /// The object's bytes, None if there is none of that name.
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        let backend = |source| StoreError::Backend { verb: "read", path: path.to_owned(), source };
        let found = match self.objects.get(&key(path)?).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(backend(e)),
        };
        if found.meta.size > MAX_DOCUMENT_BYTES {
            return Err(StoreError::TooLarge { path: path.to_owned(), bytes: found.meta.size });
        }
        Ok(Some(found.bytes().await.map_err(backend)?))
    }

    /// The bytes of a recorded object, verified.
    pub async fn read(&self, object: &ObjectRef) -> Result<Bytes, StoreError> {
        let bytes = self.get(&object.path).await?.ok_or_else(|| StoreError::Missing { path: object.path.clone() })?;
        verify(object, bytes.len() as u64, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Creates an object; [`StoreError::AlreadyExists`] if the name is taken, whoever took it.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.objects.put_opts(&key(path)?, bytes.into(), options).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => Err(StoreError::AlreadyExists(path.to_owned())),
            Err(source) => Err(StoreError::Backend { verb: "create", path: path.to_owned(), source }),
        }
    }

    /// Writes an object whole, also over an older one of that name.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<ObjectRef, StoreError> {
        let object = ObjectRef { path: path.to_owned(), bytes: bytes.len() as u64, digest: Digest::of(&bytes) };
        let written = self.objects.put(&key(path)?, bytes.into()).await;
        written.map_err(|source| StoreError::Backend { verb: "write", path: path.to_owned(), source })?;
        Ok(object)
    }

    /// Moves a finished local file into the store.
    pub async fn put_file(&self, file: &Path, path: &str) -> Result<ObjectRef, StoreError> {
        self.adopt(file, path, None).await
    }

    /// Moves a file whose size and digest its writer knows: a checkpoint's part is not read a second time while training waits.
    pub async fn put_digested(&self, file: &Path, path: &str, bytes: u64, digest: Digest) -> Result<ObjectRef, StoreError> {
        self.adopt(file, path, Some((bytes, digest))).await
    }

    async fn adopt(&self, file: &Path, path: &str, known: Option<(u64, Digest)>) -> Result<ObjectRef, StoreError> {
        let (file, to, path) = (file.to_owned(), self.root.join(key(path)?.as_ref()), path.to_owned());
        blocking_io("store", path.clone(), move || local::adopt(&file, &to, path, known)).await
    }

    /// A local file with the object's verified bytes. Read-only: it may be the object itself.
    pub async fn fetch(&self, object: &ObjectRef) -> Result<PathBuf, StoreError> {
        let file = self.root.join(key(&object.path)?.as_ref());
        let (for_digest, path) = (file.clone(), object.path.clone());
        if !file.is_file() {
            return Err(StoreError::Missing { path });
        }
        let (bytes, digest) = blocking_io("read", path, move || local::digest(&for_digest)).await?;
        verify(object, bytes, digest)?;
        Ok(file)
    }

    /// Names below a prefix, sorted.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let found = self.objects.list(Some(&key(prefix)?)).map_ok(|m| m.location.to_string()).try_collect::<Vec<_>>().await;
        let mut names = found.map_err(|source| StoreError::Backend { verb: "list", path: prefix.to_owned(), source })?;
        names.sort();
        Ok(names)
    }

    /// Deletes an object; one that is gone already is fine.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match self.objects.delete(&key(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(StoreError::Backend { verb: "delete", path: path.to_owned(), source }),
        }
    }
}

fn key(path: &str) -> Result<Key, StoreError> {
    // The library's parser would drop a leading slash; names here have one spelling.
    let parsed = Key::parse(path).ok().filter(|key| key.as_ref() == path);
    parsed.ok_or_else(|| StoreError::BadName(path.to_owned()))
}

fn verify(object: &ObjectRef, bytes: u64, digest: Digest) -> Result<(), StoreError> {
    if (bytes, digest) == (object.bytes, object.digest) {
        return Ok(());
    }
    let shown = |bytes, digest| format!("{bytes} bytes, sha256 {digest}");
    Err(StoreError::Corrupt { path: object.path.clone(), found: shown(bytes, digest), recorded: shown(object.bytes, object.digest) })
}

async fn blocking_io<T: Send + 'static>(
    verb: &'static str,
    path: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(io::Error::other(e)));
    done.map_err(|source| StoreError::Io { verb, path, source })
}

#[cfg(test)]
mod tests;
