//! The object store of runs: immutable objects under names that `osler_core::paths` makes, in a folder or in an S3 bucket.
//!
//! What has been written is durable when a call returns. Readers of an [`ObjectRef`] get verified bytes or an error, never other bytes.
//! Calls are tried again with growing pauses while what failed may pass, for a bounded time; large objects travel in parts, in bounded memory. An
//! answer that ends early is a failed call, and what does not have its digest is fetched a second time before it counts as corrupt.

mod blocking;
mod folder;
mod listing;
mod local;
mod patience;
mod probe;
mod remote;
mod waits;

pub use blocking::BlockingStore;
pub use folder::local_folder;
pub use patience::{Medium, Patience, lacks_room};
pub use waits::Waited;

use crate::files;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use osler_core::checkpoint::ObjectRef;
use osler_core::digest::Digest;
use patience::Patient;
use remote::Scratch;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Objects that are read whole: documents, never corpora or weights.
const MAX_DOCUMENT_BYTES: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("store {0:?}: use a folder, file:///folder or s3://BUCKET/PREFIX; there are no others yet")]
    Unsupported(String),
    #[error("store: {0}")]
    Url(&'static str),
    #[error(
        "store {store:?} ignores conditional writes: a second If-None-Match put of {path:?} succeeded. Two coordinators could both believe \
         that they lead; use a store that honours If-None-Match"
    )]
    Unconditional { store: String, path: String },
    #[error("{0:?} exists already in the store")]
    AlreadyExists(String),
    #[error("{0:?} is not a usable object name")]
    BadName(String),
    #[error("{path:?} is {bytes} bytes, more than a document may have")]
    TooLarge { path: String, bytes: u64 },
    /// In a folder only, and never a matter of time: what else has an object's name. Readers of an [`ObjectRef`] hear [`Self::Corrupt`].
    #[error("{path:?} is {what}, not a file: move it away")]
    NotAFile { path: String, what: &'static str },
    #[error("{path:?} is missing from the store")]
    Missing { path: String },
    #[error("{path:?} is not what was written: {found}, recorded as {recorded}")]
    Corrupt { path: String, found: String, recorded: String },
    #[error("{verb} {path:?}: {source}")]
    Io { verb: &'static str, path: String, source: io::Error },
    #[error("{verb} {path:?}: {source}")]
    Backend { verb: &'static str, path: String, source: object_store::Error },
    #[error("{verb} {path:?}: the store failed {tries} times in {seconds:.1} s, last with: {last}")]
    GaveUp { verb: &'static str, path: String, tries: u32, seconds: f64, last: String },
    #[error("{verb} {path:?}: there was no room for {seconds:.0} s: {source}; make room, then go on")]
    NoRoom { verb: &'static str, path: String, seconds: f64, source: io::Error },
}

/// A handle; clones share the connection.
#[derive(Clone)]
pub struct Store {
    url: String,
    place: Place,
    objects: Arc<dyn ObjectStore>,
    patience: Patient,
}

/// Where fetched objects lie as files.
#[derive(Clone)]
enum Place {
    /// The store's own folder: an object is a file already.
    Folder(PathBuf),
    /// A folder of this process, for copies of a remote store's objects.
    Scratch(Scratch),
}

impl fmt::Debug for Store {
    /// Not the client: it holds credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store: `s3://BUCKET/PREFIX`, with credentials and endpoint from the usual `AWS_*` variables, or a folder (a path or
    /// `file:///path`), which is made if needed.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        match url.split_once("://") {
            Some(("file", path)) => Self::open_folder(url, path),
            Some(("s3", rest)) => Ok(Self::over(&format!("s3://{rest}"), remote::open_s3(rest)?, Patience::default())),
            Some(_) => Err(StoreError::Unsupported(url.to_owned())),
            None => Self::open_folder(url, url),
        }
    }

    fn open_folder(url: &str, path: &str) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { verb: "open store", path: url.to_owned(), source };
        files::make_folder(Path::new(path)).map_err(io)?;
        let root = std::fs::canonicalize(path).map_err(io)?;
        let objects = local::objects(&root).map_err(|source| StoreError::Backend { verb: "open store", path: url.to_owned(), source })?;
        let url = format!("file://{}", root.display());
        Ok(Self { url, place: Place::Folder(root), objects: Arc::new(objects), patience: Patient::new(Patience::folder()) })
    }

    /// A store whose objects are not files here. `url` is what other processes pass to [`Self::open`].
    pub fn over(url: &str, objects: Arc<dyn ObjectStore>, patience: Patience) -> Self {
        Self { url: url.to_owned(), place: Place::Scratch(Scratch::default()), objects, patience: Patient::new(patience) }
    }

    /// Puts fetched copies into `folder`, which the caller removes; else they are in a temporary folder of this handle and its clones.
    pub fn fetching_into(mut self, folder: PathBuf) -> Self {
        if matches!(self.place, Place::Scratch(_)) {
            self.place = Place::Scratch(Scratch::at(folder));
        }
        self
    }

    /// The same store for a caller with less or more patience, who is nobody's alarm.
    pub fn with_patience(&self, patience: Patience) -> Self {
        Self { patience: Patient::new(patience), ..self.clone() }
    }

    /// How long a call may take.
    pub fn patience(&self) -> Patience {
        self.patience.terms
    }

    /// That calls by this handle and its clones are waiting for the store, if they have for a while.
    pub fn waits(&self) -> Option<Waited> {
        self.patience.waits.now()
    }

    /// The latest such wait that is over; told once.
    pub fn take_wait(&self) -> Option<Waited> {
        self.patience.waits.take_over()
    }

    /// Whether the store honours conditional writes, on which the rule of one coordinator rests. `name` must be new.
    pub async fn probe(&self, name: &str) -> Result<(), StoreError> {
        probe::conditional_writes(self, name).await
    }

    /// What another process passes to [`Self::open`].
    pub fn url(&self) -> &str {
        &self.url
    }

    /// As people name it: the folder, or the address.
    pub fn shown(&self) -> String {
        self.local_root().map_or_else(|| self.url.clone(), |root| root.display().to_string())
    }

    /// See [`files::keep_private`]: for programs whose business is this store, before they write anything.
    pub fn keep_private(&self) {
        files::keep_private(self.local_root());
    }

    /// The folder of a local store.
    pub fn local_root(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(root) => Some(root),
            Place::Scratch(_) => None,
        }
    }

    /// Looks at what has an object's name in a folder. A bucket holds objects only.
    async fn check(&self, key: &Key, check: fn(&Path) -> io::Result<()>) -> object_store::Result<()> {
        let Place::Folder(root) = &self.place else { return Ok(()) };
        let path = root.join(key.as_ref());
        on_files(move || check(&path)).await
    }

    /// What was done, or why it could not be if a look tells that.
    async fn explain<T>(&self, done: object_store::Result<T>, key: &Key, look: fn(&Path) -> io::Result<()>) -> object_store::Result<T> {
        match done {
            Err(e) => Err(self.check(key, look).await.err().unwrap_or(e)),
            done => done,
        }
    }

    /// The object's bytes, None if there is none of that name; [`StoreError::NotAFile`] is as good as a damaged one.
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        let (objects, key) = (&self.objects, &key(path)?);
        let read = self.patience.keep("read", path, move || async move {
            self.check(key, local::expect_file).await?;
            let found = objects.get(key).await?;
            let size = found.meta.size;
            if size > MAX_DOCUMENT_BYTES {
                return Ok(Err(size));
            }
            Ok(Ok(whole(found.bytes().await?, size)?))
        });
        match read.await {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(bytes)) => Err(StoreError::TooLarge { path: path.to_owned(), bytes }),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Bytes `range` of an object; fewer if it ends before. Not verified: for looking, never for data.
    pub async fn get_range(&self, path: &str, range: std::ops::Range<u64>) -> Result<Bytes, StoreError> {
        let (objects, key, range) = (&self.objects, &key(path)?, &range);
        let read = self.patience.keep("read", path, move || async move {
            self.check(key, local::expect_file).await?;
            objects.get_range(key, range.clone()).await
        });
        read.await
    }

    /// The size of an object, None if there is none of that name.
    pub async fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        let (objects, key) = (&self.objects, &key(path)?);
        let look = self.patience.keep("look at", path, move || async move {
            self.check(key, local::expect_file).await?;
            Ok(objects.head(key).await?.size)
        });
        match look.await {
            Ok(size) => Ok(Some(size)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The bytes of a recorded object, verified.
    pub async fn read(&self, object: &ObjectRef) -> Result<Bytes, StoreError> {
        twice_if_corrupt(|| async {
            let bytes = match self.get(&object.path).await {
                Err(StoreError::NotAFile { what, .. }) => return Err(not_a_file(object, what)),
                found => found?.ok_or_else(|| StoreError::Missing { path: object.path.clone() })?,
            };
            verify(object, bytes.len() as u64, Digest::of(&bytes))?;
            Ok(bytes)
        })
        .await
    }

    /// Creates an object; [`StoreError::AlreadyExists`] if the name is taken, whoever took it, an earlier try of ours included. What is no
    /// object takes none: [`StoreError::NotAFile`].
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let (objects, key, bytes) = (&self.objects, &key(path)?, &bytes);
        let options = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let create = self.patience.keep("create", path, move || async move {
            let created = objects.put_opts(key, bytes.clone().into(), options()).await;
            self.explain(created, key, local::expect_file).await
        });
        create.await.map(drop)
    }

    /// Writes an object whole, also over an older one of that name.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<ObjectRef, StoreError> {
        let object = ObjectRef { path: path.to_owned(), bytes: bytes.len() as u64, digest: Digest::of(&bytes) };
        let (objects, key, bytes) = (&self.objects, &key(path)?, &bytes);
        let write = self.patience.keep("write", path, move || async move {
            let written = objects.put(key, bytes.clone().into()).await;
            self.explain(written, key, local::expect_no_folder).await
        });
        write.await?;
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
        let key = key(path)?;
        let Place::Folder(root) = &self.place else { return remote::upload(self, file, &key, known).await };
        let to = root.join(key.as_ref());
        let place = || {
            let (file, to) = (file.to_owned(), to.clone());
            on_files(move || local::place(&file, &to, known))
        };
        let (bytes, digest) = self.patience.keep("store", path, place).await?;
        let sync = || {
            let to = to.clone();
            on_files(move || local::sync_folder(&to))
        };
        self.patience.keep("store", path, sync).await?;
        Ok(ObjectRef { path: path.to_owned(), bytes, digest })
    }

    /// A local file with the object's verified bytes. Read-only: it may be the object itself.
    pub async fn fetch(&self, object: &ObjectRef) -> Result<PathBuf, StoreError> {
        let key = key(&object.path)?;
        let root = match &self.place {
            Place::Folder(root) => root,
            Place::Scratch(scratch) => return remote::download(self, scratch, object, &key).await,
        };
        let file = root.join(key.as_ref());
        if !file.is_file() {
            let missing = || StoreError::Missing { path: object.path.clone() };
            return Err(local::no_file(&file).map_or_else(missing, |what| not_a_file(object, what)));
        }
        let digested = || {
            let file = file.clone();
            on_files(move || local::digest(&file))
        };
        let (bytes, digest) = self.patience.keep("read", &object.path, digested).await?;
        verify(object, bytes, digest)?;
        Ok(file)
    }

    /// Goes through a folder of the store's.
    async fn walk<T: Send + 'static>(&self, root: &Path, prefix: &str, walk: fn(&Path, &str) -> io::Result<T>) -> Result<T, StoreError> {
        let key = key(prefix)?;
        let walk = || {
            let (root, key) = (root.to_owned(), key.clone());
            on_files(move || walk(&root, key.as_ref()))
        };
        self.patience.keep("list", prefix, walk).await
    }

    /// Names below a prefix, sorted.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        if let Place::Folder(root) = &self.place {
            return self.walk(root, prefix, listing::names).await;
        }
        let (objects, key) = (&self.objects, &key(prefix)?);
        let list = move || objects.list(Some(key)).map_ok(|m| m.location.to_string()).try_collect::<Vec<_>>();
        let mut names = self.patience.keep("list", prefix, list).await?;
        names.sort();
        Ok(names)
    }

    /// Names below a prefix with their sizes, sorted.
    pub async fn sizes(&self, prefix: &str) -> Result<Vec<(String, u64)>, StoreError> {
        if let Place::Folder(root) = &self.place {
            return self.walk(root, prefix, listing::sizes).await;
        }
        let (objects, key) = (&self.objects, &key(prefix)?);
        let list = move || objects.list(Some(key)).map_ok(|m| (m.location.to_string(), m.size)).try_collect::<Vec<_>>();
        let mut found = self.patience.keep("list", prefix, list).await?;
        found.sort();
        Ok(found)
    }

    /// The names of what lies directly below a prefix and has objects below it, sorted: the runs of a store, without their objects.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        if let Place::Folder(root) = &self.place {
            return self.walk(root, prefix, listing::folders).await;
        }
        let (objects, key) = (&self.objects, &key(prefix)?);
        let list = move || async move { Ok(objects.list_with_delimiter(Some(key)).await?.common_prefixes) };
        let found = self.patience.keep("list", prefix, list).await?;
        let mut names: Vec<String> = found.iter().filter_map(|p| Some(p.as_ref().rsplit('/').next()?.to_owned())).collect();
        names.sort();
        Ok(names)
    }

    /// Whether an object is what was written, without keeping a copy of it.
    pub async fn verify(&self, object: &ObjectRef) -> Result<(), StoreError> {
        match &self.place {
            Place::Folder(_) => self.fetch(object).await.map(drop),
            Place::Scratch(_) => remote::check(self, object, &key(&object.path)?).await,
        }
    }

    /// Names below a prefix as [`Self::list`] gives them, and in a folder also what killed writers left under temporary names.
    pub async fn list_all(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        match &self.place {
            Place::Folder(root) => self.walk(root, prefix, listing::everything).await,
            Place::Scratch(_) => self.list(prefix).await,
        }
    }

    /// Deletes what [`Self::list_all`] found. One that is gone already is fine.
    pub async fn sweep(&self, path: &str) -> Result<(), StoreError> {
        let Place::Folder(root) = &self.place else { return self.delete(path).await };
        let file = root.join(path);
        let remove = || {
            let file = file.clone();
            on_files(move || local::remove(&file))
        };
        self.patience.keep("delete", path, remove).await
    }

    /// Removes the folders at and below a prefix that hold nothing. Writers make the folders that they need, again if need be.
    pub async fn sweep_folders(&self, prefix: &str) -> Result<(), StoreError> {
        let key = key(prefix)?;
        let Place::Folder(root) = &self.place else { return Ok(()) };
        let folder = root.join(key.as_ref());
        let remove = || {
            let folder = folder.clone();
            on_files(move || listing::remove_empty(&folder).map(|()| listing::remove_if_empty(&folder)))
        };
        self.patience.keep("clear", prefix, remove).await
    }

    /// Deletes an object; one that is gone already is fine.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let (objects, key) = (&self.objects, &key(path)?);
        let delete = self.patience.keep("delete", path, move || async move {
            let deleted = objects.delete(key).await;
            self.explain(deleted, key, local::expect_no_folder).await
        });
        match delete.await {
            Ok(()) | Err(StoreError::Missing { .. }) => Ok(()),
            Err(e) => Err(e),
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
    Err(corrupt(object, shown(bytes, digest)))
}

