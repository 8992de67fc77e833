//! A store that is not a folder: opening an S3 bucket, uploads in parts, downloads by ranges to verified local copies.
//!
//! Memory is bounded by a few parts, whatever an object's size. An upload becomes visible when it is complete, or never.

use super::{Store, StoreError, twice_if_corrupt, verify, whole};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart};
use osler_core::checkpoint::ObjectRef;
use osler_core::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tempfile::{NamedTempFile, TempDir};

/// S3 takes parts of 5 MiB and more.
const PART: u64 = 8 << 20;
/// S3 takes 10,000; some room for rounding.
const MOST_PARTS: u64 = 9_000;
/// Parts on their way at once, up or down.
const AT_ONCE: usize = 4;
/// One request: a part over a slow line takes its time.
const REQUEST: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(5);

/// Where copies of remote objects go.
#[derive(Clone, Default)]
pub(super) struct Scratch {
    folder: Option<PathBuf>,
    temporary: Arc<OnceLock<TempDir>>,
}

impl Scratch {
    pub fn at(folder: PathBuf) -> Self {
        Self { folder: Some(folder), temporary: Arc::default() }
    }

    fn folder(&self) -> std::io::Result<PathBuf> {
        if let Some(folder) = &self.folder {
            std::fs::create_dir_all(folder)?;
            return Ok(folder.clone());
        }
        if self.temporary.get().is_none() {
            // Of two that come here at once, one is dropped and removed again.
            let _lost = self.temporary.set(tempfile::Builder::new().prefix("osler-fetched-").tempdir()?);
        }
        self.temporary.get().map(|folder| folder.path().to_owned()).ok_or_else(|| std::io::Error::other("no temporary folder"))
    }
}

/// `BUCKET` or `BUCKET/PREFIX`. Credentials, region and endpoint come from the environment and go nowhere else.
pub(super) fn open_s3(rest: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(StoreError::Url("s3:// needs a bucket: s3://BUCKET/PREFIX"));
    }
    if bucket.contains(['@', ':']) || rest.contains('?') {
        return Err(StoreError::Url("credentials do not belong into an address: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
    }
    let prefix = prefix.trim_end_matches('/');
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 },
        max_retries: 6,
        retry_timeout: Duration::from_secs(60),
    };
    let builder = AmazonS3Builder::from_env();
    // An endpoint that says http:// is meant: a server on this machine or in this building.
    let plain = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some_and(|endpoint| endpoint.starts_with("http://"));
    let client = ClientOptions::new().with_timeout(REQUEST).with_connect_timeout(CONNECT).with_allow_http(plain);
    let options =
        builder.with_bucket_name(bucket).with_client_options(client).with_retry(retry).with_conditional_put(S3ConditionalPut::ETagMatch);
    let backend = |source| StoreError::Backend { verb: "open store", path: format!("s3://{rest}"), source };
    let objects = options.build().map_err(backend)?;
    if prefix.is_empty() {
        return Ok(Arc::new(objects));
    }
    Ok(Arc::new(PrefixStore::new(objects, super::key(prefix)?)))
}

/// Sends a file, then removes it. Its digest is that of the bytes that were sent.
pub(super) async fn upload(store: &Store, file: &Path, key: &Key, known: Option<(u64, Digest)>) -> Result<ObjectRef, StoreError> {
    let path = key.as_ref();
    let io = |source| StoreError::Io { verb: "store", path: path.to_owned(), source };
    let length = std::fs::metadata(file).map_err(io)?.len();
    if let Some((bytes, _)) = known.filter(|(bytes, _)| *bytes != length) {
        return Err(io(std::io::Error::other(format!("{} has {length} bytes, its writer said {bytes}", file.display()))));
    }
    let sent = store.patience.keep("store", path, move || send(store, file, key, length)).await?;
    let object = ObjectRef { path: path.to_owned(), bytes: length, digest: sent };
    if let Some((_, digest)) = known.filter(|(_, digest)| *digest != sent) {
        store.delete(path).await?;
        return Err(io(std::io::Error::other(format!("{} holds sha256 {sent}, its writer said {digest}", file.display()))));
    }
    std::fs::remove_file(file).map_err(io)?;
    Ok(object)
}

