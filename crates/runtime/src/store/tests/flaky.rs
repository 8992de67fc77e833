//! A store that fails, hangs or forgets conditions on purpose, over one that works.

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    /// Of so many calls the last fails; of an upload's parts too.
    pub fail_every: Option<u64>,
    /// Of so many reads the last one's answer ends in the middle.
    pub tear_every: Option<u64>,
    /// The first read's answer has a changed byte.
    pub garble_first: bool,
    pub hang: bool,
    /// So many calls find no room, whatever they are.
    pub full_for: u64,
    /// Answers as servers do that do not know `If-None-Match`.
    pub ignore_conditions: bool,
}

#[derive(Debug)]
pub struct Flaky {
    inner: Arc<dyn ObjectStore>,
    wire: Arc<Wire>,
}

#[derive(Debug)]
struct Wire {
    plan: Plan,
    calls: AtomicU64,
    full: AtomicU64,
    failures: AtomicU64,
    reads: AtomicU64,
    healed: AtomicBool,
}

impl Wire {
    async fn pass(&self) -> Result<()> {
        if self.plan.hang {
            std::future::pending::<()>().await;
        }
        if self.full.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Generic { store: "flaky", source: std::io::Error::from_raw_os_error(nix::libc::ENOSPC).into() });
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let cut = self.plan.fail_every.is_some_and(|n| call.is_multiple_of(n)) && !self.healed.load(Ordering::Relaxed);
        if !cut {
            return Ok(());
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        Err(Error::Generic { store: "flaky", source: "the wire was cut".into() })
    }
}

impl Flaky {
    pub fn new(inner: impl ObjectStore, plan: Plan) -> Self {
        let wire = Wire {
            plan,
            calls: AtomicU64::new(0),
            full: AtomicU64::new(plan.full_for),
            failures: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            healed: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner), wire: Arc::new(wire) }
    }

    pub fn failures(&self) -> u64 {
        self.wire.failures.load(Ordering::Relaxed)
    }

    pub fn heal(&self) {
        self.wire.healed.store(true, Ordering::Relaxed);
    }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flaky({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.wire.pass().await?;
        if self.wire.plan.ignore_conditions {
            options.mode = PutMode::Overwrite;
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.wire.pass().await?;
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(FlakyUpload { inner, wire: self.wire.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.wire.pass().await?;
        let only_looks = options.head;
        let found = self.inner.get_opts(location, options).await?;
        if only_looks {
            return Ok(found);
        }
        let plan = self.wire.plan;
        let read = self.wire.reads.fetch_add(1, Ordering::Relaxed) + 1;
        let torn = plan.tear_every.is_some_and(|n| read.is_multiple_of(n));
        let garbled = plan.garble_first && read == 1;
        if found.range.is_empty() || !(torn || garbled) {
            return Ok(found);
        }
        self.wire.failures.fetch_add(1, Ordering::Relaxed);
        let (meta, range, attributes, extensions) =
            (found.meta.clone(), found.range.clone(), found.attributes.clone(), found.extensions.clone());
        let mut bytes = found.bytes().await?.to_vec();
        bytes[0] ^= u8::from(!torn);
        bytes.truncate(if torn { bytes.len() / 2 } else { bytes.len() });
        let payload = GetResultPayload::Stream(futures::stream::once(async { Ok(bytes.into()) }).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (wire, rest) = (self.wire.clone(), self.inner.list(prefix));
        let gate = async move { wire.pass().await };
        gate.map(move |passed| match passed {
            Ok(()) => rest,
            Err(cut) => futures::stream::once(async { Err(cut) }).boxed(),
        })
        .flatten_stream()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.wire.pass().await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FlakyUpload {
    inner: Box<dyn MultipartUpload>,
    wire: Arc<Wire>,
}

#[async_trait]
impl MultipartUpload for FlakyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (wire, part) = (self.wire.clone(), self.inner.put_part(data));
        async move {
            wire.pass().await?;
            part.await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.wire.pass().await?;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