fn not_a_file(object: &ObjectRef, what: &str) -> StoreError {
    corrupt(object, format!("it is {what}, not a file"))
}

fn corrupt(object: &ObjectRef, found: String) -> StoreError {
    StoreError::Corrupt { path: object.path.clone(), found, recorded: shown(object.bytes, object.digest) }
}

fn shown(bytes: u64, digest: Digest) -> String {
    format!("{bytes} bytes, sha256 {digest}")
}

/// An answer of as many bytes as it must have.
fn whole(bytes: Bytes, size: u64) -> object_store::Result<Bytes> {
    if bytes.len() as u64 == size {
        return Ok(bytes);
    }
    let torn = format!("the answer has {} bytes of {size}", bytes.len());
    Err(object_store::Error::Generic { store: "answer", source: torn.into() })
}

/// Objects are written once: bytes that are not those may have been changed on the way here only.
async fn twice_if_corrupt<T, F: Future<Output = Result<T, StoreError>>>(read: impl Fn() -> F) -> Result<T, StoreError> {
    match read().await {
        Err(StoreError::Corrupt { path, found, .. }) => {
            tracing::warn!(path, found, "not what was written; reading it again");
            read().await
        }
        other => other,
    }
}

/// File work of a folder's, beside the runtime.
async fn on_files<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> object_store::Result<T> {
    let done = tokio::task::spawn_blocking(work).await?;
    done.map_err(|source| object_store::Error::Generic { store: "file", source: source.into() })
}

#[cfg(test)]
mod tests;