/// One try at the whole object.
async fn send(store: &Store, file: &Path, key: &Key, length: u64) -> object_store::Result<Digest> {
    let mut parts = Parts { file: open(file)?, sha: Sha256::new(), size: PART.max(length.div_ceil(MOST_PARTS)), left: length };
    if length <= PART {
        let bytes = parts.next().await?;
        store.objects.put(key, bytes.into()).await?;
        return Ok(Digest::from_bytes(parts.sha.finalize().into()));
    }
    let mut upload = WriteMultipart::new_with_chunk_size(store.objects.put_multipart(key).await?, parts.size as usize);
    let sent = async {
        while parts.left > 0 {
            upload.wait_for_capacity(AT_ONCE).await?;
            upload.put(parts.next().await?);
        }
        Ok(())
    };
    match sent.await {
        Ok(()) => drop(upload.finish().await?),
        Err(e) => {
            // What was sent costs space only; the failure is the news.
            let _left_behind = upload.abort().await;
            return Err(e);
        }
    }
    Ok(Digest::from_bytes(parts.sha.finalize().into()))
}

/// A file in pieces, digested on the way.
struct Parts {
    file: File,
    sha: Sha256,
    size: u64,
    left: u64,
}

impl Parts {
    async fn next(&mut self) -> object_store::Result<Bytes> {
        let mut bytes = vec![0; self.size.min(self.left) as usize];
        self.file.read_exact(&mut bytes).map_err(generic)?;
        self.sha.update(&bytes);
        self.left -= bytes.len() as u64;
        tokio::task::yield_now().await;
        Ok(Bytes::from(bytes))
    }
}

fn open(file: &Path) -> object_store::Result<File> {
    File::open(file).map_err(generic)
}

/// A local failure inside an upload.
fn generic(source: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "local file", source: Box::new(source) }
}

/// Copies an object to a file of its own name below its digest, verified before it gets that name. What this process has fetched is not
/// fetched again.
pub(super) async fn download(store: &Store, scratch: &Scratch, object: &ObjectRef, key: &Key) -> Result<PathBuf, StoreError> {
    let io = |source| StoreError::Io { verb: "fetch", path: object.path.clone(), source };
    let folder = scratch.folder().map_err(io)?.join(object.digest.to_string());
    let file = folder.join(key.filename().unwrap_or("object"));
    if file.is_file() {
        return Ok(file);
    }
    std::fs::create_dir_all(&folder).map_err(io)?;
    let held = store.size(&object.path).await?.ok_or_else(|| StoreError::Missing { path: object.path.clone() })?;
    if held != object.bytes {
        let (found, recorded) = (format!("{held} bytes"), format!("{} bytes, sha256 {}", object.bytes, object.digest));
        return Err(StoreError::Corrupt { path: object.path.clone(), found, recorded });
    }
    let partial = twice_if_corrupt(|| receive(store, &folder, object, key)).await?;
    partial.persist(&file).map_err(|e| io(e.error))?;
    Ok(file)
}

/// One try at the whole object.
async fn receive(store: &Store, folder: &Path, object: &ObjectRef, key: &Key) -> Result<NamedTempFile, StoreError> {
    let io = |source| StoreError::Io { verb: "fetch", path: object.path.clone(), source };
    let mut partial = NamedTempFile::new_in(folder).map_err(io)?;
    let (mut sha, mut bytes) = (Sha256::new(), 0);
    let ranges = (0..object.bytes.div_ceil(PART)).map(|i| i * PART..((i + 1) * PART).min(object.bytes));
    let mut pieces = futures::stream::iter(ranges.map(|range| piece(store.clone(), key.clone(), range))).buffered(AT_ONCE);
    while let Some(piece) = pieces.try_next().await? {
        sha.update(&piece);
        bytes += piece.len() as u64;
        partial.write_all(&piece).map_err(io)?;
    }
    drop(pieces);
    verify(object, bytes, Digest::from_bytes(sha.finalize().into()))?;
    Ok(partial)
}

/// Reads the whole object, and keeps nothing of it.
pub(super) async fn check(store: &Store, object: &ObjectRef, key: &Key) -> Result<(), StoreError> {
    let held = store.size(&object.path).await?.ok_or_else(|| StoreError::Missing { path: object.path.clone() })?;
    let (mut sha, mut bytes) = (Sha256::new(), 0);
    let ranges = (0..held.div_ceil(PART)).map(|i| i * PART..((i + 1) * PART).min(held));
    let mut pieces = futures::stream::iter(ranges.map(|range| piece(store.clone(), key.clone(), range))).buffered(AT_ONCE);
    while let Some(piece) = pieces.try_next().await? {
        sha.update(&piece);
        bytes += piece.len() as u64;
    }
    verify(object, bytes, Digest::from_bytes(sha.finalize().into()))
}

async fn piece(store: Store, key: Key, range: Range<u64>) -> Result<Bytes, StoreError> {
    let (objects, key, range) = (&store.objects, &key, &range);
    let get = move || async move { whole(objects.get_range(key, range.clone()).await?, range.end - range.start) };
    store.patience.keep("fetch", key.as_ref(), get).await
}
